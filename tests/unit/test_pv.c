// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's hypercalls: on page tables, and several in one. What is right is what
 * Xen answers, and what of it Linux counts on. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pv_test.h"

/* Calls of vCPU 0; a call that goes on in portions is made again until it ends. */
static unsigned portions;
static void set_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct ring3_frame *f = &vcpus[0].frame;
    f->gpr[RAX] = number;
    f->gpr[RDI] = a, f->gpr[RSI] = b, f->gpr[RDX] = c, f->gpr[R10] = d;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct ring3_frame *f = &vcpus[0].frame;
    const uint64_t rip = f->rip;
    set_call(number, a, b, c, d);
    for (portions = 1;; portions++) {
        execute(&vcpus[0]);
        if (f->rip != rip)
            return (int64_t)f->gpr[RAX];
        assert_int_equal(f->gpr[RAX], number);
        assert_true(portions < 10000);
    }
}

static int64_t mmu_update(uint64_t ptr, uint64_t val)
{
    put(ARGS, ptr);
    put(ARGS + 8, val);
    return call(1, ARGS, 1, 0, XEN_DOMID_SELF);
}

static int64_t mmuext(uint32_t cmd, uint64_t arg1, uint64_t arg2)
{
    put(ARGS, cmd);
    put(ARGS + 8, arg1);
    put(ARGS + 16, arg2);
    return call(26, ARGS, 1, 0, XEN_DOMID_SELF);
}

/* The entry of level 1 of a page. */
static uint64_t leaf(uint64_t linear)
{
    return LEAVES + linear / PAGE_SIZE * 8;
}

static void test_mmu_update(void **state)
{
    (void)state;
    const uint64_t at = leaf(0x30000);
    assert_int_equal(mmu_update(at, 0x31007), 0);
    assert_int_equal(get(at), 0x31007);
    put(at, 0x31067); /* A and D are the CPU's */
    assert_int_equal(mmu_update(at | XEN_MMU_PTE_KEEP_AD, 0x32005), 0);
    assert_int_equal(get(at), 0x32065);
    assert_int_equal(mmu_update(at, 0x32005), 0);
    assert_int_equal(get(at), 0x32005);
    const uint64_t *m2p = hpa_to_ptr(own.m2p);
    assert_int_equal(m2p[5], 5);
    assert_int_equal(mmu_update(0x5000 | XEN_MMU_M2P, 6), 0);
    assert_int_equal(m2p[5], 6);
    assert_int_equal(mmu_update(RAM | XEN_MMU_M2P, 6), XEN_EINVAL);
    assert_int_equal(mmu_update(1ull << 63 | XEN_MMU_M2P, 6), XEN_EINVAL);
    assert_int_equal(mmu_update(at | 3, 0), XEN_ENOSYS);
    /* A frame that is not the domain's; but what is not present may say anything. */
    assert_int_equal(mmu_update(at, RAM + 5 * PAGE_SIZE + 7), XEN_EINVAL);
    assert_int_equal(mmu_update(at | XEN_MMU_PTE_KEEP_AD, 1ull << 51 | 7), XEN_EINVAL);
    assert_int_equal(get(at), 0x32005);
    assert_int_equal(mmu_update(at, 0xffffffffff000ff0), 0);
    assert_int_equal(mmu_update(at, SHARED | 7), 0); /* what both share is the domain's */
    assert_int_equal(mmu_update(at, GRANTS | 7), 0);
    assert_int_equal(mmu_update(at, (GRANTS + 3 * PAGE_SIZE) | 7), 0);
    /* An entry that is not in RAM. */
    assert_int_equal(mmu_update(RAM + PAGE_SIZE, 0), XEN_EINVAL);
    assert_int_equal(mmu_update(1ull << 63, 0), XEN_EINVAL);
    /* A list may lie at any address. */
    put(ARGS + 4, at), put(ARGS + 12, 0x33005);
    assert_int_equal(call(1, ARGS + 4, 1, 0, XEN_DOMID_SELF), 0);
    assert_int_equal(get(at), 0x33005);
    /* Another domain's tables. */
    assert_int_equal(call(1, ARGS, 1, 0, 0), XEN_EPERM);
}

static void test_mmu_update_wild(void **state)
{
    (void)state;
    static const uint64_t wild[] = {
        UNMAPPED, RAM, 0x800000000000, 0xffff7fffffffffff, UINT64_MAX - 7, 0xffff800000000000};
    for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        assert_int_equal(call(1, wild[i], 1, 0, XEN_DOMID_SELF), XEN_EFAULT);
        assert_int_equal(call(1, ARGS, 1, wild[i], XEN_DOMID_SELF), XEN_EFAULT);
        assert_int_equal(call(26, wild[i], 1, 0, XEN_DOMID_SELF), XEN_EFAULT);
        assert_int_equal(call(13, wild[i], 1, 0, 0), XEN_EFAULT);
        assert_int_equal(call(32, XEN_EVENT_SEND, wild[i], 0, 0), XEN_EFAULT);
    }
    assert_int_equal(call(1, ARGS, 1, READ_ONLY, XEN_DOMID_SELF), XEN_EFAULT);
    assert_int_equal(call(1, wild[0], 0, 0, XEN_DOMID_SELF), 0); /* nothing is read */
    assert_int_equal(vm.end, VM_RUNS);
}

/* A long one comes in portions, and its counter counts them all. */
static void test_mmu_update_portions(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    for (uint64_t i = 0; i < COUNT; i++) {
        put(ARGS + i * 16, 0x30000 + i * 8);
        put(ARGS + i * 16 + 8, i << 12);
    }
    put(0x38000, 0x1122334455667788);
    host.step = 2 * WORK_TICKS;
    assert_int_equal(call(1, ARGS, COUNT, 0x38000, XEN_DOMID_SELF), 0);
    assert_true(portions > 2);
    assert_int_equal(get(0x38000), 0x1122334400000000 + COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(get(0x30000 + i * 8), i << 12);
    /* One that is refused ends it, and what was done before is counted. */
    put(ARGS + 401 * 16 + 8, RAM * 2 + 1);
    assert_int_equal(call(1, ARGS, COUNT, 0x38000, XEN_DOMID_SELF), XEN_EINVAL);
    assert_int_equal(get32(0x38000), 401);
    /* So does the end of what can be read: those before it are done. */
    for (uint64_t i = 0; i < 8; i++) {
        put(UNMAPPED - 8 * 16 + i * 16, 0x30000 + i * 8);
        put(UNMAPPED - 8 * 16 + i * 16 + 8, 0x5000);
    }
    assert_int_equal(call(1, UNMAPPED - 8 * 16, 20, 0x38000, XEN_DOMID_SELF), XEN_EFAULT);
    assert_int_equal(get32(0x38000), 8);
    assert_int_equal(get(0x30000 + 7 * 8), 0x5000);
    /* A count that is not meant: until then it works in portions. */
    assert_int_equal(call(1, ARGS, 0x7fffffff, 0, XEN_DOMID_SELF), XEN_EINVAL);
}

static int64_t va_mapping(uint64_t linear, uint64_t entry, uint64_t flags)
{
    return call(14, linear, entry, flags, 0);
}

static void test_update_va_mapping(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    vcpus[1].entered = true;
    assert_int_equal(va_mapping(0x30000, 0x31007, 0), 0);
    assert_int_equal(get(leaf(0x30000)), 0x31007);
    assert_int_equal(va_mapping(UPPER + 0x30fff, 0x32007, XEN_UVMF_INVLPG), 0);
    assert_int_equal(get(leaf(0x30000)), 0x32007);
    v->flush = SHADOW_FLUSH_NONE;
    assert_int_equal(va_mapping(0x30000, 0, XEN_UVMF_INVLPG), 0);
    assert_int_equal(host.invlpgs, 1);
    assert_int_equal(host.invalidated, 1);
    assert_int_equal(va_mapping(0x30000, 0, XEN_UVMF_TLB_FLUSH), 0);
    assert_int_equal(v->flush, SHADOW_FLUSH_ALL);
    assert_int_equal(host.kicked, 0);
    assert_int_equal(vcpus[1].asked, 0);
    /* On all, and by a bitmap, whose address has room for flags. */
    assert_int_equal(va_mapping(0x30000, 0, XEN_UVMF_TLB_FLUSH | XEN_UVMF_ALL), 0);
    assert_int_equal(vcpus[1].asked, PV_ASK_FLUSH);
    assert_int_equal(host.kicked, 2);
    vcpus[1].asked = 0;
    put(0x11000, 0xfffffffffffffffe); /* vCPUs that there are not do not count */
    v->flush = SHADOW_FLUSH_NONE;
    assert_int_equal(va_mapping(0x30000, 0, 0x11000 | XEN_UVMF_TLB_FLUSH), 0);
    assert_int_equal(vcpus[1].asked, PV_ASK_FLUSH);
    assert_int_equal(v->flush, SHADOW_FLUSH_NONE);
    assert_int_equal(va_mapping(0x30000, 0, UNMAPPED | XEN_UVMF_TLB_FLUSH), XEN_EFAULT);
    assert_int_equal(va_mapping(0x30000, 0, XEN_UVMF_WHAT), XEN_ENOSYS);
    /* Where there is no table of level 1, or a page that is larger. */
    assert_int_equal(va_mapping(0x200000, 0, 0), XEN_EINVAL);
    assert_int_equal(va_mapping(1ull << 39, 0, 0), XEN_EINVAL);
    assert_int_equal(va_mapping(1ull << 47, 0, 0), XEN_EINVAL);
    put(TABLES + 2 * PAGE_SIZE + 8, 0x200000 | 0x87);
    assert_int_equal(va_mapping(0x200000, 0, 0), XEN_EINVAL);
    put(TABLES + 2 * PAGE_SIZE + 8, 0x7ffffff000 | 7);
    assert_int_equal(va_mapping(0x200000, 0, 0), XEN_EINVAL);
    assert_int_equal(va_mapping(0x30000, RAM * 16 | 1, 0), XEN_EINVAL);
}

/* What was walked before is not gone by any more, once it is said. */
static void test_walks_are_dropped(void **state)
{
    (void)state;
    uint64_t seen;
    put(0x30000, 0x30), put(0x31000, 0x31);
    assert_true(pv_read(&vcpus[0], 0x30000, &seen, 8) && seen == 0x30);
    assert_int_equal(va_mapping(0x30000, 0x31007, XEN_UVMF_INVLPG), 0);
    assert_true(pv_read(&vcpus[0], 0x30000, &seen, 8) && seen == 0x31);
    assert_int_equal(va_mapping(0x30000, 0, XEN_UVMF_TLB_FLUSH), 0);
    assert_false(pv_read(&vcpus[0], 0x30000, &seen, 8));
}

static void test_mmuext(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    put(0x30000 + 511 * 8, RAM * 4 | 1);
    assert_int_equal(mmuext(XEN_PIN_L1, 0x30, 0), XEN_EINVAL);
    assert_int_equal(pv_table_written(&own, gpa(0x30000)), UINT64_MAX);
    assert_false(pv_open_table(&own, gpa(0x30000), gpa(LEAVES)));
    /* One that is not pinned is looked at when it is loaded. */
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, 0x30, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_NEW_USER_BASEPTR, 0x30, 0), XEN_EINVAL);
    put(0x30000 + 511 * 8, 0);
    assert_int_equal(mmuext(XEN_NEW_USER_BASEPTR, 0x30, 0), 0);
    assert_int_equal(mmuext(XEN_PIN_L4, 0x30, 0), 0);
    assert_true(pv_open_table(&own, gpa(0x30000), gpa(LEAVES)));
    assert_int_equal(mmuext(XEN_PIN_L4, 0x30, 0), XEN_EINVAL); /* it is */
    assert_int_equal(mmuext(XEN_PIN_L1, 0x30, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_UNPIN, 0x30, 0), 0);
    assert_int_equal(mmuext(XEN_UNPIN, 0x30, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_UNPIN, TABLES / PAGE_SIZE + 1, 0), XEN_EINVAL); /* a part alone */
    assert_int_equal(mmuext(XEN_UNPIN, TABLES / PAGE_SIZE, 0), 0);              /* the loader's */
    assert_int_equal(mmuext(XEN_PIN_L4, TABLES / PAGE_SIZE, 0), 0);
    assert_int_equal(mmuext(XEN_PIN_L1, FRAMES, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_PIN_L1, 1ull << 52, 0), XEN_EINVAL); /* wraps to frame 0 */
    assert_int_equal(mmuext(XEN_UNPIN, (1ull << 52) + 1, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, 0, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, FRAMES, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, TABLES / PAGE_SIZE, 0), 0);
    assert_int_equal(v->kernel_cr3, TABLES);
    assert_int_equal(mmuext(XEN_NEW_USER_BASEPTR, FRAMES, 0), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_NEW_USER_BASEPTR, 5, 0), 0);
    assert_int_equal(v->user_cr3, USER_TOP);
    assert_int_equal(mmuext(XEN_NEW_USER_BASEPTR, 0, 0), 0);
    assert_int_equal(v->user_cr3, 0);
    assert_int_equal(mmuext(XEN_FLUSH_CACHE, 0, 0), 0);
    assert_int_equal(mmuext(99, 0, 0), XEN_ENOSYS);
    assert_int_equal(mmuext(UINT32_MAX, 0, 0), XEN_ENOSYS);
    v->flush = SHADOW_FLUSH_NONE;
    assert_int_equal(mmuext(XEN_INVLPG_ALL, 0x800000000000, 0), 0); /* nothing is there to go */
    assert_int_equal(host.invlpgs, 0);
    assert_int_equal(vcpus[1].asked, PV_ASK_FLUSH);
    put(0x11000, 1);
    vcpus[1].asked = 0;
    assert_int_equal(mmuext(XEN_INVLPG_MULTI, 0x30000, 0x11000), 0);
    assert_int_equal(host.invlpgs, 1);
    assert_int_equal(vcpus[1].asked, 0);
    assert_int_equal(mmuext(XEN_TLB_FLUSH_MULTI, 0, UNMAPPED), XEN_EFAULT);
    assert_int_equal(mmuext(XEN_TLB_FLUSH_ALL, 0, 0), 0);
    assert_int_equal(v->flush, SHADOW_FLUSH_ALL);
}

static void put_entry(uint64_t at, uint64_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const struct xen_multicall entry = {.op = op, .result = 0xdead, .args = {a, b, c, d}};
    memcpy(ram + at, &entry, sizeof(entry));
}

static int64_t result_of(uint64_t at)
{
    return (int64_t)get(at + offsetof(struct xen_multicall, result));
}

static void test_multicall(void **state)
{
    (void)state;
    const uint64_t at = ARGS + 0xfe0; /* one lies in two pages */
    put_entry(at, 14, 0x30000, 0x31007, 0, 0);
    put_entry(at + 64, 13, at, 4, 0, 0);              /* not in itself */
    put_entry(at + 128, 23, 0, 0, 0, 0);              /* iret has a frame of its own */
    put_entry(at + 192, 1ull << 32 | 14, 0, 0, 0, 0); /* all 64 bits are the number */
    put_entry(at + 256, 7, 0, 0, 0, 0);
    put_entry(at + 320, 14, 1ull << 47, 0, 0, 0);
    assert_int_equal(call(13, at, 6, 0, 0), 0); /* whatever the results are */
    assert_int_equal(get(leaf(0x30000)), 0x31007);
    assert_int_equal(result_of(at), 0);
    assert_int_equal(result_of(at + 64), XEN_EINVAL);
    assert_int_equal(result_of(at + 128), XEN_EINVAL);
    assert_int_equal(result_of(at + 192), XEN_ENOSYS);
    assert_int_equal(result_of(at + 256), XEN_ENOSYS);
    assert_int_equal(result_of(at + 320), XEN_EINVAL);
    put_entry(0x1a004, 14, 0x30000, 0x32007, 0, 0); /* at any address */
    assert_int_equal(call(13, 0x1a004, 1, 0, 0), 0);
    assert_int_equal(get(leaf(0x30000)), 0x32007);
    assert_int_equal(call(13, READ_ONLY, 1, 0, 0), XEN_EFAULT); /* no place for the result */
    host.step = 100;
    assert_int_equal(call(13, at, UINT32_MAX, 0, 0), XEN_EFAULT); /* at the end of memory */
    assert_true(portions > 2);
}

