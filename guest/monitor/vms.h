/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMs of nadir.cfg, each from its section to its end: made, started, restarted as the section
 * says, destroyed. */
#pragma once

#include "guest/config.h"
#include "guest/monitor/host_console.h"
#include "guest/pc/pc.h"

/* How it all ended, worst last: what the line "nadir-end: " says. */
enum vms_outcome { VMS_OK, VMS_FAILED, VMS_CONFIG_ERROR };

/* Before any VM is made. config, with the places of its files, *host and *console stay where they
 * are. image_bytes: of the hypervisor itself, for the memory that a VM's start prints. */
void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host,
              const struct host_console *console);

/* Makes and starts the VMs that have start = yes. When all have ended, sched_stop() is called. Boot
 * CPU, before it calls sched_run(). */
void vms_start(void);

/* Makes and starts the VM of one section, which is neither running nor about to. From any CPU, with
 * no lock held. False: it could not be made; a line in the log says why. */
bool vms_start_one(uint32_t index);

/* How it all ended, after sched_run(). */
enum vms_outcome vms_outcome(void);
