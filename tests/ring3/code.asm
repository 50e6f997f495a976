; SPDX-License-Identifier: BSD-2-Clause
; What tests/ring3/ring3.c has executed at CPL 3: position-independent pieces, which it copies.
bits 64
default rel
%use altreg
section .rodata

%macro PIECE 1
global piece_%1
global piece_%1_end
piece_%1:
%endmacro
%macro END 1
piece_%1_end:
%endmacro

PIECE add                       ; each register gets its number, RSP too
%assign i 0
%rep 16
    add r%[i], i
%assign i i + 1
%endrep
    int3
END add
PIECE syscall
    syscall
END syscall
PIECE syscalls
.again:
    syscall
    jmp .again
END syscalls
PIECE loop
.again:
    inc rax
    jmp .again
END loop
PIECE load
    mov rcx, [rax]
END load
PIECE store
    mov [rax], rcx
END store
PIECE jump
    jmp rax
END jump
PIECE divide
    xor ecx, ecx
    div ecx
END divide
PIECE undefined
    ud2
END undefined
PIECE int80
    int 0x80
END int80
PIECE nops
    nop
    nop
END nops
PIECE align                     ; AC on, and out by each of the two ways
    push qword 0x40202
    popfq
    syscall
END align
PIECE gs
    mov rax, [gs:8]
    syscall
END gs
PIECE late_debug                ; a watched word is the new SS: #DB is due behind SYSCALL
    mov ss, [rax]
    syscall
END late_debug
PIECE sysenter
    sysenter
END sysenter

; One instruction each, of equal lengths with the padding.
global piece_privileged
global piece_privileged_end
align 16
piece_privileged:
%macro EACH 1+
    %1
    align 16, db 0x90
%endmacro
    EACH hlt
    EACH cli
    EACH sti
    EACH in al, dx
    EACH out dx, eax
    EACH in eax, 0x80
    EACH insb
    EACH mov rax, cr0
    EACH mov rax, cr3
    EACH mov cr3, rax
    EACH mov cr4, rax
    EACH mov rax, dr7
    EACH mov dr7, rax
    EACH rdmsr
    EACH wrmsr
    EACH lgdt [rax]
    EACH lidt [rax]
    EACH lldt ax
    EACH ltr ax
    EACH lmsw ax
    EACH clts
    EACH invlpg [rax]
    EACH wbinvd
    EACH invd
    EACH swapgs
    EACH sysexit
    EACH o64 sysret
    EACH xsetbv
    EACH int3
    EACH int 0x20
    EACH int 0xff
piece_privileged_end:

bits 32
PIECE code32
    lea eax, [eax + eax * 2]
    int3
END code32
bits 16
PIECE code16
    add ax, ax
    int3
END code16
