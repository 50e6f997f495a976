; SPDX-License-Identifier: BSD-2-Clause
; The 256 entries of the IDT, which all lead to trap_dispatch(), and the way out of a probed fault.

global vector_stubs, probe_call, probe_resume, probe_stack
extern trap_dispatch
bits 64
default abs

section .text
; Each is 16 bytes long, so that trap_init() can compute where it is.
align 16
vector_stubs:
%assign v 0
%rep 256
    align 16
%if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21
    nop                                 ; the CPU has pushed an error code
    nop
%else
    push    byte 0
%endif
    push    strict dword v
    jmp     near vector_common
%assign v v + 1
%endrep

align 16
vector_common:
    push    rax
    push    rcx
    push    rdx
    push    rbx
    push    rbp
    push    rsi
    push    rdi
    push    r8
    push    r9
    push    r10
    push    r11
    push    r12
    push    r13
    push    r14
    push    r15
    cld
    mov     rdi, rsp                    ; struct trap_frame
    call    trap_dispatch
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     r11
    pop     r10
    pop     r9
    pop     r8
    pop     rdi
    pop     rsi
    pop     rbp
    pop     rbx
    pop     rdx
    pop     rcx
    pop     rax
    add     rsp, 16                     ; vector and error code
    iretq

; struct probe probe_call(void (*function)(void *), void *argument)
probe_call:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [probe_stack], rsp
    mov     rax, rdi
    mov     rdi, rsi
    call    rax
    mov     eax, 256                    ; PROBE_NONE
; trap_dispatch() comes back here, with that RSP, and RAX = vector and error code
probe_resume:
    mov     qword [probe_stack], 0
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss
probe_stack:
    resq    1
