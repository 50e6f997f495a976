/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC by itself. */
#pragma once

/* In the mode that it is in; mode is its name. */
void check_local_apic(const char *mode);

/* In xAPIC mode: which writes are errors. */
void check_register_errors(void);

/* In xAPIC mode: moves the registers and moves them back. */
void check_moved_apic(void);

/* Where no registers are at the usual address: outside of xAPIC mode. */
void check_absent_apic(const char *mode);
