/* SPDX-License-Identifier: BSD-2-Clause */
/* One function per weakness says whether a CPU has it, and what is done: the names that Intel's
 * advisories and IA32_ARCH_CAPABILITIES use are beside each. */
#include "arch/weakness.h"

#include "arch/format.h"

/* What Intel's list of affected processors says of a model, where no MSR does. */
enum {
    IN_ORDER = 1,
    NO_L1TF = 2,
    NO_MDS = 4,
    NO_PAGE_SIZE = 8,
    NO_STORE_BYPASS = 16,
    RETBLEED = 32,
    GATHER = 64,
    REGISTER_FILE = 128,
    RANDOM = 256,
    MMIO = 512,
};

static const struct {
    uint8_t model;
    uint16_t facts;
} models[] = {
    /* Atom: Bonnell and Saltwell; Silvermont, Airmont and Xeon Phi; Goldmont; Tremont */
    {0x1c, IN_ORDER | NO_PAGE_SIZE},
    {0x26, IN_ORDER | NO_PAGE_SIZE},
    {0x27, IN_ORDER | NO_PAGE_SIZE},
    {0x35, IN_ORDER | NO_PAGE_SIZE},
    {0x36, IN_ORDER | NO_PAGE_SIZE},
    {0x37, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x4a, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x4d, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x4c, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x57, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x85, NO_L1TF | NO_PAGE_SIZE | NO_STORE_BYPASS},
    {0x5a, NO_L1TF | NO_PAGE_SIZE},
    {0x75, NO_L1TF | NO_PAGE_SIZE},
    {0x5c, NO_L1TF | NO_MDS | NO_PAGE_SIZE | REGISTER_FILE},
    {0x5f, NO_L1TF | NO_MDS | NO_PAGE_SIZE | REGISTER_FILE},
    {0x7a, NO_L1TF | NO_MDS | NO_PAGE_SIZE | REGISTER_FILE},
    {0x86, NO_PAGE_SIZE | MMIO | REGISTER_FILE},
    {0x96, MMIO | REGISTER_FILE | RANDOM},
    {0x9c, MMIO | REGISTER_FILE | RANDOM},
    /* Ivy Bridge; Haswell; Broadwell (the first of each are clients) */
    {0x3a, RANDOM},
    {0x3c, RANDOM},
    {0x45, RANDOM},
    {0x46, RANDOM},
    {0x3f, MMIO},
    {0x3d, RANDOM},
    {0x47, RANDOM},
    {0x4f, MMIO},
    {0x56, MMIO},
    /* Skylake, Kaby and Coffee Lake; Skylake-SP with Cascade and Cooper Lake; Cannon, Comet Lake */
    {0x4e, RETBLEED | GATHER | MMIO | RANDOM},
    {0x5e, RETBLEED | GATHER | MMIO | RANDOM},
    {0x8e, RETBLEED | GATHER | MMIO | RANDOM},
    {0x9e, RETBLEED | GATHER | MMIO | RANDOM},
    {0x55, RETBLEED | GATHER | MMIO},
    {0x66, RETBLEED},
    {0xa5, RETBLEED | GATHER | MMIO | RANDOM},
    {0xa6, RETBLEED | GATHER | MMIO | RANDOM},
    /* Ice Lake; Tiger Lake; Rocket Lake; Lakefield */
    {0x7e, RETBLEED | GATHER | MMIO | RANDOM},
    {0x6a, GATHER | MMIO},
    {0x6c, GATHER | MMIO},
    {0x8c, GATHER},
    {0x8d, GATHER},
    {0xa7, RETBLEED | GATHER | MMIO},
    {0x8a, RETBLEED | MMIO | RANDOM},
    /* Alder Lake; Raptor Lake */
    {0x97, REGISTER_FILE},
    {0x9a, REGISTER_FILE},
    {0xbe, REGISTER_FILE},
    {0xb7, REGISTER_FILE},
    {0xba, REGISTER_FILE},
    {0xbf, REGISTER_FILE},
};

/* ITS, from which stepping on; and whether what a guest does reaches no further than itself. */
static const struct {
    uint8_t model, stepping;
    bool within;
} misselecting[] = {
    /* Cascade and Cooper Lake; the last Kaby and Coffee Lakes; Comet Lake */
    {0x55, 6, false},
    {0x8e, 12, false},
    {0x9e, 13, false},
    {0xa5, 0, false},
    {0xa6, 0, false},
    /* Ice, Tiger and Rocket Lake */
    {0x7e, 0, true},
    {0x6a, 0, true},
    {0x6c, 0, true},
    {0x8c, 0, true},
    {0x8d, 0, true},
    {0xa7, 0, true},
};

/* Of Intel's: all lists are of these. */
static bool is_family_6(const struct weakness_cpu *cpu)
{
    return cpu->maker == MAKER_INTEL && cpu->family == 6;
}

static bool is_listed(const struct weakness_cpu *cpu, unsigned fact)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]) && is_family_6(cpu); i++)
        if (models[i].model == cpu->model)
            return (models[i].facts & fact) != 0;
    return false;
}

static bool knows(const struct weakness_cpu *cpu, uint64_t bits)
{
    return (cpu->known & bits) == bits;
}

/* SDM, "CPUID—CPU Identification": extended family and model count for some families only. */
void weakness_identify(struct weakness_cpu *cpu, uint32_t maker, uint32_t signature)
{
    const uint32_t intel = 0x756e6547, hygon = 0x6f677948; /* "Genu"; "Hygo", AMD's design */
    const uint32_t family = signature >> 8 & 15;
    cpu->maker = maker == intel                               ? MAKER_INTEL
                 : maker == CPUID_0_EBX_AMD || maker == hygon ? MAKER_AMD
                                                              : MAKER_OTHER;
    cpu->family = family != 15 ? family : 15 + (signature >> 20 & 0xff);
    cpu->model = (signature >> 4 & 15) | (signature >> 12 & 0xf0);
    cpu->stepping = signature & 15;
    cpu->speculates = !is_listed(cpu, IN_ORDER);
}

static const struct weakness_verdict absent = {WEAKNESS_ABSENT, NULL};

static struct weakness_verdict mended(const char *how)
{
    return (struct weakness_verdict){WEAKNESS_MENDED, how};
}

static struct weakness_verdict open(const char *what_is_missing)
{
    return (struct weakness_verdict){WEAKNESS_OPEN, what_is_missing};
}

static const char needs_microcode[] = "a firmware update with newer microcode helps";
static const char at_entry[] = "VERW at entries", in_microcode[] = "in microcode";
static const char thunks[] = "return thunks";

/* A CPU whose microcode knows of none of this lets one VM teach the other whatever Nadir does: then
 * nothing is paid for half a measure. */
static bool has_control(const struct weakness_cpu *cpu)
{
    return (cpu->leaf7_edx & CPUID_7_EDX_IBRS) != 0;
}

typedef struct weakness_verdict judge(const struct weakness_cpu *cpu, struct weakness_measures *m);

static struct weakness_verdict judge_bounds(const struct weakness_cpu *cpu,
                                            struct weakness_measures *m)
{
    if (!cpu->speculates)
        return absent;
    m->clear_registers = has_control(cpu);
    return mended(m->clear_registers ? "indexes masked, registers cleared, RAM of others unmapped"
                                     : "indexes masked, RAM of others unmapped");
}

static struct weakness_verdict judge_targets(const struct weakness_cpu *cpu,
                                             struct weakness_measures *m)
{
    if (!cpu->speculates)
        return absent;
    if (!has_control(cpu))
        return open(needs_microcode);
    m->barrier = true;
    if (knows(cpu, ARCH_CAPABILITIES_IBRS_ALL)) {
        m->spec_control |= SPEC_CTRL_IBRS;
        return mended("enhanced IBRS, IBPB");
    }
    if (is_listed(cpu, RETBLEED) || knows(cpu, ARCH_CAPABILITIES_RSBA)) {
        m->spec_control |= SPEC_CTRL_IBRS; /* RET itself goes astray: thunks would not help */
        m->rewrite_control = true;
        return mended("IBRS at exits, IBPB");
    }
    m->thunks = true;
    return mended("return thunks, IBPB");
}

static struct weakness_verdict judge_returns(const struct weakness_cpu *cpu,
                                             struct weakness_measures *m)
{
    if (!cpu->speculates || knows(cpu, ARCH_CAPABILITIES_IBRS_ALL | ARCH_CAPABILITIES_PBRSB_NO))
        return absent;
    if (!has_control(cpu))
        return open(needs_microcode);
    m->fill_returns = true;
    return mended("filled at exits");
}

/* Without enhanced IBRS, thunks or IBRS at each exit leave no target to be chosen. Where RET may go
 * by the history (RRSBA), thunks are no way around it. */
static struct weakness_verdict judge_history(const struct weakness_cpu *cpu,
                                             struct weakness_measures *m)
{
    if (!cpu->speculates || !knows(cpu, ARCH_CAPABILITIES_IBRS_ALL) ||
        knows(cpu, ARCH_CAPABILITIES_BHI_NO))
        return absent;
    if ((cpu->leaf7_2_edx & CPUID_72_EDX_BHI_CTRL) != 0) {
        m->spec_control |= SPEC_CTRL_BHI_DIS_S;
        return mended("BHI_DIS_S");
    }
    if (knows(cpu, ARCH_CAPABILITIES_RRSBA)) {
        m->clear_history = true;
        return mended("cleared at exits");
    }
    m->thunks = true;
    return mended(thunks);
}

/* What a guest has taught reaches branches of the host that lie in the lower half of a cache line,
 * enhanced IBRS or not. The thunks have none but RET, which goes by the return stack as long as
 * that is not empty: exits fill it, and handlers do not call as deep as it is (16). */
static struct weakness_verdict judge_selection(const struct weakness_cpu *cpu,
                                               struct weakness_measures *m)
{
    size_t i = 0;
    while (i < sizeof(misselecting) / sizeof(misselecting[0]) &&
           (misselecting[i].model != cpu->model || cpu->stepping < misselecting[i].stepping))
        i++;
    if (!is_family_6(cpu) || i == sizeof(misselecting) / sizeof(misselecting[0]) ||
        knows(cpu, ARCH_CAPABILITIES_ITS_NO))
        return absent;
    if (misselecting[i].within)
        return mended("only within a guest");
    if (!has_control(cpu))
        return open(needs_microcode);
    m->thunks = true;
    m->fill_returns = true;
    return mended(thunks);
}

static struct weakness_verdict judge_store_bypass(const struct weakness_cpu *cpu,
                                                  struct weakness_measures *m)
{
    (void)m;
    if (!cpu->speculates || knows(cpu, ARCH_CAPABILITIES_SSB_NO) || is_listed(cpu, NO_STORE_BYPASS))
        return absent;
    return (cpu->leaf7_edx & CPUID_7_EDX_SSBD) != 0 ? mended("guests have SSBD")
                                                    : open(needs_microcode);
}

static struct weakness_verdict judge_meltdown(const struct weakness_cpu *cpu,
                                              struct weakness_measures *m)
{
    if (!cpu->speculates || cpu->maker == MAKER_AMD || knows(cpu, ARCH_CAPABILITIES_RDCL_NO))
        return absent;
    m->reads_supervisor = cpu->maker == MAKER_INTEL;
    return mended("page tables apart");
}

/* Where threads of a core are shared, the other one is no matter of this one's entries. */
static struct weakness_verdict unless_shared(const struct weakness_cpu *cpu, const char *how)
{
    return cpu->threads_shared ? open("smt = apart helps") : mended(how);
}

static struct weakness_verdict judge_l1tf(const struct weakness_cpu *cpu,
                                          struct weakness_measures *m)
{
    if (!cpu->speculates || cpu->maker == MAKER_AMD || is_listed(cpu, NO_L1TF) ||
        (cpu->known & (ARCH_CAPABILITIES_RDCL_NO | ARCH_CAPABILITIES_SKIP_L1DFL)) != 0)
        return absent;
    m->flush_l1d = (cpu->leaf7_edx & CPUID_7_EDX_FLUSH_L1D) != 0;
    return m->flush_l1d ? unless_shared(cpu, "cache flushed at entries") : open(needs_microcode);
}

static struct weakness_verdict judge_mds(const struct weakness_cpu *cpu,
                                         struct weakness_measures *m)
{
    if (!cpu->speculates || cpu->maker == MAKER_AMD || is_listed(cpu, NO_MDS) ||
        knows(cpu, ARCH_CAPABILITIES_MDS_NO))
        return absent;
    if ((cpu->leaf7_edx & CPUID_7_EDX_MD_CLEAR) == 0)
        return open(needs_microcode);
    m->clear_buffers = true;
    return unless_shared(cpu, at_entry);
}

static struct weakness_verdict judge_tsx_abort(const struct weakness_cpu *cpu,
                                               struct weakness_measures *m)
{
    const bool has_switch = knows(cpu, ARCH_CAPABILITIES_TSX_CTRL);
    if (!cpu->speculates || knows(cpu, ARCH_CAPABILITIES_TAA_NO) ||
        ((cpu->leaf7_ebx & CPUID_7_EBX_RTM) == 0 && !has_switch))
        return absent;
    if (has_switch) {
        m->tsx_off = true;
        return mended("TSX off");
    }
    if ((cpu->leaf7_edx & CPUID_7_EDX_MD_CLEAR) == 0)
        return open(needs_microcode);
    m->clear_buffers = true;
    return unless_shared(cpu, at_entry);
}

static struct weakness_verdict judge_mmio_stale(const struct weakness_cpu *cpu,
                                                struct weakness_measures *m)
{
    (void)m;
    if (!cpu->speculates || !is_listed(cpu, MMIO) ||
        knows(cpu, ARCH_CAPABILITIES_SBDR_SSDP_NO | ARCH_CAPABILITIES_FBSDP_NO |
                       ARCH_CAPABILITIES_PSDP_NO))
        return absent;
    return mended("no guest has a device of the host");
}

static struct weakness_verdict judge_register_file(const struct weakness_cpu *cpu,
                                                   struct weakness_measures *m)
{
    const bool clears = knows(cpu, ARCH_CAPABILITIES_RFDS_CLEAR);
    if (!cpu->speculates || knows(cpu, ARCH_CAPABILITIES_RFDS_NO) ||
        (!is_listed(cpu, REGISTER_FILE) && !clears))
        return absent;
    m->clear_buffers = m->clear_buffers || clears;
    return clears ? mended(at_entry) : open(needs_microcode);
}

static struct weakness_verdict judge_gather(const struct weakness_cpu *cpu,
                                            struct weakness_measures *m)
{
    if (!cpu->speculates || !cpu->avx || !is_listed(cpu, GATHER) ||
        knows(cpu, ARCH_CAPABILITIES_GDS_NO))
        return absent;
    if (!knows(cpu, ARCH_CAPABILITIES_GDS_CTRL))
        return open(needs_microcode);
    m->microcode_on = true;
    return mended(in_microcode);
}

static struct weakness_verdict judge_random(const struct weakness_cpu *cpu,
                                            struct weakness_measures *m)
{
    /* Where MDS is not, a transaction is needed for it. */
    const bool needs_tsx = knows(cpu, ARCH_CAPABILITIES_MDS_NO);
    if (!cpu->speculates || !is_listed(cpu, RANDOM) ||
        (needs_tsx && (cpu->leaf7_ebx & CPUID_7_EBX_RTM) == 0))
        return absent;
    if ((cpu->leaf7_edx & CPUID_7_EDX_SRBDS_CTRL) == 0)
        return open(needs_microcode);
    m->microcode_on = true;
    return mended(in_microcode);
}

static struct weakness_verdict judge_page_size(const struct weakness_cpu *cpu,
                                               struct weakness_measures *m)
{
    if (cpu->maker != MAKER_INTEL || is_listed(cpu, NO_PAGE_SIZE) ||
        knows(cpu, ARCH_CAPABILITIES_PSCHANGE_MC_NO))
        return absent;
    m->small_pages = true;
    return mended("pages of 4 KiB");
}

static const struct {
    const char *name;
    judge *judge;
} rows[WEAKNESS_COUNT] = {
    [WEAKNESS_BOUNDS] = {"Spectre v1", judge_bounds},
    [WEAKNESS_TARGETS] = {"Spectre v2", judge_targets},
    [WEAKNESS_RETURNS] = {"return stack", judge_returns},
    [WEAKNESS_HISTORY] = {"BHI", judge_history},
    [WEAKNESS_SELECTION] = {"ITS", judge_selection},
    [WEAKNESS_STORE_BYPASS] = {"SSB", judge_store_bypass},
    [WEAKNESS_MELTDOWN] = {"Meltdown", judge_meltdown},
    [WEAKNESS_L1TF] = {"L1TF", judge_l1tf},
    [WEAKNESS_MDS] = {"MDS", judge_mds},
    [WEAKNESS_TSX_ABORT] = {"TAA", judge_tsx_abort},
    [WEAKNESS_MMIO_STALE] = {"MMIO stale data", judge_mmio_stale},
    [WEAKNESS_REGISTER_FILE] = {"RFDS", judge_register_file},
    [WEAKNESS_GATHER] = {"GDS", judge_gather},
    [WEAKNESS_RANDOM] = {"SRBDS", judge_random},
    [WEAKNESS_PAGE_SIZE] = {"iTLB multihit", judge_page_size},
};

uint64_t weakness_told_to_guests(const struct weakness_cpu *cpu)
{
    const uint64_t told =
        ARCH_CAPABILITIES_RDCL_NO | ARCH_CAPABILITIES_IBRS_ALL | ARCH_CAPABILITIES_RSBA |
        ARCH_CAPABILITIES_SSB_NO | ARCH_CAPABILITIES_MDS_NO | ARCH_CAPABILITIES_TAA_NO |
        ARCH_CAPABILITIES_SBDR_SSDP_NO | ARCH_CAPABILITIES_FBSDP_NO | ARCH_CAPABILITIES_PSDP_NO |
        ARCH_CAPABILITIES_RRSBA | ARCH_CAPABILITIES_BHI_NO | ARCH_CAPABILITIES_PBRSB_NO |
        ARCH_CAPABILITIES_GDS_NO | ARCH_CAPABILITIES_RFDS_NO | ARCH_CAPABILITIES_RFDS_CLEAR |
        ARCH_CAPABILITIES_ITS_NO;
    return (cpu->known & told) | ARCH_CAPABILITIES_PSCHANGE_MC_NO;
}

/* Whether an earlier one of the same state is mended, or would be, by the same. */
static bool is_told(const struct weakness_verdict *verdict, unsigned i)
{
    for (unsigned before = 0; before < i; before++)
        if (verdict[before].state == verdict[i].state && verdict[before].how == verdict[i].how)
            return true;
    return false;
}

size_t weakness_list(const struct weakness_verdict verdict[WEAKNESS_COUNT],
                     enum weakness_state state, char *out, size_t size)
{
    size_t length = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < WEAKNESS_COUNT; i++) {
        if (verdict[i].state != state || is_told(verdict, i))
            continue;
        for (unsigned same = i; same < WEAKNESS_COUNT; same++)
            if (verdict[same].state == state && verdict[same].how == verdict[i].how)
                length += format_text(&out[length], size - length, "%s%s", length > 0 ? ", " : "",
                                      rows[same].name);
        if (verdict[i].how != NULL)
            length += format_text(&out[length], size - length, " (%s)", verdict[i].how);
    }
    return length;
}

void weakness_decide(const struct weakness_cpu *cpu,
                     struct weakness_verdict verdict[WEAKNESS_COUNT],
                     struct weakness_measures *measures)
{
    *measures = (struct weakness_measures){.barrier = has_control(cpu)};
    for (unsigned i = 0; i < WEAKNESS_COUNT; i++)
        verdict[i] = rows[i].judge(cpu, measures);
    measures->own_entry = measures->fill_returns || measures->clear_history ||
                          measures->clear_registers || measures->flush_l1d ||
                          measures->clear_buffers || measures->spec_control != 0;
}
