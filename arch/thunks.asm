; SPDX-License-Identifier: BSD-2-Clause
; Where the compiler sends each indirect call and jump (-mindirect-branch=thunk-extern): to it at once, or on CPUs on
; which a guest could have taught the predictor, by way of RET, which goes by the return stack: thunks_harden()
; (arch/patch.c) then overwrites the first bytes of each thunk with a jump to the longer way behind it.

bits 64
section .text

%macro THUNK 1
align 16
global __x86_indirect_thunk_%1
__x86_indirect_thunk_%1:
    jmp %1
    int3                        ; behind each jump: nothing runs on past it, not even by guesswork
    int3
    int3
    int3
align 16
thunk_by_return_%1:
    call .set
.trap:                          ; where the return stack says that RET goes
    pause
    lfence
    jmp .trap
.set:
    mov [rsp], %1
    ret
    int3
%endmacro

%macro PAIR 1
    dq __x86_indirect_thunk_%1, thunk_by_return_%1
%endmacro

%macro FOR_EACH_REGISTER 1
    %1 rax
    %1 rbx
    %1 rcx
    %1 rdx
    %1 rsi
    %1 rdi
    %1 rbp
    %1 r8
    %1 r9
    %1 r10
    %1 r11
    %1 r12
    %1 r13
    %1 r14
    %1 r15
%endmacro

FOR_EACH_REGISTER THUNK

section .rodata align=8
global thunk_pairs
global thunk_pairs_end
thunk_pairs:                    ; struct thunk_pair of arch/patch.c
FOR_EACH_REGISTER PAIR
thunk_pairs_end:
