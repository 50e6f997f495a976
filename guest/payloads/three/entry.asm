; SPDX-License-Identifier: BSD-2-Clause
; The ways into the kernel and out of it. Whatever comes, natively or from a hypervisor, ends as a struct frame on the
; stack, and in trap() of main.c.

%define SYSTEM_CALL 0x100
%define TIMER       0x60
%define STUBS       35
%define CALL_IRET   23                  ; Xen's number

global stubs, pv_stubs, system_call_entry, pv_system_call_entry, pv_event, pv_failsafe, enter_user, leave_user
extern trap, trap_stack, is_pv, user_cs, user_ss, pv_info
bits 64
default abs

section .text
; The CPU pushes SS, RSP, RFLAGS, CS, RIP, and with some exceptions an error code; a stub puts a 0 where there is none,
; and the vector.
align 16
stubs:
%assign i 0
%rep STUBS
    align 16
%if i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21
    nop
%else
    push    byte 0
%endif
%if i < 32
    push    strict dword i
%else
    push    strict dword TIMER + i - 32
%endif
    jmp     near into_c
%assign i i + 1
%endrep

; A paravirtual kernel gets the same from the hypervisor, and RCX and R11 on top, which SYSCALL would have taken.
align 16
pv_stubs:
%assign i 0
%rep STUBS
    align 16
    pop     rcx
    pop     r11
    jmp     near stubs + 16 * i
%assign i i + 1
%endrep

pv_system_call_entry:
    pop     rcx
    pop     r11
    push    byte 0
    push    strict dword SYSTEM_CALL
    jmp     near into_c

; Something has happened that has no vector. This kernel has asked for nothing of that kind: it is told so, and goes on.
; `pending` is the first byte in each vCPU's struct.
pv_event:
    pop     rcx
    pop     r11
    mov     byte [pv_info], 0
    mov     byte [pv_info + 64], 0
    jmp     near pv_return

pv_failsafe:                            ; an IRET of ours was wrong: below that frame are RCX, R11, DS, ES, FS, GS
    add     rsp, 6 * 8
    push    byte 0
    push    strict dword 255
    jmp     near into_c

; SYSCALL leaves RIP in RCX, RFLAGS in R11, and RSP as it was. No interrupt comes until there is a stack.
system_call_entry:
    mov     [user_rsp], rsp
    mov     rsp, trap_stack + 8192
    push    qword [user_ss]
    push    qword [user_rsp]
    push    r11
    push    qword [user_cs]
    push    rcx
    push    byte 0
    push    strict dword SYSTEM_CALL

into_c:
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
    mov     rdi, rsp
    call    trap
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
    cmp     byte [is_pv], 0
    jne     .back_by_call
    cmp     qword [rsp], SYSTEM_CALL
    je      .back_by_sysret
    add     rsp, 16                     ; vector and error code
    iretq
.back_by_call:
    add     rsp, 16
    jmp     pv_return
.back_by_sysret:
    mov     rcx, [rsp + 16]             ; RIP
    mov     r11, [rsp + 32]             ; RFLAGS
    mov     rsp, [rsp + 40]
    o64 sysret

; Back from a trap, or to user code for the first time, by the hypervisor: what IRETQ would have taken is on the stack,
; below it now RAX, R11, RCX and flags of the call.
pv_return:
    push    byte 0
    push    rcx
    push    r11
    push    rax
    mov     eax, CALL_IRET
    syscall

; void enter_user(uint64_t rip, uint64_t rsp, uint64_t argument): user code finds the argument in RDI
enter_user:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [kernel_rsp], rsp
    push    qword [user_ss]
    push    rsi
    push    0x202                       ; interrupts on
    push    qword [user_cs]
    push    rdi
    mov     rdi, rdx
    cmp     byte [is_pv], 0
    jne     pv_return
    iretq

; From trap(): the stack of the trap is forgotten, and enter_user() returns.
leave_user:
    mov     rsp, [kernel_rsp]
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss
user_rsp:
    resq    1
kernel_rsp:
    resq    1
