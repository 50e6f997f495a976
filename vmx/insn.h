/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMX instructions, a function each. A failure that cannot be panics with field and error. */
#pragma once

#include "arch/addr.h"
#include "vmx/fields.h"

#include <stdbool.h>

/* VMfail of an instruction on the current VMCS: panics with what failed, where and why. */
_Noreturn void vmx_insn_failed(const char *insn, uint32_t field, uint64_t value);

enum invalidate_type { INVALIDATE_ADDRESS, INVALIDATE_SINGLE, INVALIDATE_ALL };

#if __STDC_HOSTED__
/* Unit tests have them over an array (tests/unit/fake_vmx.c). */
uint64_t vmread(enum vmcs_field field);
void vmwrite(enum vmcs_field field, uint64_t value);
bool vmxon(hpa_t region);
void vmxoff(void);
bool vmclear(hpa_t region);
bool vmptrld(hpa_t region);
bool invept(enum invalidate_type type, uint64_t eptp);
bool invvpid(enum invalidate_type type, uint16_t vpid, uint64_t linear);
#else
/* Any field of the current VMCS. Two instructions and a branch never taken. */
static inline uint64_t vmread(enum vmcs_field field)
{
    uint64_t value;
    __asm__ goto("vmread %1, %0; jbe %l[failed]"
                 : "=r"(value)
                 : "r"((uint64_t)field)
                 : "cc", "memory"
                 : failed);
    return value;
failed:
    vmx_insn_failed("VMREAD", field, 0);
}

static inline void vmwrite(enum vmcs_field field, uint64_t value)
{
    __asm__ goto("vmwrite %0, %1; jbe %l[failed]"
                 :
                 : "r"(value), "r"((uint64_t)field)
                 : "cc", "memory"
                 : failed);
    return;
failed:
    vmx_insn_failed("VMWRITE", field, value);
}

/* VMXON, VMCLEAR, VMPTRLD take the physical address of a page; false is VMfail. */
static inline bool vmxon(hpa_t region)
{
    bool ok;
    __asm__ volatile("vmxon %1" : "=@cca"(ok) : "m"(region.v) : "memory");
    return ok;
}

static inline void vmxoff(void)
{
    __asm__ volatile("vmxoff" ::: "cc", "memory");
}

static inline bool vmclear(hpa_t region)
{
    bool ok;
    __asm__ volatile("vmclear %1" : "=@cca"(ok) : "m"(region.v) : "memory");
    return ok;
}

static inline bool vmptrld(hpa_t region)
{
    bool ok;
    __asm__ volatile("vmptrld %1" : "=@cca"(ok) : "m"(region.v) : "memory");
    return ok;
}

/* INVEPT: descriptor is {EPTP, 0}. */
static inline bool invept(enum invalidate_type type, uint64_t eptp)
{
    struct {
        uint64_t eptp, zero;
    } descriptor = {eptp, 0};
    bool ok;
    __asm__ volatile("invept %1, %2"
                     : "=@cca"(ok)
                     : "m"(descriptor), "r"((uint64_t)type)
                     : "memory");
    return ok;
}

static inline bool invvpid(enum invalidate_type type, uint16_t vpid, uint64_t address)
{
    struct {
        uint64_t vpid, linear;
    } descriptor = {vpid, address};
    bool ok;
    __asm__ volatile("invvpid %1, %2"
                     : "=@cca"(ok)
                     : "m"(descriptor), "r"((uint64_t)type)
                     : "memory");
    return ok;
}
#endif
