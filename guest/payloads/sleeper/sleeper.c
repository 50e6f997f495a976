/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeps in HLT and is woken by its timer 1,000 times a second, for one second; tells how many of
 * the wake-ups came within 200 microseconds, and the latest. Beside others that work without a
 * pause on the same CPU, that is how soon it gets to run. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"

#define SECOND  100000000u /* ticks, in the emulator */
#define WAKES   1000u
#define IN_TIME (SECOND / 5000)
#define VECTOR  0x40

int main(void)
{
    uint64_t deadline = rdtsc(), latest = 0;
    unsigned in_time = 0;
    pic_init(0x20);
    apic_enable(true);
    trap_set_handler(VECTOR, irq_on_apic);
    apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
    for (unsigned i = 0; i < WAKES; i++) {
        const uint64_t late_by_now = rdtsc();
        deadline += SECOND / WAKES;
        if (deadline < late_by_now) /* as a periodic timer of an operating system skips a tick */
            deadline = late_by_now + SECOND / WAKES;
        wrmsr(0x6e0, deadline);
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        const uint64_t now = rdtsc(), late = now > deadline ? now - deadline : 0;
        in_time += late <= IN_TIME;
        latest = late > latest ? late : latest;
    }
    print("sleeper: %u of %u in time, the latest %lu ticks\n", in_time, WAKES, latest);
    return 0;
}
