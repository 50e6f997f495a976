; SPDX-License-Identifier: BSD-2-Clause
; The ends of the way of native.c: from the loader into C, and from there down to real mode at 0:0x7c00.

; As the handoff says: 64-bit mode, memory at its own address, RDI = the handoff.
MSR_KERNEL_GS  equ 0xc0000102
MSR_FS_BASE    equ 0xc0000100
MSR_EFER       equ 0xc0000080
EOI            equ 0xfee000b0
CR4_PAE        equ 0x20
CR4_OSXSAVE    equ 0x40000
CR0_RESET      equ 0x10                 ; ET; caches on
CPUID1_XSAVE   equ 26
LOW_END        equ 0x80000              ; RAM below is zeroed, as a virtual machine's is
LOAD_AT        equ 0x7c00
DOWN_AT        equ 0x600                ; free once the payload runs
FIRST_DISK     equ 0x80

global nadir_entry, native_interrupt, native_enter
extern native_main

bits 64
default rel
section .text
nadir_entry:
    cli
    cld
    mov     rax, cr4
    and     eax, ~(1 << 23)             ; CET: the firmware's shadow stack knows none of our calls
    mov     cr4, rax
    lea     rsp, [stack_top]
    call    native_main                 ; does not return

native_interrupt:
    push    rax
    mov     eax, EOI
    mov     dword [rax], 0
    pop     rax
    iretq

; void native_enter(const uint8_t *image, uint64_t size)
native_enter:
    mov     r8, rdi
    mov     r9, rsi
    xor     edi, edi
    xor     eax, eax
    mov     ecx, LOW_END / 8
    rep stosq
    mov     rsi, r8
    mov     edi, LOAD_AT
    mov     rcx, r9
    rep movsb
    lea     rsi, [down]
    mov     edi, DOWN_AT
    mov     ecx, down_end - down
    rep movsb

    fninit
    mov     eax, 1
    cpuid
    mov     eax, CR4_PAE
    mov     cr4, rax
    bt      ecx, CPUID1_XSAVE
    jnc     .no_xsave
    mov     eax, CR4_PAE | CR4_OSXSAVE
    mov     cr4, rax
    xor     ecx, ecx
    xor     edx, edx
    mov     eax, 1                      ; XCR0: x87 only
    xsetbv
.no_xsave:
    xor     eax, eax
    mov     dr0, rax
    mov     dr1, rax
    mov     dr2, rax
    mov     dr3, rax
    mov     eax, 0xffff0ff0
    mov     dr6, rax
    mov     eax, 0x400
    mov     dr7, rax
    xor     eax, eax
    xor     edx, edx
    mov     ecx, MSR_KERNEL_GS
    wrmsr
    mov     ecx, DOWN_AT
    lgdt    [rcx + gdt_pointer - down]
    lldt    ax
    mov     rsp, LOAD_AT
    push    8
    push    DOWN_AT
    retfq

; Copied to DOWN_AT, and run there: first in compatibility mode, with 16 bits.
bits 16
down:
    mov     ax, 16                      ; real mode keeps these limits and rights
    mov     ds, ax
    mov     es, ax
    mov     fs, ax
    mov     gs, ax
    mov     ss, ax
    mov     eax, CR0_RESET | 1
    mov     cr0, eax                    ; paging off, and with it long mode
    mov     ecx, MSR_EFER
    xor     eax, eax
    xor     edx, edx
    wrmsr
    mov     cr4, eax
    mov     cr3, eax
    mov     eax, CR0_RESET
    mov     cr0, eax
    jmp     0:DOWN_AT + .real - down
.real:
    xor     eax, eax
    mov     ds, ax
    mov     es, ax
    mov     fs, ax
    mov     gs, ax
    mov     ss, ax
    o32 lidt [DOWN_AT + idt_pointer - down]
    mov     esp, LOAD_AT
    xor     ebx, ebx
    xor     ecx, ecx
    mov     edx, FIRST_DISK
    xor     esi, esi
    xor     edi, edi
    xor     ebp, ebp
    jmp     0:LOAD_AT

align 8
gdt:
    dq      0
    dq      0x00009b000000ffff          ; 0x08 code, 16 bits
    dq      0x000093000000ffff          ; 0x10 data, 16 bits
gdt_pointer:
    dw      gdt_pointer - gdt - 1
    dq      DOWN_AT + gdt - down
idt_pointer:
    dw      0x3ff
    dd      0
down_end:

section .bss align=16
    resb    4096
stack_top:
