/* SPDX-License-Identifier: BSD-2-Clause */
/* Status and control word of the guest's x87 unit, which is the CPU's while its vCPU is loaded. */
#pragma once

#include "arch/cpu.h"

#define X87_STOPS_STORES 0x1fu /* exceptions but inexactness */

#if __STDC_HOSTED__
uint16_t ring3_x87_status(void); /* a unit test's */
uint16_t ring3_x87_control(void);
#else
static inline uint16_t ring3_x87_status(void)
{
    return cpu_fnstsw();
}

static inline uint16_t ring3_x87_control(void)
{
    return cpu_fnstcw();
}
#endif
