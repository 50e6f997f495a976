; SPDX-License-Identifier: BSD-2-Clause
; Interrupt entry for all 256 vectors, and the instructions that are allowed to fault.
bits 64
default rel

extern fault_handle
extern ring3_exit
extern ring3_exit_debug
extern ring3_iretq
extern ring3_refused
global vector_entry
global fixup_table
global fixup_table_end
global cpu_rdmsr_safe
global cpu_wrmsr_safe
global cpu_read_safe
global ring3_load_ds
global ring3_load_es
global ring3_load_fs
global ring3_load_gs

MSR_IA32_GS_BASE equ 0xc0000101
RFLAGS_FIXED equ 2
FRAME_BYTES equ 22 * 8          ; struct fault_frame

section .text.hot progbits alloc exec nowrite align=16

; The vectors for which the CPU pushes an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX.
%define HAS_ERROR_CODE(v) (v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)

; Those that begin on a stack of their own, as arch/desc.c has it.
%define HAS_OWN_STACK(v) (v == 2 || v == 8 || v == 18)
; What IRETQ raises where the frame of arch/ring3.asm is not right: #TS #NP #SS #GP, and #PF, which it cannot.
%define MAY_BE_IRETQ(v) (v >= 10 && v <= 14)

%macro on_each 2-*
%assign n %0 - 1
%define op %1
%rep n
%rotate 1
    op %1
%endrep
%endmacro

%assign v 0
%rep 256
entry_%+v:
    endbr64                     ; the CPU comes from anywhere: arch/cet.h
%if !HAS_ERROR_CODE(v)
    push 0
%endif
    push v
%if v == 1
    jmp entry_debug
%elif HAS_OWN_STACK(v)
    jmp entry_own_stack
%elif MAY_BE_IRETQ(v)
    jmp entry_fault
%else
    jmp entry_common
%endif
%assign v v + 1
%endrep

CS_OFFSET equ 3 * 8             ; of what the CPU has pushed, behind vector, error code and RIP
RIP_OFFSET equ 2 * 8

entry_fault:
    test byte [rsp + CS_OFFSET], 3
    jnz ring3_exit
    push rax
    lea rax, [ring3_iretq]
    cmp rax, [rsp + 8 + RIP_OFFSET]
    pop rax
    je ring3_refused
    jmp entry_common.host

; Makes a struct fault_frame (arch/fault.h). The CPU aligns RSP to 16 before it pushes, and the frame is 22
; quadwords, so the call finds the stack as the ABI wants it. What comes from CPL 3 is a way out of ring3_enter().
entry_common:
    test byte [rsp + CS_OFFSET], 3
    jnz ring3_exit
.host:
    lfence                      ; not with a guest's GS base, should that branch be guessed wrong
    on_each push, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    cld
    mov rdi, rsp
    call fault_handle
    on_each pop, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    add rsp, 16                 ; vector and error code
    iretq

; A debug exception in the host may be one that was due at CPL 3 behind a load of SS, and comes at the first instruction
; after SYSCALL, with the guest's RSP: so it has a stack of its own.
entry_debug:
    test byte [rsp + CS_OFFSET], 3
    jnz ring3_exit_debug

; These may come between SWAPGS and CPL 3, too, and from there, so GS base is anyone's: above the frame stands whose stack
; this is. RFLAGS may be a guest's.
entry_own_stack:
    on_each push, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    push RFLAGS_FIXED
    popfq
    mov ecx, MSR_IA32_GS_BASE
    rdmsr
    mov ebx, eax
    mov r12d, edx
    mov rax, [rsp + FRAME_BYTES]
    mov rdx, rax
    shr rdx, 32
    cmp ebx, eax
    jne .foreign
    cmp r12d, edx
    je .own
.foreign:
    wrmsr
.own:
    lfence
    mov rdi, rsp
    call fault_handle
    mov eax, ebx
    mov edx, r12d
    mov ecx, MSR_IA32_GS_BASE
    wrmsr
    on_each pop, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    add rsp, 16
    iretq

; bool cpu_rdmsr_safe(uint32_t msr, uint64_t *value)
cpu_rdmsr_safe:
    mov ecx, edi
may_fault_rdmsr:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    mov eax, 1
    ret

; bool cpu_wrmsr_safe(uint32_t msr, uint64_t value)
cpu_wrmsr_safe:
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
may_fault_wrmsr:
    wrmsr
    mov eax, 1
    ret

; bool cpu_read_safe(uint64_t address, uint64_t *value)
cpu_read_safe:
may_fault_read:
    mov rax, [rdi]
    mov [rsi], rax
    mov eax, 1
    ret

; bool ring3_load_ds(uint16_t selector), and so on
%macro load_segment 1
ring3_load_%1:
    endbr64
may_fault_%1:
    mov %1, edi
    mov eax, 1
    ret
%endmacro
load_segment ds
load_segment es
load_segment fs

; GS base becomes the descriptor's, and has to be the host's again. Interrupts are off; NMIs and machine checks look.
ring3_load_gs:
    endbr64
    mov rdx, [gs:0]             ; struct cpu: self
may_fault_gs:
    mov gs, edi
    mov eax, edx
    shr rdx, 32
    mov ecx, MSR_IA32_GS_BASE
    wrmsr
    mov eax, 1
    ret

it_faulted:
    xor eax, eax
    ret

section .rodata

; Addresses that may raise #GP, #PF or #NP, and where to go on then: all are leaf functions that return false.
fixup_table:
    dq may_fault_rdmsr, it_faulted
    dq may_fault_wrmsr, it_faulted
    dq may_fault_read, it_faulted
    dq may_fault_ds, it_faulted
    dq may_fault_es, it_faulted
    dq may_fault_fs, it_faulted
    dq may_fault_gs, it_faulted
fixup_table_end:

vector_entry:
%assign v 0
%rep 256
    dq entry_%+v
%assign v v + 1
%endrep
