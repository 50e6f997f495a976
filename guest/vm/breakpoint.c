/* SPDX-License-Identifier: BSD-2-Clause */
/* Compares an emulated access with the guest's DR0 to DR3 (SDM, "Debug Registers"). */
#include "guest/vm/breakpoint.h"

#include "arch/x86.h"

uint64_t breakpoint_match(const struct emulate_context *ctx, enum breakpoint_kind kind,
                          uint64_t address, unsigned bytes)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    const uint64_t dr7 = ctx->dr7;
    const bool io_known = (ctx->paging.cr4 & CR4_DE) != 0;
    struct cpu_state state;
    uint64_t hit = 0;
    ctx->vcpu->engine->get_state(ctx->vcpu, STATE_DEBUG, &state);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned matches = dr7 >> (16 + 4 * i) & 3;
        const unsigned length = lengths[dr7 >> (18 + 4 * i) & 3];
        const bool same_kind = kind == BREAKPOINT_IO
                                   ? io_known && matches == BREAKPOINT_IO
                                   : matches == (unsigned)kind || matches == BREAKPOINT_READ;
        if ((dr7 >> 2 * i & 3) == 0 || !same_kind)
            continue;
        const uint64_t start = state.dr[i] & ~(uint64_t)(length - 1);
        if (address < start + length && start < address + bytes)
            hit |= 1ull << i;
    }
    return hit != 0 ? hit | PENDING_DEBUG_ENABLED : 0;
}
