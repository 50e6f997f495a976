; SPDX-License-Identifier: BSD-2-Clause
; Runs a few bytes as 16- or 32-bit code of compatibility mode, with given registers and segments. Faults come
; through the 64-bit IDT, so probe_call() answers for them.

global legacy_call, legacy_registers, legacy_code, legacy_back
default abs


section .bss
align 16
legacy_registers:                       ; struct registers of segments.c
    resd    8                           ; EAX ECX EDX EBX ESP EBP ESI EDI
    resw    6                           ; ES CS SS DS FS GS
    resd    1                           ; where the code begins
saved_stack:
    resq    1
target:
    resd    1
    resw    1

section .data
align 16
legacy_code:                            ; the bytes, and a far jump back behind them, which segments.c puts there
    times   64 db 0

section .text
bits 64
; void legacy_call(void *unused)
legacy_call:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [saved_stack], rsp
    mov     eax, [legacy_registers + 44]
    mov     [target], eax
    mov     ax, [legacy_registers + 34]
    mov     [target + 4], ax
    mov     es, [legacy_registers + 32]
    mov     ss, [legacy_registers + 36]
    mov     esp, [legacy_registers + 16]
    mov     ds, [legacy_registers + 38]
    mov     fs, [legacy_registers + 40]
    mov     eax, [legacy_registers + 0]
    mov     ecx, [legacy_registers + 4]
    mov     edx, [legacy_registers + 8]
    mov     ebx, [legacy_registers + 12]
    mov     ebp, [legacy_registers + 20]
    mov     esi, [legacy_registers + 24]
    mov     edi, [legacy_registers + 28]
    jmp     far dword [target]
legacy_back:                            ; in 64-bit mode again
    mov     [legacy_registers + 0], eax
    mov     [legacy_registers + 4], ecx
    mov     [legacy_registers + 8], edx
    mov     [legacy_registers + 12], ebx
    mov     [legacy_registers + 16], esp
    mov     [legacy_registers + 24], esi
    mov     [legacy_registers + 28], edi
    mov     rsp, [saved_stack]
    cld
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
