/* SPDX-License-Identifier: BSD-2-Clause */
/* Compares an emulated access with the guest's DR0 to DR3 (SDM, "Debug Registers"). */
#include "guest/vm/breakpoint.h"

#include "arch/cpu.h"

#define PENDING_ENABLED (1ull << 12) /* of the pending debug exceptions: one that DR7 enables */

static uint64_t breakpoint_address(unsigned number)
{
    uint64_t value;
    switch (number) {
    case 0: __asm__ volatile("mov %%dr0, %0" : "=r"(value)); return value;
    case 1: __asm__ volatile("mov %%dr1, %0" : "=r"(value)); return value;
    case 2: __asm__ volatile("mov %%dr2, %0" : "=r"(value)); return value;
    default: __asm__ volatile("mov %%dr3, %0" : "=r"(value)); return value;
    }
}

void breakpoint_note(enum breakpoint_kind kind, uint64_t address, unsigned bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint64_t dr7 = vmread(VMCS_GUEST_DR7), hit = 0;
    bool io_known = (vmread(VMCS_GUEST_CR4) & CR4_DE) != 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned matches = dr7 >> (16 + 4 * i) & 3, length = lengths[dr7 >> (18 + 4 * i) & 3];
        bool same_kind = kind == BREAKPOINT_IO
                             ? io_known && matches == BREAKPOINT_IO
                             : matches == (unsigned)kind || matches == BREAKPOINT_READ;
        if ((dr7 >> 2 * i & 3) == 0 || !same_kind)
            continue;
        uint64_t start = breakpoint_address(i) & ~(uint64_t)(length - 1);
        if (address < start + length && start < address + bytes)
            hit |= 1ull << i;
    }
    if (hit != 0)
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_ENABLED | hit);
}
