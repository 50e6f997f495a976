/* SPDX-License-Identifier: BSD-2-Clause */
/* What firmware does to the chips of a PC before it starts a program, for a PC without firmware. */
#pragma once

#include "guest/pc/pc.h"

/* Its devices are as at power-up: pc_create(). */
void pc_set_up(struct pc *pc);
