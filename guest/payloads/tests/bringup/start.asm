; SPDX-License-Identifier: BSD-2-Clause
; How the kernel's CPUs begin: the first by multiboot 1, the others at page 0, without waiting between INIT and SIPI.

%define MULTIBOOT1   0x1badb002
%define CR0_LONG     0x80010033
%define CR4_PAE      0x20
%define MSR_EFER     0xc0000080
%define EFER_LME     0x100
%define STACK_BYTES  4096
%define MAX_CPUS     16

global bringup_start, boot_info, ap_start, ap_end
extern start32, gdt_start, gdt_pointer, page_tables, ap_main

section .header progbits alloc noexec nowrite align=4
    dd      MULTIBOOT1, 0, -MULTIBOOT1  ; no wishes

section .low progbits alloc exec write align=16
bits 32
bringup_start:
    mov     [boot_info], ebx
    cld
    lgdt    [gdt_pointer]
    jmp     0x08:start32                ; guest/lib's, and main() in 64-bit mode

bits 16
ap_start:                               ; copied to address 0, where CS and IP point
    mov     eax, cr0
    or      eax, 1
    mov     cr0, eax
    o32 lgdt [.gdt - ap_start]
    jmp     dword 0x08:ap_start32
.gdt:
    dw      6 * 8 - 1
    dd      gdt_start
ap_end:

bits 32
ap_start32:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     esp, STACK_BYTES            ; a stack for each, as they come
    lock xadd [ap_stack], esp
    mov     eax, CR4_PAE
    mov     cr4, eax
    mov     eax, page_tables
    mov     cr3, eax
    mov     ecx, MSR_EFER
    rdmsr
    or      eax, EFER_LME
    wrmsr
    mov     eax, CR0_LONG
    mov     cr0, eax
    jmp     0x18:ap_start64

bits 64
ap_start64:
    mov     esp, esp
    call    ap_main

section .data progbits alloc noexec write align=16
boot_info:
    dd      0
ap_stack:
    dd      stacks + STACK_BYTES

section .bss nobits alloc write align=4096
stacks:
    resb    MAX_CPUS * STACK_BYTES
