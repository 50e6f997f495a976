/* SPDX-License-Identifier: BSD-2-Clause */
/* The PC's own keyboard, by polling its controller (8042). USB keyboards answer here where the
 * firmware emulates one. */
#pragma once

#include <stdbool.h>

/* Makes the keyboard send set 1 without interrupts; false where there is no controller. Waits 50 ms
 * at most. */
bool ps2_init(void);

/* What has been typed since, a string of at most KEYMAP_MAX bytes valid until the next call, or
 * NULL. Never waits. */
const char *ps2_read(void);
