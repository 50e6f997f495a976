; SPDX-License-Identifier: BSD-2-Clause
; All registers of a CPU, loaded and stored: even the stack pointer, so the code goes by absolute addresses.

%define SCHED_OP 29                     ; of Xen's calls; its operation 0 is yield

global hold_want, hold_got, hold_components, hold_run, hold_save
bits 64
default abs

%define AREA(state) state + 16 * 8

%macro COMPONENTS 0
    mov     eax, [hold_components]
    mov     edx, [hold_components + 4]
%endmacro

section .text
; void hold_save(void): the vector registers
hold_save:
    COMPONENTS
    xsave64 [AREA(hold_got)]
    ret

; void hold_run(uint64_t rounds, uint64_t yields)
hold_run:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [stack], rsp
    mov     [rounds], rdi
    COMPONENTS
    xrstor64 [AREA(hold_want)]
    test    rsi, rsi
    mov     rax, [hold_want]
    mov     rcx, [hold_want + 8]
    mov     rdx, [hold_want + 2 * 8]
    mov     rbx, [hold_want + 3 * 8]
    mov     rsp, [hold_want + 4 * 8]
    mov     rbp, [hold_want + 5 * 8]
    mov     rsi, [hold_want + 6 * 8]
    mov     rdi, [hold_want + 7 * 8]
%assign i 8
%rep 8
    mov     r%+i, [hold_want + i * 8]
%assign i i + 1
%endrep
    jnz     .yield
.spin:
    dec     qword [rounds]
    jnz     .spin
    jmp     short .store
.yield:
    mov     eax, SCHED_OP
    xor     edi, edi
    syscall
    dec     qword [rounds]
    jnz     .yield
.store:
    mov     [hold_got], rax
    mov     [hold_got + 8], rcx
    mov     [hold_got + 2 * 8], rdx
    mov     [hold_got + 3 * 8], rbx
    mov     [hold_got + 4 * 8], rsp
    mov     [hold_got + 5 * 8], rbp
    mov     [hold_got + 6 * 8], rsi
    mov     [hold_got + 7 * 8], rdi
%assign i 8
%rep 8
    mov     [hold_got + i * 8], r%+i
%assign i i + 1
%endrep
    mov     rsp, [stack]
    call    hold_save
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss nobits alloc write align=64
hold_want:
    resb    16 * 8 + 4096
hold_got:
    resb    16 * 8 + 4096
hold_components:
    resq    1
stack:
    resq    1
rounds:
    resq    1
