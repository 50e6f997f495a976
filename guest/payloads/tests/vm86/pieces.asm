; SPDX-License-Identifier: BSD-2-Clause
; Code of virtual-8086 mode, in segment 0, and the way into it. Each piece ends with UD2.

global act_vm86, vm86_flags, vm86_ip, vm86_mark, vm86_buffer, vm86_handler
default abs

section .low progbits alloc exec write align=16
vm86_flags:
    dd      0
vm86_ip:
    dd      0
vm86_mark:
    dd      0
vm86_buffer:
    times   8 db 0

bits 32
act_vm86:
    push    dword 0                     ; GS FS DS ES
    push    dword 0
    push    dword 0
    push    dword 0
    push    dword 0                     ; SS ESP
    push    dword 0x7000
    push    dword [vm86_flags]
    push    dword 0                     ; CS EIP
    push    dword [vm86_ip]
    iretd

; PIECE name, preparation, instruction
%macro PIECE 3
bits 16
piece_%1_code:
    %2
%%at:
    %3
%%end:
    ud2
global piece_%1
align 4
piece_%1:
    dd      piece_%1_code, %%at, %%end
%endmacro

%macro LOAD_STRING 0
    cld
    mov     di, vm86_buffer
    mov     si, vm86_buffer
    mov     cx, 3
    mov     dx, 0x61
%endmacro
%macro LOAD_IRET 0
    push    word 2
    push    word 0
    push    word piece_iret_back
%endmacro
%macro LOAD_ZERO 0
    xor     eax, eax
    xor     ecx, ecx
%endmacro

PIECE int, nop, int 0x30
PIECE int_redirected, nop, int 0x32
PIECE int3, nop, int3
PIECE cli, nop, cli
PIECE sti, nop, sti
PIECE pushf, nop, pushf
PIECE iret, LOAD_IRET, iret
PIECE in, nop, {in al, 0x61}
PIECE in_denied, nop, {in al, 0x64}
PIECE insb, LOAD_STRING, rep insb
PIECE outsb, LOAD_STRING, {outsb}
PIECE cpuid, LOAD_ZERO, cpuid
PIECE hlt, nop, hlt
PIECE div, LOAD_ZERO, {div cl}
PIECE mov_cr, nop, {mov eax, cr0}
PIECE loop, {xor cx, cx}, {loop $}
PIECE limit, {mov bx, 0xffff}, {mov eax, [bx]}
piece_iret_back:
    ud2
global piece_iret_back

vm86_handler:                           ; by the table at 0, in virtual-8086 mode
    mov     byte [vm86_mark], 1
    iret
