; SPDX-License-Identifier: BSD-2-Clause
; What makes of the ELF file a kernel that paravirtualising hypervisors can start: notes that say how, and where it is
; entered.

global pv_start, pv_second_entry, pv_second_stack
extern pv_main, second_cpu
bits 64
default abs

%define NOTE_NAME "three"
%include "guest/lib/xen_notes.inc"

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
