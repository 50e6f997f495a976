; SPDX-License-Identifier: BSD-2-Clause
; To CPL 3 and back, as a function: vectors.asm jumps to ring3_exit with whatever has ended it.
;
; unsigned ring3_enter(struct ring3_frame *frame)
;   RDI = the frame (arch/ring3.h), whose end is where TSS.RSP0 points to: so an exception or interrupt at CPL 3 has the
;   CPU push what is needed into the frame itself. Returns the vector. Interrupts are off, but at CPL 3.
;
; GS base is the host's here, and IA32_KERNEL_GS_BASE holds the guest's: SWAPGS exchanges them on both ways.
;
; With shadow stacks, the CPU takes SSP from IA32_PL0_SSP when it comes from CPL 3, and wants a token there that IRETQ has
; freed. So a token is made where SSP stands: the exit goes on with the very stack that this function was called on.
bits 64
default rel
%include "arch/predictors.inc"
%use altreg                     ; R0 to R7, in the hardware's order

global ring3_enter
global ring3_exit
global ring3_exit_debug
global ring3_syscall
global ring3_syscall32
global ring3_iretq
global ring3_refused
global ring3_go                 ; of the two, arch/ring3.c has the first instruction be a jump to the other way
global ring3_go_hardened
global ring3_leave
global ring3_leave_hardened
extern __x86_indirect_thunk_rax
extern ring3_leave_work
extern ring3_root_control

; struct ring3_frame
GPR equ 0                       ; sixteen in the hardware's order
CR2_ equ 16 * 8
VECTOR equ 17 * 8
ERROR equ 18 * 8
RIP_ equ 19 * 8
CS_ equ 20 * 8
RFLAGS_ equ 21 * 8
RSP_ equ 22 * 8
SS_ equ 23 * 8
FRAME_END equ 24 * 8
HOST_RSP equ 24 * 8
HOST_SSP equ 25 * 8             ; 0: no shadow stack
ANSWER equ 26 * 8               ; a function
ANSWERED equ 27 * 8             ; a bit for each number in RAX, modulo 64: by that function

; struct cpu, at GS base
CPU_RSP equ 8
CPU_RSP0 equ 24

MSR_IA32_S_CET equ 0x6a2
MSR_IA32_PL0_SSP equ 0x6a4
S_CET_WRITE equ 2
TOKEN_BUSY equ 1
VECTOR_PAGE_FAULT equ 14
VECTOR_SYSCALL equ 256
VECTOR_SYSCALL32 equ 257
REFUSED equ 512
MSR_IA32_SPEC_CTRL equ 0x48
LEAVE_FILL_RETURNS equ 1        ; as in arch/ring3.h
LEAVE_CLEAR_HISTORY equ 2
LEAVE_REWRITE equ 4
RFLAGS_FIXED equ 2

section .text.hot progbits alloc exec nowrite align=16

; All registers but RAX, RSP and RDI, in two parts: those that a function of C may change, and those that it preserves.
%macro EACH 1-*
%define operation %1
%rep %0 - 1
%rotate 1
    operation %1
%endrep
%endmacro
%macro CHANGED 1
    EACH %1, 1, 2, 6, 8, 9, 10, 11
%endmacro
%macro PRESERVED 1
    EACH %1, 3, 5, 12, 13, 14, 15
%endmacro
%macro KEPT 1
    CHANGED %1
    PRESERVED %1
%endmacro
%macro LOAD 1
    mov r%1, [rdi + GPR + %1 * 8]
%endmacro
%macro STORE 1                  ; RAX is the frame
    mov [rax + GPR + %1 * 8], r%1
%endmacro
%macro TAKE_FRAME 1             ; RDI is the frame: what IRETQ takes, and these registers
    push qword [rdi + SS_]      ; on this stack, since IRETQ may fault: ring3_refused
    push qword [rdi + GPR + 4 * 8]
    push qword [rdi + RFLAGS_]
    push qword [rdi + CS_]
    push qword [rdi + RIP_]
    mov rax, [rdi + GPR]
    %1 LOAD
    mov rdi, [rdi + GPR + 7 * 8]
    swapgs
%endmacro

ring3_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdi + HOST_RSP], rsp
    lea rax, [rdi + FRAME_END]
    mov [gs:CPU_RSP0], rax
    xor eax, eax
    rdsspq rax                  ; without a shadow stack it does nothing
    mov [rdi + HOST_SSP], rax
    test rax, rax
    jnz make_token
ring3_go:
    TAKE_FRAME KEPT
ring3_iretq:
    iretq

; RAX = SSP. A CALL makes room for the token, below SSP; one to the very next instruction would not.
make_token:
    call .room
    ud2
.room:
    add rsp, 8
    lea r8, [rax - 8]
    lea rsi, [r8 + TOKEN_BUSY]
    mov ecx, MSR_IA32_S_CET
    rdmsr
    or eax, S_CET_WRITE
    wrmsr
    wrssq [r8], rsi
    and eax, ~S_CET_WRITE
    wrmsr
    mov ecx, MSR_IA32_PL0_SSP
    mov rax, r8
    mov rdx, r8
    shr rdx, 32
    wrmsr
    jmp ring3_go

; The same as ring3_go for CPUs whose buffers CPL 3 may read: VERW of a writable segment clears them, as the last thing.
ring3_go_hardened:
    TAKE_FRAME KEPT
    verw [data_selector]
    jmp ring3_iretq

; From CPL 3 by an exception or interrupt: RSP points to the frame's vector; all registers are the guest's.
ring3_exit:
    swapgs
    lfence                      ; no guess goes on with the guest's GS base
    mov [rsp - VECTOR + GPR], rax
    lea rax, [rsp - VECTOR]
    KEPT STORE
    mov [rax + GPR + 7 * 8], rdi
    mov rcx, [rax + RSP_]
    mov [rax + GPR + 4 * 8], rcx
    cmp dword [rax + VECTOR], VECTOR_PAGE_FAULT
    jne ring3_leave
    mov rcx, cr2
    mov [rax + CR2_], rcx

; RAX = the frame.
ring3_leave:
    mov rsp, [rax + HOST_RSP]
ring3_left:
    push RFLAGS_FIXED           ; AC would let the host touch pages of CPL 3
    popfq
    mov rdx, [rax + HOST_SSP]
    test rdx, rdx
    jz .back
    rdsspq rcx                  ; back to where SSP was: the token and what is below it go
    sub rdx, rcx
    shr rdx, 3
    incsspq rdx
.back:
    mov eax, [rax + VECTOR]
    xor ecx, ecx                ; what the guest has left in them is no address to guess from
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; From CPL 3 by SYSCALL: RCX = RIP, R11 = RFLAGS, RSP still the guest's; IA32_FMASK has cleared the flags. RAX = the frame.
%macro TAKE_CALL 0
    endbr64
    swapgs
    lfence
    mov [gs:CPU_RSP], rsp
    mov rsp, [gs:CPU_RSP0]
    mov [rsp - FRAME_END + GPR], rax
    lea rax, [rsp - FRAME_END]
    CHANGED STORE
    mov [rax + GPR + 7 * 8], rdi
    mov [rax + RIP_], rcx
    mov [rax + RFLAGS_], r11
    mov rcx, [gs:CPU_RSP]
    mov [rax + GPR + 4 * 8], rcx
%endmacro

ring3_syscall:
    TAKE_CALL
    mov rcx, [rax + GPR]
    mov rdx, [rax + ANSWERED]
    bt rdx, rcx
    jc .answer
    mov qword [rax + VECTOR], VECTOR_SYSCALL
.whole:
    PRESERVED STORE
    cmp qword [rax + HOST_SSP], 0
    je ring3_leave
    setssbsy                    ; SYSCALL has left SSP = 0
    jmp ring3_leave

; The frame's function answers, on the stack that ring3_enter() was called on. The registers that C functions preserve
; are the guest's throughout: they are stored in the frame only where ring3_enter() returns.
.answer:
    mov rsp, [rax + HOST_RSP]
    sub rsp, 8                  ; aligned as for any call
    mov rdi, rax
    xor ecx, ecx                ; as at ring3_left
    xor esi, esi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    mov rax, [rax + ANSWER]
    call __x86_indirect_thunk_rax
    mov rdi, [gs:CPU_RSP0]
    sub rdi, FRAME_END
    test eax, eax
    jnz .answered
    TAKE_FRAME CHANGED
    jmp ring3_iretq
.answered:
    mov ecx, eax
    mov rax, rdi
    mov [rax + VECTOR], rcx
    jmp .whole

; SYSCALL in 16- or 32-bit code comes here on AMD's CPUs and in QEMU's emulation. RAX has a number of another table then,
; so the frame's function is not called.
ring3_syscall32:
    TAKE_CALL
    mov qword [rax + VECTOR], VECTOR_SYSCALL32
    jmp ring3_syscall.whole

; From CPL 3 by #DB: RSP points to the vector on the stack of such exceptions; and so does SSP.
ring3_exit_debug:
    swapgs
    lfence
    push rax
    mov rax, [gs:CPU_RSP0]
    sub rax, FRAME_END
    KEPT STORE
    mov [rax + GPR + 7 * 8], rdi
    pop qword [rax + GPR]
%assign offset VECTOR
%rep 7
    pop qword [rax + offset]
%assign offset offset + 8
%endrep
    mov rcx, [rax + RSP_]
    mov [rax + GPR + 4 * 8], rcx
    cmp qword [rax + HOST_SSP], 0
    je ring3_leave
    rdsspq rcx
    clrssbsy [rcx]
    setssbsy
    jmp ring3_leave

; IRETQ has refused the frame's RIP, CS or SS: as if that had been found at CPL 3. The exception is on the host's stack,
; with vector and error code; the guest's registers are in the CPU still, and RIP, CS, RFLAGS, RSP, SS in the frame.
ring3_refused:
    swapgs
    lfence
    push rax
    mov rax, [gs:CPU_RSP0]
    sub rax, FRAME_END
    KEPT STORE
    mov [rax + GPR + 7 * 8], rdi
    pop qword [rax + GPR]
    pop qword [rax + VECTOR]
    or dword [rax + VECTOR], REFUSED
    pop qword [rax + ERROR]
    jmp ring3_leave

; The same as ring3_leave for CPUs on which code of CPL 3 teaches the predictors what the host goes by: before the first
; RET and the first indirect branch.
ring3_leave_hardened:
    mov rsp, [rax + HOST_RSP]
    mov rbx, rax
    test byte [ring3_leave_work], LEAVE_FILL_RETURNS
    jz .filled
    FILL_RETURNS
.filled:
    test byte [ring3_leave_work], LEAVE_CLEAR_HISTORY
    jz .forgotten
    call clear_history
.forgotten:
    test byte [ring3_leave_work], LEAVE_REWRITE
    jz .written
    mov rax, [ring3_root_control]
    mov rdx, rax
    shr rdx, 32
    mov ecx, MSR_IA32_SPEC_CTRL
    wrmsr                       ; IBRS counts from its writing on, even if it is set
.written:
    lfence                      ; none of the branches above is a guess any more
    mov rax, rbx
    jmp ring3_left

clear_history:
    CLEAR_HISTORY

section .rodata
data_selector: dw 0xffb8        ; DESC_DATA
