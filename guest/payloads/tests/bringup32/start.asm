; SPDX-License-Identifier: BSD-2-Clause
; All of a 32-bit kernel's start: multiboot 1, 4 MiB pages, an IDT at address 0, all CPUs from page 1, xAPIC and x2APIC,
; the IO-APIC. It ends with the number of the first step that went wrong, or 0.

%define APIC            0xfee00000
%define IOAPIC          0xfec00000
%define MSR_APIC_BASE   0x1b
%define MSR_X2_ICR      0x830
%define MSR_X2_EOI      0x80b
%define BASE_X2         0x400
%define ICR_INIT        0xc4500         ; to all others
%define ICR_SIPI        0xc4601         ; likewise, page 1
%define ICR_ALL         0x84000
%define VECTOR          0x40
%define LINE            14
%define AP_PAGE         0x1000
%define STACK_BYTES     4096
%define MAX_CPUS        16
%define PATIENCE        200000000       ; turns of a loop

global kernel32

%macro expect 3                         ; step, one, other: equal, in time
    mov     ecx, PATIENCE
%%again:
    mov     eax, %3
    cmp     %2, eax
    je      %%good
    pause
    dec     ecx
    jnz     %%again
    mov     al, %1
    jmp     leave
%%good:
%endmacro

section .header progbits alloc noexec nowrite align=4
    dd      0x1badb002, 0, -0x1badb002

section .low progbits alloc exec write align=16
bits 32
kernel32:
    lgdt    [gdt_pointer]
    jmp     0x08:.flat
.flat:
    mov     esp, stacks + STACK_BYTES
    mov     edi, page_directory         ; 4 GiB in pages of 4 MiB
    mov     eax, 0x83
.page:
    stosd
    add     eax, 0x400000
    jnc     .page
    xor     edi, edi                    ; the IDT
    mov     ecx, 256
.gate:
    mov     ebx, wrong
    call    set_gate
    loop    .gate
    mov     edi, VECTOR * 8
    mov     ebx, interrupt
    call    set_gate
    call    set_up
    mov     al, 0xff                    ; no 8259
    out     0x21, al
    out     0xa1, al

    mov     dx, 0x510                   ; how many CPUs, by fw_cfg
    mov     ax, 5
    out     dx, ax
    inc     edx
    in      al, dx
    mov     [cpus], al
    in      al, dx
    mov     [cpus + 1], al

    mov     esi, ap_start
    mov     edi, AP_PAGE
    mov     ecx, ap_end - ap_start
    rep movsb
    mov     dword [APIC + 0xf0], 0x1ff
    mov     eax, [APIC + 0x20]
    shr     eax, 24
    bts     [ids], eax
    lock inc dword [online]
    mov     dword [APIC + 0x300], ICR_INIT
    mov     dword [APIC + 0x300], ICR_SIPI
    expect  1, [online], [cpus]
    mov     ecx, [cpus]                 ; IDs 0 and on
    mov     ebx, 1
    shl     ebx, cl
    dec     ebx
    expect  2, [ids], ebx

    sti
    and     dword [APIC + 0x310], 0     ; by xAPIC: to each by its ID
    mov     edi, [cpus]
.each:
    dec     edi
    mov     eax, edi
    shl     eax, 24
    mov     [APIC + 0x310], eax
    mov     dword [APIC + 0x300], 0x4000 | VECTOR
    test    edi, edi
    jnz     .each
    expect  3, [taken], [cpus]

    mov     dword [IOAPIC], 0x11 + 2 * LINE ; the IO-APIC, by a line of the test device
    mov     dword [IOAPIC + 0x10], 0
    mov     dword [IOAPIC], 0x10 + 2 * LINE
    mov     dword [IOAPIC + 0x10], VECTOR
    mov     dx, 0x2000 + LINE
    mov     al, 1
    out     dx, al
    mov     ebx, [cpus]
    inc     ebx
    expect  4, [taken], ebx

    mov     eax, 1                      ; x2APIC mode, if there is one
    cpuid
    bt      ecx, 21
    jnc     .done
    mov     dword [to_x2], 1
    mov     dword [APIC + 0x300], ICR_ALL | VECTOR
    expect  5, [in_x2], [cpus]
    mov     dword [taken], 0
    mov     ecx, MSR_X2_ICR
    mov     eax, ICR_ALL | VECTOR
    xor     edx, edx
    wrmsr
    expect  6, [taken], [cpus]
.done:
    xor     eax, eax
leave:                                  ; AL
    out     0xf4, al
    cli
    hlt

wrong:                                  ; an exception
    mov     al, 99
    jmp     leave

; On each CPU: where asked, on to x2APIC mode, after the EOI in the mode before.
interrupt:
    pushad
    lock inc dword [taken]
    mov     ecx, MSR_APIC_BASE
    rdmsr
    test    eax, BASE_X2
    jnz     .x2
    mov     dword [APIC + 0xb0], 0
    cmp     dword [to_x2], 0
    je      .out
    or      eax, BASE_X2
    wrmsr
    lock inc dword [in_x2]
    jmp     .out
.x2:
    mov     ecx, MSR_X2_EOI
    xor     eax, eax
    xor     edx, edx
    wrmsr
.out:
    popad
    iretd

; The gate at EDI leads to EBX; on to the next.
set_gate:
    mov     [edi], ebx
    mov     [edi + 4], ebx
    mov     word [edi + 2], 0x08
    mov     word [edi + 4], 0x8e00
    add     edi, 8
    ret

; Segments, paging and IDT of a CPU.
set_up:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     eax, 0x10                   ; PSE
    mov     cr4, eax
    mov     eax, page_directory
    mov     cr3, eax
    mov     eax, 0x80010033
    mov     cr0, eax
    lidt    [idt_pointer]
    ret

bits 16
ap_start:                               ; copied to AP_PAGE
    mov     eax, cr0
    or      eax, 1
    mov     cr0, eax
    o32 cs lgdt [gdt_pointer_low - ap_start]
    jmp     dword 0x08:ap_start32
gdt_pointer_low:
    dw      gdt_end - gdt - 1
    dd      gdt
ap_end:

bits 32
ap_start32:
    mov     eax, 0x10
    mov     ds, eax
    mov     ss, eax
    mov     esp, STACK_BYTES
    lock xadd [next_stack], esp
    call    set_up
    mov     dword [APIC + 0xf0], 0x1ff
    mov     eax, [APIC + 0x20]
    shr     eax, 24
    lock bts [ids], eax
    sti
    lock inc dword [online]
.halt:
    hlt
    jmp     .halt

section .data progbits alloc noexec write align=16
gdt:
    dq      0
    dq      0x00cf9b000000ffff
    dq      0x00cf93000000ffff
gdt_end:
gdt_pointer:
    dw      gdt_end - gdt - 1
    dd      gdt
idt_pointer:
    dw      256 * 8 - 1
    dd      0
next_stack:
    dd      stacks + 2 * STACK_BYTES
cpus:
    dd      0
online:
    dd      0
ids:
    dd      0
taken:
    dd      0
to_x2:
    dd      0
in_x2:
    dd      0

section .bss nobits alloc write align=4096
page_directory:
    resb    4096
stacks:
    resb    (MAX_CPUS + 1) * STACK_BYTES
