; SPDX-License-Identifier: BSD-2-Clause
; Interrupt entry for all 256 vectors, and the instructions that are allowed to fault.
bits 64
default rel

extern fault_handle
global vector_entry
global fixup_table
global fixup_table_end
global cpu_rdmsr_safe
global cpu_wrmsr_safe
global cpu_read_safe

section .text

; The vectors for which the CPU pushes an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX.
%define HAS_ERROR_CODE(v) (v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)

%assign v 0
%rep 256
entry_%+v:
%if !HAS_ERROR_CODE(v)
    push 0
%endif
    push v
    jmp entry_common
%assign v v + 1
%endrep

; Makes a struct fault_frame (arch/fault.h). The CPU aligns RSP to 16 before it pushes, and the frame is 22
; quadwords, so the call finds the stack as the ABI wants it.
entry_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call fault_handle
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16                 ; vector and error code
    iretq

; bool cpu_rdmsr_safe(uint32_t msr, uint64_t *value)
cpu_rdmsr_safe:
    mov ecx, edi
may_fault_rdmsr:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    mov eax, 1
    ret

; bool cpu_wrmsr_safe(uint32_t msr, uint64_t value)
cpu_wrmsr_safe:
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
may_fault_wrmsr:
    wrmsr
    mov eax, 1
    ret

; bool cpu_read_safe(uint64_t address, uint64_t *value)
cpu_read_safe:
may_fault_read:
    mov rax, [rdi]
    mov [rsi], rax
    mov eax, 1
    ret

it_faulted:
    xor eax, eax
    ret

section .rodata

; Addresses that may raise #GP or #PF, and where to go on then: all are leaf functions that return false.
fixup_table:
    dq may_fault_rdmsr, it_faulted
    dq may_fault_wrmsr, it_faulted
    dq may_fault_read, it_faulted
fixup_table_end:

vector_entry:
%assign v 0
%rep 256
    dq entry_%+v
%assign v v + 1
%endrep
