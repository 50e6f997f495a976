/* SPDX-License-Identifier: BSD-2-Clause */
/* The end for a host state that cannot be. Nothing that a guest or firmware supplies leads here. */
#pragma once

#include <stdbool.h>

/* Prints message, back-trace, reports the end, and stops the machine. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Called by panic() at its very end (to power the machine off); registered once by boot/main.c. */
void panic_set_final(void (*final)(void));

/* True once panic() has begun: locks may be held by CPUs that are stopped, go without. */
bool panic_is_active(void);

/* The steps of panic(), for the fault handler, which makes its own report between them. The first
 * makes this CPU the one that reports and stops the others; it returns at the first panic and at a
 * fault during that, otherwise not. */
void panic_begin(void);
_Noreturn void panic_end(void);
