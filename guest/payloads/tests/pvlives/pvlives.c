/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A paravirtual kernel that asks for a reboot, or, where its command line says "down", takes its
 * last vCPU away; and that finds its domain as new each time: what the life before has left in the
 * shared page is gone. It counts its lives in RAM, which outlives a reboot; the third is the last.
 */
#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

#include <stdbool.h>

#define PAGE      4096ull
#define MARK      0x5e1f1e55ull
#define MAX_LIVES 3u

enum { PRESENT = 1, WRITABLE = 2 };
enum { COMMAND_LINE = 128 }; /* in struct xen_start_info */

/* In the memory that a domain starts with, behind all that is put there. */
static volatile uint64_t *const mark = (volatile uint64_t *)0x3f0000;

static uint64_t shared[PAGE / 8] __attribute__((aligned(4096)));
enum { PENDING = 2048 / 8, MASK = 2560 / 8 }; /* words of it */

static _Noreturn void shut_down(uint32_t reason)
{
    enum { SHUTDOWN = 2 };
    for (;;)
        (void)xen_call(XEN_SCHED_OP, SHUTDOWN, (uint64_t)&reason, 0, 0);
}
enum { POWEROFF = 0, REBOOT = 1, CRASH = 3 };

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    print("pvlives: %s\n", what);
    shut_down(CRASH);
}

static void look_at_shared(uint64_t address)
{
    must(xen_call(XEN_UPDATE_VA_MAPPING, (uint64_t)shared, address | PRESENT | WRITABLE,
                  XEN_FLUSH_INVLPG, 0) == 0,
         "no shared page");
    const volatile struct xen_vcpu_info *info = (const volatile struct xen_vcpu_info *)shared;
    must(info->masked == 1 && info->pending == 0, "events are open");
    for (unsigned i = 0; i < 64; i++) {
        volatile uint64_t *pending = &shared[PENDING + i], *masked = &shared[MASK + i];
        must(*pending == 0 && *masked == 0, "an event of the life before");
        *pending = *masked = UINT64_MAX;
    }
}

_Noreturn void pv_main(const struct xen_start_info *info);
_Noreturn void pv_main(const struct xen_start_info *info)
{
    enum { DOWN = 2 };
    const char *how = (const char *)info + COMMAND_LINE;
    const uint64_t life = mark[0] == MARK ? mark[1] + 1 : 1;
    xen_print();
    look_at_shared(info->shared_info);
    mark[0] = MARK;
    mark[1] = life;
    print("pvlives: %s life\n", life == 1 ? "first" : "another");
    if (life == MAX_LIVES) {
        print("pvlives: done\n");
        shut_down(POWEROFF);
    }
    if (how[0] != 'd')
        shut_down(REBOOT);
    (void)xen_call(XEN_VCPU_OP, DOWN, 0, 0, 0);
    shut_down(CRASH); /* it has come back */
}
