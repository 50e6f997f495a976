/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of VM entry on controls and host state, one function per section of the SDM's chapter
 * "VM Entries"; those on guest state are in vmcs_check_guest.c. */
#include "vmx/vmcs_check.h"
#include "arch/log.h"
#include "vmx/vmcs_check_parts.h"

uint64_t check_get(const struct check *c, uint32_t field)
{
    return c->view->read(c->view->ctx, field);
}

void check_expect(struct check *c, bool ok, uint32_t field, const char *rule, const char *allowed)
{
    if (ok)
        return;
    c->broken++;
    c->report(c->report_ctx, rule, field, check_get(c, field), allowed);
}

void check_bits(struct check *c, uint32_t field, uint64_t must_be_1, uint64_t may_be_1,
                const char *rule)
{
    char allowed[96];
    uint64_t value = check_get(c, field), must_be_0 = ~may_be_1;
    format_text(allowed, sizeof(allowed), "1 in all bits of 0x%lx, 0 in all bits of 0x%lx",
                must_be_1, must_be_0);
    check_expect(c, (value & must_be_1) == must_be_1 && (value & must_be_0) == 0, field, rule,
                 allowed);
}

void check_address(struct check *c, uint32_t field, uint64_t low_bits, const char *rule)
{
    check_bits(c, field, 0, c->physical & ~low_bits, rule);
}

unsigned check_linear_bits(const struct check *c)
{
    return (c->view->caps->cr4_fixed1 & CR4_LA57) != 0 ? 57 : 48;
}

void check_canonical(struct check *c, uint32_t field)
{
    unsigned bits = check_linear_bits(c);
    int64_t top = (int64_t)check_get(c, field) >> (bits - 1);
    check_expect(c, top == 0 || top == -1, field, "canonical address",
                 bits == 57 ? "bits 63:56 all equal" : "bits 63:47 all equal");
}

void check_pat(struct check *c, uint32_t field)
{
    uint64_t pat = check_get(c, field);
    bool ok = true;
    for (unsigned i = 0; i < 64; i += 8) {
        unsigned type = pat >> i & 0xff;
        ok = ok && type <= 7 && type != 2 && type != 3;
    }
    check_expect(c, ok, field, "each byte of IA32_PAT holds a memory type",
                 "bytes 0, 1, 4, 5, 6, 7");
}

void check_cet(struct check *c, uint32_t s_cet)
{
    enum { SSP = 2, TABLE = 4 }; /* of the three fields in a row */
    const uint64_t both = S_CET_SUPPRESS | S_CET_TRACKER;
    check_canonical(c, s_cet);
    check_bits(c, s_cet, 0, ~0x3c0ull, "reserved bits of IA32_S_CET");
    check_expect(c, (check_get(c, s_cet) & both) != both, s_cet,
                 "IA32_S_CET: no ENDBRANCH is waited for where that is suppressed",
                 "not both bits 10 and 11");
    check_canonical(c, s_cet + SSP);
    check_bits(c, s_cet + SSP, 0, ~3ull, "SSP is aligned to 4");
    check_canonical(c, s_cet + TABLE);
}

/* The controls whose rules stand here: many a one makes the CPU look at further fields. Those that
 * the CPU demands are the classes without a meaning (SDM, "Algorithms for Determining VMX
 * Capabilities"). */
static const uint32_t known[CONTROL_WORDS] = {
    [PIN] = PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS |
            PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS,
    [PROC] = PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_MWAIT_EXITING |
             PROC_RDPMC_EXITING | PROC_TPR_SHADOW | PROC_NMI_WINDOW | PROC_UNCONDITIONAL_IO |
             PROC_MONITOR_TRAP | PROC_MSR_BITMAPS | PROC_MONITOR_EXITING | PROC_SECONDARY,
    [PROC2] = PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_EPT | PROC2_RDTSCP | PROC2_VIRTUALIZE_X2APIC |
              PROC2_VPID | PROC2_WBINVD_EXITING | PROC2_UNRESTRICTED_GUEST |
              PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY |
              PROC2_PAUSE_LOOP_EXITING | PROC2_INVPCID | PROC2_ENCLS_EXITING | PROC2_XSAVES |
              PROC2_BUS_LOCK_DETECTION | PROC2_INSTRUCTION_TIMEOUT,
    [EXIT] = EXIT_SAVE_DEBUG | EXIT_HOST_64BIT | EXIT_ACKNOWLEDGE_INTERRUPT | EXIT_SAVE_PAT |
             EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_LOAD_CET,
    [ENTRY] =
        ENTRY_LOAD_DEBUG | ENTRY_IA32E_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER | ENTRY_LOAD_CET,
};

