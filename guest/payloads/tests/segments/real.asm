; SPDX-License-Identifier: BSD-2-Clause
; Real mode: a trip there from 64-bit mode and back, with device memory and string ports on the way. Each case leaves a
; record: the vector of its fault (0 for none) and the registers after it.

%define CR0_PE      1
%define CR0_PG      0x80000000
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define HOLE        0xd0000000          ; nobody answers
%define SCRATCH     0x3ff

global real_trip, real_records, real_segment
default abs

section .low progbits alloc exec write align=16
long_idt:
    times   10 db 0
align 2
real_idt:
    dw      0x3ff
    dd      0
saved_stack:
    dd      0
saved_cr3:
    dd      0
real_segment:                           ; of 64 KiB of RAM: segments.c sets it
    dw      0
resume:
    dw      0
record_at:
    dw      0
fault:
    dd      0
align 4
real_records:                           ; {vector, EAX, ECX, ESI, EDI} for each case
    times   20 * 16 db 0

bits 64
; void real_trip(void): interrupts off; the IVT's entries of #SS and #GP are overwritten
real_trip:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    sidt    [long_idt]
    mov     [saved_stack], esp
    mov     rax, cr3
    mov     [saved_cr3], eax
    push    0x08
    push    compatibility
    retfq

bits 32
compatibility:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax                    ; leaves long mode
    mov     ecx, MSR_EFER
    rdmsr
    and     eax, ~EFER_LME
    wrmsr
    jmp     0x20:protected16

bits 16
protected16:
    mov     ax, 0x10
    mov     ds, ax                      ; 4 GiB, which both keep in real mode
    mov     es, ax
    mov     fs, ax
    mov     ax, 0x28
    mov     ss, ax
    mov     gs, ax                      ; 64 KiB
    mov     sp, 0x7c00
    lidt    [real_idt]
    mov     eax, cr0
    and     al, ~CR0_PE
    mov     cr0, eax
    jmp     0:real

; The vector of a fault; its cause is dropped and the case goes on behind it.
stack_fault:
    mov     byte [cs:fault], 12
    jmp     general_protection.common
general_protection:
    mov     byte [cs:fault], 13
.common:
    add     sp, 6
    jmp     [cs:resume]

; CASE instruction: with EAX = 0x12345678, ECX = 4, and what was loaded before
%macro CASE 1+
    mov     byte [cs:fault], 0
    mov     word [cs:resume], %%after
    mov     eax, 0x12345678
    mov     ecx, 4
    mov     dx, SCRATCH
    %1
%%after:
    cld
    call    record
%endmacro

record:
    push    bx
    mov     bx, [cs:record_at]
    mov     [cs:bx + 4], eax
    mov     eax, [cs:fault]
    mov     [cs:bx], eax
    mov     [cs:bx + 8], ecx
    mov     [cs:bx + 12], esi
    mov     [cs:bx + 16], edi
    add     word [cs:record_at], 20
    pop     bx
    ret

real:
    xor     ax, ax
    mov     ss, ax                      ; the others keep their base, 0, and limits
    mov     sp, 0x7c00
    mov     word [12 * 4], stack_fault
    mov     word [12 * 4 + 2], 0
    mov     word [13 * 4], general_protection
    mov     word [13 * 4 + 2], 0
    mov     word [record_at], real_records

    mov     esi, HOLE
    xor     edi, edi
    CASE    mov ax, [esi]
    CASE    mov eax, [fs:dword HOLE + 8]
    CASE    push word [esi]
    cmp     byte [cs:fault], 0
    jne     .no_push
    pop     ax
.no_push:
    mov     bx, [cs:record_at]
    mov     [cs:bx - 20 + 4], ax        ; what was pushed
    mov     ax, [cs:real_segment]
    mov     es, ax                      ; keeps its 4 GiB
    mov     edi, 0x10
    CASE    a32 movsb
    call    small_es
    mov     esi, HOLE
    mov     edi, 0xffff
    CASE    a32 movsw
    mov     edi, 0xfffe
    CASE    a32 rep movsb
    mov     edi, 0x7fffe
    CASE    rep insb
    mov     edi, 0xffff
    CASE    insw
    mov     edi, 0xfffe
    CASE    a32 rep insb
    mov     esi, 0xffff
    CASE    es outsw
    mov     esi, 0x7fffe
    CASE    es rep outsb
    call    big_es
    mov     esi, 0xfffe
    mov     edi, HOLE
    CASE    a32 ss rep movsb
    mov     esi, HOLE
    mov     edi, HOLE + 0x100
    CASE    a32 rep movsd

    mov     eax, cr0
    or      al, CR0_PE
    mov     cr0, eax
    jmp     0x08:protected32

; ES with the limits of protected mode's 64 KiB, or 4 GiB, and its base in real mode
small_es:
    mov     bx, 0x28
    jmp     load_es
big_es:
    mov     bx, 0x10
load_es:
    cli
    mov     eax, cr0
    or      al, CR0_PE
    mov     cr0, eax
    mov     es, bx
    and     al, ~CR0_PE
    mov     cr0, eax
    cmp     bx, 0x28
    mov     bx, 0
    jne     .base
    mov     bx, [cs:real_segment]
.base:
    mov     es, bx
    ret

bits 32
protected32:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax
    mov     eax, [saved_cr3]
    mov     cr3, eax
    mov     ecx, MSR_EFER
    rdmsr
    or      eax, EFER_LME
    wrmsr
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     0x18:long_again

bits 64
long_again:
    mov     esp, [saved_stack]
    lidt    [long_idt]
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
