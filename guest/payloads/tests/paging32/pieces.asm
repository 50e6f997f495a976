; SPDX-License-Identifier: BSD-2-Clause
; What is done with paging on in 32-bit protected mode. Each ends with UD2.

global act_from_device, act_to_device, act_stale, act_load_cr3
global act_end, new_cr3, stale_pdpte
default abs
bits 32

%define AREA    0x40000000
%define DEVICE  0xfec00000

section .data
new_cr3:
    dd      0
stale_pdpte:
    dd      0

section .text
act_from_device:
    mov     esi, DEVICE
    mov     edi, AREA
    movsd
    jmp     act_end
act_to_device:
    mov     esi, AREA
    mov     edi, DEVICE
    movsd
    jmp     act_end

; A PDPTE that changes in memory: the CPU goes by what it has loaded.
act_stale:
    mov     eax, [stale_pdpte]
    mov     dword [eax], 0
    mov     esi, DEVICE
    mov     edi, AREA
    movsd
    jmp     act_end

act_load_cr3:
    mov     eax, [new_cr3]
    mov     cr3, eax
act_end:
    ud2
