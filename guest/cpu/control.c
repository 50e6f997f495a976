/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules for control registers. */
#include "guest/cpu/control.h"

#include "arch/x86.h"

#define CR3_PCID_MASK 0xfffull

static bool has_pae_paging(const struct control_state *s)
{
    return (s->cr0 & CR0_PG) != 0 && (s->cr4 & CR4_PAE) != 0 && (s->efer & EFER_LMA) == 0;
}

/* Paging goes on or off; false: #GP. */
static bool switch_paging(struct control_state *s, bool on)
{
    if (!on) {
        if (((s->efer & EFER_LMA) != 0 && s->cs_long) || (s->cr4 & CR4_PCIDE) != 0)
            return false;
        s->efer &= ~EFER_LMA;
        return true;
    }
    if ((s->efer & EFER_LME) == 0)
        return true;
    if ((s->cr4 & CR4_PAE) == 0 || s->cs_long || s->tss_is_286)
        return false;
    s->efer |= EFER_LMA;
    return true;
}

unsigned control_write_cr0(struct control_state *state, uint64_t value)
{
    const uint64_t defined = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |
                             CR0_NW | CR0_CD | CR0_PG;
    struct control_state s = *state;
    const bool bad = value >> 32 != 0 || ((value & CR0_PG) != 0 && (value & CR0_PE) == 0) ||
                     ((value & CR0_NW) != 0 && (value & CR0_CD) == 0);
    if (bad)
        return CONTROL_FAULT;
    s.cr0 = (value & defined) | CR0_ET; /* the reserved bits of the low half are ignored */
    const uint64_t changed = s.cr0 ^ state->cr0;
    if ((changed & CR0_PG) != 0 && !switch_paging(&s, (value & CR0_PG) != 0))
        return CONTROL_FAULT;
    unsigned effects = 0;
    /* SDM, "PDPTE Registers": under PAE paging a change of CD or NW loads them again. */
    if (has_pae_paging(&s) && (changed & (CR0_PG | CR0_CD | CR0_NW)) != 0)
        effects |= CONTROL_LOAD_PDPTES;
    if ((changed & (CR0_PG | CR0_WP | CR0_PE)) != 0)
        effects |= CONTROL_FLUSH_TLB;
    *state = s;
    return effects;
}

unsigned control_write_cr4(struct control_state *state, uint64_t value, uint64_t cr4_allowed)
{
    const uint64_t changed = value ^ state->cr4;
    const bool long_mode = (state->efer & EFER_LMA) != 0;
    const bool bad =
        (value & ~cr4_allowed) != 0 ||
        (long_mode && ((value & CR4_PAE) == 0 || (changed & CR4_LA57) != 0)) ||
        ((changed & value & CR4_PCIDE) != 0 && (!long_mode || (state->cr3 & CR3_PCID_MASK) != 0));
    if (bad)
        return CONTROL_FAULT;
    unsigned effects = 0;
    state->cr4 = value;
    if (has_pae_paging(state) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) != 0)
        effects |= CONTROL_LOAD_PDPTES;
    if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_LA57)) != 0)
        effects |= CONTROL_FLUSH_TLB;
    return effects;
}

unsigned control_write_efer(struct control_state *state, uint64_t value, uint64_t efer_allowed)
{
    value = (value & ~EFER_LMA) | (state->efer & EFER_LMA); /* follows CR0.PG */
    const uint64_t changed = value ^ state->efer;
    if ((value & ~efer_allowed) != 0 || ((changed & EFER_LME) != 0 && (state->cr0 & CR0_PG) != 0))
        return CONTROL_FAULT;
    state->efer = value;
    return (changed & EFER_NXE) != 0 ? CONTROL_FLUSH_TLB : 0;
}

bool control_xcr0_is_valid(uint64_t value, uint64_t allowed)
{
    if ((value & XCR0_X87) == 0 || (value & ~allowed) != 0)
        return false;
    if ((value & XCR0_AVX) != 0 && (value & XCR0_SSE) == 0)
        return false;
    return (value & XCR0_AVX512) == 0 ||
           ((value & XCR0_AVX512) == XCR0_AVX512 && (value & XCR0_AVX) != 0);
}

/* CR4 bits that stand for a feature: the guest may set them where its CPUID shows it. */
static const struct {
    uint32_t leaf, reg, bit; /* reg: 1 EBX, 2 ECX, 3 EDX */
    uint64_t cr4;
} cr4_features[] = {
    {1, 3, CPUID_1_EDX_VME, CR4_VME | CR4_PVI},
    {1, 3, CPUID_1_EDX_TSC, CR4_TSD},
    {1, 3, CPUID_1_EDX_DE, CR4_DE},
    {1, 3, CPUID_1_EDX_PSE, CR4_PSE},
    {1, 3, CPUID_1_EDX_PAE, CR4_PAE},
    {1, 3, CPUID_1_EDX_MCE, CR4_MCE},
    {1, 3, CPUID_1_EDX_PGE, CR4_PGE},
    {1, 3, CPUID_1_EDX_FXSR, CR4_OSFXSR},
    {1, 3, CPUID_1_EDX_SSE, CR4_OSXMMEXCPT},
    {1, 2, CPUID_1_ECX_PCID, CR4_PCIDE},
    {1, 2, CPUID_1_ECX_XSAVE, CR4_OSXSAVE},
    {7, 1, CPUID_7_EBX_FSGSBASE, CR4_FSGSBASE},
    {7, 1, CPUID_7_EBX_SMEP, CR4_SMEP},
    {7, 1, CPUID_7_EBX_SMAP, CR4_SMAP},
    {7, 2, CPUID_7_ECX_UMIP, CR4_UMIP},
    {7, 2, CPUID_7_ECX_PKU, CR4_PKE},
    {7, 2, CPUID_7_ECX_LA57, CR4_LA57},
};

uint64_t control_cr4_allowed(const struct cpuid_table *cpuid)
{
    uint64_t allowed = CR4_PCE;
    for (size_t i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++) {
        const struct cpuid_entry *e = cpuid_table_find(cpuid, cr4_features[i].leaf, 0);
        const uint32_t reg[4] = {e->eax, e->ebx, e->ecx, e->edx};
        if ((reg[cr4_features[i].reg] & cr4_features[i].bit) != 0)
            allowed |= cr4_features[i].cr4;
    }
    return allowed;
}

uint64_t control_efer_allowed(const struct cpuid_table *cpuid, bool no_xd)
{
    const uint32_t features = cpuid_table_find(cpuid, 0x80000001, 0)->edx;
    uint64_t allowed = 0;
    if ((features & CPUID_80000001_EDX_SYSCALL) != 0)
        allowed |= EFER_SCE;
    if ((features & CPUID_80000001_EDX_NX) != 0 && !no_xd)
        allowed |= EFER_NXE;
    if ((features & CPUID_80000001_EDX_LM) != 0)
        allowed |= EFER_LME | EFER_LMA;
    return allowed;
}

bool control_read_pdptes(const struct guestmem *mem, uint64_t cr3, unsigned phys_bits,
                         uint64_t pdpte[4])
{
    const uint64_t reserved = ~((1ull << phys_bits) - 1) | 0x1e6;
    if (!guestmem_read(mem, gpa(cr3 & 0xffffffe0u & ~mem->absent), pdpte, 4 * sizeof(pdpte[0])))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if ((pdpte[i] & 1) != 0 && (pdpte[i] & reserved) != 0)
            return false;
    return true;
}
