; SPDX-License-Identifier: BSD-2-Clause
; The hypervisor's first instruction: gives the boot CPU a stack and its per-CPU data, and calls C.
bits 64
default rel

BOOT_STACK_BYTES equ 32768
MSR_IA32_GS_BASE equ 0xc0000101

extern nadir_main
extern boot_cpu
global nadir_entry
global boot_stack_guard
global boot_stack_top

section .text
; RDI = the handoff (boot/handoff.h says what else holds). The loader's stack is in memory that will be reused.
nadir_entry:
    cli
    cld
    mov rax, cr4
    btr rax, 23                 ; CET: the firmware's shadow stack knows nothing of the calls to come
    mov cr4, rax
    lea rsp, [boot_stack_top]
    lea rax, [boot_cpu]         ; cpu_self() works from here on
    mov rdx, rax
    shr rdx, 32
    mov ecx, MSR_IA32_GS_BASE
    wrmsr
    xor ebp, ebp                ; where back-traces end
    call nadir_main
.never:
    cli
    hlt
    jmp .never

section .bss align=4096
boot_stack_guard:               ; mm leaves this page unmapped: an overflow faults
    resb 4096
    resb BOOT_STACK_BYTES
boot_stack_top:
