/* SPDX-License-Identifier: BSD-2-Clause */
/* VT-x without VT-x. */
#include "tests/unit/fake_vmx.h"

#include "arch/mcheck.h"
#include "arch/x86.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs_check.h"
#include "vmx/vmx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VMCS_COUNT 4
#define PHYS_BITS  39

enum field_type { CONTROL, READ_ONLY, GUEST, HOST };
enum field_width { WIDTH_16, WIDTH_64, WIDTH_32, WIDTH_NATURAL };

/* A VMCS from its VMCLEAR on. */
struct fake_vmcs {
    uint64_t region; /* host-physical; 0: free */
    uint64_t field[FAKE_VMX_FIELDS];
};

struct fake_vmx fake_vmx;
static struct fake_vmcs vmcs[VMCS_COUNT];
static struct fake_vmcs *current;

uint64_t fake_vmx_capability(uint32_t msr)
{
    static const uint64_t value[] = {0x00d810000000002b, 0x000000ff00000016, 0xfff9fffe0401e172,
                                     0x407fffff00036dff, 0x0000ffff000011ff, 0x00000000600401e0,
                                     0x0000000080000021, 0x00000000ffffffff, 0x0000000000002000,
                                     0x00000000003727ff, 0x0000000000000050, 0x02577fff00000000,
                                     0x00000f0106734141, 0x000000ff00000016, 0xfff9fffe04006172,
                                     0x407fffff00036dfb, 0x0000ffff000011fb, 0x0000000000000001};
    return msr - 0x480 < sizeof(value) / sizeof(value[0]) ? value[msr - 0x480] : 0;
}

void fake_vmx_reset(void)
{
    memset(&fake_vmx, 0, sizeof(fake_vmx));
    vmx_caps_read(&fake_vmx.caps, fake_vmx_capability);
    fake_vmx.cpu.self = &fake_vmx.cpu;
    fake_vmx.cr0 = 0x80010033;
    fake_vmx.cr3 = 0x100000;
    fake_vmx.cr4 = 0x00102660;
    fake_vmx.pat = PAT_RESET_VALUE;
    fake_vmx.efer = 0xd01;
    fake_vmx.dr6 = 0xffff0ff0;
    fake_vmx.on = true;
    fake_vmx.tsc = 1000000;
    for (unsigned i = 0; i < VMCS_COUNT; i++)
        vmcs[i].region = 0;
    current = NULL;
}

const struct vmx_caps *vmx_caps(void)
{
    return &fake_vmx.caps;
}

bool vmx_has_apicv(void)
{
    return control_allowed(fake_vmx.caps.proc2, PROC2_VIRTUALIZE_APIC_ACCESSES |
                                                    PROC2_VIRTUALIZE_X2APIC |
                                                    PROC2_APIC_REGISTER_VIRTUALIZATION |
                                                    PROC2_VIRTUAL_INTERRUPT_DELIVERY);
}

struct ept_caps vmx_ept_caps(void)
{
    return (struct ept_caps){.pages_2m = true, .phys_bits = PHYS_BITS};
}

bool mcheck_is_elsewhere(void)
{
    return fake_vmx.elsewhere;
}

bool mcheck_take(void)
{
    return !fake_vmx.corrupt;
}

static void refuse(const char *what)
{
    fprintf(stderr, "fake CPU: %s\n", what);
    abort();
}

/* Fields that exist only with a control that uses them (SDM, appendix "Field Encoding in VMCS"). */
static bool exists(uint32_t field)
{
    const struct vmx_caps *caps = &fake_vmx.caps;
    switch (field) {
    case VMCS_CTRL_PROC2: return control_allowed(caps->proc, PROC_SECONDARY);
    case VMCS_CTRL_MSR_BITMAP: return control_allowed(caps->proc, PROC_MSR_BITMAPS);
    case VMCS_CTRL_VIRTUAL_APIC:
    case VMCS_CTRL_TPR_THRESHOLD: return control_allowed(caps->proc, PROC_TPR_SHADOW);
    case VMCS_CTRL_VPID: return control_allowed(caps->proc2, PROC2_VPID);
    case VMCS_CTRL_POSTED_VECTOR:
    case VMCS_CTRL_POSTED_DESCRIPTOR: return control_allowed(caps->pin, PIN_POSTED_INTERRUPTS);
    case VMCS_CTRL_APIC_ACCESS: return control_allowed(caps->proc2, PROC2_VIRTUALIZE_APIC_ACCESSES);
    case VMCS_GUEST_INTERRUPT_STATUS:
    case VMCS_CTRL_EOI_EXIT0:
    case VMCS_CTRL_EOI_EXIT0 + 2:
    case VMCS_CTRL_EOI_EXIT0 + 4:
    case VMCS_CTRL_EOI_EXIT0 + 6:
        return control_allowed(caps->proc2, PROC2_VIRTUAL_INTERRUPT_DELIVERY);
    case VMCS_CTRL_XSS_EXITING: return control_allowed(caps->proc2, PROC2_XSAVES);
    case VMCS_CTRL_INSTRUCTION_TIMEOUT:
        return control_allowed(caps->proc2, PROC2_INSTRUCTION_TIMEOUT);
    case VMCS_CTRL_ENCLS_EXITING: return control_allowed(caps->proc2, PROC2_ENCLS_EXITING);
    case VMCS_CTRL_PLE_GAP:
    case VMCS_CTRL_PLE_WINDOW: return control_allowed(caps->proc2, PROC2_PAUSE_LOOP_EXITING);
    case VMCS_GUEST_S_CET:
    case VMCS_GUEST_SSP:
    case VMCS_GUEST_INTERRUPT_SSP_TABLE: return control_allowed(caps->entry, ENTRY_LOAD_CET);
    case VMCS_HOST_S_CET:
    case VMCS_HOST_SSP:
    case VMCS_HOST_INTERRUPT_SSP_TABLE: return control_allowed(caps->exit, EXIT_LOAD_CET);
    case VMCS_GUEST_PREEMPTION_TIMER: return control_allowed(caps->pin, PIN_PREEMPTION_TIMER);
    default: return true;
    }
}

#define KNOWN(name, encoding, text) [encoding] = true,

static bool is_field(uint32_t field)
{
    static const bool known[FAKE_VMX_FIELDS] = {
        VMCS_FIELDS(KNOWN)[VMCS_CTRL_EOI_EXIT0 + 2] = true,
        [VMCS_CTRL_EOI_EXIT0 + 4] = true,
        [VMCS_CTRL_EOI_EXIT0 + 6] = true,
    };
    return field < FAKE_VMX_FIELDS && known[field] && exists(field);
}

/* Bits beyond a field's width are dropped. */
static uint64_t truncate(uint32_t field, uint64_t value)
{
    switch ((enum field_width)(field >> 13 & 3)) {
    case WIDTH_16: return (uint16_t)value;
    case WIDTH_32: return (uint32_t)value;
    default: return value;
    }
}

void vmx_insn_failed(const char *insn, uint32_t field, uint64_t value)
{
    if (fake_vmx.escape != NULL)
        longjmp(*fake_vmx.escape, 1);
    fprintf(stderr, "fake CPU: %s of %s (0x%x, value 0x%llx) failed\n", insn,
            vmcs_field_name(field), field, (unsigned long long)value);
    abort();
}

uint64_t vmread(enum vmcs_field field)
{
    if (current == NULL || !is_field(field))
        vmx_insn_failed("VMREAD", field, 0);
    return current->field[field];
}

/* IA32_VMX_MISC may let VMWRITE change what an exit has told: nobody here has business to. */
void vmwrite(enum vmcs_field field, uint64_t value)
{
    if (current == NULL || !is_field(field) || (field >> 10 & 3) == READ_ONLY)
        vmx_insn_failed("VMWRITE", field, value);
    current->field[field] = truncate(field, value);
}

void fake_vmx_set(enum vmcs_field field, uint64_t value)
{
    if (current == NULL || !is_field(field))
        vmx_insn_failed("a store", field, value);
    current->field[field] = truncate(field, value);
}

const uint64_t *fake_vmx_fields(void)
{
    return current->field;
}

static bool is_region(hpa_t region)
{
    return region.v != 0 && region.v % PAGE_SIZE == 0 && region.v >> PHYS_BITS == 0;
}

bool vmxon(hpa_t region)
{
    const bool ok = !fake_vmx.on && is_region(region);
    fake_vmx.on = fake_vmx.on || ok;
    return ok;
}

void vmxoff(void)
{
    if (!fake_vmx.on)
        refuse("VMXOFF outside VMX operation");
    fake_vmx.on = false;
    current = NULL;
}

static struct fake_vmcs *find(uint64_t region)
{
    for (unsigned i = 0; i < VMCS_COUNT; i++)
        if (vmcs[i].region == region)
            return &vmcs[i];
    return NULL;
}

bool vmclear(hpa_t region)
{
    if (!fake_vmx.on || !is_region(region))
        return false;
    struct fake_vmcs *v = find(region.v);
    if (v == NULL) { /* contents of a new one are anybody's guess */
        v = find(0);
        if (v == NULL)
            refuse("too many VMCSs");
        memset(v->field, 0xa5, sizeof(v->field));
        for (uint32_t f = 0; f < FAKE_VMX_FIELDS; f++)
            v->field[f] = is_field(f) ? truncate(f, v->field[f]) : 0;
        v->region = region.v;
    }
    if (v == current)
        current = NULL;
    return true;
}

