/* SPDX-License-Identifier: BSD-2-Clause */
/* What the hardware says of a machine check (SDM, "Machine-Check Architecture"). */
#pragma once

#include <stdbool.h>

/* Logs this CPU's global state and each bank that holds an error, in words as far as the codes are
 * architectural. Any CPU, in the handler of #MC too. */
void mcheck_log(void);

/* In the handler of #MC, or after an exit by it, on any CPU: whether it is another CPU's, as many
 * CPUs are told of each that could not be corrected. Then it is over for this one, which goes on
 * where it was. Nothing is logged, since the handler may have interrupted that: the CPU that it is
 * about, or a panic, tells of it. */
bool mcheck_is_elsewhere(void);

/* After any other machine check that hit a guest on this CPU: logs it, and clears it for the next.
 * False: the CPU's own state is damaged, or nothing tells what is; the host cannot go on. True:
 * what was interrupted is lost, and no more than that. */
bool mcheck_take(void);
