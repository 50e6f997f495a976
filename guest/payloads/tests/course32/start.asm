; SPDX-License-Identifier: BSD-2-Clause
; Each CPU's first instructions, from 32-bit and from real mode to paging and the kernel's own addresses; the ways in
; and out of the kernel; the switch between two stacks.

%define BASE            0x80000000
%define KERNEL_CODE     0x08
%define KERNEL_DATA     0x10
%define KERNEL_CPU      0x18
%define CR4_PSE         0x10
%define CR0_PAGING      0x80010000      ; PG, WP
%define LARGE           0x83            ; present, writable, 4 MiB
%define STACK_BYTES     4096

global start, vectors, trap_return, switch_context, other_start, other_end, first_directory, other_stack
extern kernel_main, kernel_other, trap

bits 32
section .header progbits alloc noexec nowrite align=4
    dd      0x1badb002, 3, -(0x1badb002 + 3)

section .text
start:
    mov     esi, ebx                    ; what the loader tells
    mov     edi, stack_end
    mov     ebx, kernel_main
paging:                                 ; on with 4 MiB pages, to EBX on the stack EDI, with the argument ESI
    mov     eax, cr4
    or      eax, CR4_PSE
    mov     cr4, eax
    mov     eax, first_directory - BASE
    mov     cr3, eax
    mov     eax, cr0
    or      eax, CR0_PAGING
    mov     cr0, eax
    mov     esp, edi
    push    esi
    call    ebx                         ; it does not return

; What another CPU begins with: copied below 1 MiB, to a page of its own.
bits 16
other_start:
    cli
    xor     ax, ax
    mov     ds, ax
    o32 cs lgdt [other_gdt_pointer - other_start]
    mov     eax, cr0
    or      eax, 1
    mov     cr0, eax
    jmp     dword KERNEL_CODE:other_flat - BASE
align 4
other_gdt_pointer:
    dw      first_gdt_end - first_gdt - 1
    dd      first_gdt - BASE
other_end:

bits 32
other_flat:
    mov     eax, KERNEL_DATA
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     edi, [other_stack - BASE]
    mov     ebx, kernel_other
    jmp     paging

%assign i 0
%rep 256
vector_ %+ i:
%if i != 8 && i != 17 && i != 21 && (i < 10 || i > 14)
    push    dword 0
%endif
    push    dword i
    jmp     all_traps
%assign i i + 1
%endrep

all_traps:                              ; struct frame
    push    ds
    push    es
    push    fs
    push    gs
    pushad
    cld
    mov     ax, KERNEL_DATA
    mov     ds, ax
    mov     es, ax
    mov     ax, KERNEL_CPU
    mov     gs, ax
    push    esp
    call    trap
    add     esp, 4
trap_return:
    popad
    pop     gs
    pop     fs
    pop     es
    pop     ds
    add     esp, 8                      ; vector and error code
    iretd

; void switch_context(struct context **from, struct context *to)
switch_context:
    mov     eax, [esp + 4]
    mov     edx, [esp + 8]
    push    ebp
    push    ebx
    push    esi
    push    edi
    mov     [eax], esp
    mov     esp, edx
    pop     edi
    pop     esi
    pop     ebx
    pop     ebp
    ret

; What users call, with arguments on their stacks.
%macro system_call 2
global call_%1
call_%1:
    mov     eax, %2
    int     0x40
    ret
%endmacro

section .usercode progbits alloc exec nowrite align=16
extern user_main
    call    user_main                   ; it does not return
    system_call fork, 1
    system_call exit, 2
    system_call wait, 3
    system_call kill, 4
    system_call own_id, 5
    system_call sleep, 6
    system_call ticks, 7
    system_call grow, 8
    system_call print, 9
    system_call disk_read, 10
    system_call disk_write, 11
    system_call put, 12
    system_call get, 13
    system_call type, 14
    system_call key, 15
    system_call cpus, 16
    system_call end, 17

section .rodata
align 4
vectors:
%assign i 0
%rep 256
    dd      vector_ %+ i
%assign i i + 1
%endrep

section .data
align 8
first_gdt:
    dq      0
    dq      0x00cf9b000000ffff
    dq      0x00cf93000000ffff
first_gdt_end:
align 4096
first_directory:                        ; the first 4 MiB, where they are and at BASE; devices come with smaller pages
    dd      LARGE
    times   (BASE >> 22) - 1 dd 0
    dd      LARGE
    times   1023 - (BASE >> 22) dd 0

section .bss
align 16
    resb    STACK_BYTES
stack_end:
other_stack:
    resd    1
