/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed hardware of ACPI: PM1a event and control block, PM timer, as the 82371AB (PIIX4) has
 * them in its function 00:01.3, which puts them where firmware wants them. (The reset register,
 * port 0xcf9, lies among the PCI ports and is vpci's.) */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"
#include "drivers/virt/vpci.h"

#define VPM_DEVFN     VPCI_DEVFN(1, 3)
#define VPM_PMBASE    0x40 /* of the PCI function: the block's first port, in bits 15:6 */
#define VPM_PMREGMISC 0x80 /* bit 0: the block answers */

/* The block's ports, from PMBASE on, and what else the FADT tells the guest. No SMI command port:
 * ACPI mode is always on. */
#define VPM_PM1A_EVT    0 /* 4 bytes: status, enable */
#define VPM_PM1A_CNT    4 /* 2 bytes */
#define VPM_PM_TIMER    8 /* 4 bytes, all 32 bits count */
#define VPM_RESET_PORT  0xcf9
#define VPM_RESET_VALUE 0x06
#define VPM_SLP_TYP_S5  0
#define VPM_TIMER_HZ    3579545

struct vpm {
    struct vpci_function function;
    uint16_t io_base; /* 0: the block does not answer */
    uint8_t apm[2];   /* ports 0xb2 and 0xb3 */
    uint16_t status, enable, control;
    bool sci_high;
    uint64_t base;       /* clock tick at which the PM timer was 0 */
    uint64_t half_turns; /* of the PM timer, that TMR_STS has seen */
    struct bus *bus;
    struct timers *timers;
    struct timer timer;
    struct irq_line sci; /* high: asserted */
    struct power_line power;
};

/* At power-on the block does not answer: firmware, or vpci_write() in its place, sets PMBASE. */
enum status vpm_init(struct vpm *pm, struct bus *bus, struct vpci *pci, struct timers *timers,
                     struct irq_line sci, struct power_line power);
