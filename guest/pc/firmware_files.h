/* SPDX-License-Identifier: BSD-2-Clause */
/* What fw_cfg and the CMOS memory tell: memory and CPUs to every guest, and to firmware the ACPI
 * tables, the disks to boot from, and where its console is. */
#pragma once

#include "guest/config.h"

#include "arch/status.h"

struct pc;

/* For any guest: what kernels for virtual machines ask for. */
enum status firmware_facts_init(struct pc *pc, const struct vm_config *config);

/* For firmware, which also wants files. */
enum status firmware_files_init(struct pc *pc, const struct vm_config *config);
