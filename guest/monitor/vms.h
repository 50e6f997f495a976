/* SPDX-License-Identifier: BSD-2-Clause */
/* VMs, each from its section to its end: made, started, restarted as the section says, destroyed.
 * Sections are those of nadir.cfg, and others that are added while the machine runs. */
#pragma once

#include "guest/config.h"
#include "guest/monitor/host_console.h"
#include "guest/pc/pc.h"

/* How it all ended, worst last: what Nadir reports at its end. */
enum vms_outcome { VMS_OK, VMS_FAILED, VMS_CONFIG_ERROR };

/* Before any VM is made. config, with the places of its files, *host and *console stay where they
 * are. image_bytes: of the hypervisor itself, for the memory that a VM's start prints. */
void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host,
              const struct host_console *console);

/* Makes and starts the VMs that have start = yes. When all have ended, sched_stop() is called. Boot
 * CPU, before it calls sched_run(). */
void vms_start(void);

/*
 * For a monitor. From any CPU with no lock held, while the machine runs; a section is called by its
 * index, which is the place in nadir.cfg, or what vms_add() has said. ERR_BAD_INPUT: there is no
 * such section, or it is not in the state for that.
 */

/* Adds a section: the text of one [vm NAME], whose files are among those that nadir.cfg names, but
 * for disks and firmware. Its `start` is not looked at. On failure *error says what is wrong where,
 * and nothing has changed. */
enum status vms_add(const char *text, size_t length, uint32_t *index, struct config_error *error);

/* Makes and starts the VM of a section that has none; it cannot be made: a line in the log says
 * why. ERR_LIMIT: max_vms are there. ERR_DENIED: destroyed meanwhile, or the machine ends. */
enum status vms_start_one(uint32_t index);

/* Asks for the end of a section's VM, soon, and that no other life follows. */
enum status vms_destroy(uint32_t index);

/* Forgets a section that was added, and has no VM now. */
enum status vms_remove(uint32_t index);

/* How it all ended, after sched_run(). */
enum vms_outcome vms_outcome(void);
