/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of VM entry on guest state, one function per section of the SDM's "Checks on the Guest
 * State Area". */
#include "vmx/vmcs_check_parts.h"

#define BLOCKED (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)

/* The segment registers in the order of their fields, which lie two apart. */
enum segment { ES, CS, SS, DS, FS, GS, LDTR, TR };

static uint64_t get_segment(const struct check *c, uint32_t first, enum segment s)
{
    return check_get(c, first + 2 * (uint32_t)s);
}

static uint32_t access_of(const struct check *c, enum segment s)
{
    return (uint32_t)get_segment(c, VMCS_GUEST_ES_ACCESS, s);
}

static bool is_usable(const struct check *c, enum segment s)
{
    return (access_of(c, s) & ACCESS_UNUSABLE) == 0;
}

static unsigned dpl_of(const struct check *c, enum segment s)
{
    return access_of(c, s) >> 5 & 3;
}

static bool is_v8086(const struct check *c)
{
    return (check_get(c, VMCS_GUEST_RFLAGS) & RFLAGS_VM) != 0;
}

static bool is_injecting(const struct check *c, uint32_t type)
{
    uint32_t event = (uint32_t)check_get(c, VMCS_CTRL_ENTRY_EVENT);
    return (event & EVENT_VALID) != 0 && (event & EVENT_TYPE_MASK) == type;
}

/* "Checks on Guest Control Registers, Debug Registers, and MSRs" */
static void check_registers(struct check *c)
{
    const struct vmx_caps *caps = c->view->caps;
    uint64_t cr0 = check_get(c, VMCS_GUEST_CR0), free0 = CR0_PE | CR0_PG;
    check_bits(c, VMCS_GUEST_CR0, caps->cr0_fixed0 & ~free0, caps->cr0_fixed1 | CR0_NW | CR0_CD,
               "CR0 as fixed in VMX operation");
    check_expect(c, (cr0 & CR0_PG) == 0 || (cr0 & CR0_PE) != 0, VMCS_GUEST_CR0,
                 "paging needs protection", "PG (bit 31) only with PE (bit 0)");
    check_bits(c, VMCS_GUEST_CR4, caps->cr4_fixed0, caps->cr4_fixed1,
               "CR4 as fixed in VMX operation");
    if (c->ia32e) {
        check_bits(c, VMCS_GUEST_CR0, CR0_PG, UINT64_MAX, "IA-32e mode needs paging");
        check_bits(c, VMCS_GUEST_CR4, CR4_PAE, UINT64_MAX, "IA-32e mode needs CR4.PAE");
    } else {
        check_bits(c, VMCS_GUEST_CR4, 0, ~CR4_PCIDE, "CR4.PCIDE needs IA-32e mode");
    }
    if ((check_get(c, VMCS_GUEST_CR4) & CR4_CET) != 0)
        check_bits(c, VMCS_GUEST_CR0, CR0_WP, UINT64_MAX, "CR4.CET needs CR0.WP");
    if ((c->word[ENTRY] & ENTRY_LOAD_CET) != 0)
        check_cet(c, VMCS_GUEST_S_CET);
    check_address(c, VMCS_GUEST_CR3, 0, "CR3 within the physical-address width");
    check_bits(c, VMCS_GUEST_DEBUGCTL, 0, 0xffc3, "reserved bits of IA32_DEBUGCTL");
    check_bits(c, VMCS_GUEST_DR7, 0, UINT32_MAX, "DR7 has 32 bits");
    check_pat(c, VMCS_GUEST_PAT);
    uint64_t efer = check_get(c, VMCS_GUEST_EFER);
    bool lma = (efer & EFER_LMA) != 0, lme = (efer & EFER_LME) != 0;
    check_bits(c, VMCS_GUEST_EFER, 0, EFER_KNOWN, "reserved bits of IA32_EFER");
    check_expect(c, lma == c->ia32e, VMCS_GUEST_EFER, "EFER.LMA is the IA-32e mode guest control",
                 c->ia32e ? "bit 10 1" : "bit 10 0");
    check_expect(c, (cr0 & CR0_PG) == 0 || lma == lme, VMCS_GUEST_EFER,
                 "with paging EFER.LMA is EFER.LME", "bits 8 and 10 equal");
}

/* "Checks on Guest Segment Registers": selector and base-address fields. */
static void check_selectors_and_bases(struct check *c)
{
    bool v8086 = is_v8086(c);
    check_bits(c, VMCS_GUEST_TR, 0, 0xfffb, "TR's selector: the GDT");
    if (is_usable(c, LDTR)) {
        check_bits(c, VMCS_GUEST_LDTR, 0, 0xfffb, "LDTR's selector: the GDT");
        check_canonical(c, VMCS_GUEST_LDTR_BASE);
    }
    for (enum segment s = ES; s <= GS; s++) {
        uint32_t base = VMCS_GUEST_ES_BASE + 2 * (uint32_t)s;
        if (v8086)
            check_expect(c, check_get(c, base) == get_segment(c, VMCS_GUEST_ES, s) << 4, base,
                         "virtual-8086 mode: the base is the selector times 16", "selector << 4");
        else if (s == CS || (s < FS && is_usable(c, s)))
            check_bits(c, base, 0, UINT32_MAX, "bases but of FS and GS have 32 bits");
    }
}

static void check_granularity(struct check *c, enum segment s)
{
    uint32_t field = VMCS_GUEST_ES_ACCESS + 2 * (uint32_t)s, limit_field = field - 0x14;
    uint64_t limit = check_get(c, limit_field);
    bool pages = (access_of(c, s) & ACCESS_G) != 0;
    check_expect(c, !pages || (limit & 0xfff) == 0xfff, limit_field, "with G the limit ends a page",
                 "bits 11:0 all 1, or G 0");
    check_expect(c, pages || limit <= 0xfffff, limit_field, "a limit beyond 1 MiB needs G",
                 "bits 31:20 all 0, or G 1");
}

/* Present, reserved bits, S: the same for all eight. */
static void check_common_access(struct check *c, enum segment s, uint32_t system)
{
    uint32_t field = VMCS_GUEST_ES_ACCESS + 2 * (uint32_t)s;
    check_bits(c, field, ACCESS_P, UINT64_MAX, "the segment is present (P)");
    check_bits(c, field, 0, 0x1f0ff, "reserved bits");
    check_expect(c, (access_of(c, s) & ACCESS_S) == system, field,
                 "S tells code and data from system segments", system != 0 ? "bit 4 1" : "bit 4 0");
    check_granularity(c, s);
}

static void check_cs_access(struct check *c)
{
    const uint32_t field = VMCS_GUEST_CS_ACCESS;
    uint32_t access = access_of(c, CS);
    unsigned type = access & 15, dpl = dpl_of(c, CS), ss_dpl = dpl_of(c, SS);
    check_expect(c, (type & 9) == 9 || type == 3, field, "CS is accessed code, or real-mode data",
                 "type 9, 11, 13, 15; 3");
    if (type == 3)
        check_expect(c, dpl == 0, field, "DPL of a data segment in CS", "DPL 0");
    else if ((type & 4) == 0)
        check_expect(c, dpl == ss_dpl, field, "DPL of non-conforming code", "SS's DPL");
    else
        check_expect(c, dpl <= ss_dpl, field, "DPL of conforming code", "at most SS's DPL");
    check_expect(c, !c->ia32e || (access & ACCESS_L) == 0 || (access & ACCESS_DB) == 0, field,
                 "64-bit code has D/B 0", "L or D/B, not both");
}

static void check_ss_access(struct check *c)
{
    unsigned type = access_of(c, SS) & 15, dpl = dpl_of(c, SS);
    if (is_usable(c, SS))
        check_expect(c, type == 3 || type == 7, VMCS_GUEST_SS_ACCESS,
                     "SS is accessed writable data", "type 3 or 7");
    bool real_mode = (check_get(c, VMCS_GUEST_CR0) & CR0_PE) == 0;
    if (real_mode || (access_of(c, CS) & 15) == 3)
        check_expect(c, dpl == 0, VMCS_GUEST_SS_ACCESS, "SS's DPL in real mode, or with data in CS",
                     "DPL 0");
}

