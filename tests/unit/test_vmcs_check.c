// link: vmx/vmcs_check.c vmx/vmcs_check_guest.c vmx/caps.c vmx/fields.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of VM entry in software: valid VMCSs pass, and each single corruption is named. */
#include "vmx/vmcs_check.h"

#include "arch/x86.h"
#include "vmx/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct field_value {
    uint32_t field;
    uint64_t value;
};

static uint64_t vmcs[0x7000];
static struct vmx_caps caps;

/* What the last check said. */
static unsigned reports;
static char rules[64][128];
static uint32_t fields[64];

/* The capabilities of a Skylake server, from 0x480 on. */
static uint64_t read_capability(uint32_t msr)
{
    static const uint64_t value[] = {0x00d810000000002b, 0x000000ff00000016, 0xfff9fffe0401e172,
                                     0x407fffff00036dff, 0x0000ffff000011ff, 0x00000000600401e0,
                                     0x0000000080000021, 0x00000000ffffffff, 0x0000000000002000,
                                     0x00000000003727ff, 0x0000000000000050, 0x02577fff00000000,
                                     0x00000f0106734141, 0x000000ff00000016, 0xfff9fffe04006172,
                                     0x407fffff00036dfb, 0x0000ffff000011fb, 0x0000000000000001};
    assert_in_range(msr, 0x480, 0x491);
    return value[msr - 0x480];
}

static uint64_t read_field(void *ctx, uint32_t field)
{
    assert_ptr_equal(ctx, vmcs);
    assert_string_not_equal(vmcs_field_name(field), "unknown field");
    return vmcs[field];
}

static void report(void *ctx, const char *rule, uint32_t field, uint64_t value, const char *allowed)
{
    assert_ptr_equal(ctx, &reports);
    assert_true(rule[0] != '\0' && allowed[0] != '\0');
    assert_int_equal(value, vmcs[field]);
    if (reports < 64) {
        snprintf(rules[reports], sizeof(rules[0]), "%s", rule);
        fields[reports] = field;
    }
    reports++;
}

static unsigned check(void)
{
    struct vmcs_view view = {.read = read_field, .ctx = vmcs, .caps = &caps, .phys_bits = 40};
    reports = 0;
    unsigned broken = vmcs_check(&view, report, &reports);
    assert_int_equal(broken, reports);
    return broken;
}

static void expect_valid(void)
{
    if (check() != 0)
        fail_msg("%s: %s", vmcs_field_name(fields[0]), rules[0]);
}

static void set(const struct field_value *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vmcs[list[i].field] = list[i].value;
}

#define SET(...)                                   \
    set((const struct field_value[]){__VA_ARGS__}, \
        sizeof((const struct field_value[]){__VA_ARGS__}) / sizeof(struct field_value))

