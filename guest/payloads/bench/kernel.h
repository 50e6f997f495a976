/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows that need of a kernel what the payload's start has not: see kernel.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Rounds at CPL 3, with a system call, #PF and #DE that lead to rounds.asm. False: they have ended
 * by another exception. */
bool kernel_run_user(void (*rounds)(uint32_t *, uint64_t), uint32_t *stamps, uint64_t count);

/* Maps the page for the row ptemod. False: a change of its entry does not show. */
bool kernel_map_page(void);