static void check_data_access(struct check *c, enum segment s)
{
    uint32_t access = access_of(c, s), field = VMCS_GUEST_ES_ACCESS + 2 * (uint32_t)s;
    check_expect(c, (access & 1) != 0 && (access & 10) != 8, field,
                 "data segments are accessed and readable", "type odd; not 9 or 13");
}

/* "Checks on Guest Segment Registers": limits and access rights. */
static void check_access_rights(struct check *c)
{
    bool v8086 = is_v8086(c);
    for (enum segment s = ES; s <= GS; s++) {
        uint32_t limit = VMCS_GUEST_ES_LIMIT + 2 * (uint32_t)s;
        if (v8086) {
            check_expect(c, check_get(c, limit) == 0xffff, limit,
                         "virtual-8086 mode: the limit is 64 KiB", "0xffff");
            check_expect(c, access_of(c, s) == 0xf3, limit + 0x14,
                         "virtual-8086 mode: access rights", "0xf3");
            continue;
        }
        if (s == CS || is_usable(c, s))
            check_common_access(c, s, ACCESS_S);
        if (s != CS && s != SS && is_usable(c, s))
            check_data_access(c, s);
    }
    if (!v8086) {
        check_cs_access(c);
        check_ss_access(c);
    }
    unsigned type = access_of(c, TR) & 15;
    check_expect(c, type == 11 || (type == 3 && !c->ia32e), VMCS_GUEST_TR_ACCESS,
                 "TR is a busy TSS", c->ia32e ? "type 11" : "type 3 (16-bit) or 11 (32-bit)");
    check_bits(c, VMCS_GUEST_TR_ACCESS, 0, ~(uint64_t)ACCESS_UNUSABLE, "TR is usable");
    check_common_access(c, TR, 0);
    if (!is_usable(c, LDTR))
        return;
    check_expect(c, (access_of(c, LDTR) & 15) == 2, VMCS_GUEST_LDTR_ACCESS, "LDTR is an LDT",
                 "type 2");
    check_common_access(c, LDTR, 0);
}

/* Addresses, and what of descriptor-table registers is not an address. */
static void check_bases_and_tables(struct check *c)
{
    static const uint32_t canonical[] = {
        VMCS_GUEST_SYSENTER_ESP, VMCS_GUEST_SYSENTER_EIP, VMCS_GUEST_TR_BASE,  VMCS_GUEST_FS_BASE,
        VMCS_GUEST_GS_BASE,      VMCS_GUEST_GDTR_BASE,    VMCS_GUEST_IDTR_BASE};
    for (unsigned i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++)
        check_canonical(c, canonical[i]);
    check_bits(c, VMCS_GUEST_GDTR_LIMIT, 0, 0xffff, "GDTR's limit has 16 bits");
    check_bits(c, VMCS_GUEST_IDTR_LIMIT, 0, 0xffff, "IDTR's limit has 16 bits");
}

/* "Checks on Guest RIP, RFLAGS, and SSP" */
static void check_rip_and_rflags(struct check *c)
{
    bool real_mode = (check_get(c, VMCS_GUEST_CR0) & CR0_PE) == 0;
    unsigned bits = check_linear_bits(c);
    /* The highest bit of these may differ: RIP after the last byte of the lower half. */
    int64_t top = (int64_t)check_get(c, VMCS_GUEST_RIP) >> bits;
    if (c->ia32e && (access_of(c, CS) & ACCESS_L) != 0)
        check_expect(c, top == 0 || top == -1, VMCS_GUEST_RIP,
                     "a RIP of the CPU's width in 64-bit mode",
                     bits == 57 ? "bits 63:57 all equal" : "bits 63:48 all equal");
    else
        check_bits(c, VMCS_GUEST_RIP, 0, UINT32_MAX, "outside 64-bit mode RIP has 32 bits");
    check_bits(c, VMCS_GUEST_RFLAGS, RFLAGS_FIXED, RFLAGS_DEFINED, "reserved bits of RFLAGS");
    if (c->ia32e || real_mode)
        check_bits(c, VMCS_GUEST_RFLAGS, 0, ~RFLAGS_VM,
                   "no virtual-8086 mode in IA-32e or real mode");
    if (is_injecting(c, EVENT_INTERRUPT))
        check_bits(c, VMCS_GUEST_RFLAGS, RFLAGS_IF, UINT64_MAX,
                   "an external interrupt is injected only with IF 1");
}

