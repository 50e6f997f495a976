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

%macro on_each 2-*
%assign n %0 - 1
%define op %1
%rep n
%rotate 1
    op %1
%endrep
%endmacro

%assign v 0
%rep 256
entry_%+v:
    endbr64                     ; the CPU comes from anywhere: arch/cet.h
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
    on_each push, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    cld
    mov rdi, rsp
    call fault_handle
    on_each pop, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
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
