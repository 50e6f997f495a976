; SPDX-License-Identifier: BSD-2-Clause
; From 64-bit mode to 64-bit mode with other page tables, by way of 32-bit mode without paging: the only
; way to change CR4.LA57.

%define CR0_PG  0x80000000
%define CODE32  0x08
%define CODE64  0x18

global levels_switch
default abs

section .data
align 8
saved_stack:
    dq      0

section .text
bits 64
; void levels_switch(uint32_t cr4, uint32_t cr3): this code is at its own address before and after
levels_switch:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [saved_stack], rsp
    push    CODE32
    push    compatibility
    retfq

bits 32
compatibility:
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax                    ; leaves long mode, but not EFER.LME
    mov     cr4, edi
    mov     cr3, esi
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     CODE64:long_again

bits 64
long_again:
    mov     rsp, [saved_stack]
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
