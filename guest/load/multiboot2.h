/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts a multiboot 2 kernel: ELF, or placed by its address tag; moved where it asks for that. */
#pragma once

#include "guest/load/program.h"

/* Whether a header with a right checksum is there. */
bool multiboot2_recognize(struct program *p);
bool multiboot2_explain(struct program *p);
enum status multiboot2_load(struct program *p, struct cpu_state *state);
