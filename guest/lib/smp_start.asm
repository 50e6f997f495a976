; SPDX-License-Identifier: BSD-2-Clause
; The way of another CPU from SIPI in real mode to smp_main() in 64-bit mode, on a stack by its APIC ID (below 64).

%define CR0_LONG    0x80010033
%define CR4_PAE     0x20
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define STACK_BYTES 4096
%define MAX_CPUS    64

global smp_trampoline, smp_trampoline_end
extern gdt_pointer, page_tables, smp_main

section .low progbits alloc exec write align=16
bits 16
smp_trampoline:                         ; copied to a page; CS:IP points to its start
    cli
    mov     esi, edx                    ; the CPU's signature, after INIT
    mov     ebx, cr0
    xor     ax, ax
    mov     ds, ax
    lgdt    [gdt_pointer]
    mov     eax, cr0
    and     eax, 0x9fffffff             ; INIT leaves the caches off
    or      al, 1
    mov     cr0, eax
    jmp     dword 0x08:smp_start32
smp_trampoline_end:

bits 32
smp_start32:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
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
    jmp     0x18:smp_start64

bits 64
smp_start64:
    mov     r8d, ebx                    ; CR0 as it was
    mov     eax, 1
    cpuid
    shr     ebx, 24                     ; the initial APIC ID
    and     ebx, MAX_CPUS - 1
    inc     ebx
    shl     ebx, 12                     ; STACK_BYTES
    lea     rsp, [stacks + rbx]
    mov     edi, r8d
    call    smp_main

section .bss nobits alloc write align=16
stacks:
    resb    MAX_CPUS * STACK_BYTES
