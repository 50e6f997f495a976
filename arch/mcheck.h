/* SPDX-License-Identifier: BSD-2-Clause */
/* What the hardware says of a machine check (SDM, "Machine-Check Architecture"). */
#pragma once

/* Logs this CPU's global state and each bank that holds an error, in words as far as the codes are
 * architectural. Any CPU, in the handler of #MC too. */
void mcheck_log(void);