/* A control word, without the bits that the CPU lacks: their fields do not exist. */
static void read_control(struct check *c, enum control_word word, uint32_t field,
                         struct control_caps caps)
{
    check_bits(c, field, caps.must_be_1, caps.may_be_1,
               "reserved bits of the controls as the capability MSRs say");
    check_bits(c, field, 0, known[word] | caps.must_be_1 | ~caps.may_be_1,
               "a control that these checks do not know: teach them its rules");
    c->word[word] = (uint32_t)check_get(c, field) & caps.may_be_1;
}

static void read_controls(struct check *c)
{
    const struct vmx_caps *caps = c->view->caps;
    read_control(c, PIN, VMCS_CTRL_PIN, caps->pin);
    read_control(c, PROC, VMCS_CTRL_PROC, caps->proc);
    read_control(c, PROC2, VMCS_CTRL_PROC2, caps->proc2);
    read_control(c, EXIT, VMCS_CTRL_EXIT, caps->exit);
    read_control(c, ENTRY, VMCS_CTRL_ENTRY, caps->entry);
}

/* A control that is set needs another one. */
static const struct {
    uint8_t word;
    uint32_t bit;
    uint8_t needed_word;
    uint32_t needed_bit;
    const char *rule;
} needs[] = {
    {PIN, PIN_VIRTUAL_NMIS, PIN, PIN_NMI_EXITING, "virtual NMIs need NMI exiting"},
    {PIN, PIN_POSTED_INTERRUPTS, PROC2, PROC2_VIRTUAL_INTERRUPT_DELIVERY,
     "posted interrupts need virtual-interrupt delivery"},
    {PIN, PIN_POSTED_INTERRUPTS, EXIT, EXIT_ACKNOWLEDGE_INTERRUPT,
     "posted interrupts need acknowledge interrupt on exit"},
    {PROC, PROC_NMI_WINDOW, PIN, PIN_VIRTUAL_NMIS, "NMI-window exiting needs virtual NMIs"},
    {PROC2, PROC2_VIRTUALIZE_X2APIC, PROC, PROC_TPR_SHADOW, "x2APIC mode needs the TPR shadow"},
    {PROC2, PROC2_APIC_REGISTER_VIRTUALIZATION, PROC, PROC_TPR_SHADOW,
     "APIC-register virtualization needs the TPR shadow"},
    {PROC2, PROC2_VIRTUAL_INTERRUPT_DELIVERY, PROC, PROC_TPR_SHADOW,
     "virtual-interrupt delivery needs the TPR shadow"},
    {PROC2, PROC2_VIRTUAL_INTERRUPT_DELIVERY, PIN, PIN_EXTERNAL_INTERRUPT_EXITING,
     "virtual-interrupt delivery needs external-interrupt exiting"},
    {PROC2, PROC2_UNRESTRICTED_GUEST, PROC2, PROC2_EPT, "unrestricted guest needs EPT"},
};

static void check_combinations(struct check *c)
{
    static const uint32_t field[] = {VMCS_CTRL_PIN, VMCS_CTRL_PROC, VMCS_CTRL_PROC2};
    for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
        check_expect(c,
                     (c->word[needs[i].word] & needs[i].bit) == 0 ||
                         (c->word[needs[i].needed_word] & needs[i].needed_bit) != 0,
                     field[needs[i].word], needs[i].rule, "neither, or both");
    const uint32_t apic = PROC2_VIRTUALIZE_X2APIC | PROC2_VIRTUALIZE_APIC_ACCESSES;
    check_expect(c, (c->word[PROC2] & apic) != apic, VMCS_CTRL_PROC2,
                 "x2APIC mode excludes virtualize APIC accesses", "not both bits 0 and 4");
}

