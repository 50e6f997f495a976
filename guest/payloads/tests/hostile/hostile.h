/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of this test. */
#pragma once

void check_instructions(void);
void check_hidden(void); /* what this virtual CPU lacks, and a real one may have */
void check_memory(void);
void check_ports(void);
