/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which code a vCPU has translated, and whether that is still right: finds or makes the block of an
 * address (cache.h), and has blocks dropped where the guest changes its code, or what its page
 * tables say of it.
 *
 * A page that code was translated of is not writable in the shadow page tables (mm/shadow.h), so a
 * write to it by the processor is noticed before it is done. Writes by the software CPU and by
 * devices are looked at behind them. Either way those vCPUs of the VM that have code of the page
 * are told: each has a list of what has changed, with an entry for each page, which it goes through
 * before it enters translated code; one that is in it is kicked.
 *
 * The race, at both ends. CPU A writes to code, and looks at the code map and at B's pages then;
 * CPU B, which is about to translate it, takes the page up among its own, sets its bit in the map,
 * and reads the code then, in that order. So A sees both, or B reads what A has written. Without
 * the barriers between, B could keep a block of the old code that nobody drops.
 *
 * And: A adds to B's list, and looks whether B is in translated code; B says that it is, and looks
 * at its list. So A kicks B, or B sees the entry. Without the barriers between B could go on with
 * old code until something else ends it.
 *
 * And: the guest's CPU A changes code and then sets a flag; its CPU B sees that, executes IRET,
 * which serialises, and goes on with what A has written. The kick may come later than the flag. So
 * A sets bt_shared.changed, too, before that, and B's IRET leaves translated code if it is set.
 */
#pragma once

#include "guest/bt/cache.h"
#include "guest/bt/site.h"
#include "mm/shadow.h"

struct bt_vcpu;
struct vcpu;
struct vm;

/* Of a vCPU: what has changed of pages that it has code of. Where more pages have than there is
 * room for, all code goes. */
#define BT_CHANGES        512u
#define BT_CHANGE_PLACES  1024u /* a power of two */
#define BT_CHANGE_LOOK_UP 16u   /* places where an entry may be */
struct bt_changes {
    struct spinlock lock;
    uint32_t count; /* atomic: looked at without the lock */
    bool too_many;
    struct bt_change page[BT_CHANGES];
    uint16_t place_of[BT_CHANGES];
    uint16_t place[BT_CHANGE_PLACES]; /* entry, plus 1, by a hash of its page */
};

/* What bt_shared's part about IRET has been made of. */
struct bt_iret {
    struct cpu_segment cs, ss;
    struct cpu_table_register gdtr;
    uint32_t interruptibility;
};

/* Of a vCPU. */
struct bt_code {
    struct bt_cache cache;
    struct bt_iret iret; /* at first of no CS that there is, as its selector is 0 */
    bool inside;         /* in translated code, or about to be; atomic */
    /* Before translated code is entered, or gone on with, bt_code_catch_up() has something to do
     * that this vCPU has asked for: one of the following, or a check of mappings. */
    bool stale;
    bool wants_flush, flushing;
    bool dropping; /* change is what is being dropped */
    struct bt_change change;
    bool window_used; /* the guest has something mapped where the window is */
    struct translate_input input;
    struct bt_changes changes;
    struct bt_sites sites;
    struct translation translation;
    uint8_t bytes[384 + INSN_MAX_BYTES]; /* of the guest's code */
};

/* Room for a vCPU's translations, by the size of the VM's memory and the number of its vCPUs. With
 * the VM's lock held, before its roots are made. ERR_NO_MEMORY: what there is of it stays in
 * code_memory, as other vCPUs may reach it, until bt_code_destroy(), when none of the VM's vCPUs is
 * loaded. */
enum status bt_code_create(struct bt_vcpu *v);
void bt_code_destroy(struct bt_vcpu *v);

/* The block of that address, which is linear and RIP at once; made, if need be. NULL: the software
 * CPU is to carry out the next instruction, for it raises an exception, or is not in RAM, or there
 * is more to be done before it can be translated. Changes have been caught up with. */
struct bt_block *bt_code_find(struct bt_vcpu *v, uint64_t pc);

/* Drops a block, and makes one of at most so many instructions in its place. NULL: as above. */
struct bt_block *bt_code_shorten(struct bt_vcpu *v, struct bt_block *block, unsigned insns);

/* All of it is to be dropped. */
static inline void bt_code_want_flush(struct bt_code *code)
{
    code->wants_flush = code->stale = true;
}

/* Does what has been asked for: drops what has changed, or all; the blocks are of that mode from
 * then on. Before translated code is entered. False: a portion is done, look at what else there is
 * and call again. */
bool bt_code_catch_up(struct bt_vcpu *v, enum insn_mode mode);
/* Translated code has been left. */
static inline void bt_code_leave(struct bt_code *code)
{
    __atomic_store_n(&code->inside, false, __ATOMIC_RELEASE);
}

/* The guest has flushed translations of all linear addresses, or but the global ones; or of one. */
void bt_code_check(struct bt_vcpu *v, bool all);
void bt_code_check_one(struct bt_vcpu *v, gva_t linear);

/* Guest memory has been written to, by the software CPU of that vCPU, which is the calling CPU's,
 * or by a device (NULL): then on any CPU. */
void bt_code_written(struct vm *vm, struct vcpu *by, gpa_t at, uint64_t bytes);

/* The processor is about to write to a page that has code (SHADOW_CODE). The software CPU is to
 * carry out that store, and what it writes to is dropped. But where that comes again and again, all
 * of the page's blocks go, so that the processor can do the next ones; or, where that has come
 * again and again, code and data are mixed in it, and it stays as it is. */
void bt_code_give_up(struct bt_vcpu *v, gpa_t page);
