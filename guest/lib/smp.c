/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts the other CPUs (SDM, "MP Initialization Protocol Algorithm for MP Systems"). */
#include "guest/lib/smp.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/trap.h"

#define TRAMPOLINE  0x6000u /* a page below the image at 0x7c00 */
#define TO_OTHERS   0xc0000u
#define ICR_INIT    0x4500u
#define ICR_SIPI    0x4600u
#define ICR_PENDING 0x1000u
#define PIT_HZ      1193182u

extern const char smp_trampoline[], smp_trampoline_end[];

static smp_entry *entry_point;
static bool x2;
static uint32_t arrived;
static volatile uint32_t id_of[SMP_MAX_CPUS];
uint32_t smp_first_cr0[SMP_MAX_CPUS], smp_first_edx[SMP_MAX_CPUS];

/* Channel 2 of the 8254, which needs no interrupt: mode 0 with its output at port 0x61. */
static void wait_ms(unsigned ms)
{
    while (ms-- > 0) {
        port_out8(0x61, (uint8_t)((port_in8(0x61) & ~2u) | 1));
        port_out8(0x43, 0xb0);
        port_out8(0x42, PIT_HZ / 1000 & 0xff);
        port_out8(0x42, PIT_HZ / 1000 >> 8);
        while ((port_in8(0x61) & 0x20) == 0) {}
    }
}

void smp_send(uint32_t apic_id, uint32_t command)
{
    if (x2) {
        __asm__ volatile("mfence; lfence" : : : "memory");
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    while ((apic_read(APIC_ICR) & ICR_PENDING) != 0) {}
    apic_write(APIC_ICR_HIGH, apic_id << 24);
    apic_write(APIC_ICR, command);
}

static uint32_t own_id(void)
{
    return x2 ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

/* From smp_start.asm, on the CPU's own stack. A CPU that was here before keeps its index. */
void smp_main(uint32_t cr0, uint32_t edx);
void smp_main(uint32_t cr0, uint32_t edx)
{
    trap_load();
    apic_enable(x2);
    const uint32_t id = own_id();
    unsigned index = 0;
    for (unsigned i = 1; i < SMP_MAX_CPUS && index == 0; i++)
        index = id_of[i] == id ? i : 0;
    if (index == 0) {
        index = __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
        id_of[index] = id;
    }
    smp_first_cr0[index] = cr0;
    smp_first_edx[index] = edx;
    entry_point(index);
    for (;;)
        __asm__ volatile("cli; hlt");
}

unsigned smp_start_at_least(smp_entry *entry, unsigned cpus)
{
    entry_point = entry;
    x2 = apic_is_x2();
    id_of[0] = own_id();
    memcpy((void *)(uintptr_t)TRAMPOLINE, smp_trampoline,
           (size_t)(smp_trampoline_end - smp_trampoline));
    smp_send(0, TO_OTHERS | ICR_INIT);
    wait_ms(10);
    smp_send(0, TO_OTHERS | ICR_SIPI | TRAMPOLINE >> 12);
    wait_ms(1);
    smp_send(0, TO_OTHERS | ICR_SIPI | TRAMPOLINE >> 12);
    wait_ms(20);
    /* Where an emulator's CPUs are threads on a busy machine, each has turns of many ms. */
    for (unsigned i = 0; i < 50 && __atomic_load_n(&arrived, __ATOMIC_SEQ_CST) + 1 < cpus; i++)
        wait_ms(20);
    return __atomic_load_n(&arrived, __ATOMIC_SEQ_CST) + 1;
}

unsigned smp_start(smp_entry *entry)
{
    return smp_start_at_least(entry, 1);
}

uint32_t smp_apic_id(unsigned index)
{
    return id_of[index];
}

void smp_init(unsigned index)
{
    smp_send(id_of[index], ICR_INIT);
    wait_ms(10);
}

void smp_sipi(unsigned index)
{
    smp_send(id_of[index], ICR_SIPI | TRAMPOLINE >> 12);
}
