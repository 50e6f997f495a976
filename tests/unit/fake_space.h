/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables of VMs (mm/guestspace.h) for unit tests: the RAM of a VM that no CPU of fake_host.h
 * works for is memory that this process cannot touch. */
#pragma once

#include "mm/guestspace.h"

/* The root that the CPU whose code runs is in; hpa(0): the hypervisor's. */
hpa_t fake_space_root(void);
