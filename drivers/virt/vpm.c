/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI fixed hardware (ACPI specification, "ACPI Hardware Specification"): the registers by which a
 * guest powers itself off and reads the PM timer. */
#include "drivers/virt/vpm.h"

enum { TIMER = 0x0001 }; /* the same bit in status and enable */
enum { ENABLE_BITS = 0x0721, CNT_SCI_EN = 0x0001, CNT_SLP_EN_HIGH = 0x20 };
enum { CNT_KEPT = 0x1c02 }; /* SLP_TYP, BM_RLD */

#define HALF_TURN (UINT64_C(1) << 31)

static void update_sci(struct vpm *pm)
{
    bool high = pm->status & pm->enable;
    if (high != pm->sci_high) {
        pm->sci_high = high;
        irq_line_set(&pm->sci, high);
    }
}

static uint64_t pm_cycles(const struct vpm *pm)
{
    return timers_cycles_since(pm->timers, pm->base, VPM_TIMER_HZ);
}

/* TMR_STS is set whenever the top bit of the timer changes. */
static void update_timer(struct vpm *pm)
{
    uint64_t half_turns = pm_cycles(pm) / HALF_TURN;
    if (half_turns != pm->half_turns)
        pm->status |= TIMER;
    pm->half_turns = half_turns;
    uint64_t deadline = TIMER_NEVER;
    if (pm->enable & TIMER)
        deadline =
            timers_cycle_start(pm->timers, pm->base, VPM_TIMER_HZ, (half_turns + 1) * HALF_TURN);
    timers_arm(pm->timers, &pm->timer, deadline);
    update_sci(pm);
}

static void timer_fired(void *dev, uint64_t now)
{
    (void)now;
    update_timer(dev);
}

static uint32_t read_block(void *dev, uint16_t port, unsigned bytes)
{
    struct vpm *pm = dev;
    unsigned shift = 8 * (port & 1);
    (void)bytes;
    if (port >= VPM_PM1A_CNT)
        return (uint32_t)pm->control >> shift;
    update_timer(pm);
    return (port < VPM_PM1A_EVT + 2 ? (uint32_t)pm->status : pm->enable) >> shift;
}

static void write_block(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vpm *pm = dev;
    unsigned shift = 8 * (port & 1);
    uint16_t lane = (uint16_t)(0xffu << shift);
    uint16_t bits = (uint16_t)(value << shift);
    (void)bytes;
    if (port >= VPM_PM1A_CNT) {
        pm->control = (uint16_t)((pm->control & ~lane) | (bits & CNT_KEPT) | CNT_SCI_EN);
        if (shift != 0 && (value & CNT_SLP_EN_HIGH) && (pm->control >> 10 & 7) == VPM_SLP_TYP_S5)
            power_line_request(&pm->power, VM_POWEROFF, 0, "ACPI S5");
        return;
    }
    update_timer(pm);
    if (port < VPM_PM1A_EVT + 2)
        pm->status &= (uint16_t)~bits; /* a 1 clears */
    else
        pm->enable = (uint16_t)((pm->enable & ~lane) | (bits & ENABLE_BITS));
    update_timer(pm);
}

static uint32_t read_timer(void *dev, uint16_t port, unsigned bytes)
{
    (void)bytes;
    return (uint32_t)pm_cycles(dev) >> (8 * (port & 3));
}

void vpm_reset(struct vpm *pm)
{
    pm->status = pm->enable = 0;
    pm->control = CNT_SCI_EN;
    pm->base = timers_now(pm->timers);
    pm->half_turns = 0;
    timers_arm(pm->timers, &pm->timer, TIMER_NEVER);
    update_sci(pm);
}

enum status vpm_init(struct vpm *pm, struct bus *bus, struct timers *timers, struct irq_line sci,
                     struct power_line power)
{
    if (timers->hz == 0)
        return ERR_BAD_INPUT;
    *pm = (struct vpm){.timers = timers, .sci = sci, .power = power};
    pm->timer = (struct timer){.fire = timer_fired, .dev = pm};
    timers_add(timers, &pm->timer);
    vpm_reset(pm);
    enum status s = bus_add_ports(
        bus, &(struct port_range){VPM_PM1A_EVT, VPM_PM1A_CNT + 1, 1, pm, read_block, write_block});
    if (s != OK)
        return s;
    return bus_add_ports(
        bus, &(struct port_range){VPM_PM_TIMER, VPM_PM_TIMER + 3, 4, pm, read_timer, NULL});
}
