/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the banks and their simple and compound error codes; what a model adds stays a number. */
#include "arch/mcheck.h"
#include "arch/cpu.h"
#include "arch/log.h"

#include <stddef.h>

#define MAX_BANKS 64

enum { CAP_COUNT = 0xff };
enum { BANK_MSRS = 4, BANK_STATUS = 1, BANK_ADDRESS = 2, BANK_MISC = 3 };

#define GLOBAL_RESTARTABLE (1ull << 0) /* RIPV */
#define GLOBAL_HERE        (1ull << 1) /* EIPV: the instruction that was interrupted is involved */
#define STATUS_VALID       (1ull << 63)
#define STATUS_OVERFLOW    (1ull << 62)
#define STATUS_UNCORRECTED (1ull << 61)
#define STATUS_HAS_MISC    (1ull << 59)
#define STATUS_HAS_ADDRESS (1ull << 58)
#define STATUS_CORRUPT     (1ull << 57) /* PCC: the processor's context */

/* Compound codes are told by their highest set bit (SDM, "Compound Error Codes"); bit 12 is about
 * how corrected errors are counted. */
static const char *code_name(unsigned code)
{
    static const struct {
        unsigned from;
        const char *name;
    } compound[] = {{0x0800, "bus or interconnect"},
                    {0x0400, "internal timer or CPU"},
                    {0x0100, "cache"},
                    {0x0080, "memory controller"},
                    {0x0010, "TLB"},
                    {0x000c, "cache hierarchy"}};
    static const char *const simple[] = {"none",           "unclassified", "microcode ROM parity",
                                         "external error", "FRC",          "internal parity",
                                         "SMM code access"};
    code &= 0xefff;
    if (code < sizeof(simple) / sizeof(simple[0]))
        return simple[code];
    for (size_t i = 0; i < sizeof(compound) / sizeof(compound[0]); i++)
        if (code >= compound[i].from)
            return compound[i].name;
    return "unknown";
}

static uint64_t read(unsigned msr)
{
    uint64_t value = 0;
    return cpu_rdmsr_safe(msr, &value) ? value : 0;
}

static void log_bank(unsigned bank, uint64_t status)
{
    const unsigned first = MSR_IA32_MC0_CTL + BANK_MSRS * bank;
    log_line("  bank %u: %016lx, %s%s%s%s, model's code %lx", bank, status,
             code_name((unsigned)status & 0xffff),
             (status & STATUS_UNCORRECTED) != 0 ? ", uncorrected" : ", corrected",
             (status & STATUS_CORRUPT) != 0 ? ", context corrupt" : "",
             (status & STATUS_OVERFLOW) != 0 ? ", others lost" : "", status >> 16 & 0xffff);
    if ((status & STATUS_HAS_ADDRESS) != 0)
        log_line("  bank %u: address %016lx", bank, read(first + BANK_ADDRESS));
    if ((status & STATUS_HAS_MISC) != 0)
        log_line("  bank %u: misc %016lx", bank, read(first + BANK_MISC));
}

void mcheck_log(void)
{
    unsigned count = read(MSR_IA32_MCG_CAP) & CAP_COUNT;
    log_line("  machine check: IA32_MCG_STATUS %lx, %u banks", read(MSR_IA32_MCG_STATUS), count);
    for (unsigned i = 0; i < count && i < MAX_BANKS; i++) {
        const uint64_t status = read(MSR_IA32_MC0_CTL + BANK_MSRS * i + BANK_STATUS);
        if ((status & STATUS_VALID) != 0)
            log_bank(i, status);
    }
}

/* With "in progress" left on, the next one would shut the machine down. */
static void clear_global(void)
{
    (void)cpu_wrmsr_safe(MSR_IA32_MCG_STATUS, 0);
}

/* SDM, "Machine-Check Error Handling": by the flags of CPUs that are affected and of those that are
 * not. Banks are left alone, since CPUs share some: what they hold is the affected one's to see. */
bool mcheck_is_elsewhere(void)
{
    const uint64_t global = read(MSR_IA32_MCG_STATUS);
    const unsigned count = read(MSR_IA32_MCG_CAP) & CAP_COUNT;
    if ((global & (GLOBAL_RESTARTABLE | GLOBAL_HERE)) != GLOBAL_RESTARTABLE)
        return false;
    for (unsigned i = 0; i < count && i < MAX_BANKS; i++) {
        const uint64_t status = read(MSR_IA32_MC0_CTL + BANK_MSRS * i + BANK_STATUS);
        if ((status & STATUS_VALID) != 0 && (status & STATUS_CORRUPT) != 0)
            return false;
    }
    clear_global();
    return true;
}

bool mcheck_take(void)
{
    const unsigned count = read(MSR_IA32_MCG_CAP) & CAP_COUNT;
    bool known = false, sound = true;
    mcheck_log();
    for (unsigned i = 0; i < count && i < MAX_BANKS; i++) {
        const uint32_t msr = MSR_IA32_MC0_CTL + BANK_MSRS * i + BANK_STATUS;
        const uint64_t status = read(msr);
        if ((status & STATUS_VALID) == 0)
            continue;
        known = true;
        sound = sound && (status & STATUS_CORRUPT) == 0;
        (void)cpu_wrmsr_safe(msr, 0);
    }
    clear_global();
    return known && sound;
}
