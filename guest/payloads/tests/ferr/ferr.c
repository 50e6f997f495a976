/* SPDX-License-Identifier: BSD-2-Clause */
/* x87 errors with CR0.NE = 0, as programs since the 80286 have them: FERR#, IRQ 13, port 0xf0. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define CR0_MP        (1ull << 1)
#define CR0_EM        (1ull << 2)
#define CR0_TS        (1ull << 3)
#define CR0_NE        (1ull << 5)
#define VECTOR_MF     16
#define VECTOR_13     (PIC_BASE + 13)
#define MASK_13       0xdffb /* all but the cascade and IRQ 13 */
#define PORT_ERROR    0xf0
#define DIVISION      0x37b /* a control word: division by zero is not masked */
#define ALL_MASKED    0x37f
#define ZERO_DIVIDE   4 /* status word */
#define ERROR_SUMMARY 0x80

static const char *const dos = "SDM, MS-DOS compatibility sub-mode";
static volatile uint16_t seen_status, seen_control;
static volatile uint64_t seen_rip;
static volatile unsigned waits_in_handler;
static volatile bool loads_in_handler;

extern const char waiting[];

static void on_mf(struct trap_frame *frame)
{
    irq_note(frame);
    __asm__ volatile("fnclex");
}

/* As a BIOS does it: port 0xf0 first, then nothing stops what looks at the error. */
static void on_13(struct trap_frame *frame)
{
    uint16_t status, control;
    __asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(status), "=m"(control));
    seen_status = status;
    seen_control = control;
    seen_rip = frame->rip;
    port_out8(PORT_ERROR, 0);
    for (unsigned i = 0; i < waits_in_handler; i++)
        __asm__ volatile("fwait; fnop; fld1; fstp %st(0)");
    __asm__ volatile("fnstcw %0" : "=m"(control));
    if (control != seen_control)
        seen_control = 0; /* what IGNNE# lets through changes nothing of it */
    if (loads_in_handler) {
        const uint16_t all = ALL_MASKED;
        __asm__ volatile("fldcw %1; fnstcw %0" : "=m"(control) : "m"(all));
        seen_control = control;
    }
    __asm__ volatile("fnclex");
    irq_on_pic(frame);
}

/* An error, interrupts on, and what waits for it, in one piece. Ends with interrupts off. */
static void __attribute__((noinline, noclone)) divide(uint16_t control)
{
    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; sti; nop; nop\n"
                     "waiting: fnop; nop; nop; fwait; nop; cli; fnclex; fninit"
                     :
                     : "m"(control));
}

static void set_ne(bool on)
{
    write_cr0(on ? read_cr0() | CR0_NE : read_cr0() & ~CR0_NE);
}

static void check_modes(void)
{
    for (unsigned ne = 2; ne-- > 0;) {
        set_ne(ne != 0);
        test_equal(read_cr0() >> 5 & 1, ne, "CR0.NE reads as written", "SDM, CR0");
        irq_forget();
        divide(ALL_MASKED);
        test_check(irq_hits[VECTOR_MF] == 0 && irq_hits[VECTOR_13] == 0, "a masked error is none",
                   "SDM, x87 control word");
        irq_forget();
        divide(DIVISION);
        test_equal(irq_hits[VECTOR_MF], ne, ne ? "with CR0.NE it is #MF" : "without, it is no #MF",
                   dos);
        test_equal(irq_hits[VECTOR_13], !ne, ne ? "and no IRQ 13" : "but IRQ 13", dos);
    }
    test_check((seen_status & ERROR_SUMMARY) != 0 && (seen_status & ZERO_DIVIDE) != 0,
               "the handler sees which error", dos);
    test_equal(seen_control & 0x3f, DIVISION & 0x3f, "and the control word as it was", dos);
    if (test_only(TEST_VM)) /* Bochs executes it first */
        test_equal(seen_rip, (uint64_t)waiting, "it comes before the instruction that waited", dos);
    test_both();
}

static void check_many(void)
{
    irq_forget();
    for (unsigned i = 0; i < 5; i++)
        divide(DIVISION);
    test_equal(irq_hits[VECTOR_13], 5, "each error is an interrupt", dos);
}

/* IGNNE#: from the write to the port until the error is cleared. */
static void check_ignored(void)
{
    const char *rule = "SDM, IGNNE#";
    irq_forget();
    waits_in_handler = 3;
    divide(DIVISION);
    waits_in_handler = 0;
    test_equal(irq_hits[VECTOR_13], 1, "behind the write of port 0xf0 nothing waits", rule);
    test_equal(seen_control & 0x3f, DIVISION & 0x3f, "and the control word stays", rule);
    irq_forget();
    divide(DIVISION);
    test_equal(irq_hits[VECTOR_13], 1, "until the error has been cleared", rule);
    loads_in_handler = true;
    divide(DIVISION);
    loads_in_handler = false;
    test_equal(seen_control, ALL_MASKED, "FLDCW of the same word with all errors masked", rule);
}

/* With interrupts held back the instruction waits for what lets them in: here nothing does but the
 * port, written before there is an error, which asserts nothing. */
static void check_write_without_error(void)
{
    irq_forget();
    port_out8(PORT_ERROR, 0);
    divide(DIVISION);
    test_equal(irq_hits[VECTOR_13], 1, "a write of the port without an error ignores none", dos);
}

/* What does not wait passes; FNINIT and FNCLEX end the error. */
static void check_no_wait(void)
{
    uint16_t control = DIVISION, status, before;
    irq_forget();
    __asm__ volatile("fninit; fldcw %2; fld1; fldz; fdivrp; sti; nop\n"
                     "fnstsw %0; fnclex; fnstsw %1; fwait; nop; nop; cli; fninit"
                     : "=m"(before), "=m"(status)
                     : "m"(control));
    test_equal(irq_hits[VECTOR_13], 0, "FNSTSW and FNCLEX do not wait for errors", "SDM, FCLEX");
    test_check((before & ERROR_SUMMARY) != 0 && (status & ERROR_SUMMARY) == 0,
               "and FNCLEX ends this one", "SDM, FCLEX");
}

/* FLDCW that unmasks an error which is there: the next one that waits finds it. */
static void check_unmasked_later(void)
{
    uint16_t masked = ALL_MASKED, unmasked = DIVISION;
    irq_forget();
    __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; sti; nop; fwait; fldcw %1; nop\n"
                     "fwait; nop; nop; cli; fnclex; fninit"
                     :
                     : "m"(masked), "m"(unmasked));
    test_equal(irq_hits[VECTOR_13], 1, "an error that FLDCW unmasks", "SDM, FLDCW");
}

int main(void)
{
    test_begin("ferr", "x87 errors without CR0.NE");
    pic_init(PIC_BASE);
    trap_set_handler(VECTOR_MF, on_mf);
    trap_set_handler(VECTOR_13, on_13);
    pic_set_mask(MASK_13);
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    check_modes();
    check_many();
    check_ignored();
    check_write_without_error();
    check_no_wait();
    check_unmasked_later();
    pic_set_mask(0xffff);
    set_ne(true);
    return test_end();
}
