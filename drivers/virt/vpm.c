/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI fixed hardware (ACPI specification, "ACPI Hardware Specification"): the registers by which a
 * guest powers itself off and reads the PM timer. */
#include "drivers/virt/vpm.h"

enum { APM_CONTROL = 0xb2 };
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
    unsigned shift = 8 * (port & 1), offset = port - pm->io_base;
    (void)bytes;
    if (offset >= VPM_PM1A_CNT)
        return (uint32_t)pm->control >> shift;
    update_timer(pm);
    return (offset < VPM_PM1A_EVT + 2 ? (uint32_t)pm->status : pm->enable) >> shift;
}

/* Only S5 is declared. A machine that went to sleep otherwise would never wake. */
static void sleep(struct vpm *pm, unsigned type)
{
    if (type == VPM_SLP_TYP_S5)
        power_line_request(&pm->power, VM_POWEROFF, 0, "ACPI S5");
    else
        power_line_request(&pm->power, VM_CRASH, type,
                           "an ACPI sleep state that this machine does not have");
}

static void write_block(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vpm *pm = dev;
    unsigned shift = 8 * (port & 1), offset = port - pm->io_base;
    uint16_t lane = (uint16_t)(0xffu << shift);
    uint16_t bits = (uint16_t)(value << shift);
    (void)bytes;
    if (offset >= VPM_PM1A_CNT) {
        pm->control = (uint16_t)((pm->control & ~lane) | (bits & CNT_KEPT) | CNT_SCI_EN);
        if (shift != 0 && (value & CNT_SLP_EN_HIGH) != 0)
            sleep(pm, pm->control >> 10 & 7);
        return;
    }
    update_timer(pm);
    if (offset < VPM_PM1A_EVT + 2)
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

/* PMBASE or what enables it has changed. Where other ports are in the way, the block is not to be
 * reached. */
static void function_written(void *dev, unsigned offset, unsigned bytes)
{
    struct vpm *pm = dev;
    (void)offset;
    (void)bytes;
    uint16_t base = (uint16_t)(vpci_get(&pm->function, VPM_PMBASE, 2) & 0xffc0);
    if ((pm->function.config[VPM_PMREGMISC] & 1) == 0)
        base = 0;
    if (base == pm->io_base)
        return;
    bus_remove_ports(pm->bus, pm, (uint16_t)(pm->io_base + VPM_PM1A_EVT));
    bus_remove_ports(pm->bus, pm, (uint16_t)(pm->io_base + VPM_PM_TIMER));
    pm->io_base = base;
    if (base == 0)
        return;
    struct port_range ports = {base,       (uint16_t)(base + VPM_PM1A_CNT + 1), 1, pm, read_block,
                               write_block};
    (void)bus_add_ports(pm->bus, &ports);
    ports = (struct port_range){(uint16_t)(base + VPM_PM_TIMER),
                                (uint16_t)(base + VPM_PM_TIMER + 3),
                                4,
                                pm,
                                read_timer,
                                NULL};
    (void)bus_add_ports(pm->bus, &ports);
}

/* APM control and status: a write of the first raises an SMI on a chip set that has SMM. Here both
 * only keep what is written. */
static uint32_t read_apm(void *dev, uint16_t port, unsigned bytes)
{
    (void)bytes;
    return ((struct vpm *)dev)->apm[port - APM_CONTROL];
}

static void write_apm(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)bytes;
    ((struct vpm *)dev)->apm[port - APM_CONTROL] = (uint8_t)value;
}

static const struct vpci_register rows[] = {
    {0x00, 4, 0x71138086, 0},
    {VPCI_COMMAND, 2, 0, 0x0001},
    {0x06, 2, 0x0280, 0},
    {VPCI_CLASS, 4, 0x06800003, 0},
    {VPCI_INTERRUPT_LINE, 2, 0x0100, 0x00ff}, /* the SCI, which is always IRQ 9 */
    {VPM_PMBASE, 4, 1, 0xffc0},
    /* DEVACTB, APMC_EN: SMIs by port 0xb2 are set up. So firmware takes SMM as done and does not
     * wait for an SMI, which never comes. */
    {0x58, 4, 1u << 25, 0},
    {VPM_PMREGMISC, 1, 0, 1},
};

enum status vpm_init(struct vpm *pm, struct bus *bus, struct vpci *pci, struct timers *timers,
                     struct irq_line sci, struct power_line power)
{
    if (timers->hz == 0)
        return ERR_BAD_INPUT;
    *pm = (struct vpm){.control = CNT_SCI_EN,
                       .base = timers_now(timers),
                       .bus = bus,
                       .timers = timers,
                       .sci = sci,
                       .power = power};
    pm->timer = (struct timer){.fire = timer_fired, .dev = pm};
    timers_add(timers, &pm->timer);
    pm->function.dev = pm;
    pm->function.written = function_written;
    enum status s = vpci_add(pci, &pm->function, VPM_DEVFN, rows, sizeof(rows) / sizeof(rows[0]));
    if (s != OK)
        return s;
    return bus_add_ports(
        bus, &(struct port_range){APM_CONTROL, APM_CONTROL + 1, 1, pm, read_apm, write_apm});
}
