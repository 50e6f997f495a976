; SPDX-License-Identifier: BSD-2-Clause
; The start, the measured loops, and the ways into this kernel: each does the least that a paravirtual kernel has to.

%define NOTE_NAME "benchpv"
%include "guest/lib/rounds.inc"
%include "guest/lib/xen_notes.inc"

; Xen's numbers.
%define MULTICALL         13
%define UPDATE_VA_MAPPING 14
%define SET_TIMER_OP      15
%define XEN_VERSION       17
%define IRET              23
%define MMUEXT_OP         26
%define FLUSH_INVLPG      2
%define IN_SYSCALL        0x100         ; of the call iret: RCX and R11 stay
%define THIS_DOMAIN       0x7ff0
%define FLAT_DATA         0xe02b
%define FLAT_CODE         0xe033

; The page that is shared with the hypervisor: of vCPU 0, and pending events.
%define PENDING       0
%define MASKED        1
%define PENDING_WORDS 8
%define EVENTS        2048

global pv_start, bench_interrupts, bench_info, enter_user
global entry_syscall, entry_event, entry_failsafe, handler_pgfault, handler_divzero, handler_end
extern pv_main, bench_lists, bench_page, bench_entries, bench_base, bench_port
bits 64
default abs

; As the rows want it: the address of the shared page in RBX.
%macro SHARED 0
    mov     rbx, [bench_info]
%endmacro

section .text
pv_start:                               ; RSI: struct xen_start_info; there is a stack of a page
    cld
    mov     rdi, rsi
    call    pv_main

; --- in the kernel ---

FUNCTION rounds_nothing
ROUND
AGAIN_USER

; A hypercall that does nothing, there and back.
FUNCTION rounds_hypercall
    xor     edi, edi
ROUND
    mov     eax, XEN_VERSION
    syscall
AGAIN_USER

; With the prefix by which a hypervisor gets it.
FUNCTION rounds_cpuid
ROUND
    xor     eax, eax
    db      0x0f, 0x0b, "xen"
    cpuid
AGAIN_USER

; One call with a list of calls, two lists in turns. The call may change its arguments, where it works in portions.
%macro MULTICALL_ROUNDS 2               ; which lists, how many calls
    push    r12
    mov     r12, [bench_lists + 16 * %1]
    mov     rbx, [bench_lists + 16 * %1 + 8]
    xor     rbx, r12
ROUND
    xor     r12, rbx
    mov     rdi, r12
    mov     esi, %2
    mov     eax, MULTICALL
    syscall
    cmp     r8, r9
    jne     .round
    pop     r12
    pop     rbx
    ret
%endmacro

FUNCTION rounds_update_64               ; one mmu_update of 64 entries
    MULTICALL_ROUNDS 0, 1

FUNCTION rounds_mapping_64              ; 64 times update_va_mapping
    MULTICALL_ROUNDS 1, 64

; The page comes to be another one in each round.
FUNCTION rounds_ptemod
    mov     rdi, [bench_page]
    mov     rsi, [bench_entries]
    mov     rbx, [bench_entries + 8]
    xor     rbx, rsi
ROUND
    xor     rsi, rbx
    mov     edx, FLUSH_INVLPG
    mov     eax, UPDATE_VA_MAPPING
    syscall
    mov     eax, [rdi]
AGAIN_USER

; The address space that it is already.
FUNCTION rounds_mov_cr3
    mov     r10d, THIS_DOMAIN
ROUND
    mov     rdi, bench_base
    mov     esi, 1
    xor     edx, edx
    mov     eax, MMUEXT_OP
    syscall
AGAIN_USER

; What PUSHF, CLI, POPF are here: the mask is kept, set, put back, and what has come meanwhile is looked for.
FUNCTION rounds_irq_save
    SHARED
    mov     byte [rbx + MASKED], 0
ROUND
    mov     al, [rbx + MASKED]
    mov     byte [rbx + MASKED], 1
    mov     [rbx + MASKED], al
    test    al, al
    jnz     .masked
    cmp     byte [rbx + PENDING], 0
    jne     $                           ; nothing sends events
.masked:
    cmp     r8, r9
    jne     .round
    mov     byte [rbx + MASKED], 1
    pop     rbx
    ret

; The timer, set for a time that has been, to its handler's end.
FUNCTION rounds_timer
    SHARED
    mov     byte [rbx + MASKED], 0
ROUND
    mov     r10d, [bench_interrupts]
    mov     edi, 1
    mov     eax, SET_TIMER_OP
    syscall
.wait:
    cmp     [bench_interrupts], r10d
    je      .wait
    cmp     r8, r9
    jne     .round
    mov     byte [rbx + MASKED], 1
    pop     rbx
    ret

FUNCTION rounds_loop
ROUND
    mov     ecx, LOOP_TURNS
.turn:
    dec     ecx
    jnz     .turn
AGAIN_USER

FUNCTION rounds_call_ret
ROUND
    mov     ecx, CALL_TURNS
.turn:
    call    called
    dec     ecx
    jnz     .turn
AGAIN_USER

align 16
called:
    ret

; --- in user code ---

FUNCTION rounds_syscall
ROUND
    syscall
AGAIN_USER

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

user_end:
    ud2

; --- into the kernel: RCX and R11 are on the stack, then what the CPU would have pushed ---

align 64
entry_syscall:
    add     rsp, 16                     ; RIP is in RCX and RFLAGS in R11 as user code has to expect
    push    strict dword IN_SYSCALL
    sub     rsp, 24                     ; RCX, R11, RAX
    mov     eax, IRET
    syscall

align 64
handler_pgfault:
    pop     rcx
    pop     r11
    add     rsp, 8                      ; the error code
    add     qword [rsp], rounds_pgfault.next - rounds_pgfault.fault
    jmp     count_and_return

align 64
handler_divzero:
    pop     rcx
    pop     r11
    add     qword [rsp], rounds_divzero.next - rounds_divzero.fault
count_and_return:
    inc     dword [bench_interrupts]
return:
    push    byte 0
    push    rcx
    push    r11
    push    rax
    mov     eax, IRET
    syscall

align 64
entry_event:
    pop     rcx
    pop     r11
    push    rax
    push    rbx
    SHARED
    mov     byte [rbx + PENDING], 0
    xor     eax, eax
    xchg    [rbx + PENDING_WORDS], rax
    mov     eax, [bench_port]
    lock btr [rbx + EVENTS], rax
    pop     rbx
    pop     rax
    jmp     count_and_return

entry_failsafe:                         ; an IRET was wrong
    ud2

; Where user code ends: enter_user() returns, with RIP of the UD2 less the one that is right.
handler_end:
    mov     rax, [rsp + 16]
    sub     rax, user_end
    mov     rsp, [kernel_rsp]
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; uint64_t enter_user(rounds_fn *rounds, uint32_t *stamps, uint64_t rounds, uint64_t *stack): user code, with a stack that
; ends there
enter_user:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [kernel_rsp], rsp
    mov     qword [rcx - 8], user_end
    sub     rcx, 8
    push    strict dword FLAT_DATA
    push    rcx
    push    0x202                       ; events come
    push    strict dword FLAT_CODE
    push    rdi
    mov     rdi, rsi
    mov     rsi, rdx
    jmp     return

section .bss align=64
bench_interrupts:
    resd    1
align 8, resb 1
bench_info:
    resq    1
kernel_rsp:
    resq    1
