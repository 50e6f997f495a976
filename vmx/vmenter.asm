; SPDX-License-Identifier: BSD-2-Clause
; The way into the guest and back: vmx/vcpu.h has a C function around each of the two, and a VM exit makes it return.
;
; vmx_enter_first(struct guest_regs *regs, bool launched): VMLAUNCH, or VMRESUME where launched is set.
; vmx_enter_next(struct guest_regs *regs): VMRESUME.
;   CF is clear after a VM exit (also after a failed entry: bit 31 of the exit reason). Else it is set, and EAX is 1 for
;   VMfailInvalid, 2 for VMfailValid. Both keep RDI, RBP and RSP; every other register is lost, which vmx/vcpu.h tells
;   the compiler: so each exit is spared the saving of registers that nobody needs. Interrupts are off throughout.
;   The VMCS keeps the stack pointer from one call to the next, as in one run of vmx_run() it is the same each time: the
;   first call of a run stores it. All other host state is in the VMCS too (vmx/vmcs.c).
;   struct guest_regs is 16 quadwords in the hardware's order; the guest's IA32_SPEC_CTRL is the next, and a byte behind
;   it says whether the guest writes that without exits (guest/vm/vcpu.h asserts all three).
; On a CPU with weaknesses that are mended at entry or exit, or with shadow stacks, vmx/entry_work.c has all three begin
; with a jump to those at the end of this file, which do the same and more.

bits 64
default rel
%include "arch/predictors.inc"
section .text

VMCS_HOST_RSP equ 0x6c14
VMCS_HOST_SSP equ 0x6c1a

MSR_IA32_SPEC_CTRL equ 0x48
MSR_IA32_FLUSH_CMD equ 0x10b
SPEC_CTRL_OFFSET equ 16 * 8
SPEC_CTRL_OPEN_OFFSET equ 17 * 8
WORK_FLUSH_L1D equ 1                    ; bits of vmx_entry_work, as in vmx/entry_work.c
WORK_CLEAR_BUFFERS equ 2
WORK_CONTROL equ 4
WORK_REWRITE equ 8
WORK_FILL_RETURNS equ 16
WORK_CLEAR_HISTORY equ 32

extern vmx_entry_work
extern vmx_root_control
global vmx_enter_first
global vmx_enter_next
global vmx_exit_point
global vmx_enter_first_hardened
global vmx_enter_next_hardened
global vmx_exit_hardened

%macro LOAD_REGISTERS 0                 ; from RDI; flags are kept
    mov rax, [rdi + 0 * 8]
    mov rcx, [rdi + 1 * 8]
    mov rdx, [rdi + 2 * 8]
    mov rbx, [rdi + 3 * 8]
    mov rbp, [rdi + 5 * 8]
    mov rsi, [rdi + 6 * 8]
    mov r8, [rdi + 8 * 8]
    mov r9, [rdi + 9 * 8]
    mov r10, [rdi + 10 * 8]
    mov r11, [rdi + 11 * 8]
    mov r12, [rdi + 12 * 8]
    mov r13, [rdi + 13 * 8]
    mov r14, [rdi + 14 * 8]
    mov r15, [rdi + 15 * 8]
    mov rdi, [rdi + 7 * 8]
%endmacro
%macro SAVE_REGISTERS 0                 ; to where [RSP] points to, which stays in RDI
    xchg rdi, [rsp]
    mov [rdi + 0 * 8], rax
    mov [rdi + 1 * 8], rcx
    mov [rdi + 2 * 8], rdx
    mov [rdi + 3 * 8], rbx
    mov [rdi + 5 * 8], rbp
    mov [rdi + 6 * 8], rsi
    mov [rdi + 8 * 8], r8
    mov [rdi + 9 * 8], r9
    mov [rdi + 10 * 8], r10
    mov [rdi + 11 * 8], r11
    mov [rdi + 12 * 8], r12
    mov [rdi + 13 * 8], r13
    mov [rdi + 14 * 8], r14
    mov [rdi + 15 * 8], r15
    pop qword [rdi + 7 * 8]
%endmacro

