/* SPDX-License-Identifier: BSD-2-Clause */
/* The guests' consoles on the host's: one VM has it raw; of several, lines bear the VM's name. Of a
 * VM with console = vga, the screen is drawn while the keyboard belongs to it, over what others
 * print; of the last picture each such VM's lines are printed at its end. */
#pragma once

#include "guest/monitor/host_console.h"
#include "guest/pc/pc.h"

/* *console stays where it is. */
void vm_console_init(const struct host_console *console);

/* A VM will be opened: with another one, the console is shared from now on. */
void vm_console_expect(uint32_t index);

/* A VM is about to be made for the first time: it has a ring, if there is memory for one, and is
 * among those that the keyboard may belong to, which is the first of them by index. */
enum status vm_console_open(uint32_t index);

/* The console of VM number index, for pc_create(). */
struct pc_console vm_console_of(uint32_t index, const struct vm_config *config);

/* One of its lives is about to begin. */
void vm_console_begin(uint32_t index, struct pc *pc);

/* Gives out what is left of a line, or the last screen as text, before the hypervisor reports the
 * end of the VM. */
void vm_console_end(uint32_t index, struct pc *pc);

/* The VM has ended for good: the keyboard goes to the next one, its ring when all has left. */
void vm_console_close(uint32_t index);
