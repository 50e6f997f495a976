; SPDX-License-Identifier: BSD-2-Clause
; From 64-bit mode to 32-bit protected mode with a test's tables, one action there, and back.

%define CR0_PG      0x80000000
%define CR4_PAE     0x20
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define CODE32      0x08
%define DATA        0x10
%define TEST_TSS    0x18
%define HOME_TSS    0x88
%define LIB_CODE64  0x18

global mode32_go, mode32_home, mode32_stubs, mode32_fault
extern gdt_pointer
default abs

; struct mode32
%define T_ACTION    0
%define T_CR4       4
%define T_CR3       8
%define T_GDT_LIMIT 12
%define T_IDT_LIMIT 14
%define T_GDT       16
%define T_IDT       20

%macro SEGMENTS 1
    mov     ax, %1
    mov     ds, ax
    mov     es, ax
    mov     ss, ax
%endmacro

section .data
align 8
long_idt:
    times   10 db 0
table_pointer:
    times   6 db 0
align 4
saved_stack:
    dd      0
saved_cr3:
    dd      0
trip:
    dd      0
mode32_fault:
    times   52 db 0

section .text
bits 64
mode32_go:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [trip], edi
    sidt    [long_idt]
    mov     [saved_stack], esp
    mov     rax, cr3
    mov     [saved_cr3], eax
    lgdt    [gdt_pointer]               ; a test may have loaded another
    push    CODE32
    push    compatibility
    retfq

bits 32
compatibility:
    mov     esi, [trip]
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax                    ; leaves long mode
    mov     ecx, MSR_EFER
    rdmsr
    and     eax, ~EFER_LME
    wrmsr
    mov     ax, [esi + T_GDT_LIMIT]
    mov     [table_pointer], ax
    mov     eax, [esi + T_GDT]
    mov     [table_pointer + 2], eax
    lgdt    [table_pointer]
    mov     ax, [esi + T_IDT_LIMIT]
    mov     [table_pointer], ax
    mov     eax, [esi + T_IDT]
    mov     [table_pointer + 2], eax
    lidt    [table_pointer]
    jmp     CODE32:.loaded
.loaded:
    SEGMENTS DATA
    mov     fs, ax
    mov     gs, ax
    mov     esp, stack
    xor     eax, eax
    lldt    ax
    mov     eax, [esi + T_GDT]
    and     byte [eax + TEST_TSS + 5], ~2   ; an earlier trip has left it busy
    mov     ax, TEST_TSS
    ltr     ax
    mov     eax, [esi + T_CR4]
    mov     cr4, eax
    mov     eax, [esi + T_CR3]
    test    eax, eax
    jz      .no_paging
    mov     cr3, eax
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     .no_paging
.no_paging:
    push    dword [esi + T_ACTION]
    mov     eax, 0x11111111
    mov     ecx, 0x22222222
    mov     edx, 0x33333333
    mov     ebx, 0x44444444
    mov     ebp, 0x55555555
    mov     esi, 0x66666666
    mov     edi, 0x77777777
    ret

%macro STUB 1
    align 16
%if %1 == 8 || (%1 >= 10 && %1 <= 14) || %1 == 17
    nop
    nop
%else
    push    byte 0
%endif
    push    byte %1
    jmp     near note
%endmacro

align 16
mode32_stubs:
%assign v 0
%rep 32
    STUB    v
%assign v v + 1
%endrep
%assign v 0x30
%rep 17
    STUB    v
%assign v v + 1
%endrep

note:
    push    ds
    push    es
    push    eax
    mov     ax, DATA
    mov     ds, ax
    inc     dword [mode32_fault]
    pop     dword [mode32_fault + 40]
    mov     [mode32_fault + 44], ecx
    mov     [mode32_fault + 48], edi
    pop     eax
    mov     [mode32_fault + 26], ax
    pop     eax
    mov     [mode32_fault + 24], ax
    pop     dword [mode32_fault + 4]    ; vector
    pop     dword [mode32_fault + 8]    ; error code
    pop     dword [mode32_fault + 12]
    pop     eax
    mov     [mode32_fault + 20], ax
    pop     dword [mode32_fault + 16]
    str     [mode32_fault + 22]
    mov     eax, dr6
    mov     [mode32_fault + 28], eax
    mov     eax, cr2
    mov     [mode32_fault + 32], eax
    mov     [mode32_fault + 36], esp

mode32_home:
    cli
    SEGMENTS DATA
    mov     esp, stack
    clts
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax
    xor     eax, eax
    lldt    ax
    mov     esi, [trip]
    mov     eax, [esi + T_GDT]
    and     byte [eax + HOME_TSS + 5], ~2   ; not busy
    mov     ax, HOME_TSS
    ltr     ax
    lgdt    [gdt_pointer]
    mov     eax, CR4_PAE
    mov     cr4, eax
    mov     eax, [saved_cr3]
    mov     cr3, eax
    mov     ecx, MSR_EFER
    rdmsr
    or      eax, EFER_LME
    wrmsr
    push    dword 2
    popfd                               ; NT would make IRET fault in 64-bit mode
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     LIB_CODE64:long_again

bits 64
long_again:
    SEGMENTS DATA
    mov     esp, [saved_stack]
    lidt    [long_idt]
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

section .bss
    alignb  16
    resb    1024
stack:
