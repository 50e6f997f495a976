/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers' page at another address, and what is at an address where they are not. */
#include "local.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"

#define ELSEWHERE   0xfef00000u
#define ICR_TO_SELF 0x40000u
#define VECTOR      0x71
#define RULE        "SDM, Relocating the Local APIC Registers"

static unsigned moved_hits;

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static void on_moved(struct trap_frame *frame)
{
    (void)frame;
    moved_hits++;
    *at(ELSEWHERE + APIC_EOI) = 0;
}

static uint32_t error_of_write(unsigned offset)
{
    apic_write(APIC_ESR, 0);
    *at(APIC_BASE_ADDRESS + offset) = 0;
    apic_write(APIC_ESR, 0);
    return apic_read(APIC_ESR);
}

void check_register_errors(void)
{
    enum { ARBITRATION = 0x90, REMOTE_READ = 0xc0, RESERVED = 0x40, ILLEGAL_REGISTER = 0x80 };
    const char *rule = "SDM, Error Status Register (ESR)";
    test_equal(error_of_write(ARBITRATION) | error_of_write(REMOTE_READ) |
                   error_of_write(APIC_PPR) | error_of_write(APIC_VERSION),
               0, "a register that is read-only takes a write without an error", rule);
    test_equal(error_of_write(RESERVED), ILLEGAL_REGISTER, "a reserved one does not", rule);
    apic_write(APIC_ESR, 0);
}

static void write_base(void *value)
{
    wrmsr(MSR_APIC_BASE, (uint64_t)value);
}

void check_absent_apic(const char *mode)
{
    *at(APIC_BASE_ADDRESS + APIC_TPR) = 0x50;
    test_equal(*at(APIC_BASE_ADDRESS + APIC_TPR), 0xffffffff, "no registers in memory", mode);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_VERSION), 0xffffffff, "none to be read", mode);
}

void check_moved_apic(void)
{
    const uint64_t home = rdmsr(MSR_APIC_BASE), flags = home & 0xfff;
    const unsigned width =
        cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
    const uint32_t version = apic_read(APIC_VERSION), id = apic_read(APIC_ID);
    test_fault(probe_call(write_base, (void *)(home | 1ull << width)), (struct probe){VECTOR_GP, 0},
               "an address beyond the physical width", RULE);
    test_fault(probe_call(write_base, (void *)(home | 1 << 9)), (struct probe){VECTOR_GP, 0},
               "a reserved bit", RULE);
    test_equal(rdmsr(MSR_APIC_BASE), home, "both change nothing", RULE);

    apic_write(APIC_TPR, 0x20);
    wrmsr(MSR_APIC_BASE, ELSEWHERE | flags);
    test_equal(rdmsr(MSR_APIC_BASE), ELSEWHERE | flags, "the base is where it was put", RULE);
    test_check(*at(ELSEWHERE + APIC_VERSION) == version && *at(ELSEWHERE + APIC_ID) == id,
               "the registers are there", RULE);
    test_equal(*at(ELSEWHERE + APIC_TPR), 0x20, "with what they held", RULE);
    check_absent_apic("where they were");
    test_equal(*at(ELSEWHERE + APIC_TPR), 0x20, "a write there has changed nothing", RULE);
    *at(ELSEWHERE + APIC_TPR) = 0x30;
    test_equal(read_cr8(), 3, "TPR shows in CR8", RULE);
    *at(ELSEWHERE + APIC_TPR) = 0;

    trap_set_handler(VECTOR, on_moved);
    *at(ELSEWHERE + APIC_ICR) = ICR_TO_SELF | VECTOR;
    test_check((*at(ELSEWHERE + APIC_IRR + VECTOR / 32 * 16) >> VECTOR % 32 & 1) != 0,
               "a self-IPI waits in IRR", RULE);
    interrupts_let_in();
    *at(ELSEWHERE + APIC_ICR) = ICR_TO_SELF | VECTOR;
    interrupts_let_in();
    test_equal(moved_hits, 2, "two come, one behind the other's EOI", RULE);

    wrmsr(MSR_APIC_BASE, home);
    test_check(apic_read(APIC_ID) == id && apic_read(APIC_TPR) == 0, "and back", RULE);
    trap_set_handler(VECTOR, irq_on_apic);
    irq_forget();
    apic_self_ipi(VECTOR);
    interrupts_let_in();
    test_equal(irq_hits[VECTOR], 1, "where all is as before", RULE);
    test_equal(*at(ELSEWHERE + APIC_VERSION), 0xffffffff, "and nothing is left elsewhere", RULE);
}
