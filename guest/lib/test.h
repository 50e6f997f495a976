/* SPDX-License-Identifier: BSD-2-Clause */
/* A test kernel: a title, one line per check, a summary, and an exit code that is 0 only if all
 * passed. */
#pragma once

#include "guest/lib/trap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void test_begin(const char *name, const char *title);

/* One line: `ok NAME: what (rule)` or `FAIL NAME: what (rule)`. Returns ok. */
bool test_check(bool ok, const char *what, const char *rule);

/* The same for two numbers, which a failure prints. */
bool test_equal(uint64_t got, uint64_t want, const char *what, const char *rule);

/* The same for how an instruction faulted; want.vector may be PROBE_NONE. */
bool test_fault(struct probe got, struct probe want, const char *what, const char *rule);

/* The summary; what it returns is for main() to return. No check at all counts as a failure. */
int test_end(void);

/* A few instructions as bytes, and the registers before and after them. RSP and RBP are taken. */
struct code {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi;
    uint8_t length;
    uint8_t bytes[15];
};

/* Runs them with a RET behind; the registers are updated only if nothing faulted. */
struct probe code_probe(struct code *code);
