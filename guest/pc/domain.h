/* SPDX-License-Identifier: BSD-2-Clause */
/* A paravirtualised domain in the place of a virtual PC: RAM, a page that it shares with its
 * engine, a console, and none of a PC's devices. */
#pragma once

#include "guest/pc/pc.h"

/* It has its memory, CPUID table and vCPUs. Loads its kernel and fills in pc->boot and vm.domain; a
 * failure has its line in the log. In its page tables (guestspace_enter()). */
enum status domain_make(struct pc *pc, const struct vm_config *config, const struct pc_host *host);

/* What is typed comes in, and what waits for room on the user's side goes out. With the VM's lock
 * held, in its page tables. */
void domain_poll(struct pc *pc);