vmx_enter_first:
    push rbp
    push rdi                        ; the exit finds regs on top of the host's stack
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
    jbe enter_failed
    test sil, sil                   ; the MOVs leave ZF alone
    LOAD_REGISTERS
    jz .launch
    vmresume
    jmp enter_failed
.launch:
    vmlaunch
    jmp enter_failed

vmx_enter_next:
    push rbp
    push rdi
    LOAD_REGISTERS
    vmresume
enter_failed:                       ; CF: VMfailInvalid, ZF: VMfailValid; VMfail keeps the stack pointer
    mov eax, 1
    mov ecx, 2
    cmovz eax, ecx
    pop rdi
    pop rbp
    stc
    ret

vmx_exit_point:                     ; the VMCS's host RIP; RSP is as it was at the launch, and CF is clear
    SAVE_REGISTERS
    pop rbp
    ret

vmx_enter_first_hardened:
    push rbp
    push rdi
    mov r8d, esi
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
    jbe enter_failed
    xor eax, eax
    rdsspq rax                          ; without a shadow stack it does nothing
    test rax, rax
    jz enter_hardened
    mov ecx, VMCS_HOST_SSP
    vmwrite rcx, rax
    jbe enter_failed
    jmp enter_hardened

vmx_enter_next_hardened:
    push rbp
    push rdi
    mov r8d, 1
enter_hardened:                         ; R8B: launched
    test byte [vmx_entry_work], WORK_FLUSH_L1D
    jz .control
    mov ecx, MSR_IA32_FLUSH_CMD
    mov eax, 1
    xor edx, edx
    wrmsr
.control:
    test byte [vmx_entry_work], WORK_CONTROL
    jz .registers
    mov rax, [rdi + SPEC_CTRL_OFFSET]
    cmp rax, [vmx_root_control]
    je .registers
    call write_control
.registers:
    test r8b, r8b                       ; ZF: VMLAUNCH
    bt dword [vmx_entry_work], 1        ; CF: WORK_CLEAR_BUFFERS; ZF stays
    LOAD_REGISTERS
    jc .clear
    jz .launch
    vmresume
    jmp .failed
.launch:
    vmlaunch
    jmp .failed
.clear:                                 ; VERW of a writable segment clears the CPU's buffers, too; it changes ZF
    jz .clear_and_launch
    verw [data_selector]
    vmresume
    jmp .failed
.clear_and_launch:
    verw [data_selector]
    vmlaunch
.failed:
    pushfq
    test byte [vmx_entry_work], WORK_CONTROL
    jz .told
    mov rax, [vmx_root_control]
    call write_control
.told:
    popfq
    jmp enter_failed

write_control:                          ; IA32_SPEC_CTRL = RAX
    mov rdx, rax
    shr rdx, 32
    mov ecx, MSR_IA32_SPEC_CTRL
    wrmsr
    ret

clear_history:
    CLEAR_HISTORY

vmx_exit_hardened:
    SAVE_REGISTERS
    test byte [vmx_entry_work], WORK_FILL_RETURNS
    jz .filled
    FILL_RETURNS
.filled:
    test byte [vmx_entry_work], WORK_CLEAR_HISTORY
    jz .forgotten
    call clear_history
.forgotten:
    test byte [vmx_entry_work], WORK_CONTROL
    jz .cleared
    cmp byte [rdi + SPEC_CTRL_OPEN_OFFSET], 0
    je .known
    mov ecx, MSR_IA32_SPEC_CTRL
    rdmsr
    mov [rdi + SPEC_CTRL_OFFSET], eax
    mov [rdi + SPEC_CTRL_OFFSET + 4], edx
.known:
    mov rax, [vmx_root_control]
    cmp rax, [rdi + SPEC_CTRL_OFFSET]
    jne .write
    test byte [vmx_entry_work], WORK_REWRITE
    jz .cleared
.write:
    mov rdx, rax
    shr rdx, 32
    mov ecx, MSR_IA32_SPEC_CTRL
    wrmsr
.cleared:
    lfence                              ; none of the branches above is a guess any more
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    pop rbp
    clc
    ret

section .rodata
data_selector: dw 0xffb8                ; DESC_DATA
