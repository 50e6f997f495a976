; SPDX-License-Identifier: BSD-2-Clause
; The start of a paravirtual kernel, whose traps all end it.

%define NOTE_NAME "pvtables"
%include "guest/lib/xen_notes.inc"

global pv_start
extern pv_main
bits 64

section .text
pv_start:                               ; RSI: struct xen_start_info; there is a stack of a page
    cld
    mov     rdi, rsi
    call    pv_main
