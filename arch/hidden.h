/* SPDX-License-Identifier: BSD-2-Clause */
/* The compiler reads this before every file of the hypervisor: all names are the image's own, so
 * their addresses are computed from RIP and not looked up in a table that a linker would fill. */
#pragma once

#pragma GCC visibility push(hidden)
