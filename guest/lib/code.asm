; SPDX-License-Identifier: BSD-2-Clause
; Runs a piece of code with given registers, for code_probe().

global code_call
bits 64

section .text
; void code_call(struct code_call *): the registers are the first six words of struct code.
code_call:
    push    rbx
    push    rbp
    push    rdi
    mov     rbp, [rdi]
    mov     rax, [rbp]
    mov     rbx, [rbp + 8]
    mov     rcx, [rbp + 16]
    mov     rdx, [rbp + 24]
    mov     rsi, [rbp + 32]
    push    qword [rdi + 8]
    mov     rdi, [rbp + 40]
    call    [rsp]
    cld
    mov     [rbp], rax
    mov     [rbp + 8], rbx
    mov     [rbp + 16], rcx
    mov     [rbp + 24], rdx
    mov     [rbp + 32], rsi
    mov     [rbp + 40], rdi
    add     rsp, 16
    pop     rbp
    pop     rbx
    ret