/* Pages and other memory whose address a control makes the CPU use. */
static const struct {
    uint8_t word;
    uint32_t bit;
    uint32_t field;
    uint32_t low_bits;
    const char *rule;
} addresses[] = {
    {PROC, PROC_MSR_BITMAPS, VMCS_CTRL_MSR_BITMAP, 0xfff, "the MSR bitmap is a page"},
    {PROC, PROC_TPR_SHADOW, VMCS_CTRL_VIRTUAL_APIC, 0xfff, "the virtual-APIC page is a page"},
    {PROC2, PROC2_VIRTUALIZE_APIC_ACCESSES, VMCS_CTRL_APIC_ACCESS, 0xfff,
     "the APIC-access page is a page"},
    {PIN, PIN_POSTED_INTERRUPTS, VMCS_CTRL_POSTED_DESCRIPTOR, 0x3f,
     "the posted-interrupt descriptor is 64-byte aligned"},
};

/* SDM, "VM-Execution Control Fields", EPTP. */
static void check_eptp(struct check *c)
{
    uint64_t eptp = check_get(c, VMCS_CTRL_EPTP);
    check_expect(c, (eptp & 7) == 6, VMCS_CTRL_EPTP, "EPTP: memory type of the tables",
                 "bits 2:0 6 (WB)");
    check_expect(c, (eptp >> 3 & 7) == 3, VMCS_CTRL_EPTP, "EPTP: four levels of tables",
                 "bits 5:3 3");
    check_address(c, VMCS_CTRL_EPTP, 0xfc0, "EPTP: reserved bits");
}

/* SDM, "VM-Execution Control Fields". */
static void check_execution_controls(struct check *c)
{
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
        if ((c->word[addresses[i].word] & addresses[i].bit) != 0)
            check_address(c, addresses[i].field, addresses[i].low_bits, addresses[i].rule);
    if ((c->word[PROC2] & PROC2_VIRTUAL_INTERRUPT_DELIVERY) == 0)
        check_bits(c, VMCS_CTRL_TPR_THRESHOLD, 0, 0xf, "TPR threshold is a priority class");
    if ((c->word[PIN] & PIN_POSTED_INTERRUPTS) != 0)
        check_bits(c, VMCS_CTRL_POSTED_VECTOR, 0, 0xff, "the posted-interrupt vector is a vector");
    if ((c->word[PROC2] & PROC2_VPID) != 0)
        check_expect(c, check_get(c, VMCS_CTRL_VPID) != 0, VMCS_CTRL_VPID,
                     "VPID 0 is the hypervisor's", "1 to 65535");
    check_eptp(c);
}

/* SDM, "VM-Entry Control Fields": the event to be injected. */
static void check_injection(struct check *c)
{
    const uint32_t field = VMCS_CTRL_ENTRY_EVENT;
    uint32_t event = (uint32_t)check_get(c, field);
    if ((event & EVENT_VALID) == 0)
        return;
    unsigned vector = event & 0xff, type = event & EVENT_TYPE_MASK;
    check_bits(c, field, 0, 0x80000fff, "event to inject: reserved bits");
    check_expect(c, type != 1u << 8 && type != 7u << 8, field,
                 "event to inject: a type that exists",
                 "bits 10:8 not 1, nor 7, a monitor trap, which Nadir never asks for");
    check_expect(c, type != EVENT_NMI || vector == 2, field, "event to inject: an NMI is vector 2",
                 "bits 7:0 2");
    check_expect(c, type != EVENT_EXCEPTION || vector < 32, field,
                 "event to inject: exceptions are below 32", "bits 7:0 0 to 31");

    /* Vectors 8, 10-14, 17 push an error code; a newer CPU leaves that open (IA32_VMX_BASIC 56). */
    bool protected_mode = (check_get(c, VMCS_GUEST_CR0) & CR0_PE) != 0;
    bool has_code = type == EVENT_EXCEPTION && protected_mode && vector < 32 &&
                    (0x00027d00u >> vector & 1) != 0;
    bool delivers = (event & EVENT_ERROR_CODE) != 0;
    bool open = (c->view->caps->basic >> 56 & 1) != 0 && type == EVENT_EXCEPTION && protected_mode;
    check_expect(c, delivers == has_code || open, field,
                 "event to inject: an error code just where the exception has one",
                 has_code ? "bit 11 1" : "bit 11 0");
    if (delivers)
        check_bits(c, VMCS_CTRL_ENTRY_EVENT_ERROR, 0, 0xffff,
                   "event to inject: reserved bits of the error code");
    uint64_t length = check_get(c, VMCS_CTRL_ENTRY_EVENT_LENGTH);
    bool zero_allowed = (c->view->caps->misc >> 30 & 1) != 0;
    if (type >= EVENT_SOFTWARE_INTERRUPT && type <= EVENT_SOFTWARE_EXCEPTION)
        check_expect(c, length <= 15 && (length != 0 || zero_allowed), VMCS_CTRL_ENTRY_EVENT_LENGTH,
                     "event to inject: length of the instruction",
                     zero_allowed ? "0 to 15" : "1 to 15");
}

/* SDM, "Checks on Host Control Registers, MSRs, and SSP" and, for a host in IA-32e mode, "Checks
 * Related to Address-Space Size". */
static void check_host_registers(struct check *c)
{
    const struct vmx_caps *caps = c->view->caps;
    check_bits(c, VMCS_HOST_CR0, caps->cr0_fixed0, caps->cr0_fixed1,
               "CR0 as fixed in VMX operation");
    check_bits(c, VMCS_HOST_CR4, caps->cr4_fixed0, caps->cr4_fixed1,
               "CR4 as fixed in VMX operation");
    check_address(c, VMCS_HOST_CR3, 0, "CR3 within the physical-address width");
    check_pat(c, VMCS_HOST_PAT);
    check_bits(c, VMCS_HOST_EFER, 0, EFER_KNOWN, "reserved bits of IA32_EFER");
    check_bits(c, VMCS_HOST_EFER, EFER_LMA | EFER_LME, UINT64_MAX,
               "IA32_EFER of a 64-bit host has LME and LMA");
    check_bits(c, VMCS_CTRL_EXIT, EXIT_HOST_64BIT, UINT64_MAX,
               "a host in IA-32e mode returns to 64-bit mode");
    check_bits(c, VMCS_HOST_CR4, CR4_PAE, UINT64_MAX, "a 64-bit host has CR4.PAE");
    if ((check_get(c, VMCS_HOST_CR4) & CR4_CET) != 0)
        check_bits(c, VMCS_HOST_CR0, CR0_WP, UINT64_MAX, "CR4.CET needs CR0.WP");
    if ((c->word[EXIT] & EXIT_LOAD_CET) != 0)
        check_cet(c, VMCS_HOST_S_CET);
}

/* SDM, "Checks on Host Segment and Descriptor-Table Registers". */
static void check_host_segments(struct check *c)
{
    static const uint32_t selector[] = {VMCS_HOST_ES, VMCS_HOST_CS, VMCS_HOST_SS, VMCS_HOST_DS,
                                        VMCS_HOST_FS, VMCS_HOST_GS, VMCS_HOST_TR};
    static const uint32_t canonical[] = {
        VMCS_HOST_FS_BASE,   VMCS_HOST_GS_BASE, VMCS_HOST_TR_BASE,      VMCS_HOST_GDTR_BASE,
        VMCS_HOST_IDTR_BASE, VMCS_HOST_RIP,     VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP};
    for (unsigned i = 0; i < sizeof(selector) / sizeof(selector[0]); i++)
        check_bits(c, selector[i], 0, 0xfff8, "a host selector has RPL 0 and TI 0");
    check_expect(c, check_get(c, VMCS_HOST_CS) != 0, VMCS_HOST_CS, "host CS is not null", "not 0");
    check_expect(c, check_get(c, VMCS_HOST_TR) != 0, VMCS_HOST_TR, "host TR is not null", "not 0");
    for (unsigned i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++)
        check_canonical(c, canonical[i]);
}

unsigned vmcs_check(const struct vmcs_view *view, vmcs_report_fn *report, void *report_ctx)
{
    struct check check = {.view = view, .report = report, .report_ctx = report_ctx};
    struct check *c = &check;
    c->physical = view->phys_bits >= 64 ? UINT64_MAX : (1ull << view->phys_bits) - 1;
    read_controls(c);
    c->ia32e = (c->word[ENTRY] & ENTRY_IA32E_GUEST) != 0;
    check_combinations(c);
    check_execution_controls(c);
    check_injection(c);
    check_host_registers(c);
    check_host_segments(c);
    check_guest_state(c);
    return c->broken;
}
