/* SPDX-License-Identifier: BSD-2-Clause */
/* The stack protector: what the compiler puts between a function's arrays and its return address,
 * and looks at before it returns (-fstack-protector-strong). */
#pragma once

/* Chooses the value for this boot. The boot CPU's first step: a function that has begun before must
 * not return, and there are no other CPUs yet. */
void canary_init(void);
