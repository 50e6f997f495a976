; SPDX-License-Identifier: BSD-2-Clause
; What makes of the ELF file a kernel that paravirtualising hypervisors can start: notes that say how, and where it is
; entered.

%define NOTE_ENTRY         1
%define NOTE_VIRT_BASE     3
%define NOTE_PADDR_OFFSET  4
%define NOTE_XEN_VERSION   5
%define NOTE_GUEST_OS      6
%define NOTE_LOADER        8
%define NOTE_PAE_MODE      9

global pv_start, pv_second_entry, pv_second_stack
extern pv_main, second_cpu
bits 64
default abs

%macro note_number 2                    ; type, value
    dd      4, 8, %1
    db      "Xen", 0
    dq      %2
%endmacro
%macro note_text 2                      ; type, text
    dd      4, %%end - %%text, %1
    db      "Xen", 0
%%text:
    db      %2, 0
%%end:
    align   4, db 0
%endmacro

section .note.xen note alloc noexec nowrite align=4
    note_number NOTE_ENTRY, pv_start
    note_number NOTE_VIRT_BASE, 0
    note_number NOTE_PADDR_OFFSET, 0
    note_text   NOTE_XEN_VERSION, "xen-3.0"
    note_text   NOTE_GUEST_OS, "three"
    note_text   NOTE_LOADER, "generic"
    note_text   NOTE_PAE_MODE, "yes"

section .text
pv_start:                               ; RSI: struct start_info; there is a stack of a page
    cld
    mov     rdi, rsi
    call    pv_main

pv_second_entry:
    cld
    call    second_cpu

section .bss align=16
    resb    4096
pv_second_stack:
