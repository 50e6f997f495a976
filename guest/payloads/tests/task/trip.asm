; SPDX-License-Identifier: BSD-2-Clause
; From 64-bit mode to 32-bit protected mode with the test's tables, one action there, and back.

%define CR0_PG      0x80000000
%define CR4_PAE     0x20
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define EFLAGS_NT   0x4000
%define CODE32      0x08
%define DATA        0x10
%define OLD_TSS     0x18
%define HOME_TSS    0x88                ; a 32-bit TSS for the way back
%define LIB_CODE64  0x18
%define VECTOR_HOME 0x31
%define APIC_ICR    0xfee00300
%define ICR_NMI     0x4400             ; to APIC ID 0, which is this CPU

global trip, in_new, in_old, fault, trip_make, trip_new_task, trip_vm86, trip_home_gate, trip_stubs
global act_call, act_jmp, act_int, act_int3, act_iret, act_load_fs, act_interrupt
global act_undefined, act_nmi, act_call_next, act_load_fs_at, act_int_next
extern gdt_pointer
default abs

; struct trip
%define T_ACTION 0
%define T_CR4    4
%define T_CR3    8
%define T_TARGET 12
%define T_LEAVE  18
%define T_GDT_LIMIT 20
%define T_IDT_LIMIT 22
%define T_GDT    24
%define T_IDT    28

%macro SEGMENTS 1
    mov     ax, %1
    mov     ds, ax
    mov     es, ax
    mov     ss, ax
%endmacro

; Fills in a struct record; needs a flat DS and a stack, CPL 0.
%macro RECORD 1
    mov     [%1 + 4], eax
    mov     [%1 + 8], ecx
    mov     [%1 + 12], edx
    mov     [%1 + 16], ebx
    mov     [%1 + 20], esp
    mov     [%1 + 24], ebp
    mov     [%1 + 28], esi
    mov     [%1 + 32], edi
    pushfd
    pop     dword [%1 + 36]
    mov     eax, cr0
    mov     [%1 + 40], eax
    mov     eax, cr3
    mov     [%1 + 44], eax
    mov     [%1 + 48], es
    mov     [%1 + 50], cs
    mov     [%1 + 52], ss
    mov     [%1 + 54], ds
    mov     [%1 + 56], fs
    mov     [%1 + 58], gs
    sldt    [%1 + 60]
    str     [%1 + 62]
    inc     dword [%1]
%endmacro

section .low progbits alloc exec write align=16
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
    times   32 db 0
align 4
in_new:
    times   64 db 0
in_old:
    times   64 db 0
fault:
    times   40 db 0

bits 64
trip_make:
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
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax                    ; leaves long mode
    mov     ecx, MSR_EFER
    rdmsr
    and     eax, ~EFER_LME
    wrmsr
    mov     ax, [dword trip + T_GDT_LIMIT]
    mov     [table_pointer], ax
    mov     eax, [trip + T_GDT]
    mov     [table_pointer + 2], eax
    lgdt    [table_pointer]
    mov     ax, [trip + T_IDT_LIMIT]
    mov     [table_pointer], ax
    mov     eax, [trip + T_IDT]
    mov     [table_pointer + 2], eax
    lidt    [table_pointer]
    jmp     CODE32:.loaded
.loaded:
    SEGMENTS DATA
    mov     fs, ax
    mov     gs, ax
    mov     esp, old_stack
    xor     eax, eax
    lldt    ax
    mov     ax, OLD_TSS
    ltr     ax
    mov     eax, [trip + T_CR3]
    test    eax, eax
    jz      .no_paging
    mov     cr3, eax
    mov     eax, [trip + T_CR4]
    mov     cr4, eax
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     .paging
.paging:
.no_paging:
    mov     eax, 0x11111111
    mov     ecx, 0x22222222
    mov     edx, 0x33333333
    mov     ebx, 0x44444444
    mov     ebp, 0x55555555
    mov     esi, 0x66666666
    mov     edi, 0x77777777
    jmp     [trip + T_ACTION]

act_call:
    call    far [trip + T_TARGET]
act_call_next:
    jmp     back
act_jmp:
    jmp     far [trip + T_TARGET]
    jmp     back
act_int:
    int     0x30
act_int_next:
    jmp     back
act_int3:
    int3
    jmp     back
act_interrupt:
    sti
    nop
    nop
    cli
    jmp     back
act_undefined:
    ud2
act_nmi:                                ; twice: the IRET of the first lets the second in
    mov     ebx, 2
.again:
    mov     dword [APIC_ICR + 16], 0
    mov     dword [APIC_ICR], ICR_NMI
    mov     ecx, 1000
.wait:
    loop    .wait
    dec     ebx
    jnz     .again
    jmp     back
act_load_fs:
    mov     ax, 0x7f8
act_load_fs_at:
    mov     fs, ax
    jmp     back
act_iret:
    pushfd
    or      dword [esp], EFLAGS_NT
    popfd
    iretd

back:
    RECORD  in_old
    jmp     home

trip_new_task:
    RECORD  in_new
    cmp     word [trip + T_LEAVE], 1
    je      .iret
    ja      .jmp
    jmp     home
.iret:
    iretd
    jmp     trip_new_task               ; where the task goes on when it is called again
.jmp:
    jmp     OLD_TSS:0
    jmp     trip_new_task

bits 16
trip_vm86:
    int     VECTOR_HOME
bits 32

; What a task without privileges calls. Its frame tells where it was.
trip_home_gate:
    push    dword 0
    push    dword VECTOR_HOME
    jmp     note

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
trip_stubs:
%assign v 0
%rep 32
    STUB    v
%assign v v + 1
%endrep

note:
    push    ds
    push    es
    mov     ax, DATA
    mov     ds, ax
    inc     dword [fault]
    pop     eax
    mov     [fault + 26], ax
    pop     eax
    mov     [fault + 24], ax
    pop     dword [fault + 4]           ; vector
    pop     dword [fault + 8]           ; error code
    pop     dword [fault + 12]
    pop     eax
    mov     [fault + 20], ax
    pop     dword [fault + 16]
    str     [fault + 22]
    mov     eax, dr6
    mov     [fault + 28], eax
    mov     eax, cr2
    mov     [fault + 32], eax
    mov     [fault + 36], esp

home:
    cli
    SEGMENTS DATA
    mov     esp, old_stack
    clts
    mov     eax, cr0
    and     eax, ~CR0_PG
    mov     cr0, eax
    xor     eax, eax
    lldt    ax
    mov     eax, [trip + T_GDT]
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
old_stack:
