; SPDX-License-Identifier: BSD-2-Clause
; To CPL 3 with given registers, and back by an interrupt.

%define USER_DATA   0x4b
%define USER_CODE64 0x53

global user_enter, user_return
bits 64
default abs

section .text
; void user_enter(struct user_call *): code, entry, RFLAGS
user_enter:
    push    rbx
    push    rbp
    push    rdi
    mov     [stack], rsp
    push    USER_DATA
    push    user_stack
    push    qword [rdi + 16]
    push    USER_CODE64
    push    qword [rdi + 8]
    mov     rbp, [rdi]
    mov     rax, [rbp]
    mov     rbx, [rbp + 8]
    mov     rcx, [rbp + 16]
    mov     rdx, [rbp + 24]
    mov     rsi, [rbp + 32]
    mov     rdi, [rbp + 40]
    iretq

user_return:
    mov     rsp, [stack]
    cld
    push    rbx
    push    rdi
    mov     rbp, [rsp + 16]             ; struct user_call
    mov     rbp, [rbp]
    mov     [rbp], rax
    pop     qword [rbp + 40]
    pop     qword [rbp + 8]
    mov     [rbp + 16], rcx
    mov     [rbp + 24], rdx
    mov     [rbp + 32], rsi
    pop     rdi
    pop     rbp
    pop     rbx
    ret

section .bss
stack:
    resq    1
    alignb  16
    resb    1024
user_stack:
