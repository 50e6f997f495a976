/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts an ELF kernel by Xen's PVH entry: hypervisors and unikernels, and a Linux vmlinux. */
#pragma once

#include "guest/load/program.h"

/* Whether it is an ELF file with the note that names the entry. */
bool pvh_recognize(struct program *p);
enum status pvh_load(struct program *p, struct cpu_state *state);
