/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two files of the VM-entry checks share; for nobody else. */
#pragma once

#include "arch/x86.h"
#include "guest/cpu/event.h"
#include "vmx/fields.h"
#include "vmx/vmcs_check.h"

enum control_word { PIN, PROC, PROC2, EXIT, ENTRY, CONTROL_WORDS };

struct check {
    const struct vmcs_view *view;
    vmcs_report_fn *report;
    void *report_ctx;
    uint64_t physical; /* mask of physical addresses */
    uint32_t word[CONTROL_WORDS];
    bool ia32e;
    unsigned broken;
};

#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

uint64_t check_get(const struct check *c, uint32_t field);

/* Reports the field unless ok. */
void check_expect(struct check *c, bool ok, uint32_t field, const char *rule, const char *allowed);

/* The field has all bits of must_be_1 and none outside may_be_1. */
void check_bits(struct check *c, uint32_t field, uint64_t must_be_1, uint64_t may_be_1,
                const char *rule);

/* A physical address whose low_bits are 0. */
void check_address(struct check *c, uint32_t field, uint64_t low_bits, const char *rule);

/* How many bits of a linear address the CPU has, whether CR4.LA57 is set or not: so much may stand
 * in a field. */
unsigned check_linear_bits(const struct check *c);
void check_canonical(struct check *c, uint32_t field);
void check_pat(struct check *c, uint32_t field);
/* IA32_S_CET, with SSP and the table of SSPs for interrupts, whose fields come next. */
void check_cet(struct check *c, uint32_t s_cet);

void check_guest_state(struct check *c);
