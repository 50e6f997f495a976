; SPDX-License-Identifier: BSD-2-Clause
; VM86: a trip there from 64-bit mode and back. A linear page below 1 MiB is device memory, by 32-bit paging. Records as in
; real.asm.

%define CR0_PE      1
%define CR0_PG      0x80000000
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define EFLAGS_V86  0x23002             ; VM, IOPL 3
%define HOLE        0xd0000000          ; nobody answers
%define WINDOW      0x90000             ; the linear page that shows it
%define PAGE        7                   ; present, writable, user
%define CODE32      0x08
%define FLAT        0x10
%define TSS         0x68                ; segments.c puts it into the GDT
%define SCRATCH     0x3ff
%define LEAVE       0x20

global vm86_trip, vm86_records, vm86_tss
extern real_segment
default abs

section .bss align=4096
page_directory:
    resb    4096
page_table:
    resb    4096

section .low progbits alloc exec write align=16
align 8
idt:
    times   12 dq 0
    dw      stack_fault, CODE32, 0x8e00, 0
    dw      general_protection, CODE32, 0x8e00, 0
    times   LEAVE - 14 dq 0
    dw      leave_vm86, CODE32, 0xee00, 0       ; VM86 code may call it
idt_end:
idt_pointer:
    dw      idt_end - idt - 1
    dd      idt
vm86_tss:
    dd      0, 0x7800, FLAT
    times   0x66 - 12 db 0
    dw      0x68                        ; the I/O bitmap: ports up to 0x3ff are allowed
    times   0x80 db 0
    db      0xff

long_idt:
    times   10 db 0
align 4
saved_stack:
    dd      0
saved_cr3:
    dd      0
saved_cr4:
    dd      0
fault:
    dd      0
resume:
    dw      0
record_at:
    dw      0
align 4
vm86_records:
    times   20 * 16 db 0

bits 64
; void vm86_trip(void): interrupts off
vm86_trip:
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
    mov     rax, cr4
    mov     [saved_cr4], eax
    push    CODE32
    push    compatibility
    retfq

bits 32
compatibility:
    mov     eax, FLAT
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
    xor     eax, eax
    mov     cr4, eax
    mov     edi, page_table
    mov     eax, PAGE
    mov     ecx, 1024
.page:
    mov     [edi], eax
    add     edi, 4
    add     eax, 4096
    loop    .page
    mov     dword [page_table + (WINDOW >> 12) * 4], HOLE + PAGE
    mov     dword [page_directory], page_table + PAGE
    mov     eax, page_directory
    mov     cr3, eax
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    lidt    [idt_pointer]
    mov     ax, TSS
    ltr     ax
    mov     word [record_at], vm86_records
    movzx   eax, word [real_segment]
    push    dword 0                     ; GS
    push    dword 0                     ; FS
    push    dword WINDOW >> 4           ; DS
    push    eax                         ; ES
    push    dword 0                     ; SS
    push    dword 0x7c00                ; ESP
    push    dword EFLAGS_V86
    push    dword 0                     ; CS
    push    dword vm86
    iretd

; From VM86 the data segments come as 0: only SS serves. The frame: error code, EIP, ...
stack_fault:
    mov     byte [ss:fault], 12
    jmp     general_protection.common
general_protection:
    mov     byte [ss:fault], 13
.common:
    push    eax
    movzx   eax, word [ss:resume]
    mov     [ss:esp + 8], eax
    pop     eax
    add     esp, 4
    iretd

bits 16
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

vm86:
    xor     esi, esi
    mov     edi, 0x10
    CASE    mov ax, [si]
    CASE    push word [si]
    pop     ax
    mov     bx, [cs:record_at]
    mov     [cs:bx - 20 + 4], ax        ; what was pushed
    CASE    movsb
    mov     edi, 0xffff
    CASE    movsw
    mov     edi, 0x7fffe
    CASE    rep movsb
    mov     edi, 0xfffe
    CASE    a32 rep movsb
    mov     edi, 0x7fffe
    CASE    rep insb
    mov     edi, 0xffff
    CASE    insw
    mov     esi, 0xfffe
    CASE    es a32 rep outsb
    mov     ax, WINDOW >> 4
    mov     es, ax
    mov     esi, 0xfffe
    xor     edi, edi
    CASE    ss a32 rep movsb
    mov     esi, 0x10000
    CASE    a32 lodsb
    int     LEAVE

bits 32
leave_vm86:
    mov     eax, FLAT
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax
    mov     eax, [saved_cr4]
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
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
