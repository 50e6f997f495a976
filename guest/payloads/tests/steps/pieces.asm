; SPDX-License-Identifier: BSD-2-Clause
; Instructions that make a VM exit, each alone, with the address behind it: what is stepped over, and when.

global step_rows, step_vm_rows, shadow_rows, shadow_vm_rows, broken_cpuid, broken_next, broken_run
default abs
bits 64

%define SCRATCH 0x3ff
%define TF      0x100

; Registers for all pieces: RCX an emulated MSR with its value in EDX:EAX, or what the piece loads.
%macro OPERANDS 0
    mov     ecx, 0x1b              ; IA32_APIC_BASE, which each CPU has that has an APIC
    rdmsr
    mov     r8d, 0xfec00000
    mov     rdi, r8
    mov     r9, cr0
    mov     r10, cr3
    xor     ebx, ebx
%endmacro

; STEP name, instruction: one row of a table, and its code
%macro STEP 2+
section .text
%%code:
    push    rbx
    push    rdi
    OPERANDS
    pushfq
    or      qword [rsp], TF
    popfq
    %2
%%next:
    nop
    nop
    pop     rdi
    pop     rbx
    ret
section .rodata
%%name: db %1, 0
section .data
    dq      %%code, %%next, %%name
%endmacro

section .data
step_rows:
STEP "NOP", nop
STEP "CPUID", cpuid
STEP "RDMSR", rdmsr
STEP "WRMSR", wrmsr
STEP "IN", in al, 0x61
STEP "OUT", out 0xed, al
STEP "MOV from device memory", mov ebx, [r8]
STEP "MOV to device memory", mov [r8], r8d
STEP "STOSD to device memory", stosd
STEP "MOV to CR0", mov cr0, r9
STEP "MOV to CR3", mov cr3, r10
STEP "MOV to CR8", mov cr8, rbx
STEP "WBINVD", wbinvd
STEP "RDTSC", rdtsc
STEP "INVLPG", invlpg [r8]
STEP "STI", sti
section .data
    dq      0
step_vm_rows:
STEP "VMCALL", vmcall
STEP "HLT", hlt                         ; the bare Bochs does not wake up for #DB
section .data
    dq      0

; An interrupt is pending. After STI one more instruction is run before it comes in.
%macro SHADOW 2+
section .text
%%code:
    push    rbx
    push    rdi
    OPERANDS
    sti
    %2
%%next:
    nop
    cli
    pop     rdi
    pop     rbx
    ret
section .rodata
%%name: db %1, 0
section .data
    dq      %%code, %%next, %%name
%endmacro

section .data
shadow_rows:
SHADOW "STI; NOP", nop
SHADOW "STI; CPUID", cpuid
SHADOW "STI; RDMSR", rdmsr
SHADOW "STI; WRMSR", wrmsr
SHADOW "STI; IN", in al, 0x61
SHADOW "STI; OUT", out 0xed, al
SHADOW "STI; MOV from device memory", mov ebx, [r8]
SHADOW "STI; MOV to CR0", mov cr0, r9
SHADOW "STI; HLT", hlt
section .data
    dq      0
shadow_vm_rows:
SHADOW "STI; VMCALL", vmcall
section .data
    dq      0

section .text
; Two instructions with a breakpoint on each.
broken_run:
    push    rbx
    xor     eax, eax
broken_cpuid:
    cpuid
broken_next:
    nop
    pop     rbx
    ret
