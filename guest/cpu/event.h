/* SPDX-License-Identifier: BSD-2-Clause */
/* The format of events in the VMCS: interruption information and interruptibility. */
#pragma once

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