/* "Checks on Guest Non-Register State": interruptibility state. */
static void check_interruptibility(struct check *c)
{
    const uint32_t field = VMCS_GUEST_INTERRUPTIBILITY;
    uint64_t blocked = check_get(c, field);
    bool interrupts = (check_get(c, VMCS_GUEST_RFLAGS) & RFLAGS_IF) != 0;
    check_bits(c, field, 0, 0x1b, "reserved bits of the interruptibility state, or SMM's");
    check_expect(c, (blocked & BLOCKED) != BLOCKED, field,
                 "blocking by STI excludes that by MOV SS", "not both bits 0 and 1");
    check_expect(c, interrupts || (blocked & BLOCKED_BY_STI) == 0, field,
                 "blocking by STI needs RFLAGS.IF", "bit 0 0, or IF 1");
    if (is_injecting(c, EVENT_INTERRUPT))
        check_bits(c, field, 0, ~(uint64_t)BLOCKED,
                   "no blocking where an external interrupt is injected");
    if (!is_injecting(c, EVENT_NMI))
        return;
    check_bits(c, field, 0, ~(uint64_t)BLOCKED,
               "no blocking by MOV SS (nor STI, on some CPUs) where an NMI is injected");
    check_bits(c, field, 0, ~(uint64_t)BLOCKED_BY_NMI,
               "no blocking by NMI where a virtual NMI is injected");
}

/* "Checks on Guest Non-Register State": activity, pending debug exceptions, VMCS link pointer. */
static void check_other_state(struct check *c)
{
    const uint32_t field = VMCS_GUEST_PENDING_DEBUG;
    uint64_t blocked = check_get(c, VMCS_GUEST_INTERRUPTIBILITY);
    check_bits(c, VMCS_GUEST_ACTIVITY, 0, 0,
               "activity state: active, for guests wait in root mode");
    check_bits(c, field, 0, 0x1500f, "reserved bits of the pending debug exceptions");
    if ((blocked & BLOCKED) != 0) {
        bool step = (check_get(c, VMCS_GUEST_RFLAGS) & RFLAGS_TF) != 0 &&
                    (check_get(c, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF) == 0;
        check_expect(c, ((check_get(c, field) >> 14 & 1) != 0) == step, field,
                     "where events are held back, BS is pending if single-stepping",
                     step ? "bit 14 1" : "bit 14 0");
    }
    if (check_get(c, VMCS_GUEST_LINK_POINTER) != UINT64_MAX)
        check_address(c, VMCS_GUEST_LINK_POINTER, 0xfff,
                      "the VMCS link pointer is all ones or a page");
}

/* "Checks on Guest Page-Directory-Pointer-Table Entries", where they come from the VMCS. */
static void check_pdptes(struct check *c)
{
    bool pae = (check_get(c, VMCS_GUEST_CR0) & CR0_PG) != 0 &&
               (check_get(c, VMCS_GUEST_CR4) & CR4_PAE) != 0 && !c->ia32e;
    if (!pae)
        return;
    for (uint32_t field = VMCS_GUEST_PDPTE0; field <= VMCS_GUEST_PDPTE3; field += 2)
        if ((check_get(c, field) & 1) != 0)
            check_address(c, field, 0x1e6, "reserved bits of a present PDPTE");
}

void check_guest_state(struct check *c)
{
    check_registers(c);
    check_selectors_and_bases(c);
    check_access_rights(c);
    check_bases_and_tables(c);
    check_rip_and_rflags(c);
    check_interruptibility(c);
    check_other_state(c);
    check_pdptes(c);
}