static void flush(unsigned vcpu, enum shadow_flush what)
{
    pv_flush(&vcpus[vcpu], what);
    pv_space_flush_now(&vcpus[vcpu]);
}

static void flush_all(void)
{
    flush(0, SHADOW_FLUSH_ALL);
    flush(1, SHADOW_FLUSH_ALL);
}

static uint64_t written(uint64_t at)
{
    return pv_table_written(&own, gpa(at));
}

/* Whether all flush, and again, and nothing was written to it in between. */
static bool rests(uint64_t at)
{
    flush_all();
    (void)written(at);
    flush_all();
    return written(at) <= shadow.clock;
}

/* A table may be written to unnoticed until each vCPU has flushed all that it has of the time when
 * its page was writable; and then it has just been. */
static void test_tables_are_closed(void **state)
{
    (void)state;
    vcpus[1].up = true;
    assert_int_equal(mmuext(XEN_PIN_L1, 0x30, 0), 0);
    assert_int_equal(written(0x30000), UINT64_MAX);
    flush(0, SHADOW_FLUSH_LOCAL);
    flush(1, SHADOW_FLUSH_ALL);
    assert_int_equal(written(0x30000), shadow.clock + 1); /* vCPU 0 has never run */
    flush(0, SHADOW_FLUSH_ALL);
    flush(0, SHADOW_FLUSH_LOCAL);
    assert_true(written(0x30000) < shadow.clock);
    assert_int_equal(mmuext(XEN_UNPIN, 0x30, 0), 0);
    assert_int_equal(written(0x30000), UINT64_MAX);
    assert_int_equal(mmuext(XEN_PIN_L1, 0x30, 0), 0);
    flush(0, SHADOW_FLUSH_ALL);
    assert_int_equal(written(0x30000), UINT64_MAX);
    assert_int_equal(mmu_update(0x30000, 0x31007), 0); /* noted writes do not close it */
    assert_int_equal(mmu_update(0x30000, 0x31007), 0);
    assert_int_equal(written(0x30000), UINT64_MAX);
    flush(1, SHADOW_FLUSH_LOCAL);
    assert_int_equal(written(0x30000), UINT64_MAX);
    flush(1, SHADOW_FLUSH_ALL);
    assert_int_equal(written(0x30000), shadow.clock + 1);
    /* What is written to it by the kernel opens it, and the table that maps it says less now. */
    assert_true(rests(LEAVES) && rests(0x30000));
    assert_true(pv_open_table(&own, gpa(0x30000), gpa(LEAVES + 0x30 * 8)));
    assert_int_equal(written(LEAVES), shadow.clock + 1);
    assert_int_equal(written(0x30000), UINT64_MAX);
    flush(0, SHADOW_FLUSH_ALL);
    assert_int_equal(written(0x30000), UINT64_MAX);
    vcpus[1].up = false; /* it has gone down: nobody waits for it */
    flush(0, SHADOW_FLUSH_ALL);
    assert_int_equal(written(0x30000), shadow.clock + 1);
}

