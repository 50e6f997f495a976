/* SPDX-License-Identifier: BSD-2-Clause */
/* Events on their way into a guest, in one format, which is the VMCS's; and what a second event in
 * the delivery of a first makes of both. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* VM-entry interruption information (SDM, "VM-Entry Controls for Event Injection"). */
#define EVENT_VALID               (1u << 31)
#define EVENT_ERROR_CODE          (1u << 11)
#define EVENT_TYPE_MASK           (7u << 8)
#define EVENT_INTERRUPT           (0u << 8)
#define EVENT_NMI                 (2u << 8)
#define EVENT_EXCEPTION           (3u << 8)
#define EVENT_SOFTWARE_INTERRUPT  (4u << 8)
#define EVENT_PRIVILEGED_SOFTWARE (5u << 8) /* INT1 */
#define EVENT_SOFTWARE_EXCEPTION  (6u << 8) /* INT3, INTO */

/* Interruptibility state. */
#define BLOCKED_BY_STI    (1u << 0)
#define BLOCKED_BY_MOV_SS (1u << 1)
#define BLOCKED_BY_NMI    (1u << 3)

struct event {
    uint32_t info;   /* EVENT_..., the vector in the low byte; 0: none */
    uint32_t error;  /* the error code, with EVENT_ERROR_CODE */
    uint32_t length; /* of the instruction that raises it, for the software types */
};

/* One whose delivery led to a triple fault; all zero where it is not known. */
struct undelivered {
    struct event event; /* the first one: not the #DF that came of it */
    uint64_t address;   /* of #PF */
};

/* What becomes of an exception that is raised while `first` (which may be none) is being delivered
 * (SDM, "Interrupt 8—Double Fault Exception (#DF)"). False: a triple fault. */
bool event_combine(const struct event *first, struct event *exception);