bool vmptrld(hpa_t region)
{
    if (!fake_vmx.on || !is_region(region))
        return false;
    struct fake_vmcs *v = find(region.v);
    const uint32_t *revision = hpa_to_ptr(region);
    if (v == NULL || *revision != vmx_revision(&fake_vmx.caps))
        return false;
    current = v;
    return true;
}

bool invept(enum invalidate_type type, uint64_t eptp)
{
    (void)eptp;
    fake_vmx.invepts++;
    return type == INVALIDATE_ALL && (fake_vmx.caps.ept_vpid & EPTCAP_INVEPT_ALL) != 0;
}

bool invvpid(enum invalidate_type type, uint16_t vpid, uint64_t linear)
{
    fake_vmx.invvpids++;
    fake_vmx.invvpid_of = vpid;
    fake_vmx.invvpid_at = linear;
    if (type == INVALIDATE_ADDRESS)
        return vpid != 0 && (fake_vmx.caps.ept_vpid & EPTCAP_INVVPID_ADDRESS) != 0;
    if (type == INVALIDATE_SINGLE)
        return vpid != 0 && (fake_vmx.caps.ept_vpid & EPTCAP_INVVPID_SINGLE) != 0;
    return type == INVALIDATE_ALL && (fake_vmx.caps.ept_vpid & EPTCAP_INVVPID_ALL) != 0;
}

struct cpu *cpu_self(void)
{
    return &fake_vmx.cpu;
}

uint64_t cpu_rdtsc(void)
{
    return fake_vmx.tsc += fake_vmx.tsc_passes;
}

uint64_t cpu_rdmsr(uint32_t msr)
{
    switch (msr) {
    case MSR_IA32_PAT: return fake_vmx.pat;
    case MSR_IA32_EFER: return fake_vmx.efer;
    case MSR_IA32_S_CET: return fake_vmx.s_cet;
    case MSR_IA32_INTERRUPT_SSP_TABLE_ADDR: return fake_vmx.ssp_table;
    default: refuse("RDMSR of something else"); return 0;
    }
}

void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    (void)msr, (void)value;
    refuse("WRMSR");
}

uint64_t cpu_read_cr0(void)
{
    return fake_vmx.cr0;
}

uint64_t cpu_read_cr2(void)
{
    return fake_vmx.cr2;
}

uint64_t cpu_read_cr3(void)
{
    return fake_vmx.cr3;
}

uint64_t cpu_read_cr4(void)
{
    return fake_vmx.cr4;
}

void cpu_write_cr2(uint64_t v)
{
    fake_vmx.cr2 = v;
}

void cpu_xsetbv(uint32_t xcr, uint64_t value)
{
    if (xcr != 0 || (value & 1) == 0)
        refuse("XSETBV raises #GP");
    fake_vmx.xcr0 = value;
}

uint32_t cpu_rdpkru(void)
{
    return fake_vmx.pkru;
}

struct table_register cpu_sgdt(void)
{
    return (struct table_register){0xffff, 0xffffffff80001000};
}

struct table_register cpu_sidt(void)
{
    return (struct table_register){0xfff, 0xffffffff80002000};
}

void cpu_read_debug(uint64_t dr[4], uint64_t *dr6)
{
    memcpy(dr, fake_vmx.dr, sizeof(fake_vmx.dr));
    *dr6 = fake_vmx.dr6;
}

void cpu_write_debug(const uint64_t dr[4], uint64_t dr6)
{
    memcpy(fake_vmx.dr, dr, sizeof(fake_vmx.dr));
    fake_vmx.dr6 = dr6;
}

static uint64_t read_field(void *ctx, uint32_t field)
{
    (void)ctx;
    return vmread((enum vmcs_field)field);
}

static void report(void *ctx, const char *rule, uint32_t field, uint64_t value, const char *allowed)
{
    char *text = ctx;
    if (text[0] == '\0')
        snprintf(text, 256, "%s: %s = 0x%llx, allowed: %s", rule, vmcs_field_name(field),
                 (unsigned long long)value, allowed);
}

unsigned fake_vmx_check(const char **first)
{
    static char text[256];
    const struct vmcs_view view = {read_field, NULL, &fake_vmx.caps, PHYS_BITS};
    text[0] = '\0';
    *first = text;
    return vmcs_check(&view, report, text);
}

/* There is no guest to enter: what came first stays unknown. */
void vmx_retry(struct vcpu *vcpu, struct undelivered *first)
{
    (void)vcpu;
    *first = (struct undelivered){0};
}
