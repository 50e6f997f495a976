/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUs as the MP table tells them, their local APICs with a timer each, and the IO-APIC. */
#include "guest/payloads/tests/course32/kernel.h"

#define APIC          0xfee00000u
#define IO_APIC       0xfec00000u
#define OTHER_AT      0x7000u   /* where another CPU begins, in real mode */
#define TIMER_COUNT   50000000u /* a turn is long, for machines on which a switch takes long */
#define WARM_RESET_AT 0x467u

enum {
    ID = 0x20,
    TPR = 0x80,
    EOI = 0xb0,
    SPURIOUS = 0xf0,
    ERROR_STATUS = 0x280,
    ICR_LOW = 0x300,
    ICR_HIGH = 0x310
};
enum {
    TIMER = 0x320,
    LINT0 = 0x350,
    LINT1 = 0x360,
    ERROR = 0x370,
    TIMER_START = 0x380,
    TIMER_DIVIDE = 0x3e0
};
enum {
    MASKED = 0x10000,
    PERIODIC = 0x20000,
    INIT = 0x500,
    SIPI = 0x600,
    LEVEL = 0x8000,
    ASSERT = 0x4000,
    BUSY = 0x1000
};

struct cpu cpus[MAX_CPUS];
unsigned cpu_count;

static uint32_t apic_read(uint32_t at)
{
    return *(volatile uint32_t *)(uintptr_t)(APIC + at);
}

static void apic_write(uint32_t at, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(APIC + at) = value;
    (void)apic_read(ID); /* waits for it */
}

static void io_apic_write(uint32_t at, uint32_t value)
{
    volatile uint32_t *const io_apic = (volatile uint32_t *)(uintptr_t)IO_APIC;
    io_apic[0] = at;
    io_apic[4] = value;
}

static bool is_whole(const uint8_t *at, uint32_t bytes)
{
    uint8_t sum = 0;
    for (uint32_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + at[i]);
    return sum == 0;
}

static const uint8_t *find_pointer(uint32_t from, uint32_t bytes)
{
    for (uint32_t at = from; at < from + bytes; at += 16) {
        const uint8_t *p = at_physical(at);
        if (p[0] == '_' && p[1] == 'M' && p[2] == 'P' && p[3] == '_' && is_whole(p, 16))
            return p;
    }
    return NULL;
}

/* Intel's MultiProcessor Specification: the pointer is in the extended BIOS data, behind the base
 * memory, or in ROM. */
void cpus_find(void)
{
    const uint8_t *bios = at_physical(0x400);
    const uint32_t extended = (uint32_t)(bios[0x0e] | bios[0x0f] << 8) << 4;
    const uint32_t base_kib = (uint32_t)(bios[0x13] | bios[0x14] << 8);
    const uint8_t *pointer = extended != 0 ? find_pointer(extended, 1024) : NULL;
    if (pointer == NULL && base_kib != 0)
        pointer = find_pointer(base_kib * 1024 - 1024, 1024);
    if (pointer == NULL)
        pointer = find_pointer(0xf0000, 0x10000);
    if (pointer == NULL)
        panic("no MP table", 0);
    const uint32_t table_at = *(const uint32_t *)(const void *)(pointer + 4);
    const uint8_t *table = at_physical(table_at);
    const uint32_t bytes = (uint32_t)(table[4] | table[5] << 8);
    if (table_at >= 0x100000 || !is_whole(table, bytes))
        panic("the MP table is at", table_at);
    for (const uint8_t *entry = table + 44; entry < table + bytes;
         entry += entry[0] == 0 ? 20 : 8) {
        if (entry[0] != 0 || (entry[3] & 1) == 0 || cpu_count == MAX_CPUS)
            continue;
        cpus[cpu_count].number = (uint8_t)cpu_count;
        cpus[cpu_count++].apic_id = entry[1];
    }
}

void cpu_init_apic(void)
{
    apic_write(SPURIOUS, 0x100 | VECTOR_SPURIOUS);
    apic_write(TIMER_DIVIDE, 0xb); /* by 1 */
    apic_write(TIMER, PERIODIC | VECTOR_TIMER);
    apic_write(TIMER_START, TIMER_COUNT);
    apic_write(LINT0, MASKED);
    apic_write(LINT1, MASKED);
    apic_write(ERROR, MASKED);
    apic_write(ERROR_STATUS, 0);
    apic_write(EOI, 0);
    apic_write(TPR, 0);
}

void cpu_end_interrupt(void)
{
    apic_write(EOI, 0);
}

void line_enable(unsigned line, unsigned cpu)
{
    io_apic_write(0x11 + 2 * line, (uint32_t)cpus[cpu].apic_id << 24);
    io_apic_write(0x10 + 2 * line, VECTOR_LINES + line);
}

static void send(uint8_t apic_id, uint32_t command)
{
    apic_write(ICR_HIGH, (uint32_t)apic_id << 24);
    apic_write(ICR_LOW, command);
    while ((apic_read(ICR_LOW) & BUSY) != 0)
        ;
}

/* The universal start-up algorithm: where a CPU of old would begin after INIT is written, too. */
void cpus_start_others(void)
{
    copy(at_physical(OTHER_AT), other_start, (size_t)(other_end - other_start));
    for (struct cpu *cpu = cpus + 1; cpu < cpus + cpu_count; cpu++) {
        uint8_t *stack = page_take();
        other_stack = (uint32_t)(uintptr_t)(stack + PAGE_BYTES);
        port_out(0x70, 0xf);
        port_out(0x71, 0xa);
        *(volatile uint32_t *)at_physical(WARM_RESET_AT) = OTHER_AT >> 4 << 16;
        send(cpu->apic_id, INIT | LEVEL | ASSERT);
        send(cpu->apic_id, INIT | LEVEL);
        for (unsigned i = 0; i < 2; i++)
            send(cpu->apic_id, SIPI | OTHER_AT >> 12);
        while (cpu->is_up == 0)
            __asm__ volatile("pause");
    }
}
