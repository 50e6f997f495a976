/* SPDX-License-Identifier: BSD-2-Clause */
/* Tries every way to power off or reset, firmware's first; one that faults or hangs leads to the
 * next. */
#include "drivers/host/power.h"
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/log.h"
#include "arch/smp.h"
#include "drivers/host/console.h"

enum { BOCHS_SHUTDOWN = 0x8900, DELAY_PORT = 0x80, I8042_COMMAND = 0x64, I8042_PULSE = 0xfe };
enum { RESET_CONTROL = 0xcf9, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc }; /* of the chipset */
enum { I440FX = 0x12378086 };
enum { PM1_ACPI_MODE = 1, PM1_TYPE_SHIFT = 10, PM1_TYPE = 7 << 10, PM1_SLEEP = 1 << 13 };
enum { SLEEP_TYPE_SHIFT = 2, SLEEP_ENABLE = 1 << 5 };

#define DELAY_READS    50000 /* about a microsecond each on a real machine */
#define FIRMWARE_STACK 16384

enum { FIRMWARE_SECONDS = 10 }; /* that ResetSystem may take */

enum efi_reset { EFI_RESET_COLD = 0, EFI_RESET_SHUTDOWN = 2 };

typedef void __attribute__((ms_abi))
efi_reset_fn(uint32_t type, uint64_t status, uint64_t size, void *data);

static uint64_t reset_system, tsc_hz;
static hpa_t efi_cr3;
static uint64_t host_cr3;
static struct acpi_facts facts;
static bool has_acpi;
static enum efi_reset wanted;
static uint8_t firmware_stack[FIRMWARE_STACK] __attribute__((aligned(16)));

void power_init(uint64_t reset_system_hpa, hpa_t cr3, const struct acpi_facts *acpi)
{
    has_acpi = acpi != NULL;
    if (has_acpi)
        facts = *acpi;
    efi_cr3 = cr3;
    reset_system = reset_system_hpa;
}

void power_set_tsc_hz(uint64_t hz)
{
    tsc_hz = hz;
}

bool power_read_memory(hpa_t address, void *to, size_t length)
{
    uint8_t *bytes = to;
    for (size_t i = 0; i < length; i++) {
        uint64_t at = address.v + i, word;
        if (at < address.v || (at & ~7ull) >= 1ull << 46 ||
            !cpu_read_safe((uint64_t)(uintptr_t)hpa_to_ptr(hpa(at & ~7ull)), &word))
            return false;
        bytes[i] = (uint8_t)(word >> at % 8 * 8);
    }
    return true;
}

/* For the chipset to act. */
static void delay(void)
{
    for (unsigned i = 0; i < DELAY_READS; i++)
        cpu_in8(DELAY_PORT);
}

static void write_register(const struct acpi_register *r, uint8_t value)
{
    const uint64_t where = r->address;
    if (where == 0)
        return;
    if (r->space == ACPI_SPACE_IO) {
        cpu_out8((uint16_t)where, value);
    } else if (r->space == ACPI_SPACE_PCI) { /* device, function, register: 16 bits each */
        const uint32_t offset = (uint32_t)where & 0xff;
        cpu_out32(PCI_ADDRESS, 1u << 31 | (uint32_t)(where >> 32 & 0x1f) << 11 |
                                   (uint32_t)(where >> 16 & 7) << 8 | (offset & 0xfc));
        cpu_out8((uint16_t)(PCI_DATA + (offset & 3)), value);
    } else {
        *(volatile uint8_t *)hpa_to_ptr(hpa(where)) = value;
    }
    delay();
}

static void enter_sleep(uint16_t pm1, uint8_t type)
{
    if (pm1 == 0)
        return;
    const unsigned other = cpu_in16(pm1) & ~(unsigned)(PM1_TYPE | PM1_SLEEP);
    cpu_out16(pm1, (uint16_t)(other | (unsigned)(type & 7) << PM1_TYPE_SHIFT | PM1_SLEEP));
}

/* The state S5 (ACPI specification, "Sleeping States" and "Hardware-Reduced ACPI"), whose numbers
 * stand in the DSDT. */
static void enter_soft_off(void)
{
    if (!facts.has_soft_off)
        return;
    write_register(&facts.sleep_control,
                   (uint8_t)((facts.sleep_type_a & 7) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE));
    if (facts.pm1a_port == 0)
        return;
    if (facts.smi_port != 0 && (cpu_in16(facts.pm1a_port) & PM1_ACPI_MODE) == 0) {
        cpu_out8(facts.smi_port, facts.acpi_enable);
        delay();
    }
    enter_sleep(facts.pm1a_port, facts.sleep_type_a);
    enter_sleep(facts.pm1b_port, facts.sleep_type_b);
    delay();
}

/* Bochs listens at a port that another machine may have something else at. It has the chipset of a
 * PC older than VT-x, and its firmware finds no ACPI there. */
static bool is_bochs(void)
{
    cpu_out32(PCI_ADDRESS, 1u << 31);
    return !has_acpi && cpu_in32(PCI_DATA) == I440FX;
}

static _Noreturn void without_acpi(void)
{
    fault_set_escape(cpu_stop);
    if (wanted == EFI_RESET_SHUTDOWN) {
        for (const char *c = "Shutdown"; *c != 0 && is_bochs(); c++)
            cpu_out8(BOCHS_SHUTDOWN, (uint8_t)*c);
        log_line("you may switch the machine off now");
        console_flush();
    } else {
        cpu_out8(RESET_CONTROL, 0x02); /* hard reset, */
        cpu_out8(RESET_CONTROL, 0x06); /* now */
        delay();
        cpu_out8(I8042_COMMAND, I8042_PULSE);
    }
    cpu_stop();
}

static _Noreturn void without_firmware(void)
{
    fault_set_escape(without_acpi);
    if (wanted == EFI_RESET_COLD)
        write_register(&facts.reset, facts.reset_value);
    else
        enter_soft_off();
    without_acpi();
}

static _Noreturn void back_from_firmware(void)
{
    cpu_cli();
    cpu_write_cr3(host_cr3);
    without_firmware();
}

/* On firmware_stack. */
static _Noreturn void ask_firmware(void)
{
    uint64_t entry = reset_system;
    reset_system = 0; /* not a second time, whatever comes of it */
    host_cr3 = cpu_read_cr3();
    fault_set_escape(back_from_firmware);
    cpu_write_cr3(efi_cr3.v);
    if (tsc_hz != 0)
        fault_set_escape_time(cpu_rdtsc() + FIRMWARE_SECONDS * tsc_hz);
    ((efi_reset_fn *)(uintptr_t)entry)(wanted, 0, 0, NULL); /* NOLINT(performance-no-int-to-ptr) */
    back_from_firmware();
}

static _Noreturn void end_host(enum efi_reset how)
{
    cpu_cli();
    cpu_write_cr4(cpu_read_cr4() & ~CR4_CET); /* the firmware knows nothing of it */
    wanted = how;
    console_flush();
    smp_stop_others();
    if (reset_system == 0 || efi_cr3.v == 0)
        without_firmware();
    __asm__ volatile("mov %0, %%rsp; xor %%ebp, %%ebp; call %c1"
                     :
                     : "r"(firmware_stack + FIRMWARE_STACK), "i"(ask_firmware)
                     : "memory");
    __builtin_unreachable();
}

_Noreturn void power_off(void)
{
    end_host(EFI_RESET_SHUTDOWN);
}

_Noreturn void power_reset(void)
{
    end_host(EFI_RESET_COLD);
}
