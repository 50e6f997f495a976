; SPDX-License-Identifier: BSD-2-Clause
; The start of a payload that is a paravirtual kernel and has none of its own. No trap has a handler.

%define NOTE_NAME "nadir"
%include "guest/lib/xen_notes.inc"

global pv_start
extern pv_main
bits 64

section .text
pv_start:                               ; RSI: struct xen_start_info; there is a stack of a page
    cld
    mov     rdi, rsi
    call    pv_main
