/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens when an interrupt or exception reaches the host. */
#include "arch/fault.h"
#include "arch/cet.h"
#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/mcheck.h"
#include "arch/panic.h"
#include "arch/percpu.h"
#include "arch/smp.h"

#define BACKTRACE_MAX 24
#define STACK_WORDS   32

struct fixup {
    uint64_t from, to;
};
extern const struct fixup fixup_table[], fixup_table_end[]; /* vectors.asm */
extern const char ring3_syscall[], ring3_syscall32[];       /* ring3.asm */
extern const char __text_start[], __text_end[];             /* boot/nadir.ld */

static void (*escape_function)(void);
static uint64_t escape_deadline; /* for VECTOR_ESCAPE; 0: none */

static const char *const vector_names[32] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "BOUND range",
    "invalid opcode",
    "no FPU",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
};

static void log_address(const char *what, uint64_t rip)
{
    uint64_t base = (uint64_t)(uintptr_t)__text_start;
    if (rip >= base && rip < (uint64_t)(uintptr_t)__text_end)
        log_line("  %s 0x%016lx image+0x%lx", what, rip, rip - base);
    else
        log_line("  %s 0x%016lx (not in the image's code)", what, rip);
}

void fault_log_backtrace(uint64_t rip, uint64_t rbp)
{
    log_address("at  ", rip);
    for (unsigned i = 0; i < BACKTRACE_MAX && rbp != 0 && rbp % 8 == 0; i++) {
        uint64_t next, ret;
        if (!cpu_read_safe(rbp, &next) || !cpu_read_safe(rbp + 8, &ret))
            break;
        log_address("from", ret);
        if (next <= rbp) /* callers' frames are higher up: anything else is not a frame */
            break;
        rbp = next;
    }
}

void fault_log_machine(uint64_t rsp)
{
    log_line("  cr0 %lx cr2 %lx cr3 %lx cr4 %lx", cpu_read_cr0(), cpu_read_cr2(), cpu_read_cr3(),
             cpu_read_cr4());
    for (unsigned i = 0; i < STACK_WORDS; i += 4) {
        uint64_t at = (rsp & ~7ull) + i * 8, word[4];
        for (unsigned k = 0; k < 4; k++) {
            if (!cpu_read_safe(at + k * 8, &word[k])) {
                log_line("  stack %016lx: not mapped", at + k * 8);
                return;
            }
        }
        log_line("  stack %016lx: %016lx %016lx %016lx %016lx", at, word[0], word[1], word[2],
                 word[3]);
    }
}

static _Noreturn void report(const struct fault_frame *f)
{
    const char *name = f->vector < 32 ? vector_names[f->vector] : NULL;
    panic_begin();
    log_line("panic: %s (vector %lu, error code 0x%lx) on CPU %u",
             name != NULL ? name : "exception", f->vector, f->error, cpu_self()->index);
    log_line("  rip %016lx rsp %016lx rflags %08lx cs %lx ss %lx", f->rip, f->rsp, f->rflags, f->cs,
             f->ss);
    log_line("  rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
    log_line("  rsi %016lx rdi %016lx rbp %016lx r8  %016lx", f->rsi, f->rdi, f->rbp, f->r8);
    log_line("  r9  %016lx r10 %016lx r11 %016lx r12 %016lx", f->r9, f->r10, f->r11, f->r12);
    log_line("  r13 %016lx r14 %016lx r15 %016lx", f->r13, f->r14, f->r15);
    if (f->vector == VECTOR_CONTROL_PROTECTION)
        log_line("  %s", cet_error_text(f->error));
    if (f->vector == VECTOR_MACHINE_CHECK)
        mcheck_log();
    fault_log_machine(f->rsp);
    fault_log_backtrace(f->rip, f->rbp);
    panic_end();
}

void fault_set_escape(void (*escape)(void))
{
    escape_function = escape;
    escape_deadline = 0;
}

void fault_set_escape_time(uint64_t tsc_deadline)
{
    escape_deadline = tsc_deadline;
    lapic_timer_use_vector(VECTOR_ESCAPE);
    lapic_timer_arm(tsc_deadline);
    cpu_sti();
}

static void take_escape(void)
{
    void (*escape)(void) = escape_function;
    escape_function = NULL;
    if (escape != NULL)
        escape();
}

/* The one-shot timer cannot count so far in one go. */
void interrupt_handle_rare(uint8_t vector)
{
    if (vector == VECTOR_SPURIOUS) /* no bit in ISR: an EOI would hit another interrupt */
        return;
    lapic_eoi();
    if (escape_deadline == 0) /* that is over: the timer has woken this CPU, as any other does */
        return;
    if (cpu_rdtsc() >= escape_deadline)
        take_escape();
    else
        lapic_timer_arm(escape_deadline);
}

void nmi_handle(void)
{
    if (smp_is_stopping())
        cpu_stop();
}

/* A debug exception that was due at CPL 3, behind a load of SS: it has come at the first
 * instruction in the host instead, where nobody wants it any more. */
static bool is_late_debug(const struct fault_frame *f)
{
    if (f->vector != VECTOR_DEBUG)
        return false;
    for (unsigned v = 0; v < 256; v++)
        if (vector_entry[v] == f->rip)
            return true;
    return f->rip == (uint64_t)(uintptr_t)ring3_syscall ||
           f->rip == (uint64_t)(uintptr_t)ring3_syscall32;
}

static bool apply_fixup(struct fault_frame *f)
{
    if (f->vector != VECTOR_GENERAL_PROTECTION && f->vector != VECTOR_PAGE_FAULT &&
        f->vector != VECTOR_NOT_PRESENT)
        return false;
    for (const struct fixup *x = fixup_table; x < fixup_table_end; x++) {
        if (x->from == f->rip) {
            f->rip = x->to;
            cet_move_frame(f, x->from);
            return true;
        }
    }
    return false;
}

/* Apart, so that no interrupt pays for its frame. */
static void __attribute__((noinline)) handle_exception(struct fault_frame *f)
{
    if (f->vector == VECTOR_NMI) {
        nmi_handle();
    } else if (!apply_fixup(f) && !is_late_debug(f) &&
               (f->vector != VECTOR_MACHINE_CHECK || !mcheck_is_elsewhere())) {
        take_escape();
        report(f);
    }
}

void fault_handle(struct fault_frame *f)
{
    if (f->vector >= VECTOR_FIRST_EXTERNAL)
        interrupt_handle((uint8_t)f->vector);
    else
        handle_exception(f);
}
