; SPDX-License-Identifier: BSD-2-Clause
; The guest's vector registers, which stay in the CPU while the host runs: one read or written by number (guest/vm/vector.h).
;
; void vector_move(void *memory, unsigned which)
;   which = kind (enum vector_kind) * 16 + register. Moves between 8 (MMX), 16, 32 or 64 bytes of memory (of an opmask: 2 or 8), at any
;   address, and the register. The last kind has 32 registers. Writing XMM keeps the upper part of the YMM register; writing YMM clears what is above it.

bits 64
default rel
section .text

global vector_move
extern __x86_indirect_thunk_rax

vector_move:
    lea     rax, [stubs]
    shl     esi, 4
    add     rax, rsi
    jmp     __x86_indirect_thunk_rax ; or to it at once: arch/thunks.asm

; Each 16 bytes long, in the order of enum vector_kind.
align 16
stubs:
%macro KIND 3                       ; instruction, register's name, whether it writes the register
%assign i 0
%rep 16
%assign n i & MASK
    endbr64
%if %3
    %1      %2 %+ n, [rdi]
%else
    %1      [rdi], %2 %+ n
%endif
    ret
    align   16
%assign i i + 1
%endrep
%endmacro
%macro ZMM 0
%assign i 0
%rep 32
    endbr64
    vmovups [rdi], zmm %+ i
    ret
    align   16
%assign i i + 1
%endrep
%endmacro
%define MASK 7                      ; MMX has eight
    KIND    movq, mm, 0
    KIND    movq, mm, 1
%define MASK 15
    KIND    movups, xmm, 0
    KIND    movups, xmm, 1
    KIND    vmovups, ymm, 0
    KIND    vmovups, ymm, 1
%define MASK 7
    KIND    kmovw, k, 0
    KIND    kmovq, k, 0
    ZMM
