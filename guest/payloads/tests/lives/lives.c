/* SPDX-License-Identifier: BSD-2-Clause */
/* One of many lives, as its disk says: with or without other CPUs started, until nobody has taken
 * this one for a while; then it counts itself on the disk, which outlives it, and asks for a reset.
 * Each eighth ends by a triple fault instead, the last one by power-off. What a reset keeps, RAM
 * and CMOS memory, has to be what the life before has left. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

enum { DATA = 0x1f0, COUNT = 0x1f2, LBA = 0x1f3, DEVICE = 0x1f6, COMMAND = 0x1f7, CONTROL = 0x3f6 };
enum { BUSY_OR_DATA = 0x88, READ_SECTORS = 0x20, WRITE_SECTORS = 0x30 };

#define CMOS_MARK   0x60
#define OTHERS_TURN 20000 /* ticks that a turn of another VM takes at least */

/* The disk's first sector: how many lives follow this one, and what they are like. */
static struct {
    uint32_t left;
    uint32_t starts_others; /* those with an even number start the other CPUs */
    uint64_t alone;         /* ticks for which this CPU is to itself at the end */
    uint32_t mark;          /* that the life before has left; 0: there was none */
    uint8_t rest[512 - 20];
} sector;

static void send(uint8_t command)
{
    port_out8(CONTROL, 2);
    port_out8(COUNT, 1);
    for (uint16_t i = 0; i < 3; i++)
        port_out8(LBA + i, 0);
    port_out8(DEVICE, 0x40);
    port_out8(COMMAND, command);
    while ((port_in8(COMMAND) & BUSY_OR_DATA) != 8) {}
}

static void read_sector(void)
{
    void *to = &sector;
    uint64_t words = sizeof(sector) / 2;
    send(READ_SECTORS);
    __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(DATA) : "memory");
}

static void write_sector(void)
{
    const void *from = &sector;
    uint64_t words = sizeof(sector) / 2;
    send(WRITE_SECTORS);
    __asm__ volatile("rep outsw" : "+S"(from), "+c"(words) : "d"(DATA) : "memory");
}

/* What the other CPUs are at when the end comes: one spins, the next is halted. */
static void other_cpu(unsigned index)
{
    while ((index + sector.left / 2) % 2 != 0)
        __asm__ volatile("pause");
    for (;;)
        __asm__ volatile("sti; hlt");
}

static void wait_until_alone(uint64_t ticks)
{
    const uint64_t start = rdtsc();
    for (uint64_t since = start, last = start, now; last - since < ticks; last = now) {
        now = rdtsc();
        if (now - last > OTHERS_TURN)
            since = now;
    }
}

static void triple_fault(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(none));
}

static volatile uint32_t *const ram_mark = (uint32_t *)0xc00000;

/* In RAM that no program is loaded to, and in CMOS memory. */
static bool mark_is_kept(void)
{
    return *ram_mark == sector.mark && cmos_read(CMOS_MARK) == (uint8_t)sector.mark;
}

static void leave_mark(void)
{
    sector.mark = sector.left + 0x5a000000;
    *ram_mark = sector.mark;
    cmos_write(CMOS_MARK, (uint8_t)sector.mark);
}

int main(void)
{
    read_sector();
    if (!mark_is_kept())
        return 2;
    if (sector.starts_others != 0 && sector.left % 2 == 0) {
        pic_init(0x20);
        apic_enable(true);
        (void)smp_start(other_cpu);
    }
    wait_until_alone(sector.alone);
    if (sector.left == 0) {
        power_off();
        return 1;
    }
    sector.left--;
    leave_mark();
    write_sector();
    if (sector.left % 8 == 1)
        triple_fault();
    port_out8(0xcf9, 2); /* hard reset, then its edge */
    port_out8(0xcf9, 6);
    return 1;
}
