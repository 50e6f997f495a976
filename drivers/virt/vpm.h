/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed hardware of ACPI: PM1a event and control block, PM timer. (The reset register, port
 * 0xcf9, lies among the PCI ports and is vpci's.) */
#pragma once

#include "vmx/bus.h"
#include "vmx/lines.h"
#include "vmx/timers.h"

/* What the FADT and the DSDT tell the guest. No SMI command port: ACPI mode is always on. */
#define VPM_PM1A_EVT    0x600 /* 4 bytes: status, enable */
#define VPM_PM1A_CNT    0x604 /* 2 bytes */
#define VPM_PM_TIMER    0x608 /* 4 bytes, all 32 bits count */
#define VPM_RESET_PORT  0xcf9
#define VPM_RESET_VALUE 0x06
#define VPM_SLP_TYP_S5  5
#define VPM_TIMER_HZ    3579545

struct vpm {
    uint16_t status, enable, control;
    bool sci_high;
    uint64_t base;       /* clock tick at which the PM timer was 0 */
    uint64_t half_turns; /* of the PM timer, that TMR_STS has seen */
    struct timers *timers;
    struct timer timer;
    struct irq_line sci; /* high: asserted */
    struct power_line power;
};

enum status vpm_init(struct vpm *pm, struct bus *bus, struct timers *timers, struct irq_line sci,
                     struct power_line power);
void vpm_reset(struct vpm *pm);
