/* SPDX-License-Identifier: BSD-2-Clause */
/* MTRRs, of which each logical processor has its own (SDM, "Memory Type Range Registers"): kept and
 * checked as a CPU does, and no more, as the engine decides how RAM is cached. */
#include "arch/x86.h"
#include "guest/vm/vcpu.h"

#define LAST_VARIABLE (MSR_IA32_MTRR_PHYSBASE0 + 2 * VCPU_MTRR_PAIRS - 1)
#define FIXED_ALL_WB  0x0606060606060606ull

static bool is_memory_type(uint64_t type)
{
    return type == MEMORY_UC || type == MEMORY_WC || type == MEMORY_WT || type == MEMORY_WP ||
           type == MEMORY_WB;
}

/* Where an MSR's value is kept. msr: one that vcpu_mtrr_open() has opened, but for MTRRCAP. */
static uint64_t *value_of(struct vcpu_mtrr *mtrr, uint32_t msr)
{
    switch (msr) {
    case MSR_IA32_MTRR_DEF_TYPE: return &mtrr->default_type;
    case MSR_IA32_MTRR_FIX64K_00000: return &mtrr->fixed[0];
    case MSR_IA32_MTRR_FIX16K_80000: return &mtrr->fixed[1];
    case MSR_IA32_MTRR_FIX16K_A0000: return &mtrr->fixed[2];
    default: break;
    }
    if (msr >= MSR_IA32_MTRR_FIX4K_C0000)
        return &mtrr->fixed[3 + msr - MSR_IA32_MTRR_FIX4K_C0000];
    return &mtrr->variable[msr - MSR_IA32_MTRR_PHYSBASE0];
}

static bool read_capability(void *dev, uint32_t msr, uint64_t *value)
{
    (void)dev;
    (void)msr;
    *value = VCPU_MTRR_PAIRS | MTRR_CAP_FIXED | MTRR_CAP_WC;
    return true;
}

static bool read_mtrr(void *dev, uint32_t msr, uint64_t *value)
{
    *value = *value_of(&((struct vcpu *)dev)->mtrr, msr);
    return true;
}

/* All MTRRs but the fixed ones: a memory type in the lowest byte (not in masks), and some bits. */
static bool write_mtrr(void *dev, uint32_t msr, uint64_t value)
{
    struct vcpu *vcpu = dev;
    const uint64_t address = ((1ull << vcpu->phys_bits) - 1) & ~0xfffull;
    const bool is_default = msr == MSR_IA32_MTRR_DEF_TYPE;
    const bool is_mask = !is_default && (msr & 1) != 0;
    const uint64_t allowed = is_default ? MTRR_DEF_ENABLE | MTRR_DEF_FIXED_ENABLE | 0xff
                             : is_mask  ? address | MTRR_MASK_VALID
                                        : address | 0xff;
    if ((value & ~allowed) != 0 || (!is_mask && !is_memory_type(value & 0xff)))
        return false;
    *value_of(&vcpu->mtrr, msr) = value;
    return true;
}

static bool write_mtrr_fixed(void *dev, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type(value >> (8 * i) & 0xff))
            return false;
    *value_of(&((struct vcpu *)dev)->mtrr, msr) = value;
    return true;
}

void vcpu_mtrr_set_up(struct vcpu *vcpu)
{
    struct vcpu_mtrr *mtrr = &vcpu->mtrr;
    *mtrr = (struct vcpu_mtrr){
        .default_type = MTRR_DEF_ENABLE | MTRR_DEF_FIXED_ENABLE | MEMORY_WB,
        /* The hole below 4 GiB: base 0xc0000000, UC, 1 GiB. */
        .variable = {0xc0000000 | MEMORY_UC,
                     (((1ull << vcpu->phys_bits) - 1) & ~0x3fffffffull) | MTRR_MASK_VALID},
    };
    for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
        mtrr->fixed[i] = i == 2 ? 0 : FIXED_ALL_WB; /* 0xa0000-0xbffff: no RAM, UC */
}

void vcpu_mtrr_power_on(struct vcpu *vcpu)
{
    vcpu->mtrr = (struct vcpu_mtrr){.default_type = 0};
}

enum status vcpu_mtrr_open(struct vm *vm)
{
    static const struct msr_range rows[] = {
        {MSR_IA32_MTRRCAP, MSR_IA32_MTRRCAP, NULL, read_capability, NULL},
        {MSR_IA32_MTRR_PHYSBASE0, LAST_VARIABLE, NULL, read_mtrr, write_mtrr},
        {MSR_IA32_MTRR_FIX64K_00000, MSR_IA32_MTRR_FIX64K_00000, NULL, read_mtrr, write_mtrr_fixed},
        {MSR_IA32_MTRR_FIX16K_80000, MSR_IA32_MTRR_FIX16K_A0000, NULL, read_mtrr, write_mtrr_fixed},
        {MSR_IA32_MTRR_FIX4K_C0000, MSR_IA32_MTRR_FIX4K_F8000, NULL, read_mtrr, write_mtrr_fixed},
        {MSR_IA32_MTRR_DEF_TYPE, MSR_IA32_MTRR_DEF_TYPE, NULL, read_mtrr, write_mtrr},
    };
    enum status s = OK;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && s == OK; i++)
        s = msr_table_add(&vm->msrs, &rows[i]);
    return s;
}
