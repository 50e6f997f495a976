/* SPDX-License-Identifier: BSD-2-Clause */
/* The other CPUs of the machine, for payloads: started by INIT and SIPI into 64-bit mode. */
#pragma once

#include <stdint.h>

#define SMP_MAX_CPUS 64

/* What a started CPU runs, in 64-bit mode with interrupts off, on a stack of its own; its APIC is
 * in the mode of the first CPU's and software-enabled. index: 1, 2, ... in the order of their
 * coming. It does not return. */
typedef void smp_entry(unsigned index);

/* Sends INIT and two SIPIs to all others, waits 20 ms for those that come, and returns how many
 * CPUs there are with this one. apic_enable() comes before. Call it once. */
unsigned smp_start(smp_entry *entry);

/* The same where so many are known to be there, which may come late. */
unsigned smp_start_at_least(smp_entry *entry, unsigned cpus);

/* The x2APIC or APIC ID of a CPU by its index, 0 being the first. */
uint32_t smp_apic_id(unsigned index);

/* INIT or SIPI to one CPU that has been started: it comes back into entry with the same index. */
void smp_init(unsigned index);
void smp_sipi(unsigned index);

/* Writes the interrupt command register. */
void smp_send(uint32_t apic_id, uint32_t command);

/* What CR0 and EDX were behind the last SIPI of a CPU, as its first instruction found them. */
extern uint32_t smp_first_cr0[SMP_MAX_CPUS], smp_first_edx[SMP_MAX_CPUS];
