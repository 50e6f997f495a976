/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a boot-sector program on the bare machine, in the state in which a virtual PC starts it.
 * The UEFI loader carries this in the hypervisor's place: what it loads and hands over is the same.
 * Hides how firmware leaves a machine: devices, interrupts and other CPUs are put to rest here. */
#include "arch/cpu.h"
#include "boot/handoff.h"

#define APIC_PAGE    0xfee00000u
#define ICR_INIT_ALL 0xc4500u /* to all but this one: they wait for a start-up IPI then */
#define LVT_EXTINT   0x700u
#define LVT_NMI      0x400u
#define IOAPIC_PAGE  0xfec00000u
#define INTERRUPT_64 0x8e00u /* present, DPL 0, interrupt gate */
#define LINE_CONTROL 3u
#define LCR_8_BITS   3u
#define LINE_STATUS  5u
#define LSR_IDLE     0x40u
#define LOAD_AT      0x7c00u
#define SECTOR       512u
#define HIGHEST_END  0x80000u /* of a payload with what it reserves: guest/lib/payload.ld */

struct gate {
    uint16_t offset_low, selector, type, offset_middle;
    uint32_t offset_high, reserved;
};

/* native.asm */
extern const char native_interrupt[]; /* says EOI, and no more */
_Noreturn void native_enter(const uint8_t *image, uint64_t size);

_Noreturn void native_main(const struct handoff *handoff);

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static void serial_wait(uint16_t port)
{
    /* All ones: there is no such port. */
    while (port != 0 && (cpu_in8((uint16_t)(port + LINE_STATUS)) & LSR_IDLE) == 0)
        cpu_pause();
}

static void say(uint16_t port, const char *text)
{
    for (; *text != '\0' && port != 0; text++) {
        serial_wait(port);
        cpu_out8(port, (uint8_t)*text);
    }
}

/* The words are those of the loader, which tools/nadir knows. After a warm start nobody has set up
 * the UART, which sends five bits of a character then. */
static _Noreturn void refuse(uint16_t port)
{
    if (port != 0)
        cpu_out8((uint16_t)(port + LINE_CONTROL), LCR_8_BITS);
    say(port, "nadir: error: nadir.cfg: the first kernel is not a boot-sector image, or too large "
              "for the memory below 640 KiB\r\n"
              "nadir-end: config-error\r\n");
    for (;;)
        cpu_hlt();
}

/* xAPIC mode, virtual wire; the other CPUs wait for being started. */
static void quiet_apic(void)
{
    static const uint16_t masked[] = {APIC_LVT_TIMER, APIC_LVT_ERROR};
    const uint64_t base = cpu_rdmsr(MSR_IA32_APIC_BASE);
    if ((base & APIC_BASE_X2APIC) != 0) { /* only by way of "off" (SDM: x2APIC State Transitions) */
        cpu_wrmsr(MSR_IA32_APIC_BASE, base & ~(APIC_BASE_X2APIC | APIC_BASE_ENABLE));
        cpu_wrmsr(MSR_IA32_APIC_BASE, base & ~APIC_BASE_X2APIC);
    }
    *at(APIC_PAGE + APIC_SVR) = 0x10f;
    for (unsigned i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
        *at(APIC_PAGE + masked[i]) = APIC_LVT_MASKED;
    *at(APIC_PAGE + APIC_INITIAL_COUNT) = 0;
    *at(APIC_PAGE + APIC_TPR) = 0;
    *at(APIC_PAGE + APIC_LVT_LINT0) = LVT_EXTINT;
    *at(APIC_PAGE + APIC_LVT_LINT1) = LVT_NMI;
    *at(APIC_PAGE + APIC_ICR) = ICR_INIT_ALL;
}

static void quiet_ioapic(void)
{
    *at(IOAPIC_PAGE) = 1;
    const uint32_t last = *at(IOAPIC_PAGE + 0x10) >> 16 & 0xff;
    for (uint32_t pin = 0; pin <= last; pin++) {
        *at(IOAPIC_PAGE) = 0x10 + 2 * pin;
        *at(IOAPIC_PAGE + 0x10) = APIC_LVT_MASKED;
        *at(IOAPIC_PAGE) = 0x11 + 2 * pin;
        *at(IOAPIC_PAGE + 0x10) = 0;
    }
}

/* Port by port, in this order, to where a virtual PC's chips stand when its program starts. But the
 * 8259s let nothing in: Bochs has them get past a masked LINT0, and programs would meet IRQ 0. */
static void quiet_ports(uint16_t serial)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {
        {0x20, 0x11}, {0x21, 8},    {0x21, 4},    {0x21, 1}, {0x21, 0xff}, /* 8259s: as a BIOS */
        {0xa0, 0x11}, {0xa1, 0x70}, {0xa1, 2},    {0xa1, 1}, {0xa1, 0xff}, /* does, all masked */
        {0x4d0, 0},   {0x4d1, 0},                                          /* ELCR: edges */
        {0x43, 0x34}, {0x40, 0},    {0x40, 0},                             /* 8254: 18.2 Hz */
        {0x43, 0x70}, {0x43, 0xb0}, {0x61, 0},                             /* no other counts */
        {0x70, 0x0a}, {0x71, 0x26}, {0x70, 0x0b}, {0x71, 2}, {0x70, 12},   /* RTC: no interrupts */
        {0x92, 2},                                                         /* A20 */
    };
    for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        cpu_out8(writes[i].port, writes[i].value);
    cpu_in8(0x71); /* register C */
    for (unsigned i = 0; i < 16 && (cpu_in8(0x64) & 1) != 0; i++)
        cpu_in8(0x60); /* what was typed */
    serial_wait(serial);
    for (uint16_t reg = 1; reg <= 4 && serial != 0; reg++)
        cpu_out8((uint16_t)(serial + reg), 0);
}

/* What the firmware's timer has left in the local APIC's IRR goes away only by being taken. */
static void take_pending_interrupts(void)
{
    static struct gate idt[256];
    const uint64_t entry = (uint64_t)native_interrupt;
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
    uint16_t cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    for (unsigned i = 0; i < 256; i++)
        idt[i] = (struct gate){(uint16_t)entry,         cs, INTERRUPT_64, (uint16_t)(entry >> 16),
                               (uint32_t)(entry >> 32), 0};
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
    cpu_sti();
    for (unsigned i = 0; i < 256; i++)
        cpu_pause();
    cpu_cli();
}

_Noreturn void native_main(const struct handoff *handoff)
{
    const struct handoff_file *kernel = (const struct handoff_file *)handoff->file_base;
    const uint8_t *image = (const uint8_t *)kernel->base;
    const uint16_t serial = (uint16_t)handoff->serial_port;
    if (kernel->size < SECTOR || kernel->size > HIGHEST_END - LOAD_AT || image[510] != 0x55 ||
        image[511] != 0xaa)
        refuse(serial);
    quiet_apic();
    quiet_ioapic();
    quiet_ports(serial);
    take_pending_interrupts();
    native_enter(image, kernel->size);
}
