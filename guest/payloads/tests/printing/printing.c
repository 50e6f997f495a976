/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts for a CPU that prints more than the console takes, and is held up. Should its host CPU
 * sleep meanwhile, perhaps within an instruction, it is the host that is told of them. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/trap.h"

#include <stdbool.h>

#define CONSOLE   0xe9
#define VECTOR    0x40
#define ICR_FIXED 0x4000u
#define BUFFERED  0x8000u /* bytes, by the console */
#define PIECE     512u    /* it crosses a page near its end, which cuts it in two */
#define IPIS      4u
#define PATIENCE  1000000000u /* TSC ticks */

static uint8_t text[8192] __attribute__((aligned(4096)));
static volatile uint32_t came, printed;

static void on_ipi(struct trap_frame *frame)
{
    (void)frame;
    came++;
    apic_eoi();
}

static void other_cpu(unsigned index)
{
    (void)index;
    interrupts_on();
    for (;;) {
        const uint8_t *from = text + 4096 - PIECE * 7 / 8;
        uint64_t count = PIECE;
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(CONSOLE) : "memory");
        printed += PIECE;
    }
}

int main(void)
{
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = i % 64 == 63 ? '\n' : '.';
    trap_set_handler(VECTOR, on_ipi);
    pic_init(0x20);
    apic_enable(true);
    if (smp_start_at_least(other_cpu, 2) != 2)
        return 1;
    while (printed < BUFFERED + PIECE)
        __asm__ volatile("pause");
    for (uint32_t i = 1; i <= IPIS; i++) {
        smp_send(smp_apic_id(1), ICR_FIXED | VECTOR);
        for (const uint64_t start = rdtsc(); came != i && rdtsc() - start < PATIENCE;)
            __asm__ volatile("pause");
    }
    smp_init(1);
    print("\nprinting: %u of %u interrupts came\n", came, IPIS);
    return came == IPIS ? 0 : 1;
}
