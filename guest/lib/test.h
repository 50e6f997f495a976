/* SPDX-License-Identifier: BSD-2-Clause */
/* A test kernel: a title, one line per check, a summary, and an exit code that is 0 only if all
 * passed. It runs in a virtual machine and on the bare machine of the same CPU model, and has to
 * print the same lines on both: so it prints no value that is the machine's own (a time, a size, an
 * ID), and what can be true on one of the two only is marked, by test_only(). */
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

/* Begins checks for one kind of machine: `if (test_only(TEST_VM)) { checks } test_both();`. Their
 * lines say `vm-only: ` or `native-only: ` behind the name, and the summary leaves out those that
 * passed, so that it is the same on both. A VM is where CPUID.1:ECX[31] says so. */
enum test_machine { TEST_VM, TEST_NATIVE };
bool test_only(enum test_machine machine);
void test_both(void);

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
