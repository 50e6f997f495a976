/* SPDX-License-Identifier: BSD-2-Clause */
/* The guests' consoles on the host's: one VM has it raw; of several, lines bear the VM's name. */
#pragma once

#include "guest/pc.h"

void vm_console_init(uint32_t vm_count);

/* The console of VM number index, for pc_create(). */
struct pc_console vm_console_of(uint32_t index, const char *name);

/* Gives out what is left of a line, before the hypervisor reports the end of the VM. */
void vm_console_flush(uint32_t index);

/* The VM has ended for good: the keyboard goes to the next one. */
void vm_console_close(uint32_t index);
