/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMs of nadir.cfg: each waits for a free CPU, takes more for its other vCPUs where they are
 * free, runs there to its end, may be restarted. */
#pragma once

#include "arch/percpu.h"
#include "guest/pc/pc.h"

/* How it all ended, worst last: what the line "nadir-end: " says. */
enum vms_outcome { VMS_OK, VMS_FAILED, VMS_CONFIG_ERROR };

/* The list of work, before any CPU looks at it. Both must stay where they are. image_bytes: of the
 * hypervisor, for the line about its memory. */
void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host);

/* Leads VMs or helps with others', until all have ended. Every CPU in VMX operation; begins when
 * all CPUs are there. */
void vms_work(struct cpu *cpu);

/* From a CPU that cannot work: it is not waited for. */
void vms_arrive(void);

/* How it all ended, after vms_work(). */
enum vms_outcome vms_outcome(void);
