; SPDX-License-Identifier: BSD-2-Clause
; Three headers before one entry: whoever starts this program leaves its traces in `handover`, for main() to judge.

%define MULTIBOOT1      0x1badb002
%define MULTIBOOT1_WANT 7               ; modules on pages, memory, video
%define MULTIBOOT2      0xe85250d6
%define NOTE_PVH        18

global handover_start, handover
extern start32, gdt_pointer, image_start, image_end, bss_end

section .header progbits alloc noexec nowrite align=8
multiboot1:
    dd      MULTIBOOT1, MULTIBOOT1_WANT, -(MULTIBOOT1 + MULTIBOOT1_WANT)
    dd      multiboot1, image_start, image_end, bss_end, handover_start ; count once bit 16 of the flags is set
    dd      1, 80, 25, 0                ; text
align 8
multiboot2:
    dd      MULTIBOOT2, 0, .end - multiboot2, -(MULTIBOOT2 + .end - multiboot2)
    dw      1, 0                        ; tells what has to be told
    dd      .asked - $ + 4
    dd      1, 2, 3, 4, 6, 8, 14, 15
.asked:
    dw      6, 0                        ; modules on pages
    dd      8
    dw      4, 1                        ; a text screen will do
    dd      12, 2
align 8
    dw      0, 0
    dd      8
.end:

section .note.Xen note alloc noexec nowrite align=4
    dd      4, 4, NOTE_PVH
    db      "Xen", 0
    dd      handover_start

section .low progbits alloc exec write align=16
bits 32
handover_start:
    call    .has_a_stack                ; nobody promises one; many kernels use what they find
.has_a_stack:
    mov     [handover], eax
    mov     [handover + 4], ebx
    mov     eax, cr0
    mov     [handover + 8], eax
    mov     eax, cr4
    mov     [handover + 12], eax
    mov     eax, cs
    lsl     eax, eax
    mov     [handover + 16], eax
    mov     eax, ds
    lsl     eax, eax
    mov     [handover + 20], eax
    mov     eax, ss
    lsl     eax, eax
    mov     [handover + 24], eax
    pushfd
    pop     dword [handover + 28]
    pop     dword [handover + 32]       ; what CALL has left
    mov     [handover + 36], cs
    mov     [handover + 38], ds
    mov     [handover + 40], ss
    mov     [handover + 44], esp
    sgdt    [handover + 48]
    push    ds                          ; each selector has its descriptor, in memory
    pop     es
    push    ss
    pop     ss
    pushfd
    push    cs
    push    dword .returned
    iretd
.returned:
    mov     esp, handover_stack
    cld
    lgdt    [gdt_pointer]
    jmp     0x08:start32                ; guest/lib's, and main() in 64-bit mode

section .data progbits alloc noexec write align=16
handover:
    times   16 dd 0
    times   16 dd 0
handover_stack:
