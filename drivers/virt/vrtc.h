/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818 real-time clock and the CMOS memory of a PC, ports 0x70 and 0x71. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"

#define VRTC_CENTURY 0x32 /* the FADT's CENTURY field */

struct vrtc {
    uint8_t ram[128]; /* registers and memory */
    uint8_t index;
    bool nmi_masked; /* bit 7 of port 0x70 */
    bool irq_high;
    uint64_t base;    /* clock tick at which a second began */
    uint64_t seconds; /* whole seconds since base that the registers have seen */
    uint64_t periods; /* the same for the periodic flag, in its periods */
    uint32_t owed;    /* periods that the host was too late for, and that are still to be given */
    struct timers *timers;
    struct timer timer;
    struct irq_line irq;
};

/* epoch: time of day, seconds since 1970 (UTC). below_4g, above_4g: the guest's RAM in bytes. */
enum status vrtc_init(struct vrtc *rtc, uint64_t epoch, uint64_t below_4g, uint64_t above_4g,
                      struct bus *bus, struct timers *timers, struct irq_line irq);

/* After vrtc_init(): the clock goes on as that of the same machine before a reset, whose memory it
 * has, too. Of all that a reset only takes away what was enabled to interrupt. */
void vrtc_keep(struct vrtc *rtc, const struct vrtc *before);
