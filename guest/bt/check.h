/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `bt = check`: is what translated code does what the software CPU makes of the guest's? A block is
 * done twice the first BT_CHECK_RUNS times that it comes. First the software CPU carries it out on
 * a copy of the registers, and writes to memory into a list, which it reads from, too; then the
 * processor runs the translation. Registers and the memory that is in the list have to be the same
 * where that has ended: behind the block, or before an instruction that it does not do. The first
 * difference ends the VM, with the block printed.
 *
 * Such a block is run by itself: no slot leads to it, or from it, and the look-up table has neither
 * it nor the one that it leads to; events come before and behind it, or where there is no time for
 * more of it. Later it runs as all do without this option. What could not be compared begins or
 * ends a block of its own, since a block that has such an instruction is made anew, so that it ends
 * before it: the time-stamp counter, vector and x87 registers, a flag that the SDM leaves undefined
 * and that is then looked at, more than the list holds. That one instruction runs unlooked at. So
 * does what the software CPU finds unmapped, as translations may be kept that the guest's tables no
 * longer have, a REP that has come half the way, and a branch to no canonical address, whose #GP
 * translated code raises at the target. Before an instruction that is left to the software CPU, and
 * loads all flags, they are not looked at: a template for POPF has begun to, and QEMU's emulation
 * has where a LOCK XADD meets a page fault.
 *
 * Blocks of such a VM are straight lines: all their jumps lead out (translate_input.apart), so that
 * it is known how far the processor has come. Jumps within blocks are what this does not see.
 *
 * One vCPU: what others write would be a difference.
 */
#pragma once

#include "guest/bt/cache.h"
#include "guest/cpu/interpret.h"

#include <stddef.h>

struct bt_vcpu;

#define BT_CHECK_STORES 1024u
#define BT_CHECK_RUNS   16u

struct bt_check_store {
    gpa_t at; /* in one page */
    uint8_t bytes, insn;
    uint8_t data[32];
};

/* What translated code changes; undefined: flags that are nobody's. */
struct bt_check_state {
    uint64_t gpr[16], rip, rflags, undefined, gs_base, kernel_gs_base;
    uint32_t interruptibility;
};

/* Why the software CPU has stopped before an instruction. */
enum bt_check_stop {
    BT_CHECK_GOES_ON,
    BT_CHECK_CUT,      /* no comparison: the block is to end before it */
    BT_CHECK_DEVICE,   /* no RAM */
    BT_CHECK_UNMAPPED, /* by the guest's tables, as they are now */
    BT_CHECK_RAISED,   /* another exception */
    BT_CHECK_POLICY,   /* it is not the software CPU's to do alone */
};

struct bt_check {
    struct cpu_state state; /* the copy */
    struct interpret_env env;
    struct bt_check_state after[TRANSLATE_MAX_INSNS + 1]; /* so many instructions */
    uint64_t repeats, loads_flags; /* instructions that are REPs, and that load all flags: bits */
    unsigned known;                /* instructions carried out */
    enum bt_check_stop stop;
    bool comparing; /* from bt_check_begin() to bt_check_end() */
    bool behind;    /* the processor has left the block behind its end: bt_check_end() */
    unsigned stores;
    struct bt_check_store store[BT_CHECK_STORES];
};

/* v->check. ERR_NO_MEMORY. */
enum status bt_check_create(struct bt_vcpu *v);
void bt_check_destroy(struct bt_vcpu *v);

/* Before a block is entered: the software CPU's part. Returns the block that is to be entered,
 * which may be a shorter one; or NULL: none could be made (bt_code_find()). */
struct bt_block *bt_check_begin(struct bt_vcpu *v, struct bt_block *block);
/* It has been left, and v->state is whole. */
void bt_check_end(struct bt_vcpu *v, struct bt_block *block);

static inline bool bt_check_is_comparing(const struct bt_check *c)
{
    return c != NULL && c->comparing;
}

/* Whether a block is to be compared still, before it may be led to. */
static inline bool bt_check_wants(const struct bt_check *c, const struct bt_block *block)
{
    return c != NULL && (c->comparing || block->compared < BT_CHECK_RUNS);
}

/* check_print.c: what differs, and ends the VM. done: so many instructions have been carried out;
 * what: in words. */
void bt_check_print(struct bt_vcpu *v, const struct bt_block *block, unsigned done,
                    const char *what);
/* check.c: whether the memory that a store went to is not as it is to be after so many
 * instructions; is[]: what is there. */
bool bt_check_store_differs(const struct bt_vcpu *v, unsigned number, unsigned done,
                            uint8_t is[32]);
/* Bits of registers, and of flags after so many instructions, that count. */
uint64_t bt_check_mask(const struct bt_vcpu *v);
uint64_t bt_check_flags(const struct bt_check *c, unsigned done);
