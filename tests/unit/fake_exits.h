/* SPDX-License-Identifier: BSD-2-Clause */
/* The handlers of guest/vm/ that an engine's exits come to, as a record of how they were called:
 * for tests of what an engine makes of its exits. */
#pragma once

#include "guest/vm/exits.h"

struct fake_exits {
    /* What the handlers answer, and what is done in them before; NULL: nothing. */
    enum exit_action answer;
    void (*during)(struct emulate_context *ctx); /* where the handler has one */

    /* What they were called with. */
    unsigned calls;
    const char *last; /* the name of the last one */
    struct event event;
    struct memory_access memory;
    struct string_access string;
    uint64_t address; /* of those that take no more */
    enum insn_mode mode;
    unsigned cpl, source, selector, length, steps_done;
    bool open, nmi;
};

extern struct fake_exits fake_exits;

/* Forgets all; the answer is EXIT_SAME. */
void fake_exits_reset(void);