/* Tables that nobody has been told of, or that are too many to be looked at, leave their root
 * unknown: it is as if each was written just now. */
static void test_unknown_tables(void **state)
{
    (void)state;
    const struct shadow_guest *guest = &vcpus[0].roots.shadow.guest;
    struct shadow_table t;
    flush_all();
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, TABLES / PAGE_SIZE, 0), 0);
    assert_true(guest->table(&vcpus[0], SHADOW_KERNEL, gva(0), &t));
    assert_int_equal(t.written, shadow.clock + 1);
    memcpy(ram + 0x32000, ram + TABLES, PAGE_SIZE); /* a root by itself */
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, 0x32, 0), 0);
    assert_true(guest->table(&vcpus[0], SHADOW_KERNEL, gva(0), &t));
    assert_int_equal(t.written, UINT64_MAX);
    for (unsigned i = 0; i < 512; i++) { /* 100 tables of level 3, of which some lead to others */
        put(0x30000 + i * 8, i < 100 ? 0x31007 : 0);
        put(0x31000 + i * 8, i < 100 ? 0x33007 : 0);
    }
    assert_int_equal(mmuext(XEN_PIN_L4, 0x30, 0), 0);
    put(0x30000, (TABLES + PAGE_SIZE) | 7);
    assert_int_equal(mmuext(XEN_NEW_BASEPTR, 0x30, 0), 0);
    flush_all();
    assert_true(guest->table(&vcpus[0], SHADOW_KERNEL, gva(0), &t));
    assert_int_equal(t.written, UINT64_MAX);
}

