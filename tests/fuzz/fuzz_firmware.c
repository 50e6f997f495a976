// link: guest/vm/hypercall.c guest/vm/hypercall_memory.c guest/cpu/delivery.c guest/cpu/guestwalk.c guest/vm/vcpu_speculation.c
// link: guest/pc/firmware.c guest/pc/firmware_files.c drivers/virt/vflash.c drivers/virt/vfwcfg.c
// link: guest/pc/pc.c guest/pc/pc_set_up.c guest/pc/domain.c guest/pc/pc_dump.c guest/pc/pc_memory.c guest/load/linux.c guest/load/flat.c guest/pc/acpi.c
// link: guest/pc/cpuid_policy.c guest/pc/pc_program.c guest/load/program.c guest/load/segments.c
// link: guest/load/elf.c guest/load/multiboot.c guest/load/multiboot2.c guest/load/pvh.c
// link: guest/load/kernel.c guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/foreign.c guest/config.c guest/config_keys.c
// link: guest/pc/pc_policies.c guest/pc/mptable.c guest/pc/msr_policy.c mm/guestmem.c mm/page_alloc.c drivers/bus/bus.c drivers/bus/bus_watch.c
// link: drivers/bus/timers.c guest/cpu/msr_table.c drivers/virt/vdebug.c drivers/virt/vi8042.c
// link: drivers/virt/vioapic.c drivers/virt/vtestdev.c drivers/virt/vferr.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c drivers/virt/vpci.c drivers/virt/vpic.c drivers/virt/vchipset.c
// link: drivers/virt/vide.c drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: drivers/virt/vps2kbd.c drivers/virt/vvga.c guest/pc/screen.c drivers/virt/vpit.c
// link: drivers/virt/vpm.c drivers/virt/vrtc.c drivers/virt/vuart.c arch/format.c guest/vm/vcpu.c
// link: guest/vm/vcpu_inject.c guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/vcpu_signal.c guest/vm/sched.c
// link: guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c guest/vm/run_alarm.c guest/vm/run_share.c
// link: guest/cpu/control.c guest/cpu/event.c tests/unit/fake_engine.c tests/unit/fake_space.c tests/unit/fake_host.c
// link: guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c guest/pc/kvm_pv.c
// link: drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a firmware image, and a guest that does anything to its flash and its shadow. */
#include "arch/log.h"
#include "arch/panic.h"
#include "guest/pc/layout.h"
#include "guest/pc/pc.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/fake_space.h"

#include <stdlib.h>
#include <string.h>

#define ARENA    (24ull << 20)
#define ROM_UNIT 0x10000u
#define ROM_MAX  (4 * ROM_UNIT)

const uint8_t dsdt_aml_start[64] = "DSDT\x40";
extern const uint8_t dsdt_aml_end[];
__asm__(".globl dsdt_aml_end\n.set dsdt_aml_end, dsdt_aml_start + 64\n");

static bool logged;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void log_line(const char *format, ...)
{
    (void)format;
    logged = true;
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    (void)format;
    logged = true;
}

_Noreturn void panic(const char *format, ...)
{
    (void)format;
    abort();
}

static void console_out(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)byte;
}

static bool console_ready(void *ctx)
{
    (void)ctx;
    return true;
}

static int console_in(void *ctx)
{
    (void)ctx;
    return -1;
}

static uint64_t console_poll(void *ctx, uint64_t when)
{
    (void)ctx;
    return when + 1000;
}

/* A write by the guest, as its CPU makes it: into RAM, or to whoever else is there. */
static void poke(struct pc *pc, uint64_t address, uint8_t byte)
{
    if (!guestmem_write(&pc->vm.mem, gpa(address), &byte, 1))
        bus_mmio_write(&pc->vm.bus, gpa(address), 1, byte);
}

/* Four bytes are one step: what, where, and a value. */
static void step(struct pc *pc, const uint8_t *data, uint64_t rom_bytes)
{
    const uint64_t at = (uint64_t)data[1] << 8 | data[2];
    switch (data[0] & 3) {
    case 0:
        vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + (data[1] & 7u) % VCHIPSET_PAMS, 1,
                   data[3]);
        break;
    case 1: poke(pc, LAYOUT_SHADOW + at * 4, data[3]); break;
    case 2: poke(pc, LAYOUT_4GIB - rom_bytes + at, data[3]); break;
    default: (void)bus_mmio_read(&pc->vm.bus, gpa(LAYOUT_4GIB - rom_bytes + at), 4); break;
    }
}

/* The first byte is the image's size, the second how many steps stand at the end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run_queue queue;
    static struct run_queues queues;
    static const struct pc_engine engine = {.engine = &fake_engine, .cpus.bits = {1}};
    static const struct pc_host host = {.cpuid = fake_host_cpuid,
                                        .read_tsc = cpu_rdtsc,
                                        .tsc_hz = 100000000,
                                        .engine = {&engine},
                                        .queues = &queues};
    static const struct pc_console console = {
        .out = console_out, .ready = console_ready, .in = console_in, .poll = console_poll};
    static uint8_t *arena, *rom;
    if (arena == NULL) {
        arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
        rom = aligned_alloc(PAGE_SIZE, ROM_MAX);
    }
    if (size < 2 || arena == NULL || rom == NULL)
        return 0;
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    const uint64_t rom_bytes = (1u + (data[0] & 3u)) * ROM_UNIT;
    struct vm_config config = {
        .name = "fuzz", .memory_mib = 16, .vcpus = 1, .cpus = {1}, .weight = 100};
    struct pc *pc = NULL;
    memset(rom, 0xff, ROM_MAX);
    memcpy(rom, data + 2, size - 2 < rom_bytes ? size - 2 : rom_bytes);
    config.firmware =
        (struct loaded_file){.path = "f", .base = (uint64_t)(uintptr_t)rom, .size = rom_bytes};
    config.firmware_variables = firmware_variable_bytes(
        (const uint8_t *)(uintptr_t)config.firmware.base, config.firmware.size);
    logged = false;
    fake_host_reset(0);
    run_queues_init(&queues, &queue, 1, host.tsc_hz);
    if (page_alloc_init(&range, 1) != OK)
        abort();
    struct pc_kept kept = {.memory.count = 0};
    const enum status s = pc_create(&config, 0, &host, &console, &kept, &pc);
    if (s != OK ? !logged : pc->boot.cs.base + pc->boot.rip != LAYOUT_4GIB - 16)
        abort();
    const hpa_t before = guestspace_enter(pc != NULL ? pc->vm.root : hpa(0));
    for (size_t i = 0; s == OK && i < data[1] && (i + 1) * 4 + 2 <= size; i++)
        step(pc, data + size - (i + 1) * 4, rom_bytes);
    (void)guestspace_enter(before);
    if (s == OK)
        pc_destroy(pc, NULL);
    return 0;
}
