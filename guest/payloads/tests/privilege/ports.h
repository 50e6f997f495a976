/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Port accesses at CPL 3. Behind user_init(). */
void check_ports(void);
