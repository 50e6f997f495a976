; SPDX-License-Identifier: BSD-2-Clause
; What is in the registers at the start is kept, before anything else is done; and a word is read that may not be there.

%define NOTE_NAME "poisonpv"
%include "guest/lib/xen_notes.inc"

global pv_start, start_gpr, start_extended, read_word, entry_page_fault
extern pv_main
bits 64
default abs

section .text
pv_start:                               ; RSI: struct xen_start_info; there is a stack of a page
    mov     [start_gpr], rax
    mov     [start_gpr + 8], rcx
    mov     [start_gpr + 2 * 8], rdx
    mov     [start_gpr + 3 * 8], rbx
    mov     [start_gpr + 4 * 8], rsp
    mov     [start_gpr + 5 * 8], rbp
    mov     [start_gpr + 6 * 8], rsi
    mov     [start_gpr + 7 * 8], rdi
%assign i 8
%rep 8
    mov     [start_gpr + i * 8], r%+i
%assign i i + 1
%endrep
    fxsave64 [start_extended]
    cld
    mov     rdi, rsi
    call    pv_main
    ud2

; bool read_word(uint64_t linear, uint64_t *word): false: there is none
read_word:
    mov     [read_rsp], rsp
    mov     rax, [rdi]
    mov     [rsi], rax
    mov     eax, 1
    ret
align 16
entry_page_fault:                       ; the read is given up
    mov     rsp, [read_rsp]
    xor     eax, eax
    ret

section .bss nobits alloc write align=64
start_extended:
    resb    512
start_gpr:
    resq    16
read_rsp:
    resq    1
