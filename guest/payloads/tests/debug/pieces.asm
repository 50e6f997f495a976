; SPDX-License-Identifier: BSD-2-Clause
; One instruction each, on which a debug exception is to come, or behind it.

default abs
bits 64

%define TF          0x100
%define IOAPIC      0xfec00000
%define APIC        0xfee00000
%define NOTHING     0xd0000000
%define DEBUGCTL    0x1d9
%define DEBUGCTL_BTF 2

global piece_variable

section .bss
    alignb  16
piece_variable:
    resq    16

; PIECE name, preparation, instruction
%macro PIECE 3
section .text
%%code:
    push    rbx
    push    rdi
    push    rsi
    %2
%%at:
    %3
%%next:
    nop
    nop
    nop
    cld
    pop     rsi
    pop     rdi
    pop     rbx
    ret
section .rodata
    align 8
global piece_%1
piece_%1:
    dq      %%code, %%at, %%next
%endmacro

; The same, single-stepped: the trap flag is set before it.
%macro STEPPED 3
    PIECE   %1, {%2, pushfq, or qword [rsp], TF, popfq}, {%3}
%endmacro

%macro TRAP_ON 0
    pushfq
    or      qword [rsp], TF
    popfq
%endmacro
%macro LOAD_STRING 0
    mov     esi, piece_variable
    mov     edi, piece_variable + 64
    mov     ecx, 3
    TRAP_ON
%endmacro
%macro LOAD_INSB 0
    mov     edi, piece_variable
    mov     ecx, 3
    mov     edx, 0x61
    TRAP_ON
%endmacro
%macro LOAD_STOS 0
    mov     edi, IOAPIC
    mov     ecx, 2
    xor     eax, eax
    std
    cld
    TRAP_ON
%endmacro
%macro LOAD_OUTS 0
    mov     esi, piece_variable
    mov     edx, 0xed
%endmacro
%macro LOAD_SS 0
    mov     ebx, ss
    TRAP_ON
    mov     ss, ebx
%endmacro
%macro LOAD_SS_FROM_MEMORY 0            ; on which there is a breakpoint
    mov     ss, [piece_variable]
%endmacro
%macro TRAP_ON_STI 0
    TRAP_ON
    sti
%endmacro
%macro BRANCH_TRAP_ON 0
    mov     ecx, DEBUGCTL
    mov     eax, DEBUGCTL_BTF
    xor     edx, edx
    wrmsr
    TRAP_ON
    cpuid
%endmacro
%macro LOAD_REP_IN 0
    mov     edi, piece_variable
    mov     ecx, 3
    mov     edx, 0x61
%endmacro
%macro LOAD_REP_OUT 0
    mov     esi, piece_variable
    mov     ecx, 3
    mov     edx, 0xed
%endmacro
%macro LOAD_REP_MOVS 0
    mov     esi, NOTHING
    mov     edi, piece_variable
    mov     ecx, 3
%endmacro
%macro LOAD_IOAPIC 0
    mov     esi, IOAPIC
    xor     eax, eax
%endmacro
%macro LOAD_CPUID 0
    xor     eax, eax
%endmacro

PIECE int1, nop, {db 0xf1}
PIECE int3, nop, int3
PIECE write, nop, {mov dword [piece_variable], 5}
PIECE read, nop, {mov eax, [piece_variable]}
PIECE in, nop, {in al, 0x61}
PIECE out, nop, {out 0xed, al}
PIECE out_string, LOAD_OUTS, outsb
PIECE device_read, LOAD_IOAPIC, {mov eax, [rsi]}
PIECE device_write, LOAD_IOAPIC, {mov [rsi], eax}
PIECE device_cmp, LOAD_IOAPIC, {cmp [rsi], eax}
PIECE apic_read, {mov esi, APIC + 0x30}, {mov eax, [rsi]}
PIECE mov_dr, nop, {mov dr3, rax}
PIECE mov_ss, LOAD_SS, nop
PIECE shadow_int1, LOAD_SS, {db 0xf1}
PIECE watch_int1, LOAD_SS_FROM_MEMORY, {db 0x2e, 0x2e, 0xf1} ; with prefixes
PIECE watch_nop, LOAD_SS_FROM_MEMORY, nop
PIECE watch_cpuid, LOAD_SS_FROM_MEMORY, cpuid
PIECE hlt, TRAP_ON_STI, hlt
PIECE branch, BRANCH_TRAP_ON, {db 0xeb, 0} ; JMP to what follows
PIECE rep_insb, LOAD_REP_IN, rep insb
PIECE rep_outsb, LOAD_REP_OUT, rep outsb
PIECE rep_movsb, LOAD_REP_MOVS, rep movsb
PIECE movs, LOAD_STRING, rep movsb
PIECE insb, LOAD_INSB, rep insb
PIECE device_stos, LOAD_STOS, rep stosd
PIECE cpuid, LOAD_CPUID, cpuid
