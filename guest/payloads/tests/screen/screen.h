/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the test of screen and keyboard. */
#pragma once

void check_vga(void);
void check_8042(void);
