/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC by itself: its timer, priorities, IPIs, NMI, and waking up. */
#pragma once

/* In the mode that it is in; mode is its name. */
void check_local_apic(const char *mode);
