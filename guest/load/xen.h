/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a 64-bit ELF kernel by Xen's PV entry, as a domain that the engine pv runs. */
#pragma once

#include "guest/load/program.h"

/* Whether it is an ELF file that names such an entry. */
bool xen_recognize(struct program *p);

/* Why a file has none; returns ERR_BAD_INPUT. */
enum status xen_refuse(struct program *p);

/* The memory is [0, memory_bytes) and XEN_BEHIND_PAGES. Fills in p->xen, too. */
enum status xen_load(struct program *p, struct cpu_state *state);
