/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a Linux bzImage by the 64-bit entry of its boot protocol, or by the 32-bit entry where
 * there is no other. */
#pragma once

#include "guest/load/program.h"

/* Whether the file claims to be a Linux kernel (it may still be malformed). */
bool linux_recognize(struct program *p);
enum status linux_load(struct program *p, struct cpu_state *state);