/* An upper entry that was not there leads to new tables, even at the address of the old ones. */
static void test_table_comes_back(void **state)
{
    (void)state;
    const uint64_t at = TABLES + 2 * PAGE_SIZE + 8;
    assert_int_equal(mmu_update(at, 0x30007), 0);
    assert_true(rests(0x30000));
    assert_int_equal(mmu_update(at, 0x30006), 0);
    assert_int_equal(mmu_update(at, 0x30007), 0);
    assert_int_equal(written(0x30000), UINT64_MAX);
}

/* What the hypervisor itself writes to a table, as for Nadir's own calls, is noted as well. */
static void test_others_write_tables(void **state)
{
    (void)state;
    assert_int_equal(mmuext(XEN_PIN_L1, 0x30, 0), 0);
    assert_int_equal(mmuext(XEN_PIN_L1, 0x31, 0), 0);
    assert_true(rests(0x30000) && rests(0x31000));
    shadow.clock += 5;
    const uint64_t entry = 0;
    assert_true(guestmem_write(&vm.mem, gpa(0x30ff8), &entry, sizeof(entry)));
    assert_int_equal(pv_table_written(&own, gpa(0x30000)), shadow.clock + 1);
    assert_true(pv_table_written(&own, gpa(0x31000)) <= shadow.clock);
    assert_true(guestmem_zero(&vm.mem, gpa(0x30ffc), 8));
    assert_int_equal(pv_table_written(&own, gpa(0x31000)), shadow.clock + 1);
    assert_int_equal(pv_table_written(&own, gpa(0x32000)), UINT64_MAX); /* no table */
}

/* Each new entry of an upper table may lead to thousands of others: the time is looked at behind
 * each, and not only behind some hundred. */
static void test_upper_entries_are_long(void **state)
{
    (void)state;
    enum { COUNT = 16 };
    for (uint64_t i = 0; i < COUNT; i++) {
        put(ARGS + i * 16, TABLES + 2 * PAGE_SIZE + (100 + i) * 8);
        put(ARGS + i * 16 + 8, 0x30000 + i * PAGE_SIZE + 7);
    }
    host.step = 2 * WORK_TICKS;
    assert_int_equal(call(1, ARGS, COUNT, 0, XEN_DOMID_SELF), 0);
    assert_int_equal(portions, COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(get(TABLES + 2 * PAGE_SIZE + (100 + i) * 8), 0x30000 + i * PAGE_SIZE + 7);
}

/* What is inside goes on in portions, too, and the others are made once each. */
static void test_multicall_portions(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 400; i++) {
        put(0x18000 + i * 16, 0x30000 + i * 8);
        put(0x18000 + i * 16 + 8, i << 12);
    }
    put_entry(ARGS, 32, XEN_EVENT_ALLOC_UNBOUND, 0x12000, 0, 0);
    put_entry(ARGS + 64, 1, 0x18000, 400, 0x38000, XEN_DOMID_SELF);
    put_entry(ARGS + 128, 32, XEN_EVENT_ALLOC_UNBOUND, 0x12008, 0, 0);
    host.step = 2 * WORK_TICKS;
    assert_int_equal(call(13, ARGS, 3, 0, 0), 0);
    assert_true(portions > 3);
    assert_int_equal(result_of(ARGS + 64), 0);
    assert_int_equal(get32(0x38000), 400);
    assert_int_equal(get(0x30000 + 399 * 8), 399 << 12);
    assert_int_equal(get(0x12000) >> 32, 2);
    assert_int_equal(get(0x12008) >> 32, 3);
    assert_int_equal(own.port[4].kind, PV_PORT_FREE);
}

