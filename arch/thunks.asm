; SPDX-License-Identifier: BSD-2-Clause
; Where the compiler sends each indirect call and jump (-mindirect-branch=thunk-extern), for CPUs on which a guest could
; have taught the predictor: to it by way of RET, which goes by the return stack. Other CPUs need none of it, and it
; costs: so the last step of linking (tools/branches.py) makes of each `call __x86_indirect_thunk_REG` a `call REG`, or
; `call [MEMORY]`, and keeps what was there for thunks_harden() (arch/patch.c).

bits 64
section .text

%macro THUNK 1
align 16
global __x86_indirect_thunk_%1
__x86_indirect_thunk_%1:
    call .set
.trap:                          ; where the return stack says that RET goes
    pause
    lfence
    jmp .trap
.set:
    mov [rsp], %1
    ret
    int3                        ; nothing runs on past it, not even by guesswork
%endmacro

THUNK rax
THUNK rbx
THUNK rcx
THUNK rdx
THUNK rsi
THUNK rdi
THUNK rbp
THUNK r8
THUNK r9
THUNK r10
THUNK r11
THUNK r12
THUNK r13
THUNK r14
THUNK r15

section .rodata
global branch_sites
global branch_sites_end
branch_sites:                   ; of each its offset in the text, in four bytes, the length, and what stood there; length 0: no more
    times 8192 db 0
branch_sites_end:
