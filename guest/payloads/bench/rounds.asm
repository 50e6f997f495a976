; SPDX-License-Identifier: BSD-2-Clause
; The measured loops: each takes a time stamp per round, so that the difference of two is one whole round.

%include "guest/lib/rounds.inc"

%define TIMER_TICKS 50000

extern bench_vector, kernel_pte, kernel_page, kernel_entries
global bench_interrupts, interrupt_x2, interrupt_x1, interrupt_stamp_x2, interrupt_stamp_x1
global entry_syscall, handler_pgfault, handler_divzero

bits 64
default abs

%macro AGAIN 0
    cmp     r8, r9
    jne     .round
    cli
    pop     rbx
    ret
%endmacro

section .text

FUNCTION rounds_nothing
ROUND
AGAIN

FUNCTION rounds_cpuid
ROUND
    xor     eax, eax
    cpuid
AGAIN

FUNCTION rounds_vmcall
ROUND
    xor     eax, eax                    ; HYPERCALL_NOP
    vmcall
AGAIN

FUNCTION rounds_port_in
ROUND
    mov     edx, 0x3ff                  ; the 16550's scratch register
    in      al, dx
AGAIN

FUNCTION rounds_port_out
ROUND
    mov     edx, 0x3ff
    out     dx, al
AGAIN

FUNCTION rounds_wrmsr
    mov     ecx, 0x3b                   ; IA32_TSC_ADJUST gets the value it has
    rdmsr
    mov     r10d, eax
    mov     r11d, edx
ROUND
    mov     eax, r10d
    mov     edx, r11d
    wrmsr
AGAIN

FUNCTION rounds_rdmsr
    mov     ecx, 0x3b
ROUND
    rdmsr
AGAIN

FUNCTION rounds_ioapic_read
    mov     r10d, 0xfec00000
    mov     dword [r10], 1              ; version
ROUND
    mov     eax, [r10 + 0x10]
AGAIN

FUNCTION rounds_eoi_x2
    mov     ecx, 0x80b
ROUND
    xor     eax, eax
    xor     edx, edx
    wrmsr
AGAIN

FUNCTION rounds_eoi_x1
    mov     r10d, 0xfee00000
ROUND
    mov     dword [r10 + 0xb0], 0
AGAIN

FUNCTION rounds_tsc_deadline
    mov     ecx, 0x6e0
    sti
ROUND
    mov     r10d, [bench_interrupts]
    wrmsr                               ; the time stamp of this round: due at once
.wait:
    cmp     [bench_interrupts], r10d
    je      .wait
AGAIN

FUNCTION rounds_self_ipi_x2
ROUND
    mov     ecx, 0x83f
    mov     eax, [bench_vector]
    xor     edx, edx
    wrmsr
    sti
    nop
    cli
AGAIN

FUNCTION rounds_self_ipi_x1
    mov     r10d, 0xfee00000
    mov     r11d, [bench_vector]
    or      r11d, 0x40000               ; to self
ROUND
    mov     [r10 + 0x300], r11d
    sti
    nop
    cli
AGAIN

FUNCTION rounds_self_ipi_hlt_x2
ROUND
    mov     ecx, 0x83f
    mov     eax, [bench_vector]
    xor     edx, edx
    wrmsr
    sti
    hlt
    cli
AGAIN

FUNCTION rounds_self_ipi_hlt_x1
    mov     r10d, 0xfee00000
    mov     r11d, [bench_vector]
    or      r11d, 0x40000
ROUND
    mov     [r10 + 0x300], r11d
    sti
    hlt
    cli
AGAIN

; Leaves no stamps but latencies: from the deadline to the first instruction of the handler.
FUNCTION rounds_hlt_timer
    mov     ecx, 0x6e0
.round:
    rdtsc
    shl     rdx, 32
    lea     rax, [rax + rdx + TIMER_TICKS]
    mov     r10, rax
    mov     rdx, rax
    shr     rdx, 32
    wrmsr
    sti
    hlt
    cli
    mov     eax, [woken]
    sub     eax, r10d
    mov     [r8], eax
    add     r8, 4
AGAIN

FUNCTION rounds_rdtsc
ROUND
    rdtsc
AGAIN

FUNCTION rounds_mov_cr3
    mov     r10, cr3
ROUND
    mov     cr3, r10
AGAIN

FUNCTION rounds_mov_from_cr8
ROUND
    mov     rax, cr8
AGAIN

FUNCTION rounds_mov_to_cr8
    xor     r10d, r10d
ROUND
    mov     cr8, r10
AGAIN

FUNCTION rounds_cr0_wp
    mov     r11, cr0
    mov     r10, r11
    btr     r10, 16
ROUND
    mov     cr0, r10
    mov     cr0, r11
AGAIN

FUNCTION rounds_cr4_pge
    mov     r11, cr4
    mov     r10, r11
    bts     r10, 7
ROUND
    mov     cr4, r10
    mov     cr4, r11
AGAIN

FUNCTION rounds_invlpg
    mov     r10d, 0x200000
ROUND
    invlpg  [r10]
AGAIN

FUNCTION rounds_mov_dr
    xor     r10d, r10d
ROUND
    mov     dr0, r10
AGAIN

; The least that there is to do in a turn.
FUNCTION rounds_loop
ROUND
    mov     ecx, LOOP_TURNS
.turn:
    dec     ecx
    jnz     .turn
AGAIN

FUNCTION rounds_call_ret
ROUND
    mov     ecx, CALL_TURNS
.turn:
    call    called
    dec     ecx
    jnz     .turn
AGAIN

align 16
called:
    ret

; As kernels keep interrupts away for a moment, with interrupts on.
FUNCTION rounds_irq_save
    sti
ROUND
    pushfq
    cli
    popfq
AGAIN

; The page comes to be another one in each round.
FUNCTION rounds_ptemod
    mov     rdi, [kernel_pte]
    mov     rsi, [kernel_page]
    mov     r10, [kernel_entries]
    mov     r11, [kernel_entries + 8]
    xor     r11, r10
ROUND
    xor     r10, r11
    mov     [rdi], r10
    invlpg  [rsi]
    mov     eax, [rsi]
AGAIN

; At CPL 3: to the kernel's entry, which goes back at once.
FUNCTION rounds_syscall
ROUND
    syscall
AGAIN_USER

align 64
entry_syscall:
    o64 sysret

; At CPL 3: faults, whose handler goes on behind the instruction.
FUNCTION rounds_pgfault
    mov     r10, 5 << 30                ; nothing is mapped there
ROUND
.fault:
    mov     eax, [r10]
.next:
AGAIN_USER

FUNCTION rounds_divzero
    xor     ecx, ecx
ROUND
.fault:
    div     ecx
.next:
AGAIN_USER

align 64
handler_pgfault:
    inc     dword [bench_interrupts]
    add     rsp, 8                      ; the error code
    add     qword [rsp], rounds_pgfault.next - rounds_pgfault.fault
    iretq

align 64
handler_divzero:
    inc     dword [bench_interrupts]
    add     qword [rsp], rounds_divzero.next - rounds_divzero.fault
    iretq

; What an interrupt does: counts itself and says EOI.
%macro SAY_EOI 1
%if %1 == 2
    push    rcx
    push    rdx
    mov     ecx, 0x80b
    xor     eax, eax
    xor     edx, edx
    wrmsr
    pop     rdx
    pop     rcx
%else
    mov     eax, 0xfee000b0
    mov     dword [rax], 0
%endif
    pop     rax
    iretq
%endmacro

align 64
interrupt_x2:
    inc     dword [bench_interrupts]
    push    rax
    SAY_EOI 2

align 64
interrupt_x1:
    inc     dword [bench_interrupts]
    push    rax
    SAY_EOI 1

%macro TAKE_STAMP 0
    push    rax
    push    rdx
    rdtsc
    mov     [woken], eax
    pop     rdx
    inc     dword [bench_interrupts]
%endmacro

align 64
interrupt_stamp_x2:
    TAKE_STAMP
    SAY_EOI 2

align 64
interrupt_stamp_x1:
    TAKE_STAMP
    SAY_EOI 1

section .bss align=64
bench_interrupts:
    resd    1
woken:
    resd    1
