/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of this test. */
#pragma once

void check_instructions(void);
void check_memory(void);
void check_ports(void);
