/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMs of nadir.cfg: each waits for a free CPU, runs there to its end, may be restarted. */
#pragma once

#include "arch/percpu.h"
#include "boot/handoff.h"
#include "guest/pc.h"

/* How it all ended, worst last: what the line "nadir-end: " says. */
enum vms_outcome { VMS_OK, VMS_FAILED, VMS_CONFIG_ERROR };

/* The list of work, before any CPU looks at it. Both must stay where they are. */
void vms_init(const struct handoff *handoff, const struct pc_host *host);

/* Takes VM after VM until none waits. Any CPU in VMX operation. */
void vms_work(struct cpu *cpu);

/* Waits for the end of the VMs on other CPUs, says how. Boot CPU, after its vms_work(). */
enum vms_outcome vms_wait_for_all(void);
