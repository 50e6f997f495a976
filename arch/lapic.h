/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's local APIC: end of interrupt, one-shot timer, messages to other CPUs. */
#pragma once

#include "arch/smp.h"

/* There is a CPU whose APIC ID an xAPIC cannot name: x2APIC mode is to be used, if this machine has
 * it. Boot CPU, before lapic_init(). */
void lapic_use_x2apic(void);

/* Whether lapic_send() reaches that ID in the mode that was chosen. */
bool lapic_can_reach(uint32_t apic_id);

/* Enables this CPU's local APIC in the mode (xAPIC or x2APIC) that the firmware left on the boot
 * CPU, or x2APIC where that was asked for, with every local source masked but LINT1 (NMI) and those
 * that make SMIs, which are the firmware's, and stores its ID in cpu_self(). Boot CPU:
 * after desc_init(), before or after the switch to own page tables; it also masks the 8259s. The
 * others come here through smp_start_cpu(). */
void lapic_init(void);

/* Chooses how deadlines are kept: TSC-deadline mode, or one-shot, which is calibrated here for 5 ms
 * on the boot CPU. Boot CPU, before the first lapic_timer_arm() of any; before smp_start_cpu(). */
void lapic_timer_init(uint64_t tsc_hz);

/* True once that has been done. */
bool lapic_timer_is_ready(void);

/* Makes it another vector that lapic_timer_arm() brings on this CPU. After lapic_timer_init(). */
void lapic_timer_use_vector(uint8_t vector);

/* Makes this CPU take VECTOR_TIMER when its TSC reaches the deadline, at once where that has
 * passed. The one-shot timer may fire early where it can't count so far: look at the TSC, arm
 * again. */
void lapic_timer_arm(uint64_t tsc_deadline);

/* End of interrupt; interrupt_handle() does it. */
void lapic_eoi(void);

/* Sends another CPU a message: a vector, or one of these, STARTUP with the page's number. */
void lapic_send(uint32_t apic_id, uint32_t message);
enum { LAPIC_NMI = 0x400, LAPIC_INIT = 0x500, LAPIC_STARTUP = 0x600 };

/* Arms the timer, sleeps until any interrupt has been handled. Interrupts off before and after. */
void cpu_idle_until(uint64_t tsc_deadline);
