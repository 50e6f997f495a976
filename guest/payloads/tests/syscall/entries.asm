; SPDX-License-Identifier: BSD-2-Clause
; Where SYSCALL and SYSENTER arrive. They note the registers; most give up the way back.

global entry_syscall, entry_sysret, entry_sysenter
global seen_cs, seen_ss, seen_rsp, seen_rcx, seen_r11, seen_rflags
extern user_return
bits 64
default abs

section .text
%macro NOTE 0
    mov     [seen_cs], cs
    mov     [seen_ss], ss
    mov     [seen_rsp], rsp
    mov     [seen_rcx], rcx
    mov     [seen_r11], r11
%endmacro

entry_syscall:
    NOTE
    mov     rsp, scratch_end            ; SYSCALL leaves RSP to the user
    pushfq
    pop     qword [seen_rflags]
    jmp     user_return

entry_sysret:
    NOTE
    mov     eax, 0xabcd
    o64 sysret

entry_sysenter:
    NOTE
    jmp     user_return

section .bss
seen_cs:        resq 1
seen_ss:        resq 1
seen_rsp:       resq 1
seen_rcx:       resq 1
seen_r11:       resq 1
seen_rflags:    resq 1
    alignb  16
    resb    256
scratch_end:
