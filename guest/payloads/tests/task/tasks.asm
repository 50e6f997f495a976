; SPDX-License-Identifier: BSD-2-Clause
; What the old task does, and what the new one is: code of 32-bit protected mode.

%define EFLAGS_NT   0x4000
%define OLD_TSS     0x18
%define VECTOR_HOME 0x31
%define APIC_ICR    0xfee00300
%define ICR_NMI     0x4400             ; to APIC ID 0, which is this CPU

global in_new, in_old, target, leave_by, task_new, task_vm86
global act_call, act_jmp, act_int, act_int3, act_iret, act_load_fs, act_interrupt
global act_undefined, act_nmi, act_call_next, act_load_fs_at
global act_call_twice, act_into, act_into_next, act_int1, act_int1_next, act_touch, act_touch_at
global task_user, task_user_came, task_vm86_undefined
extern mode32_home
default abs

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
in_new:
    times   64 db 0
in_old:
    times   64 db 0
target:                                 ; of the far CALL or JMP
    dd      0
    dw      0
leave_by:
    dw      0

bits 32
act_call:
    call    far [target]
act_call_next:
    jmp     back
act_call_twice:
    call    far [target]
    call    far [target]
    jmp     back
act_into:
    xor     eax, eax
    into                                ; no overflow, no trap
    mov     al, 127
    add     al, 127
    into
act_into_next:
    jmp     back
act_int1:
    db      0xf1
act_int1_next:
    jmp     back
act_touch:
    mov     ecx, 0x00c00000
act_touch_at:
    mov     [ecx], eax
    jmp     back
act_jmp:
    jmp     far [target]
    jmp     back
act_int:
    int     0x30
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
    jmp     mode32_home

task_new:
    RECORD  in_new
    cmp     word [leave_by], 1
    je      .iret
    ja      .jmp
    jmp     mode32_home
.iret:
    iretd
    jmp     task_new               ; where the task goes on when it is called again
.jmp:
    jmp     OLD_TSS:0
    jmp     task_new

task_user:                              ; at CPL 3
    inc     dword [task_user_came]
    iretd
    jmp     task_user
task_user_came:
    dd      0

bits 16
task_vm86_undefined:
    ud2
task_vm86:
    int     VECTOR_HOME
