/* SPDX-License-Identifier: BSD-2-Clause */
/* One CPU writes to the serial port as fast as it can, without a look at its status: lines byte by
 * byte and as strings. Tells how long another CPU, which writes nothing, was kept from running. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

#define COM1       0x3f8
#define LINES      3000
#define LINE_BYTES 32

static volatile uint64_t longest;
static volatile uint32_t over;

static void make_line(char *line, unsigned number)
{
    memset(line, 'a' + (int)number % 26, LINE_BYTES);
    for (unsigned i = 4; i > 0; i--, number /= 10)
        line[i - 1] = (char)('0' + number % 10);
    line[LINE_BYTES - 2] = '\r';
    line[LINE_BYTES - 1] = '\n';
}

/* The other CPU: how long it was kept from running. */
static void watch(unsigned index)
{
    (void)index;
    uint64_t last = rdtsc();
    while (!over) {
        const uint64_t now = rdtsc();
        if (now - last > longest)
            longest = now - last;
        last = now;
    }
    over = 2;
    for (;;)
        __asm__ volatile("hlt");
}

int main(void)
{
    char line[LINE_BYTES];
    apic_enable(false);
    const unsigned cpus = smp_start(watch);
    const uint64_t start = rdtsc();
    for (unsigned i = 0; i < LINES; i++) {
        const char *from = line;
        uint64_t count = LINE_BYTES;
        make_line(line, i);
        if (i % 2 == 0)
            __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
        else
            while (count-- != 0)
                port_out8(COM1, (uint8_t)*from++);
    }
    const uint64_t ticks = rdtsc() - start;
    over = 1;
    while (cpus > 1 && over == 1)
        __asm__ volatile("pause");
    print("flood: %u CPUs, %lu ticks, longest pause %lu\n", cpus, ticks, longest);
    return 0;
}
