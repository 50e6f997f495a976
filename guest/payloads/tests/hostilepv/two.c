/* SPDX-License-Identifier: BSD-2-Clause */
/* Two vCPUs: one changes what the other one's call reads, at all times. */
#include "hostilepv.h"

#include "guest/hypercall.h"

enum { LIST = 8 };
enum turn { IDLE, CALLS, UPDATES, TABLE, WORDS_OF_EVENTS, OWN_CALLS, FLUSHES, OVER };

static volatile uint32_t turn;
static volatile uint64_t turns_of_second;
static volatile uint64_t list[LIST * 8];
static page scratch, leaf, directory, pointers;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The second vCPU writes, and does nothing else. Its own traps would end the domain. */
_Noreturn void second_main(void);
_Noreturn void second_main(void)
{
    uint64_t state = 0xdeadbeef12345;
    for (;;) {
        const uint64_t r = next(&state), entry = (uint64_t)scratch | PTE_P | PTE_W;
        const unsigned at = (r >> 8) % (LIST * 8);
        turns_of_second++;
        switch (turn) {
        case CALLS:
            list[at / 8 * 8] = (r & 1) != 0   ? XEN_VERSION
                               : (r & 2) != 0 ? 4096
                                              : XEN_EVENT_CHANNEL_OP;
            list[at / 8 * 8 + 2 + (r >> 5) % 6] = (r & 4) != 0 ? ~0ull : r >> 20;
            break;
        case UPDATES: /* pairs */
            list[at] = (at & 1) == 0 ? ((r & 1) != 0 ? (uint64_t)&leaf[r >> 20 & 511] : r)
                                     : ((r & 2) != 0 ? entry : r);
            break;
        case TABLE: leaf[r >> 20 & 511] = (r & 1) != 0 ? entry : (r & 2) != 0 ? r : 0; break;
        case WORDS_OF_EVENTS:
            ((volatile uint64_t *)shared)[256 + (r >> 8 & 127)] = r;
            ((volatile uint64_t *)infos)[(r >> 16 & 1) * 8 + 1] = r;
            break;
        case OWN_CALLS: list[at] = (r & 1) != 0 ? r : r & 7; break;
        case FLUSHES: /* not always, or else the other one's fills are in vain */
            if ((r & 0x3f0) == 0)
                (void)mmuext((r & 1) != 0 ? 10 : 11, (uint64_t)scratch, 0);
            break;
        default: break;
        }
    }
}

static void start_second(void)
{
    enum { FLAGS = 512, RIP = 648, CS = 656, RFLAGS = 664, RSP = 672, SS_AT = 680 };
    enum { KERNEL_SS = 4968, KERNEL_SP = 4976, CR3 = 5008, CONTEXT_WORDS = 5168 / 8 };
    static uint64_t context[CONTEXT_WORDS];
    context[FLAGS / 8] = 4;
    context[RIP / 8] = (uint64_t)second_entry;
    context[CS / 8] = XEN_FLAT_CODE;
    context[RFLAGS / 8] = 2;
    context[RSP / 8] = context[KERNEL_SP / 8] = (uint64_t)second_stack_end;
    context[SS_AT / 8] = context[KERNEL_SS / 8] = XEN_FLAT_DATA;
    context[CR3 / 8] = kernel_root;
    expect(xen_call(XEN_VCPU_OP, XEN_VCPU_INITIALISE, 1, (uint64_t)context, 0), 0, "initialise", 0);
    expect(xen_call(XEN_VCPU_OP, XEN_VCPU_INITIALISE, 1, (uint64_t)context, 0), -17, "twice", 0);
    expect(xen_call(XEN_VCPU_OP, XEN_VCPU_UP, 1, 0, 0), 0, "up", 0);
    expect(xen_call(XEN_VCPU_OP, XEN_VCPU_UP, 1, 0, 0), 0, "up again", 0);
    const uint64_t before = turns_of_second;
    while (turns_of_second == before)
        (void)xen_call(XEN_SCHED_OP, 0, 0, 0, 0);
}

static void touch(void *at)
{
    *(volatile uint64_t *)at = 1;
}

/* One round of a turn: what is right depends on when the other writes, so only that this goes on.
 */
static void round_of(enum turn what, unsigned i)
{
    const uint64_t at = 5ull << 39;
    switch (what) {
    case CALLS: (void)xen_call(XEN_MULTICALL, (uint64_t)list, LIST, 0, 0); break;
    case UPDATES:
        (void)xen_call(XEN_MMU_UPDATE, (uint64_t)list, LIST * 4, 0, XEN_THIS_DOMAIN);
        break;
    case TABLE:
        (void)probe(touch, (void *)(at + (i & 511) * PAGE));
        (void)xen_call(XEN_UPDATE_VA_MAPPING, at + (i & 511) * PAGE,
                       (uint64_t)scratch | PTE_P | PTE_W, i & 3, 0);
        if (i % 64 == 0)
            (void)mmuext(0, (uint64_t)leaf / PAGE, 0); /* as a table, which is refused at times */
        if (i % 64 == 32)
            (void)mmuext(4, (uint64_t)leaf / PAGE, 0);
        break;
    case WORDS_OF_EVENTS: {
        uint32_t arg[3] = {0, 0, 0};
        (void)xen_call(XEN_EVENT_CHANNEL_OP, 7, (uint64_t)arg, 0, 0); /* bind_ipi */
        (void)xen_call(XEN_EVENT_CHANNEL_OP, 4, (uint64_t)&arg[1], 0, 0);
        (void)xen_call(XEN_EVENT_CHANNEL_OP, 9, (uint64_t)&arg[1], 0, 0);
        (void)xen_call(XEN_EVENT_CHANNEL_OP, 3, (uint64_t)&arg[1], 0, 0);
        break;
    }
    case OWN_CALLS: (void)xen_call(NADIR_CALL_MEMORY, (uint64_t)list, LIST * 8 / 3, 0, 0); break;
    case FLUSHES:
        (void)mmuext((i & 1) != 0 ? 10 : 8, (uint64_t)scratch, (uint64_t)list);
        (void)probe(touch, scratch);
        break;
    default: break;
    }
}

void attack_by_two(void)
{
    static const unsigned rounds[OVER] = {
        [CALLS] = 20000,           [UPDATES] = 20000,   [TABLE] = 20000,
        [WORDS_OF_EVENTS] = 10000, [OWN_CALLS] = 10000, [FLUSHES] = 5000};
    const uint64_t all = PTE_P | PTE_W | PTE_U;
    /* What `leaf` maps is at 5 << 39; the table is this kernel's to write, too. */
    start_second();
    directory[0] = (uint64_t)leaf | all;
    pointers[0] = (uint64_t)directory | all;
    expect(mmu_update(kernel_root + 8 * 5, (uint64_t)pointers | all), 0, "a table", 0);
    for (uint32_t what = CALLS; what < OVER; what++) {
        const uint64_t before = turns_of_second;
        turn = what;
        for (unsigned i = 0; i < rounds[what]; i++)
            round_of((enum turn)what, i);
        check(turns_of_second - before > 1000, "the second vCPU works", what,
              turns_of_second - before);
        turn = IDLE;
        make_traps();
    }
    (void)mmu_update(kernel_root + 8 * 5, 0);
    (void)mmuext(10, 0, 0);
    check(true, "two vCPUs", 0, 0);
}