/* A 64-bit guest with every control on that Nadir sets. */
static int setup(void **state)
{
    (void)state;
    vmx_caps_read(&caps, read_capability);
    memset(vmcs, 0, sizeof(vmcs));
    SET({VMCS_CTRL_PIN, 0xff}, {VMCS_CTRL_PROC, 0xb52061fa}, {VMCS_CTRL_PROC2, 0x1017eb},
        {VMCS_CTRL_EXIT, 0x36dfb | 0x3c8204}, {VMCS_CTRL_ENTRY, 0x11fb | 0xc204},
        {VMCS_CTRL_MSR_BITMAP, 0x3000}, {VMCS_CTRL_VIRTUAL_APIC, 0x4000},
        {VMCS_CTRL_APIC_ACCESS, 0x5000}, {VMCS_CTRL_POSTED_DESCRIPTOR, 0x6040},
        {VMCS_CTRL_EPTP, 0xb01e}, {VMCS_CTRL_VPID, 1}, {VMCS_CTRL_POSTED_VECTOR, 0xf2},
        {VMCS_GUEST_LINK_POINTER, UINT64_MAX});
    SET({VMCS_HOST_CR0, 0x80010031}, {VMCS_HOST_CR3, 0x100000}, {VMCS_HOST_CR4, 0x2020},
        {VMCS_HOST_PAT, 0x0007040600070406}, {VMCS_HOST_EFER, 0xd01}, {VMCS_HOST_CS, 8},
        {VMCS_HOST_SS, 16}, {VMCS_HOST_TR, 24}, {VMCS_HOST_RIP, 0xffffffff80000000},
        {VMCS_HOST_GDTR_BASE, 0xffff800000000000}, {VMCS_HOST_TR_BASE, 0x7fffffffffff});
    SET({VMCS_GUEST_CR0, 0x80000031}, {VMCS_GUEST_CR3, 0x1000}, {VMCS_GUEST_CR4, 0x2020},
        {VMCS_GUEST_PAT, 0x0007040600070406}, {VMCS_GUEST_EFER, 0x500}, {VMCS_GUEST_DR7, 0x400},
        {VMCS_GUEST_CS, 0x10}, {VMCS_GUEST_SS, 0x18}, {VMCS_GUEST_DS, 0x18}, {VMCS_GUEST_TR, 0x20},
        {VMCS_GUEST_RFLAGS, 0x202}, {VMCS_GUEST_RIP, 0x100000}, {VMCS_GUEST_CS_ACCESS, 0xa09b},
        {VMCS_GUEST_SS_ACCESS, 0xc093}, {VMCS_GUEST_DS_ACCESS, 0xc093},
        {VMCS_GUEST_ES_ACCESS, 0x10000}, {VMCS_GUEST_FS_ACCESS, 0x10000},
        {VMCS_GUEST_GS_ACCESS, 0xc093}, {VMCS_GUEST_LDTR_ACCESS, 0x82},
        {VMCS_GUEST_TR_ACCESS, 0x8b}, {VMCS_GUEST_CS_LIMIT, 0xffffffff},
        {VMCS_GUEST_SS_LIMIT, 0xffffffff}, {VMCS_GUEST_DS_LIMIT, 0xffffffff},
        {VMCS_GUEST_GS_LIMIT, 0xffffffff}, {VMCS_GUEST_LDTR_LIMIT, 0xffff},
        {VMCS_GUEST_TR_LIMIT, 0x67}, {VMCS_GUEST_GDTR_LIMIT, 0xffff},
        {VMCS_GUEST_IDTR_LIMIT, 0xfff});
    return 0;
}

/* The same guest in real mode, as after reset. */
static void real_mode(void)
{
    for (unsigned i = 0; i < 12; i += 2) {
        vmcs[VMCS_GUEST_ES + i] = 0;
        vmcs[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
        vmcs[VMCS_GUEST_ES_ACCESS + i] = 0x93;
    }
    SET({VMCS_CTRL_ENTRY, 0x11fb | 0xc004}, {VMCS_GUEST_CR0, 0x60000030}, {VMCS_GUEST_CR4, 0x2000},
        {VMCS_GUEST_EFER, 0}, {VMCS_GUEST_CS, 0xf000}, {VMCS_GUEST_CS_BASE, 0xffff0000},
        {VMCS_GUEST_CS_ACCESS, 0x9b}, {VMCS_GUEST_RIP, 0xfff0}, {VMCS_GUEST_RFLAGS, 2});
}

static void pae_mode(void)
{
    SET({VMCS_CTRL_ENTRY, 0x11fb | 0xc004}, {VMCS_GUEST_EFER, 0}, {VMCS_GUEST_CS_ACCESS, 0xc09b},
        {VMCS_GUEST_PDPTE0, 0x12001}, {VMCS_GUEST_PDPTE3, 0xfffffffffffffffe});
}

static void v8086_mode(void)
{
    pae_mode();
    vmcs[VMCS_GUEST_RFLAGS] = 0x20002;
    for (unsigned i = 0; i < 12; i += 2) {
        vmcs[VMCS_GUEST_ES + i] = 0x1234 + i;
        vmcs[VMCS_GUEST_ES_BASE + i] = (0x1234 + i) << 4;
        vmcs[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
        vmcs[VMCS_GUEST_ES_ACCESS + i] = 0xf3;
    }
}

static void test_valid(void **state)
{
    expect_valid();
    real_mode();
    expect_valid();
    setup(state);
    pae_mode();
    expect_valid();
    v8086_mode();
    expect_valid();
    setup(state);
    vmcs[VMCS_GUEST_LINK_POINTER] = 0x5000;
    expect_valid();
    caps.proc2.may_be_1 |= 3u << 30; /* a newer CPU: bus locks and instruction timeouts exit */
    vmcs[VMCS_CTRL_PROC2] |= 3u << 30;
    expect_valid();
}

static void test_valid_events(void **state)
{
    (void)state;
    /* external interrupt, NMI, #UD, #GP, #DF, #AC, INT n, INT1, INT3 */
    const uint32_t event[] = {0x80000030, 0x80000202, 0x80000306, 0x80000b0d, 0x80000b08,
                              0x80000b11, 0x80000480, 0x80000501, 0x80000603};
    vmcs[VMCS_CTRL_ENTRY_EVENT_LENGTH] = 2;
    for (unsigned i = 0; i < sizeof(event) / sizeof(event[0]); i++) {
        vmcs[VMCS_CTRL_ENTRY_EVENT] = event[i];
        expect_valid();
    }
    real_mode(); /* no error codes in real mode */
    vmcs[VMCS_CTRL_ENTRY_EVENT] = 0x8000030d;
    expect_valid();
}

/* A CPU with CET, whose host and guest have it on. */
static void with_cet(void)
{
    caps.exit.may_be_1 |= 1u << 28;
    caps.entry.may_be_1 |= 1u << 20;
    caps.cr4_fixed1 |= 1u << 23;
    SET({VMCS_CTRL_EXIT, 0x36dfb | 0x103c8204}, {VMCS_CTRL_ENTRY, 0x11fb | 0x10c204},
        {VMCS_HOST_CR4, 0x802020}, {VMCS_GUEST_CR4, 0x802020}, {VMCS_HOST_S_CET, 5},
        {VMCS_GUEST_S_CET, 0x805}, {VMCS_HOST_SSP, 0xffffc00000000ff0}, {VMCS_GUEST_SSP, 0x7ffc},
        {VMCS_HOST_INTERRUPT_SSP_TABLE, 0xffff800000000000}, {VMCS_HOST_CR0, 0x80010031},
        {VMCS_GUEST_CR0, 0x80010031});
}

static void test_valid_cet(void **state)
{
    (void)state;
    with_cet();
    expect_valid();
}

/* What lies just within the rules. */
static void test_valid_edges(void **state)
{
    static const struct field_value rows[][4] = {
        {{VMCS_GUEST_DS_ACCESS, 0x4093}, {VMCS_GUEST_DS_LIMIT, 0xfffff}}, /* most without G */
        {{VMCS_GUEST_GDTR_LIMIT, 0}, {VMCS_GUEST_IDTR_LIMIT, 0}},
        {{VMCS_GUEST_RIP, 0x0000800000000000}}, /* behind the last byte of the lower half */
        {{VMCS_GUEST_PDPTE0, 7}},               /* of no meaning in IA-32e mode */
        {{VMCS_GUEST_INTERRUPTIBILITY, 0x10}},  /* an enclave was interrupted */
        {{VMCS_GUEST_PENDING_DEBUG, 0x1100f}},  /* B3 to B0, an enabled one, RTM */
        {{VMCS_CTRL_ENTRY_EVENT, 0x80000480}},  /* length 0, which this CPU takes */
        {{VMCS_HOST_TR, 0x8008}},
        {{VMCS_CTRL_VPID, 0}, {VMCS_CTRL_PROC2, 0x1017cb}}, /* VPIDs are not used */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup(state);
        for (size_t j = 0; j < 4 && rows[i][j].field != 0; j++)
            set(&rows[i][j], 1);
        expect_valid();
    }
    for (unsigned cpl = 1; cpl < 4; cpl++) { /* rings 1 to 3 */
        setup(state);
        SET({VMCS_GUEST_CS, 0x10 | cpl}, {VMCS_GUEST_SS, 0x18 | cpl},
            {VMCS_GUEST_CS_ACCESS, 0xa09b | cpl << 5}, {VMCS_GUEST_SS_ACCESS, 0xc093 | cpl << 5});
        expect_valid();
    }
}

/* One corruption: what is set beside (a mode or up to four fields), and what must be named. */
static const struct corruption {
    void (*mode)(void);
    struct field_value set[4];
    uint32_t field; /* 0: that of set[0] */
    const char *rule;
} corruptions[] = {
#define BAD(rule, ...)               \
    {                                \
        NULL, {__VA_ARGS__}, 0, rule \
    }
#define BAD_AT(field, rule, ...)         \
    {                                    \
        NULL, {__VA_ARGS__}, field, rule \
    }
#define BAD_IN(mode, rule, ...)      \
    {                                \
        mode, {__VA_ARGS__}, 0, rule \
    }
    /* VM-execution controls */
    BAD("reserved bits of the controls", {VMCS_CTRL_PIN, 0xe9}),
    BAD("reserved bits of the controls", {VMCS_CTRL_PIN, 0x1ff}),
    BAD("reserved bits of the controls", {VMCS_CTRL_PROC, 0xb5206000}),
    BAD("reserved bits of the controls", {VMCS_CTRL_PROC2, 0x1017eb | 1u << 15 | 1u << 19}),
    BAD("MSR bitmap", {VMCS_CTRL_MSR_BITMAP, 0x800}),
    BAD("MSR bitmap", {VMCS_CTRL_MSR_BITMAP, 0x3001}),
    BAD("virtual-APIC page", {VMCS_CTRL_VIRTUAL_APIC, 0x10}),
    BAD("APIC-access page", {VMCS_CTRL_APIC_ACCESS, 0x10}),
    BAD("posted-interrupt descriptor", {VMCS_CTRL_POSTED_DESCRIPTOR, 0x20}),
    BAD("posted-interrupt vector", {VMCS_CTRL_POSTED_VECTOR, 0x100}),
    BAD("VPID 0", {VMCS_CTRL_VPID, 0}),
    BAD("EPTP: memory type", {VMCS_CTRL_EPTP, 0xb018}),
    BAD("EPTP: four levels", {VMCS_CTRL_EPTP, 0xb016}),
    BAD("EPTP: reserved bits", {VMCS_CTRL_EPTP, 0xb05e}),
    BAD("EPTP: reserved bits", {VMCS_CTRL_EPTP, 0x1000000b01e}),
    BAD("TPR threshold", {VMCS_CTRL_TPR_THRESHOLD, 0x10}, {VMCS_CTRL_PIN, 0x7f},
        {VMCS_CTRL_PROC2, 0x1015eb}),
    BAD_AT(VMCS_CTRL_PIN, "virtual NMIs need", {VMCS_CTRL_PIN, 0xf7}),
    BAD_AT(VMCS_CTRL_PROC, "NMI-window", {VMCS_CTRL_PIN, 0xdf}, {VMCS_CTRL_PROC, 0xb56061fa}),
    BAD_AT(VMCS_CTRL_PROC2, "x2APIC mode excludes", {VMCS_CTRL_PROC2, 0x1017fb}),
    BAD_AT(VMCS_CTRL_PROC2, "x2APIC mode needs", {VMCS_CTRL_PROC, 0xb50061fa},
           {VMCS_CTRL_PROC2, 0x1017fa}),
    BAD_AT(VMCS_CTRL_PROC2, "APIC-register", {VMCS_CTRL_PROC, 0xb50061fa}),
    BAD_AT(VMCS_CTRL_PROC2, "virtual-interrupt delivery needs the TPR",
           {VMCS_CTRL_PROC, 0xb50061fa}),
    BAD_AT(VMCS_CTRL_PROC2, "external-interrupt exiting", {VMCS_CTRL_PIN, 0xfe}),
    BAD_AT(VMCS_CTRL_PIN, "posted interrupts need virtual", {VMCS_CTRL_PROC2, 0x1015eb}),
    BAD_AT(VMCS_CTRL_PIN, "posted interrupts need acknowledge",
           {VMCS_CTRL_EXIT, 0x36dfb | 0x3c0204}),
    BAD("unrestricted guest needs EPT", {VMCS_CTRL_PROC2, 0x1017e9}),
    /* VM-exit and VM-entry controls */
    BAD("reserved bits of the controls", {VMCS_CTRL_EXIT, 0x3c8204}),
    BAD("reserved bits of the controls", {VMCS_CTRL_ENTRY, 0xc204}),
    /* INVLPG exiting, descriptor-table exiting, save the preemption timer, IA32_PERF_GLOBAL_CTRL */
    BAD("do not know", {VMCS_CTRL_PROC, 0xb52061fa | 1u << 9}),
    BAD("do not know", {VMCS_CTRL_PROC2, 0x1017eb | 1u << 2}),
    BAD("do not know", {VMCS_CTRL_EXIT, 0x36dfb | 0x3c8204 | 1u << 22}),
    BAD("do not know", {VMCS_CTRL_ENTRY, 0x11fb | 0xc204 | 1u << 13}),
    BAD("event to inject: a type", {VMCS_CTRL_ENTRY_EVENT, 0x80000120}),
    BAD("event to inject: a type", {VMCS_CTRL_ENTRY_EVENT, 0x80000700}),
    BAD("event to inject: reserved", {VMCS_CTRL_ENTRY_EVENT, 0x80001020}),
    BAD("an NMI is vector 2", {VMCS_CTRL_ENTRY_EVENT, 0x80000203}),
    BAD("exceptions are below 32", {VMCS_CTRL_ENTRY_EVENT, 0x80000320}),
    BAD("an error code just where", {VMCS_CTRL_ENTRY_EVENT, 0x8000030d}),
    BAD("an error code just where", {VMCS_CTRL_ENTRY_EVENT, 0x80000b06}),
    BAD("an error code just where", {VMCS_CTRL_ENTRY_EVENT, 0x80000820}),
    BAD_IN(real_mode, "an error code just where", {VMCS_CTRL_ENTRY_EVENT, 0x80000b0d}),
    BAD("reserved bits of the error code", {VMCS_CTRL_ENTRY_EVENT_ERROR, 0x10000},
        {VMCS_CTRL_ENTRY_EVENT, 0x80000b0d}),
    BAD("length of the instruction", {VMCS_CTRL_ENTRY_EVENT_LENGTH, 16},
        {VMCS_CTRL_ENTRY_EVENT, 0x80000480}),
    /* CET, of the host and of the guest */
    BAD_IN(with_cet, "CR4.CET needs", {VMCS_HOST_CR0, 0x80000031}),
    BAD_IN(with_cet, "CR4.CET needs", {VMCS_GUEST_CR0, 0x80000031}),
    BAD_IN(with_cet, "reserved bits of IA32_S_CET", {VMCS_HOST_S_CET, 0x41}),
    BAD_IN(with_cet, "no ENDBRANCH is waited for", {VMCS_GUEST_S_CET, 0xc00}),
    BAD_IN(with_cet, "canonical", {VMCS_GUEST_S_CET, 1ull << 47}),
    BAD_IN(with_cet, "SSP is aligned", {VMCS_HOST_SSP, 0x1002}),
    BAD_IN(with_cet, "canonical", {VMCS_GUEST_SSP, 1ull << 47}),
    BAD_IN(with_cet, "canonical", {VMCS_HOST_INTERRUPT_SSP_TABLE, 1ull << 63}),
    BAD_IN(with_cet, "canonical", {VMCS_GUEST_INTERRUPT_SSP_TABLE, 1ull << 63}),
    /* host state */
    BAD("CR0 as fixed", {VMCS_HOST_CR0, 0x80010011}),
    BAD("CR4 as fixed", {VMCS_HOST_CR4, 0x20}),
    BAD("CR4 as fixed", {VMCS_HOST_CR4, 0x3020}),
    BAD("CR3 within", {VMCS_HOST_CR3, 1ull << 40}),
    BAD("canonical", {VMCS_HOST_SYSENTER_ESP, 1ull << 47}),
    BAD("canonical", {VMCS_HOST_SYSENTER_EIP, 0xffff000000000000}),
    BAD("IA32_PAT", {VMCS_HOST_PAT, 0x0007040600070206}),
    BAD("reserved bits of IA32_EFER", {VMCS_HOST_EFER, 0xd03}),
    BAD("LME and LMA", {VMCS_HOST_EFER, 0x901}),
    BAD("RPL 0 and TI 0", {VMCS_HOST_DS, 3}),
    BAD("RPL 0 and TI 0", {VMCS_HOST_GS, 4}),
    BAD("host CS is not null", {VMCS_HOST_CS, 0}),
    BAD("host TR is not null", {VMCS_HOST_TR, 0}),
    BAD("canonical", {VMCS_HOST_GDTR_BASE, 0x0000800000000000}),
    BAD("canonical", {VMCS_HOST_FS_BASE, 1ull << 63}),
    BAD("returns to 64-bit", {VMCS_CTRL_EXIT, 0x36dfb | 0x3c8004}),
    BAD("CR4.PAE", {VMCS_HOST_CR4, 0x2000}),
    BAD("canonical", {VMCS_HOST_RIP, 0x8000000000000000}),
    /* guest control registers and MSRs */
    BAD("CR0 as fixed", {VMCS_GUEST_CR0, 0x80000011}),
    BAD("paging needs protection", {VMCS_GUEST_CR0, 0x80000030}),
    BAD("CR4 as fixed", {VMCS_GUEST_CR4, 0x20}),
    BAD("IA-32e mode needs paging", {VMCS_GUEST_CR0, 0x31}),
    BAD("IA-32e mode needs CR4.PAE", {VMCS_GUEST_CR4, 0x2000}),
    BAD_IN(pae_mode, "PCIDE needs", {VMCS_GUEST_CR4, 0x22020}),
    BAD("CR3 within", {VMCS_GUEST_CR3, 1ull << 52}),
    BAD("IA32_DEBUGCTL", {VMCS_GUEST_DEBUGCTL, 4}),
    BAD("DR7 has 32 bits", {VMCS_GUEST_DR7, 1ull << 32}),
    BAD("canonical", {VMCS_GUEST_SYSENTER_ESP, 1ull << 50}),
    BAD("canonical", {VMCS_GUEST_SYSENTER_EIP, 1ull << 50}),
    BAD("IA32_PAT", {VMCS_GUEST_PAT, 8}),
    BAD("reserved bits of IA32_EFER", {VMCS_GUEST_EFER, 0x1500}),
    BAD("LMA is the IA-32e", {VMCS_GUEST_EFER, 0x100}),
    BAD("LMA is EFER.LME", {VMCS_GUEST_EFER, 0x400}),
    BAD_IN(pae_mode, "LMA is the IA-32e", {VMCS_GUEST_EFER, 0x500}),
    /* guest segment registers */
    BAD("TR's selector", {VMCS_GUEST_TR, 0x24}),
    BAD("LDTR's selector", {VMCS_GUEST_LDTR, 0x24}),
    BAD("canonical", {VMCS_GUEST_LDTR_BASE, 1ull << 47}),
    BAD("canonical", {VMCS_GUEST_TR_BASE, 1ull << 47}),
    BAD("canonical", {VMCS_GUEST_FS_BASE, 1ull << 47}),
    BAD("canonical", {VMCS_GUEST_GS_BASE, 1ull << 47}),
    BAD("have 32 bits", {VMCS_GUEST_CS_BASE, 1ull << 32}),
    BAD("have 32 bits", {VMCS_GUEST_SS_BASE, 1ull << 32}),
    BAD_IN(v8086_mode, "selector times 16", {VMCS_GUEST_FS_BASE, 0}),
    BAD_IN(v8086_mode, "limit is 64 KiB", {VMCS_GUEST_DS_LIMIT, 0xfffff}),
    BAD_IN(v8086_mode, "8086 mode: access", {VMCS_GUEST_SS_ACCESS, 0x93}),
    BAD("(P)", {VMCS_GUEST_CS_ACCESS, 0xa01b}),
    BAD("(P)", {VMCS_GUEST_TR_ACCESS, 0x0b}),
    BAD("reserved", {VMCS_GUEST_DS_ACCESS, 0xc193}),
    BAD("S tells code", {VMCS_GUEST_CS_ACCESS, 0xa08b}),
    BAD("S tells code", {VMCS_GUEST_LDTR_ACCESS, 0x92}),
    BAD("the limit ends a page", {VMCS_GUEST_SS_LIMIT, 0xffff0fff - 1}),
    BAD("beyond 1 MiB needs G", {VMCS_GUEST_TR_LIMIT, 0x100000}),
    BAD("CS is accessed code", {VMCS_GUEST_CS_ACCESS, 0xa09a}),
    BAD("DPL of a data segment in CS", {VMCS_GUEST_CS_ACCESS, 0x80b3}),
    BAD("DPL of non-conforming", {VMCS_GUEST_CS_ACCESS, 0xa0fb}),
    BAD("DPL of conforming", {VMCS_GUEST_CS_ACCESS, 0xa0ff}),
    BAD("64-bit code has D/B 0", {VMCS_GUEST_CS_ACCESS, 0xe09b}),
    BAD("SS is accessed writable", {VMCS_GUEST_SS_ACCESS, 0xc091}),
    BAD_IN(real_mode, "SS's DPL in real mode", {VMCS_GUEST_SS_ACCESS, 0xf3},
           {VMCS_GUEST_CS_ACCESS, 0xfb}),
    BAD("accessed and readable", {VMCS_GUEST_DS_ACCESS, 0xc092}),
    BAD("accessed and readable", {VMCS_GUEST_GS_ACCESS, 0xc099}),
    BAD("TR is a busy TSS", {VMCS_GUEST_TR_ACCESS, 0x89}),
    BAD("TR is a busy TSS", {VMCS_GUEST_TR_ACCESS, 0x83}),
    BAD("TR is usable", {VMCS_GUEST_TR_ACCESS, 0x1008b}),
    BAD("LDTR is an LDT", {VMCS_GUEST_LDTR_ACCESS, 0x83}),
    /* descriptor tables, RIP, RFLAGS */
    BAD("canonical", {VMCS_GUEST_GDTR_BASE, 1ull << 47}),
    BAD("canonical", {VMCS_GUEST_IDTR_BASE, 1ull << 47}),
    BAD("GDTR's limit", {VMCS_GUEST_GDTR_LIMIT, 0x10000}),
    BAD("IDTR's limit", {VMCS_GUEST_IDTR_LIMIT, 0x10000}),
    BAD("a RIP of the CPU's width", {VMCS_GUEST_RIP, 1ull << 48}),
    BAD("RIP has 32 bits", {VMCS_GUEST_RIP, 1ull << 32}, {VMCS_GUEST_CS_ACCESS, 0xc09b}),
    BAD_IN(pae_mode, "RIP has 32 bits", {VMCS_GUEST_RIP, 1ull << 32}),
    BAD("RFLAGS", {VMCS_GUEST_RFLAGS, 0x200}),
    BAD("RFLAGS", {VMCS_GUEST_RFLAGS, 0x8202}),
    BAD_IN(v8086_mode, "no virtual-8086 mode", {VMCS_GUEST_RFLAGS, 0x20002},
           {VMCS_CTRL_ENTRY, 0xd3ff}, {VMCS_GUEST_EFER, 0x500}),
    BAD_AT(VMCS_GUEST_RFLAGS, "only with IF", {VMCS_CTRL_ENTRY_EVENT, 0x80000030},
           {VMCS_GUEST_RFLAGS, 2}),
    /* non-register state and PDPTEs */
    BAD("activity state", {VMCS_GUEST_ACTIVITY, 1}),
    BAD("interruptibility", {VMCS_GUEST_INTERRUPTIBILITY, 0x20}),
    BAD("excludes that by MOV SS", {VMCS_GUEST_INTERRUPTIBILITY, 3}),
    BAD("needs RFLAGS.IF", {VMCS_GUEST_INTERRUPTIBILITY, 1}, {VMCS_GUEST_RFLAGS, 2}),
    BAD("or SMM's", {VMCS_GUEST_INTERRUPTIBILITY, 4}),
    BAD("external interrupt is injected", {VMCS_GUEST_INTERRUPTIBILITY, 1},
        {VMCS_CTRL_ENTRY_EVENT, 0x80000030}),
    BAD("an NMI is injected", {VMCS_GUEST_INTERRUPTIBILITY, 2},
        {VMCS_CTRL_ENTRY_EVENT, 0x80000202}),
    BAD("virtual NMI is injected", {VMCS_GUEST_INTERRUPTIBILITY, 8},
        {VMCS_CTRL_ENTRY_EVENT, 0x80000202}),
    BAD("pending debug exceptions", {VMCS_GUEST_PENDING_DEBUG, 0x10}),
    BAD_AT(VMCS_GUEST_PENDING_DEBUG, "BS is pending", {VMCS_GUEST_INTERRUPTIBILITY, 2},
           {VMCS_GUEST_RFLAGS, 0x302}),
    BAD("BS is pending", {VMCS_GUEST_PENDING_DEBUG, 0x4000}, {VMCS_GUEST_INTERRUPTIBILITY, 1}),
    BAD("BS is pending", {VMCS_GUEST_PENDING_DEBUG, 0x4000}, {VMCS_GUEST_INTERRUPTIBILITY, 1},
        {VMCS_GUEST_RFLAGS, 0x302}, {VMCS_GUEST_DEBUGCTL, 2}),
    BAD("link pointer", {VMCS_GUEST_LINK_POINTER, 0x123}),
    BAD_IN(pae_mode, "PDPTE", {VMCS_GUEST_PDPTE0, 0x12003}),
    BAD_IN(pae_mode, "PDPTE", {VMCS_GUEST_PDPTE3, 0x10000012001}),
};

static void test_corruptions(void **state)
{
    for (size_t i = 0; i < sizeof(corruptions) / sizeof(corruptions[0]); i++) {
        const struct corruption *bad = &corruptions[i];
        uint32_t field = bad->field != 0 ? bad->field : bad->set[0].field;
        bool named = false;
        setup(state);
        if (bad->mode != NULL)
            bad->mode();
        for (size_t j = 0; j < 4 && (j == 0 || bad->set[j].field != 0); j++)
            set(&bad->set[j], 1);
        check();
        for (unsigned r = 0; r < reports && r < 64; r++)
            named = named || (fields[r] == field && strstr(rules[r], bad->rule) != NULL);
        if (!named)
            fail_msg("row %zu, %s: not named: %s (%u others: %s)", i, vmcs_field_name(field),
                     bad->rule, reports, reports > 0 ? rules[0] : "");
        if (reports > 6)
            fail_msg("row %zu, %s: %u reports for one corruption", i, bad->rule, reports);
    }
}

/* Capabilities change what is allowed. */
static void test_capabilities(void **state)
{
    (void)state;
    caps.misc &= ~(1ull << 30);
    vmcs[VMCS_CTRL_ENTRY_EVENT] = 0x80000480; /* length 0 */
    assert_int_equal(check(), 1);
    setup(state);
    caps.basic |= 1ull << 56;
    vmcs[VMCS_CTRL_ENTRY_EVENT] = 0x80000b06; /* an error code where there is none */
    expect_valid();
    setup(state);
    caps.cr4_fixed1 |= CR4_LA57; /* addresses of 57 bits, though CR4.LA57 is 0 */
    vmcs[VMCS_GUEST_FS_BASE] = 1ull << 55;
    vmcs[VMCS_GUEST_RIP] = 1ull << 56;
    expect_valid();
    vmcs[VMCS_GUEST_FS_BASE] = 1ull << 56;
    vmcs[VMCS_GUEST_RIP] = 1ull << 57;
    assert_int_equal(check(), 2);
}

/* Garbage is reported, and nothing else happens. */
static void test_garbage(void **state)
{
    (void)state;
    srand(3);
    for (unsigned round = 0; round < 2000; round++) {
        for (unsigned i = 0; i < 0x7000; i += 2)
            vmcs[i] = round == 0 ? UINT64_MAX : (uint64_t)rand() << 40 ^ (uint64_t)rand() << 9;
        assert_true(check() > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_valid, setup),
        cmocka_unit_test_setup(test_valid_cet, setup),
        cmocka_unit_test_setup(test_valid_edges, setup),
        cmocka_unit_test_setup(test_valid_events, setup),
        cmocka_unit_test_setup(test_corruptions, setup),
        cmocka_unit_test_setup(test_capabilities, setup),
        cmocka_unit_test_setup(test_garbage, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
