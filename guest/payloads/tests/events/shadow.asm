; SPDX-License-Identifier: BSD-2-Clause
; Two shadows, one behind the other: an interrupt that waits comes when both have ended.

global shadow_run, shadow_next
bits 64

section .text
shadow_run:
    mov     ax, ss
    sti
    mov     ss, ax
    nop
shadow_next:
    nop
    cli
    ret
