/* SPDX-License-Identifier: BSD-2-Clause */
/* A second engine, for tests: memory is a table of pages, a vCPU's state a struct, and what the
 * guest does is a script. */
#pragma once

#include "guest/vm/vcpu.h"

extern const struct engine fake_engine;

/* What fake_engine has mapped at an address. False: nothing. host and perms may be NULL. */
bool fake_lookup(const struct vm *vm, gpa_t guest, hpa_t *host, unsigned *perms);

/* What a vCPU sees alone. */
#define FAKE_SHOWN 40
struct fake_shown {
    gpa_t page;
    hpa_t host;
    unsigned perms;
};

/* A vCPU of it. */
struct fake_vcpu {
    struct vcpu vcpu;
    struct cpu_state state;
    struct event injected; /* what the last entry has delivered */
    unsigned entries, loads, puts, flushes;
    bool stepping;
    bool cannot_step; /* no monitor trap flag */
    unsigned shown_count;
    struct fake_shown shown[FAKE_SHOWN];
    bool window; /* an NMI or interrupt waits until the guest is open for it */
    /* The guest: called at each entry, it is one exit. NULL: it only counts entries. */
    enum exit_action (*guest)(struct fake_vcpu *fake);
    void *guest_ctx;
};

static inline struct fake_vcpu *fake_vcpu(struct vcpu *vcpu)
{
    return (struct fake_vcpu *)vcpu;
}
