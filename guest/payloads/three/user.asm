; SPDX-License-Identifier: BSD-2-Clause
; What runs at CPL 3: two programs, which memory.c loads into a page of their own. It is not where they are linked, and
; must not matter.

%define CALL_EXIT  0
%define CALL_COUNT 1
%define PAGES      16
%define PAGE       4096

global user_image, user_image_end, user_calls, user_writes
bits 64

section .text
user_image:
; Makes RDI system calls.
user_calls:
    mov     rbx, rdi
.next:
    mov     eax, CALL_COUNT
    syscall
    dec     rbx
    jnz     .next
    mov     eax, CALL_EXIT
    syscall

; Writes to pages from RDI on, which are not there before.
user_writes:
    mov     ecx, PAGES
.page:
    mov     byte [rdi], 1
    add     rdi, PAGE
    dec     ecx
    jnz     .page
    mov     eax, CALL_EXIT
    syscall
user_image_end:
