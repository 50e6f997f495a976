; SPDX-License-Identifier: BSD-2-Clause
; What a started CPU runs first: from real mode to 64-bit C. smp.c copies it into a page below 1 MiB.
bits 16

; Struct trampoline_data of smp.c, at this offset of the page.
DATA     equ 0xf00
CR3_     equ DATA + 0
EFER_    equ DATA + 8
CR0_     equ DATA + 16
STACK    equ DATA + 24
CPU_DATA equ DATA + 32
ENTRY    equ DATA + 40
FAR_JUMP equ DATA + 48
GDTR     equ DATA + 54
ALLOW_NX equ DATA + 60

MSR_IA32_MISC_ENABLE equ 0x1a0
NO_XD_IN_EDX         equ 34 - 32
MSR_IA32_EFER        equ 0xc0000080
CR4_PAE              equ 1 << 5

global trampoline_start
global trampoline_long
global trampoline_gdt
global trampoline_end

section .rodata

; CS = page / 16, IP = 0. Offsets below are from the start of the page, so DS is made equal to CS.
trampoline_start:
    cli
    mov ax, cs
    mov ds, ax
    o32 lgdt [GDTR]
    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, [CR3_]
    mov cr3, eax
    cmp dword [ALLOW_NX], 0
    je .efer
    mov ecx, MSR_IA32_MISC_ENABLE
    rdmsr
    btr edx, NO_XD_IN_EDX       ; else EFER.NXE faults
    wrmsr
.efer:
    mov ecx, MSR_IA32_EFER
    mov eax, [EFER_]
    xor edx, edx
    wrmsr
    mov eax, [CR0_]             ; the boot CPU's: protection and paging at once, caches on
    mov cr0, eax
    o32 jmp far [FAR_JUMP]

bits 64
trampoline_long:
    xor eax, eax
    mov ss, ax
    mov ds, ax
    mov es, ax
    lea rbx, [rel trampoline_start]
    mov rsp, [rbx + STACK]
    mov rdi, [rbx + CPU_DATA]
    mov rax, [rbx + ENTRY]
    xor ebp, ebp                ; where back-traces end
    call rax                    ; never returns

trampoline_gdt:                 ; accessed bits are set already: the page is not writable here
    dq 0
    dq 0x00af9b000000ffff       ; 64-bit code, selector 8
trampoline_end:
