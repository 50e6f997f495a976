; SPDX-License-Identifier: BSD-2-Clause
; Ways into this kernel, and the probes that they end.

%define CALL_IRET     23
%define PENDING_WORDS 8
%define PENDING       2048
%define NO_ADDRESS    0x1234800000000000

global stubs, entry_event, entry_failsafe, entry_syscall
global probe, probe_code, probe_iret, load_selector, second_entry
global trap_last, code_page, trap_stack_end, second_stack_end
extern trap_unexpected, infos, shared, second_main
bits 64
default abs

section .text
; Each vector's: RCX and R11 are on the stack, then, with some exceptions, an error code.
align 16
stubs:
%assign i 0
%rep 32
    align   16
    pop     rcx
    pop     r11
%if i == 2                              ; it was asked for: back, as then the next one may come
    jmp     xen_return
%else
%if !(i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21)
    push    byte 0
%endif
    push    strict dword i
    jmp     near take
%endif
%assign i i + 1
%endrep

entry_syscall:                          ; of user code
    pop     rcx
    pop     r11
    push    byte 0
    push    strict dword 0x100
    jmp     take

entry_failsafe:                         ; with DS, ES, FS, GS behind RCX and R11
    add     rsp, 6 * 8
    push    byte 0
    push    strict dword 0x101

; Whatever was executed is given up, and the probe ends.
take:
    cld
%assign i 0
%rep 7
    pop     qword [trap_last + 8 * i]
%assign i i + 1
%endrep
    mov     rax, [trap_last]
    mov     rsp, [probe_rsp]
    test    rsp, rsp
    jnz     probe_end
    mov     rsp, trap_stack_end
    call    trap_unexpected

; Back to where it was: what IRETQ would take is on the stack.
align 16
xen_return:
    push    byte 0
    push    rcx
    push    r11
    push    rax
    mov     eax, CALL_IRET
    syscall

; Looked at, and back: what is pending is nobody's here, but for the timer that ends user code.
align 16
entry_event:
    pop     rcx
    pop     r11
    mov     byte [infos], 0
    mov     qword [infos + PENDING_WORDS], 0
    mov     qword [shared + PENDING], 0
    test    byte [rsp + 8], 3           ; CS
    jz      xen_return
    push    byte 0
    push    strict dword 0x102
    jmp     take

%macro PROBE 0
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    mov     [probe_rsp], rsp
%endmacro

; uint64_t probe(void (*f)(void *), void *argument): f is called. Returns the vector of its trap, or -1
probe:
    PROBE
    mov     rax, rdi
    mov     rdi, rsi
    call    rax
    mov     rax, -1
probe_end:
    mov     qword [probe_rsp], 0
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; uint64_t probe_code(uint64_t registers[6]): likewise what is in code_page, with RAX, RCX, RDX, RBX, RSI, RDI. They are
; written back if it did not trap.
probe_code:
    PROBE
    push    rdi
    mov     rax, [rdi]
    mov     rcx, [rdi + 8]
    mov     rdx, [rdi + 16]
    mov     rbx, [rdi + 24]
    mov     rsi, [rdi + 32]
    mov     rdi, [rdi + 40]
    call    code_page
    xchg    rdi, [rsp]
    mov     [rdi], rax
    mov     [rdi + 8], rcx
    mov     [rdi + 16], rdx
    mov     [rdi + 24], rbx
    mov     [rdi + 32], rsi
    pop     qword [rdi + 40]
    mov     rax, -1
    jmp     probe_end

; uint64_t probe_iret(const struct iret_frame *frame): likewise the call iret by that frame, which does not come back. What
; the frame has not is no address.
probe_iret:
    PROBE
    mov     rsp, rdi
    mov     rbx, NO_ADDRESS
%assign i 8
%rep 8
    mov     r%+i, rbx
%assign i i + 1
%endrep
    mov     rbp, rbx
    mov     rsi, rbx
    mov     rdi, rbx
    mov     rdx, rbx
    mov     eax, CALL_IRET
    syscall
    ud2

; uint64_t load_selector(unsigned which, uint16_t selector): DS, ES, FS, GS, SS
load_selector:
    PROBE
    lea     rax, [.loads + rdi * 8]
    jmp     rax
align 8, nop
.loads:
    mov     ds, esi
    jmp     short .loaded
    align   8
    mov     es, esi
    jmp     short .loaded
    align   8
    mov     fs, esi
    jmp     short .loaded
    align   8
    mov     gs, esi
    jmp     short .loaded
    align   8
    mov     ss, esi
.loaded:
    mov     rax, -1
    jmp     probe_end

second_entry:
    cld
    call    second_main
    ud2

section .bss nobits alloc write align=4096
code_page:
    resb    8192
trap_stack:
    resb    4096
trap_stack_end:
    resb    4096
second_stack_end:
trap_last:
    resq    7
probe_rsp:
    resq    1
