/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a flat program: loaded whole where it is wanted, in real, protected or long mode. */
#pragma once

#include "guest/load/program.h"

/* Whether the file has a boot sector's signature. */
bool flat_recognize(struct program *p);
enum status flat_load(struct program *p, struct cpu_state *state);