/* On the short way, up to the first that needs the long one; that and the rest are left. */
static void test_answer(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    set_call(17, 0, 0, 0, 0);
    assert_int_equal(pv_answer(&v->frame), RING3_GO_ON);
    assert_int_equal(v->frame.gpr[RAX], 4 << 16 | 17);
    assert_int_equal(v->vcpu.stats.count[PV_HYPERCALL], 1);
    v->vcpu.attention = true;
    set_call(17, 0, 0, 0, 0);
    assert_int_equal(pv_answer(&v->frame), PV_ANSWERED);
    v->vcpu.attention = false;

    put(0x18000, 0x30000);
    put(0x18008, 0x1007);
    put_entry(ARGS, 1, 0x18000, 1, 0, XEN_DOMID_SELF);
    put_entry(ARGS + 64, 14, 0x30000, 0x31007, 0, 0);
    put_entry(ARGS + 128, 14, 0x30000, 0x32007, XEN_UVMF_INVLPG, 0); /* asks the shadow */
    put_entry(ARGS + 192, 7, 0, 0, 0, 0);
    set_call(13, ARGS, 4, 0, 0);
    const uint64_t rip = v->frame.rip;
    assert_int_equal(pv_answer(&v->frame), RING3_SYSCALL);
    assert_int_equal(v->frame.rip, rip);
    assert_int_equal(v->frame.gpr[RAX], 13);
    assert_int_equal(v->frame.gpr[RDI], ARGS + 128);
    assert_int_equal(v->frame.gpr[RSI], 2);
    assert_int_equal(get(0x30000), 0x1007);
    assert_int_equal(get(leaf(0x30000)), 0x31007);
    assert_int_equal(result_of(ARGS + 64), 0);
    assert_int_equal(result_of(ARGS + 128), 0xdead);
    assert_int_equal(v->counted[PV_CALL_multicall], 0); /* it is counted at the end */
    assert_int_equal(v->counted[PV_COUNT_BATCHED], 2);
    pv_hypercall(v);
    assert_int_equal(v->frame.rip, rip);
    assert_int_equal(v->frame.gpr[RAX], 0);
    assert_int_equal(get(leaf(0x30000)), 0x32007);
    assert_int_equal(result_of(ARGS + 192), XEN_ENOSYS);
    assert_int_equal(v->counted[PV_CALL_multicall], 1);
    assert_int_equal(v->counted[PV_COUNT_BATCHED], 3);
    set_call(64 + 17, 0, 0, 0, 0); /* the same bit */
    assert_int_equal(pv_answer(&v->frame), RING3_SYSCALL);
}

/* A run of entries of one table, with others in between. */
static void test_runs_of_updates(void **state)
{
    (void)state;
    const uint64_t at[] = {0x30000, 0x30ff8, 0x31000,    0x31008,
                           0x30008, 0x30010, 1ull << 40, 0x30018};
    for (uint64_t i = 0; i < 8; i++) {
        put(0x18000 + i * 16, at[i]);
        put(0x18008 + i * 16, (0x2000 + i * 0x1000) | 7);
    }
    put(0x18008 + 5 * 16, (RAM + 5 * PAGE_SIZE) | 7); /* a frame that is not the domain's */
    assert_int_equal(call(1, 0x18000, 8, 0x38000, XEN_DOMID_SELF), XEN_EINVAL);
    assert_int_equal(get32(0x38000), 5);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(get(at[i]), (0x2000 + i * 0x1000) | 7);
    assert_int_equal(get(0x30010), 0);
    put(0x18008 + 5 * 16, (RAM + PAGE_SIZE) | 6); /* nothing is there: any number will do */
    assert_int_equal(call(1, 0x18000, 8, 0x38000, XEN_DOMID_SELF), XEN_EINVAL);
    assert_int_equal(get32(0x38000), 6);
    assert_int_equal(get(0x30010), (RAM + PAGE_SIZE) | 6);
    assert_int_equal(get(0x30018), 0);
}

/* A kernel's own write to a table opens it; what else is read-only is not its to write. */
static void fault(uint64_t linear, uint32_t error)
{
    vcpus[0].frame.cr2 = linear;
    vcpus[0].frame.error = error;
    vcpus[0].frame.gpr[RSP] = STACK;
    pv_trap(&vcpus[0], VECTOR_PAGE_FAULT);
}

static void test_table_is_opened(void **state)
{
    (void)state;
    const uint32_t write = PF_PRESENT | PF_WRITE | PF_USER;
    struct pv_vcpu *v = &vcpus[0];
    v->trap[VECTOR_PAGE_FAULT].address = 0x1234;
    fault(UPPER + LEAVES, write);
    assert_int_equal(host.fills, 1);
    assert_true((host.filled.perms & PTE_W) != 0 && host.filled.global);
    assert_int_equal(host.filled.at.v, LEAVES);
    assert_int_equal(v->frame.rip, CODE);
    fault(READ_ONLY + 8, write);
    assert_int_equal(host.fills, 1);
    assert_int_equal(v->frame.rip, 0x1234);
    assert_int_equal(v->info->cr2, READ_ONLY + 8);
    assert_int_equal(get(v->frame.gpr[RSP] + 16), PF_PRESENT | PF_WRITE); /* the kernel's */
    fault(UNMAPPED, PF_USER);
    assert_int_equal(get(v->frame.gpr[RSP] + 16), 0);
    /* User code opens nothing. */
    v->user_cr3 = USER_TOP;
    v->frame.rip = CODE;
    pv_enter_user(v);
    fault(LEAVES, write);
    assert_int_equal(host.fills, 1);
    assert_int_equal(get(v->frame.gpr[RSP] + 16), write);
    /* A frame that is not the domain's, which nobody looked at before: as if not mapped. */
    put(leaf(UNMAPPED), RAM * 16 | 7);
    host.fill_result = SHADOW_EMULATE;
    fault(UNMAPPED, write & ~(uint32_t)PF_PRESENT);
    assert_int_equal(get(v->frame.gpr[RSP] + 16), PF_WRITE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* Tables that lead to each other have as many paths as a domain has pages, and many more: a pin
 * looks at some of them. */
static void test_tables_in_circles(void **state)
{
    enum { FIRST = 0x30000, TABLES_IN_CIRCLE = 3, ENOUGH = 20000 };
    (void)state;
    for (uint64_t i = 0; i < TABLES_IN_CIRCLE * 512; i++)
        put(FIRST + i * 8, (FIRST + i % TABLES_IN_CIRCLE * PAGE_SIZE) | 7);
    for (uint32_t level = 1; level <= 4; level++) {
        host.code_bytes = 0;
        assert_int_equal(mmuext(level - 1, FIRST / PAGE_SIZE, 0), 0);
        assert_true(host.code_bytes < ENOUGH);
        assert_int_equal(mmuext(XEN_UNPIN, FIRST / PAGE_SIZE, 0), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mmu_update),
        TEST(test_mmu_update_wild),
        TEST(test_mmu_update_portions),
        TEST(test_update_va_mapping),
        TEST(test_walks_are_dropped),
        TEST(test_mmuext),
        TEST(test_multicall),
        TEST(test_tables_are_closed),
        TEST(test_unknown_tables),
        TEST(test_table_comes_back),
        TEST(test_others_write_tables),
        TEST(test_upper_entries_are_long),
        TEST(test_tables_in_circles),
        TEST(test_multicall_portions),
        TEST(test_answer),
        TEST(test_runs_of_updates),
        TEST(test_table_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
