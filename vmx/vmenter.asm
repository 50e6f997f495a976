; SPDX-License-Identifier: BSD-2-Clause
; The way into the guest and back: vmx_enter() calls this, and a VM exit makes it return.
;
; unsigned vmx_enter_guest(struct guest_regs *regs, enum vmx_launch launch)
;   Returns 0 after a VM exit (also after a failed entry: bit 31 of the exit reason), 1 for VMfailInvalid, 2 for
;   VMfailValid. Keeps RDI, RBP and RSP; every other register is lost, which vmx_enter() (vmx/vcpu.h) tells the compiler:
;   so each exit is spared the saving of registers that nobody needs. Interrupts are off throughout.
;   The VMCS keeps the stack pointer from one call to the next: in one run of vmx_run() it is the same each time. The
;   first call of a run stores it (launch is not LAUNCH_DONE). All other host state is in the VMCS too (vmx/vmcs.c).
;   struct guest_regs is 16 quadwords in the hardware's order (guest/vm/vcpu.h asserts it).

bits 64
default rel
section .text

VMCS_HOST_RSP equ 0x6c14
LAUNCH_DONE equ 1                       ; bit 0: VMRESUME

global vmx_enter_guest
global vmx_exit_point

vmx_enter_guest:
    push rbp
    push rdi                        ; the exit finds regs on top of the host's stack
    cmp esi, LAUNCH_DONE
    jne .host_stack
.registers:                         ; ZF: VMRESUME; the MOVs leave it alone
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
    jnz .launch
    vmresume
    jmp .failed
.launch:
    vmlaunch
.failed:                            ; CF: VMfailInvalid, ZF: VMfailValid; VMfail keeps the stack pointer
    mov eax, 1
    mov ecx, 2
    cmovz eax, ecx
    pop rdi
    pop rbp
    ret
.host_stack:
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
    jbe .failed
    and esi, LAUNCH_DONE
    xor esi, LAUNCH_DONE
    jmp .registers

vmx_exit_point:                     ; the VMCS's host RIP; RSP is as it was at the launch
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
    pop rbp
    xor eax, eax
    ret
