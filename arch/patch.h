/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of the hypervisor's own code at start, so that a longer way that only some CPUs need
 * costs the others nothing. */
#pragma once

/* Has the function at begin with a jump to the other one: five bytes are overwritten. On the boot
 * CPU, before another one has been started, interrupts off; nobody may be within those bytes. */
void patch_jump(void (*at)(void), void (*to)(void));

/* Has all indirect calls and jumps go by RET (arch/thunks.asm). As patch_jump(). */
void thunks_harden(void);
