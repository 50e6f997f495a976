/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of tests/ring3 share. */
#pragma once

#include "arch/addr.h"

#include <stdbool.h>

#define check(condition) check_line(condition, __FILE__, __LINE__)
void check_line(bool good, const char *file, unsigned line);

/* Instructions executed singly, in these page tables, which are loaded. */
void check_compute(hpa_t root);
