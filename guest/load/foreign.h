/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that people take for kernels, by the letters that their formats begin with. Pure. */
#pragma once

#include "guest/load/program.h"

/* Whether the file is of a format that is known and no kernel's: then p->why says what to do. */
bool foreign_explain(struct program *p);
