; SPDX-License-Identifier: BSD-2-Clause
; One trip from 64-bit mode through every other mode of the CPU and back, leaving a mark in each.

%define CR0_PE      1
%define CR0_PG      0x80000000
%define CR4_PSE     0x10
%define CR4_PAE     0x20
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define PRESENT     1
%define PAGE_4M     0x83
%define ALIAS       0x40000000          ; linear address at which low memory appears again
%define HIGH        0x100000            ; what 16-bit segments don't reach
%define COM1        0x3f8
%define PIC1        0x20
%define PIC2        0xa0
%define IVT_TIMER   0x50                ; the 8259's vectors in real mode
%define IVT_CALL    0x80

global modes_trip, modes_marks
extern page_tables, gdt_pointer
default abs

; Works in any mode whose DS is flat or of base 0: the same text, other prefixes. Takes EAX, EBX, EDX.
%macro MARK 1
    mov     al, %1
    mov     dx, COM1
    out     dx, al
    mov     ebx, [mark_at]
    mov     [ebx], al
    inc     dword [mark_at]
%endmacro

%macro SEGMENTS 1
    mov     ax, %1
    mov     ds, ax
    mov     es, ax
    mov     ss, ax
%endmacro

section .low progbits alloc exec write align=32
pae_pointers:
    dq      page_tables + 0x2000 + PRESENT
    dq      page_tables + 0x2000 + PRESENT  ; ALIAS
    dq      0, 0
long_idt:
    times   10 db 0
real_idt:
    dw      0x3ff
    dd      0
align 4
mark_at:
    dd      modes_marks
modes_marks:
    times   32 db 0
saved_stack:
    dd      0
saved_cr3:
    dd      0
timer_came:
    db      0

bits 64
; void modes_trip(void): interrupts off, both 8259s may be reprogrammed, IVT entries are overwritten
modes_trip:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     dword [mark_at], modes_marks
    sidt    [long_idt]
    mov     [saved_stack], esp
    mov     rax, cr3
    mov     [saved_cr3], eax
    MARK    '6'
    push    0x08
    push    compatibility
    retfq

bits 32
compatibility:
    SEGMENTS 0x10
    MARK    'c'
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax                    ; leaves long mode
    mov     ecx, MSR_EFER
    rdmsr
    and     eax, ~EFER_LME
    wrmsr
    MARK    '3'

    mov     eax, pae_pointers
    mov     cr3, eax
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    call    compare_alias
    MARK    cl                          ; P: PAE paging
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax

    mov     edi, page_directory
    mov     eax, PAGE_4M
    mov     ecx, 1024
.fill:
    mov     [edi], eax
    add     eax, 0x400000
    add     edi, 4
    loop    .fill
    mov     dword [page_directory + (ALIAS >> 22) * 4], PAGE_4M
    mov     eax, CR4_PSE
    mov     cr4, eax
    mov     eax, page_directory
    mov     cr3, eax
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    call    compare_alias
    add     cl, '2' - 'P'
    MARK    cl                          ; 2: two-level paging
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax
    jmp     0x20:protected16

; CL = 'P' if low memory shows at ALIAS too, else '!'
compare_alias:
    mov     cl, '!'
    mov     eax, [mark_at]
    cmp     eax, [mark_at + ALIAS]
    jne     .end
    mov     cl, 'P'
.end:
    ret

bits 16
protected16:
    mov     ax, 0x10
    mov     fs, ax                      ; 4 GiB, which it keeps in real mode
    SEGMENTS 0x28
    mov     sp, 0x7c00
    MARK    'p'
    lidt    [real_idt]
    mov     eax, cr0
    and     al, ~CR0_PE
    mov     cr0, eax
    jmp     0:real
real:
    SEGMENTS 0
    MARK    'r'

    mov     dword [fs:dword HIGH], 'high'     ; a big segment in real mode
    cmp     dword [fs:dword HIGH], 'high'
    jne     .no_big
    MARK    'b'
.no_big:
    mov     dword [IVT_CALL * 4], real_call
    mov     dword [0 * 4], real_divide
    mov     dword [IVT_TIMER * 4], real_timer
    int     IVT_CALL
    xor     cx, cx
    xor     dx, dx
    mov     ax, 1
    div     cx
after_divide:
    MARK    'e'
    call    wait_for_timer
    MARK    't'

    lgdt    [gdt_pointer]
    mov     eax, cr0
    or      al, CR0_PE
    mov     cr0, eax
    jmp     0x08:protected32

real_call:
    MARK    'i'
    iret

real_divide:                            ; comes with the address of DIV
    mov     bp, sp
    mov     word [bp], after_divide
    MARK    'd'
    iret

real_timer:
    push    ax
    mov     byte [timer_came], 1
    mov     al, 0x20
    out     PIC1, al
    pop     ax
    iret

; IRQ0 by the 8259, with HLT until it is there
wait_for_timer:
    mov     byte [timer_came], 0
    mov     al, 0x11
    out     PIC1, al
    out     PIC2, al
    mov     al, IVT_TIMER
    out     PIC1 + 1, al
    mov     al, IVT_TIMER + 8
    out     PIC2 + 1, al
    mov     al, 4
    out     PIC1 + 1, al
    mov     al, 2
    out     PIC2 + 1, al
    mov     al, 1
    out     PIC1 + 1, al
    out     PIC2 + 1, al
    mov     al, 0xff
    out     PIC2 + 1, al
    mov     al, 0xfe
    out     PIC1 + 1, al
    mov     al, 0x34                    ; channel 0, mode 2
    out     0x43, al
    mov     al, 0xa9                    ; 1193 = 1 ms
    out     0x40, al
    mov     al, 4
    out     0x40, al
.wait:
    sti
    hlt
    cli
    cmp     byte [timer_came], 0
    je      .wait
    mov     al, 0xff
    out     PIC1 + 1, al
    ret

bits 32
protected32:
    SEGMENTS 0x10
    mov     fs, ax
    MARK    '3'
    mov     eax, CR4_PAE
    mov     cr4, eax
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
    MARK    '6'
    mov     ebx, [mark_at]
    mov     byte [rbx], 0
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss align=4096
page_directory:
    resb    4096
