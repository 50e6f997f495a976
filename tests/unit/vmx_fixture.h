/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM of one vCPU under VT-x on the CPU of fake_vmx.h, for tests of vmx/: whatever schedules it is
 * left out, and what it would be told is counted. */
#pragma once

#include "guest/vm/vcpu.h"
#include "tests/unit/fake_vmx.h"
#include "vmx/vcpu.h"

struct vmx_fixture {
    struct vm vm;
    struct vmx_vcpu v;
    uint8_t *ram;
    unsigned kicks, eois, nmis, failed_entries; /* how often; the last three by exits */
    uint8_t rare_interrupt;                     /* the vector of interrupt_handle_rare() */
};

extern struct vmx_fixture fixture;

#define FIXTURE_RAM (1ull << 20) /* bytes, from guest-physical 0 on */

/* The VM, its memory mapped and its vCPU's VMCS current, in the state after a reset. assisted: the
 * CPU virtualizes the local APIC. Takes away from fake_vmx.caps what assisted does not want. */
void fixture_make(bool assisted);

/* Its memory from base on, which is mapped as before, is read-only. Once. */
void fixture_make_rom(gpa_t base);

/* Gives all back; aborts if something has not been. */
void fixture_end(void);

static inline struct vcpu *fixture_vcpu(void)
{
    return &fixture.v.vcpu;
}
