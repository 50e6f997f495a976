/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's second serial port, which no guest has a way to: the hypervisor's reports go out there
 * (arch/report.h), and whoever has started the machine asks there where the VMs stand. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens the port (base 0: none). False: no 16550 is there. Boot CPU, once. */
bool report_port_init(uint16_t base);

/* Takes a line, given in two parts, if it has room for all of it: false if not. Any CPU. */
bool report_port_take(const char *first, size_t first_length, const char *rest, size_t rest_length);

/* Moves what needs no waiting, both ways. Any CPU. */
void report_port_poll(void);

/* Whether a report of any length would be taken now: whoever makes them without end waits for that,
 * with no lock held. Any CPU. */
bool report_port_has_room(void);

/* How often the byte '?' has come: it asks where the VMs stand. Any CPU. */
uint32_t report_port_requests(void);

/* Waits until all has left, at most some seconds at this rate of the TSC: the machine ends. */
void report_port_flush(uint64_t tsc_hz);
