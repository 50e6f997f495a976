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
/* A whole virtual PC on the development machine, without a CPU: memory map, ports, wires, MSRs. */
#include "arch/log.h"
#include "arch/panic.h"
#include "guest/pc/layout.h"
#include "guest/pc/pc.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/fake_space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARENA    (72ull << 20)
#define IDE_BASE 0xc000

const uint8_t dsdt_aml_start[64] = "DSDT\x40";
extern const uint8_t dsdt_aml_end[];
__asm__(".globl dsdt_aml_end\n.set dsdt_aml_end, dsdt_aml_start + 64\n");

static char logged[512];
static char *dumping; /* where all lines are to go, one behind the other */
static char console_text[64];
static const char *typed;
static bool reader_is_ready = true;

static void log_text(const char *format, va_list args)
{
    vsnprintf(logged, sizeof(logged), format, args);
    if (dumping != NULL)
        strcat(strcat(dumping, logged), "\n");
}

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_text(format, args);
    va_end(args);
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    va_list args;
    va_start(args, format);
    log_text(format, args);
    va_end(args);
}

_Noreturn void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

static void console_out(void *ctx, uint8_t byte)
{
    (void)ctx;
    const size_t n = strlen(console_text);
    if (n + 1 < sizeof(console_text))
        console_text[n] = (char)byte;
}

static bool console_ready(void *ctx)
{
    (void)ctx;
    return reader_is_ready;
}

static int console_in(void *ctx)
{
    (void)ctx;
    return *typed != 0 ? *typed++ : -1;
}

static uint64_t console_poll(void *ctx, uint64_t when)
{
    (void)ctx;
    return when + 1000;
}

static uint8_t program[512] = {0xf4, [510] = 0x55, 0xaa};
static struct vm_config config;
static struct run_queue queue;
static struct run_queues queues;
static const struct pc_engine engine = {.engine = &fake_engine, .cpus.bits = {1}};
static struct pc_host host = {.cpuid = fake_host_cpuid,
                              .read_tsc = cpu_rdtsc,
                              .tsc_hz = 100000000,
                              .epoch = 1700000000,
                              .microcode = 7ull << 32,
                              .engine = {&engine},
                              .queues = &queues};
static char debug_text[512];
static bool debug_is_taken = true;

static bool console_debug(void *ctx, const char *text, size_t length)
{
    (void)ctx;
    if (debug_is_taken)
        strncat(debug_text, text, length);
    return debug_is_taken;
}

static const struct pc_console console = {.out = console_out,
                                          .ready = console_ready,
                                          .in = console_in,
                                          .debug = console_debug,
                                          .poll = console_poll};
static struct pc_kept kept;
static struct pc *pc;
static uint8_t *arena;
static uint64_t free_before;

/* Its first vCPU is this CPU's, as in an exit. */
static void make(void)
{
    assert_int_equal(pc_create(&config, 0, &host, &console, &kept, &pc), OK);
    fake_host.cpu[0].vcpu = pc->vm.vcpu[0];
    (void)guestspace_enter(pc->vm.root);
}

/* Behind its end. */
static void leave(struct pc_kept *to)
{
    (void)guestspace_enter(hpa(0));
    pc_destroy(pc, to);
}

static int set_up(void **state)
{
    (void)state;
    arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
    memset(arena, 0xcc, ARENA);
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    free_before = page_alloc_free_bytes();
    config = (struct vm_config){.name = "test",
                                .debugcon = true,
                                .memory_mib = 33,
                                .vcpus = 1,
                                .load = 0x7c00,
                                .entry = 0x7c00,
                                .mode = 16,
                                .cmdline = "",
                                .cpus = {1},
                                .weight = 100};
    config.kernel = (struct loaded_file){
        .path = "k", .base = (uint64_t)(uintptr_t)program, .size = sizeof(program)};
    memset(console_text, 0, sizeof(console_text));
    typed = "";
    fake_host_reset(0);
    run_queues_init(&queues, &queue, 1, host.tsc_hz);
    make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (pc != NULL)
        leave(NULL);
    assert_int_equal(page_alloc_free_bytes(), free_before);
    free(arena);
    return 0;
}

static void out(uint16_t port, uint32_t value)
{
    bus_port_write(&pc->vm.bus, port, 1, value);
}

static uint32_t in(uint16_t port)
{
    return bus_port_read(&pc->vm.bus, port, 1);
}

/* What a section names is taken, and refused where it is not on. */
static void test_engine(void **state)
{
    (void)state;
    struct pc *other;
    assert_ptr_equal(pc->vm.engine, &fake_engine);
    config.engine = CONFIG_ENGINE_VTX;
    assert_int_equal(pc_create(&config, 1, &host, &console, &kept, &other), ERR_UNSUPPORTED);
    assert_non_null(strstr(logged, "[vm test] asks for an engine that is not on"));
    host.engine[CONFIG_ENGINE_VTX] = &engine;
    assert_int_equal(pc_create(&config, 1, &host, &console, &kept, &other), OK);
    assert_ptr_equal(other->vm.engine, &fake_engine);
    host.engine[CONFIG_ENGINE_VTX] = NULL;
    pc_destroy(other, NULL);
}

static void test_memory(void **state)
{
    (void)state;
    hpa_t at;
    unsigned perms;
    assert_true(fake_lookup(&pc->vm, gpa(0x7c00), &at, &perms));
    assert_int_equal(perms, MAP_RWX);
    assert_int_equal(*(uint8_t *)hpa_to_ptr(at), 0xf4);
    assert_true(fake_lookup(&pc->vm, gpa(0xb8000), &at, NULL)); /* the screen: no exits */
    assert_ptr_equal(hpa_to_ptr(at), pc->vga.memory + 0x18000);
    assert_true(fake_lookup(&pc->vm, gpa((33u << 20) - 1), NULL, NULL));
    assert_false(fake_lookup(&pc->vm, gpa(33u << 20), NULL, NULL));
    assert_false(fake_lookup(&pc->vm, gpa(VM_APIC_PAGE_GPA), NULL, NULL)); /* the engine's affair */

    uint8_t byte = 1;
    assert_true(guestmem_read(&pc->vm.mem, gpa(0x200000), &byte, 1));
    assert_int_equal(byte, 0);
    char rsdp[8];
    assert_true(guestmem_read(&pc->vm.mem, gpa(LAYOUT_ACPI), rsdp, 8));
    assert_memory_equal(rsdp, "RSD PTR ", 8);
}

static void test_console(void **state)
{
    (void)state;
    out(0x3f8, 'h');
    out(0xe9, 'i');
    assert_string_equal(console_text, "hi");
    typed = "xy";
    assert_int_equal(pc->console_alarm.fire(pc, 5), 1005);
    assert_int_equal(in(0x3f8), 'x');
    assert_int_equal(pc->console_alarm.fire(pc, 1005), 2005);
    assert_int_equal(in(0x3f8), 'y');
    assert_int_equal(in(0x3fd) & 1, 0);
}

/* Who writes more than can be shown is stopped, and goes on when there is room: no byte is lost. */
static void test_console_is_slow(void **state)
{
    (void)state;
    for (unsigned port = 0; port < 2; port++) {
        assert_false(pc->vm.io_waits);
        reader_is_ready = false;
        out(port == 0 ? 0x3f8 : 0xe9, (uint8_t)('a' + port));
        assert_true(pc->vm.io_waits);
        assert_int_equal(pc->vm.vcpu[0]->activity, ACTIVITY_WAIT_FOR_IO);
        assert_false(vcpu_is_wanted(pc->vm.vcpu[0]));
        (void)pc->console_alarm.fire(pc, 5);
        assert_true(pc->vm.io_waits);
        reader_is_ready = true;
        (void)pc->console_alarm.fire(pc, 5);
        assert_true(vcpu_is_wanted(pc->vm.vcpu[0]));
    }
    assert_false(pc->vm.io_waits);
    out(0x3f8, 'c');
    assert_false(pc->vm.io_waits);
    assert_string_equal(console_text, "abc");
}

/* What has asked for the VM's end, if anything did since the last call. */
static enum vm_end take_end(void)
{
    const enum vm_end end = pc->vm.end;
    pc->vm.end = VM_RUNS;
    pc->vm.end_claimed = false;
    return end;
}

static void test_ends(void **state)
{
    (void)state;
    bus_port_write(&pc->vm.bus, 0xf4, 4, 3);
    assert_int_equal(take_end(), VM_DEBUG_EXIT);
    assert_int_equal(pc->vm.end_code, 3);
    out(0xcf9, 6);
    assert_int_equal(take_end(), VM_RESET);
    bus_port_write(&pc->vm.bus, 0x604, 2, VPM_SLP_TYP_S5 << 10 | 1u << 13);
    assert_int_equal(take_end(), VM_POWEROFF);
    out(0x64, 0xfe);
    assert_int_equal(take_end(), VM_RESET);
    assert_ptr_equal(pc->vm.end_vcpu, pc->vm.vcpu[0]);
}

/* Timer to 8259 to LINT0, as a kernel in PIC mode has it; and the same line at IO-APIC pin 2. */
static void test_wires(void **state)
{
    (void)state;
    static const uint8_t icw[] = {0x11, 0x30, 0x04, 0x01};
    struct vlapic *apic = &pc->vm.vcpu[0]->apic;
    out(0x20, icw[0]);
    for (unsigned i = 1; i < 4; i++)
        out(0x21, icw[i]);
    out(0x21, 0xfe);
    assert_false(vlapic_extint_pending(apic));
    out(0x43, 0x34);
    out(0x40, 100);
    out(0x40, 0);
    fake_host.now += 300 * host.tsc_hz / 1000000;
    timers_run(&pc->vm.timers, fake_host.now);
    assert_true(vlapic_extint_pending(apic));
    assert_int_equal(vlapic_extint_acknowledge(apic), 0x30);

    bus_mmio_write(&pc->vm.bus, gpa(VIOAPIC_BASE), 4, 0x10 + 2 * 2);
    bus_mmio_write(&pc->vm.bus, gpa(VIOAPIC_BASE + 0x10), 4, 0x55);
    assert_int_equal(bus_mmio_read(&pc->vm.bus, gpa(VIOAPIC_BASE + 0x10), 4) & 0xff, 0x55);
    fake_host.now += host.tsc_hz;
    timers_run(&pc->vm.timers, fake_host.now);
    assert_int_equal(vlapic_pending(apic), 0x55);
}

/* Those of a vCPU are its own in the table of its VM. */
static void *owner(const struct msr_range *range)
{
    return range->dev != NULL ? range->dev : pc->vm.vcpu[0];
}

static bool rdmsr(uint32_t msr, uint64_t *value)
{
    const struct msr_range *r = msr_table_find(&pc->vm.msrs, msr);
    return r != NULL && r->read != NULL && r->read(owner(r), msr, value);
}

static bool wrmsr(uint32_t msr, uint64_t value)
{
    const struct msr_range *r = msr_table_find(&pc->vm.msrs, msr);
    return r != NULL && r->write != NULL && r->write(owner(r), msr, value);
}

static void test_msrs(void **state)
{
    (void)state;
    uint64_t v;
    assert_true(rdmsr(0x8b, &v));
    assert_int_equal(v, 7ull << 32);
    assert_true(rdmsr(0xfe, &v));
    assert_int_equal(v & 0xff, 8);
    for (uint32_t msr = 0x200; msr < 0x210; msr++)
        assert_true(wrmsr(msr, msr & 1 ? 0x7ff0000800 : 0x7ff0000006));
    assert_false(wrmsr(0x200, 0x7ff0000002)); /* no such memory type */
    assert_false(wrmsr(0x200, 0x8000000006)); /* beyond the 39 bits of the host */
    assert_false(wrmsr(0x201, 0x7ff0000c00));
    assert_false(rdmsr(0x210, &v));
    assert_true(wrmsr(0x26f, 0x0605040100060606));
    assert_true(rdmsr(0x26f, &v));
    assert_int_equal(v, 0x0605040100060606);
    assert_false(wrmsr(0x250, 0x0306060606060606));
    assert_true(rdmsr(0x259, &v));
    assert_int_equal(v, 0);
    assert_true(wrmsr(0x2ff, 0xc00));
    assert_false(wrmsr(0x2ff, 0x1000));
    assert_true(wrmsr(0x79, 0x1000)); /* an update that is not taken */
    assert_false(rdmsr(0x79, &v));
    assert_true(rdmsr(0xce, &v));
    assert_int_equal(v, host.tsc_hz / 100000000 << 8);
    assert_false(wrmsr(0xce, v));
    assert_true(wrmsr(0x17a, 0));
    assert_false(wrmsr(0x17a, 4));
    assert_true(wrmsr(0x1d9, 2)); /* single-step on branches, and nothing else */
    assert_false(wrmsr(0x1d9, 1));
    assert_true(rdmsr(0x1d9, &v));
    assert_int_equal(v, 2);
    static const uint32_t closed[] = {0x3a, 0x48, 0x10a, 0x17b, 0x186, 0x1da, 0x480, 0xc0010015};
    for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
        assert_false(rdmsr(closed[i], &v));
        assert_false(wrmsr(closed[i], 0));
    }
}

/* Whether KVM's interface is there: by CPUID, MSRs and hypercalls. A reset begins it anew. */
static void test_paravirt(void **state)
{
    static const uint32_t msrs[] = {0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04};
    static const unsigned numbers[] = {5, 10, 11};
    uint64_t v;
    (void)state;
    for (unsigned none = 0; none < 2; none++) {
        const struct vm *vm = &pc->vm;
        const uint32_t second = cpuid_table_find(&vm->cpuid, 0x40000100, 0)->ebx;
        assert_int_equal(second == 0x4b4d564b, !none);
        for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
            assert_int_equal(rdmsr(msrs[i], &v), !none);
            assert_int_equal(wrmsr(msrs[i], 0), !none);
        }
        assert_false(rdmsr(0x4b564d02, &v));
        assert_false(rdmsr(0x4b564d05, &v));
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
            assert_int_equal(vm->hypercall[numbers[i]] != NULL, !none);
        if (none)
            break;
        assert_true(wrmsr(0x4b564d03, 0x8001));
        assert_true(wrmsr(0x4b564d01, (33u << 20) - 32 + 1)); /* the last of its RAM */
        assert_false(wrmsr(0x4b564d01, (33u << 20) - 28 + 1));
        leave(&kept);
        make();
        assert_true(rdmsr(0x4b564d03, &v));
        assert_int_equal(v, 0);
        leave(NULL);
        config.paravirt = PARAVIRT_NONE;
        make();
    }
}

/* A disk outlives the VM's lives, and its interrupt reaches both controllers. */
static void test_disk(void **state)
{
    (void)state;
    static uint8_t data[2 * 512];
    for (unsigned life = 0; life < 2; life++) {
        leave(NULL);
        config.disk_count = 1;
        config.disk[0].base = (uint64_t)(uintptr_t)data;
        config.disk[0].size = sizeof(data);
        make();
        assert_int_equal(pc->rtc.ram[0x12], 0xf0);
        assert_int_equal(in(0x1f7), 0x50);
        assert_int_equal(in(IDE_BASE + 2), 0);
        out(0x1f6, 0xe0);
        out(0x1f2, 1);
        out(0x1f3, 1);
        out(0x1f7, life == 0 ? 0x30 : 0x20);
        for (unsigned i = 0; i < 256; i++) {
            if (life == 0)
                bus_port_write(&pc->vm.bus, 0x1f0, 2, i);
            else
                assert_int_equal(bus_port_read(&pc->vm.bus, 0x1f0, 2), i);
        }
        out(0xa0, 0x0a);
        assert_int_equal(in(0xa0) & 0x40, 0x40);
    }
    assert_int_equal(data[512 + 2], 1);
}

/* Behind a reset the CD lies in its drive again, and its interrupt reaches both controllers. */
static void test_cdrom(void **state)
{
    (void)state;
    static uint8_t data[3 * 2048];
    static const uint8_t eject[12] = {0x1b, 0, 0, 0, 2}, ready[12] = {0};
    data[2 * 2048] = 0x99;
    for (unsigned life = 0; life < 2; life++) {
        leave(NULL);
        config.cdrom.base = (uint64_t)(uintptr_t)data;
        config.cdrom.size = sizeof(data);
        make();
        assert_int_equal(in(0x174), 0x14);
        assert_int_equal(in(0x175), 0xeb);
        assert_int_equal(in(0x1f7), 0);
        out(0xa0, 0x0a);
        assert_int_equal(in(0xa0) & 0x80, 0);
        for (unsigned k = 0; k < 2; k++) {
            out(0x177, 0xa0);
            for (unsigned i = 0; i < 12; i += 2)
                bus_port_write(&pc->vm.bus, 0x170, 2, k == 0 ? ready[i] : get_le(eject + i, 2));
            out(0xa0, 0x0a);
            assert_int_equal(in(0xa0) & 0x80, 0x80);
            assert_int_equal(in(0x177), 0x50); /* there is a disc, and it can be ejected */
        }
    }
    assert_int_equal(pc->rtc.ram[0x12], 0);
}

/* What programs do with chips that are not there, before they find out: no wait is for ever. */
static void test_absent_chips(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        uint8_t bits, value; /* that a program waits for */
    } waits[] = {
        {0x1f7, 0x88, 0}, /* neither busy nor with data: both IDE channels have no disk */
        {0x3f6, 0x80, 0},    {0x177, 0x88, 0},    {0x376, 0x80, 0},
        {0x1ef, 0x80, 0},    {0x3ee, 0x80, 0},    {0x16f, 0x80, 0},
        {0x36e, 0x80, 0},    {0x3f4, 0xc0, 0x80}, /* a floppy controller takes a command */
        {0x3f4, 0x10, 0},                         /* and has none */
        {0x2fd, 0x60, 0x60},                      /* COM2 has sent all */
        {0x379, 0x80, 0x80},                      /* a printer is not busy */
        {0x66, 2, 0},                             /* an embedded controller takes a byte */
        {0x66, 1, 1},                             /* and has answered */
        {0x08, 0x0f, 0x0f},                       /* DMA is at its end */
        {0x64, 2, 0},                             /* the keyboard controller takes a byte */
        {0x71, 0x80, 0}, /* register A, below: the clock is not being updated */
    };
    out(0x70, 0x0a);
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        assert_int_equal(in(waits[i].port) & waits[i].bits, waits[i].value);
    for (uint16_t port = 0x170; port < 0x178; port++)
        assert_int_equal(in(port), 0);
    assert_int_equal(bus_port_read(&pc->vm.bus, 0x170, 4), 0);
    bus_port_write(&pc->vm.bus, 0xcf8, 4, 0x80000900); /* the IDE function is there */
    assert_int_equal(bus_port_read(&pc->vm.bus, 0xcfc, 4), 0x70108086);
}

/* What CMOS memory tells a BIOS of disks; beyond 1024 cylinders it is to make up a geometry. */
static void test_cmos_disks(void **state)
{
    (void)state;
    static uint8_t data[512];
    static const struct {
        uint64_t sectors;
        uint8_t geometry[9];
        uint8_t translation;
    } disks[] = {
        {40960, {40, 0, 16, 0xff, 0xff, 0xc8, 40, 0, 63}, 0},
        {1024 * 16 * 63, {0, 4, 16, 0xff, 0xff, 0xc8, 0, 4, 63}, 0},
        {1025 * 16 * 63, {1, 4, 16, 0xff, 0xff, 0xc8, 1, 4, 63}, 1},
        {1ull << 40, {0xff, 0x3f, 16, 0xff, 0xff, 0xc8, 0xff, 0x3f, 63}, 1},
    };
    for (size_t i = 0; i + 1 < sizeof(disks) / sizeof(disks[0]); i++) {
        leave(NULL);
        config.disk_count = 2;
        for (unsigned k = 0; k < 2; k++)
            config.disk[k] = (struct loaded_file){.base = (uint64_t)(uintptr_t)data,
                                                  .size = disks[i + k].sectors * 512};
        make();
        const uint8_t *cmos = pc->rtc.ram;
        assert_int_equal(cmos[0x12], 0xff);
        assert_int_equal(cmos[0x19] << 8 | cmos[0x1a], 0x2f2f);
        assert_memory_equal(cmos + 0x1b, disks[i].geometry, 9);
        assert_memory_equal(cmos + 0x24, disks[i + 1].geometry, 9);
        assert_int_equal(cmos[0x39], disks[i].translation | disks[i + 1].translation << 2);
    }
}

#define ROM_BYTES 0x40000u
#define VARIABLES 0x2000u

/* A firmware image whose first 8 KiB are a volume for variables; each other byte tells its page. */
static int set_up_firmware(void **state)
{
    (void)set_up(state);
    leave(NULL);
    uint8_t *rom = aligned_alloc(PAGE_SIZE, ROM_BYTES);
    for (unsigned i = 0; i < ROM_BYTES; i++)
        rom[i] = (uint8_t)(i / PAGE_SIZE);
    static const uint8_t guid[16] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                     0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};
    const uint64_t length = VARIABLES;
    memset(rom, 0, VARIABLES);
    memcpy(rom + 16, guid, 16);
    memcpy(rom + 32, &length, 8);
    memcpy(rom + 40, "_FVH", 4);
    config.kernel = (struct loaded_file){.base = 0};
    config.firmware =
        (struct loaded_file){.path = "rom", .base = (uint64_t)(uintptr_t)rom, .size = ROM_BYTES};
    config.firmware_variables = firmware_variable_bytes(rom, ROM_BYTES);
    assert_int_equal(config.firmware_variables, VARIABLES);
    make();
    return 0;
}

static int tear_down_firmware(void **state)
{
    const int result = tear_down(state);
    free((void *)(uintptr_t)config.firmware.base);
    return result;
}

static uint8_t peek(uint64_t address)
{
    uint8_t byte = 0;
    hpa_t at;
    unsigned perms;
    if (guestmem_slot(&pc->vm.mem, gpa(address)) == NULL)
        return (uint8_t)bus_mmio_read(&pc->vm.bus, gpa(address), 1);
    assert_true(guestmem_read(&pc->vm.mem, gpa(address), &byte, 1));
    assert_true(fake_lookup(&pc->vm, gpa(address), &at, &perms)); /* the CPU reads the same */
    assert_int_equal(*(uint8_t *)hpa_to_ptr(at), byte);
    assert_int_equal((perms & MAP_W) != 0, guestmem_is_writable(&pc->vm.mem, gpa(address)));
    return byte;
}

static void poke(uint64_t address, uint8_t byte)
{
    if (!guestmem_write(&pc->vm.mem, gpa(address), &byte, 1))
        bus_mmio_write(&pc->vm.bus, gpa(address), 1, byte);
}

static void set_pam(unsigned reg, uint8_t value)
{
    vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + reg, 1, value);
}

static void test_reset_vector(void **state)
{
    (void)state;
    assert_int_equal(pc->boot.cs.base + pc->boot.rip, 0xfffffff0);
    assert_int_equal(pc->boot.cr0, 0x60000010);
    assert_int_equal(peek(0xfffffff0), 0x3f);
    assert_int_equal(peek(0xfffc2000), 0x02);
    assert_int_equal(peek(0xffff0), 0x3f);
    assert_int_equal(peek(0xe0000), 0x20);
    assert_int_equal(peek(0xc0000), 0xff);
    assert_int_equal(peek(0xdffff), 0xff);
    poke(0xfffffff0, 1);
    poke(0xffff0, 1);
    poke(0xc0000, 1);
    assert_int_equal(peek(0xfffffff0), 0x3f);
    assert_int_equal(peek(0xffff0), 0x3f);
    assert_int_equal(peek(0xc0000), 0xff);
    poke(0xbff, 7);
    assert_int_equal(peek(0xbff), 7);
    uint64_t v;
    assert_true(rdmsr(0x2ff, &v));
    assert_int_equal(v, 0);
}

static void test_shadowing(void **state)
{
    (void)state;
    const uint32_t changes = pc->vm.memory_changes;
    set_pam(0, 0x20); /* 0xf0000: writes to RAM, reads from ROM */
    poke(0xf1234, 0x77);
    assert_int_equal(peek(0xf1234), 0x31);
    set_pam(0, 0x30); /* both RAM */
    assert_int_equal(peek(0xf1234), 0x77);
    assert_int_equal(peek(0xf1235), 0);
    poke(0xfffff, 0x55);
    assert_int_equal(peek(0xfffff), 0x55);
    assert_int_equal(peek(0xe0000), 0x20);
    set_pam(0, 0x10); /* write-protected RAM */
    poke(0xf1234, 0x99);
    assert_int_equal(peek(0xf1234), 0x77);
    set_pam(0, 0x00);
    assert_int_equal(peek(0xf1234), 0x31);
    assert_int_equal(peek(0xfffff), 0x3f);
    set_pam(2, 0x03); /* 0xc8000 to 0xcbfff */
    poke(0xc8000, 1);
    poke(0xcbfff, 2);
    poke(0xcc000, 3);
    assert_int_equal(peek(0xc8000), 1);
    assert_int_equal(peek(0xcbfff), 2);
    assert_int_equal(peek(0xcc000), 0xff);
    /* Where a write to PAM changes nothing that is mapped, nobody has to look. */
    assert_int_equal(pc->vm.memory_changes - changes, 4);
    set_pam(2, 0x03);
    assert_int_equal(pc->vm.memory_changes - changes, 4);
}

/* All that one access of the guest can switch, and pieces side by side that show one the RAM and
 * one the ROM: what is copied from there, as by DMA, goes across. */
static void test_shadowing_of_pieces(void **state)
{
    (void)state;
    uint8_t bytes[8];
    vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + 3, 4, 0x33333333);
    for (uint64_t at = 0xd0000; at < 0xf0000; at += PAGE_SIZE) {
        assert_int_equal(peek(at), 0);
        poke(at, (uint8_t)(at / PAGE_SIZE));
    }
    vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + 3, 4, 0x01000000);
    assert_int_equal(peek(0xd0000), 0xff);
    assert_int_equal(peek(0xe8fff), 0);
    poke(0xe8000, 1);
    assert_int_equal(peek(0xe8000), 0xe8);
    assert_true(guestmem_read(&pc->vm.mem, gpa(0xe7ffc), bytes, 8));
    assert_memory_equal(bytes, "\x27\x27\x27\x27\xe8\0\0\0", 8);
    vpci_write(&pc->pci, VCHIPSET_HOST, VCHIPSET_PAM0 + 3, 4, 0x33333333);
    for (uint64_t at = 0xd0000; at < 0xf0000; at += PAGE_SIZE)
        assert_int_equal(peek(at), (uint8_t)(at / PAGE_SIZE));
    assert_int_equal(peek(0xf0000), 0x30);
    assert_int_equal(peek(0xcffff), 0xff);
    assert_true(guestmem_zero(&pc->vm.mem, gpa(0xdc000), 0x8000));
    assert_int_equal(peek(0xe3000), 0);
}

/* PAM is written while another vCPU has a copy of a page in its place, as by step.c. */
static void test_shadow_in_step(void **state)
{
    (void)state;
    hpa_t copy;
    assert_int_equal(page_alloc(1, 1, &copy), OK);
    assert_int_equal(fake_engine.redirect(&pc->vm, gpa(0xf1000), copy, MAP_RWX), OK);
    set_pam(0, 0x30);
    poke(0xf1234, 0x77);
    assert_int_equal(peek(0xf1234), 0x77);
    assert_int_equal(fake_engine.redirect(&pc->vm, gpa(0xf1000), copy, MAP_RWX), OK);
    set_pam(0, 0x00);
    assert_int_equal(peek(0xf1234), 0x31);
    page_free(copy, 1);
}

static void test_variables(void **state)
{
    (void)state;
    const uint64_t base = 0x100000000 - ROM_BYTES, at = base + 0x1800;
    uint8_t *rom = (uint8_t *)(uintptr_t)config.firmware.base;
    unsigned perms;
    assert_true(fake_lookup(&pc->vm, gpa(at), NULL, &perms));
    assert_int_equal(perms, MAP_R);
    poke(at, 0x20); /* erase */
    assert_false(fake_lookup(&pc->vm, gpa(at), NULL, NULL));
    poke(at, 0xd0);
    assert_int_equal(peek(at), 0x80);
    poke(at, 0x10); /* program */
    poke(at, 0x5a);
    poke(at, 0xff); /* read */
    assert_true(fake_lookup(&pc->vm, gpa(at), NULL, &perms));
    assert_int_equal(peek(at), 0x5a);
    assert_int_equal(peek(at + 1), 0xff);
    poke(base + VARIABLES, 0x10); /* behind the variables it is ROM */
    poke(base + VARIABLES, 0);
    assert_int_equal(peek(base + VARIABLES), 2);
    leave(NULL);
    make(); /* a reset */
    assert_int_equal(peek(at), 0x5a);
    assert_int_equal(rom[0x1800], 0x5a);
    poke(base, 0x20); /* erases the volume's header: it stays what it has been */
    poke(base, 0xd0);
    poke(base, 0xff);
    assert_int_equal(peek(base + 40), 0xff);
    leave(NULL);
    make();
    assert_true(fake_lookup(&pc->vm, gpa(at), NULL, &perms));
    assert_int_equal(perms, MAP_R); /* flash; ROM is MAP_RX */
    poke(at, 0x10);
    poke(at, 0x4a);
    poke(at, 0xff);
    assert_int_equal(peek(at), 0x4a);
}

static void refuse(enum status expected, const char *text)
{
    struct pc *other = NULL;
    const uint64_t free_bytes = page_alloc_free_bytes();
    assert_int_equal(pc_create(&config, 1, &host, &console, &kept, &other), expected);
    assert_non_null(strstr(logged, text));
    assert_int_equal(page_alloc_free_bytes(), free_bytes);
}

static void test_refused(void **state)
{
    (void)state;
    config.memory_mib = 0;
    refuse(ERR_BAD_INPUT, "memory");
    config.memory_mib = 64; /* more than is left */
    refuse(ERR_NO_MEMORY, "memory");
    config.memory_mib = (1ull << 44) + 8; /* wraps to 8 MiB in bytes */
    refuse(ERR_BAD_INPUT, "memory");
    config.memory_mib = 8;
    config.kernel.size = 100;
    refuse(ERR_BAD_INPUT, ": k: neither");
    static const uint64_t sizes[] = {0x8000, 0x18000, 0x1010000, 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        config.firmware = (struct loaded_file){
            .path = "f", .base = (uint64_t)(uintptr_t)program, .size = sizes[i]};
        refuse(ERR_BAD_INPUT, ": f has");
    }
    config.firmware = (struct loaded_file){.base = 0};
    static uint8_t compressed[] = {0x1f, 0x8b, 8, 0};
    config.kernel.base = (uint64_t)(uintptr_t)compressed;
    config.kernel.size = sizeof(compressed);
    refuse(ERR_BAD_INPUT, "unpack it first");
}

/* What the file is; what nadir.cfg says that it is; and what such a kernel does not take. */
static void test_kinds(void **state)
{
    (void)state;
    assert_non_null(strstr(logged, "test: k: flat, entry 0x7c00"));
    leave(NULL);
    pc = NULL;
    config.type = TYPE_MULTIBOOT;
    refuse(ERR_BAD_INPUT, "multiboot header");
    config.type = TYPE_MULTIBOOT2;
    refuse(ERR_BAD_INPUT, "multiboot 2 header");
    config.type = TYPE_PVH;
    refuse(ERR_BAD_INPUT, "not an ELF file");
    config.type = TYPE_LINUX;
    refuse(ERR_BAD_INPUT, "not a Linux bzImage");
    config.module_count = 2;
    refuse(ERR_BAD_INPUT, "takes a ramdisk, but no modules");
    config.type = TYPE_AUTO;
    refuse(ERR_BAD_INPUT, "flat kernel takes neither");
    config.module_count = 0;
    memcpy(program + 64, "\x02\xb0\xad\x1b\0\0\0\0\xfe\x4f\x52\xe4", 12);
    refuse(ERR_BAD_INPUT, "not an ELF file"); /* a multiboot header counts more */
    memset(program + 64, 0, 12);
}

/* The disks in the order in which they stand in nadir.cfg, and then the CD. */
static void test_boot_order(void **state)
{
    (void)state;
    static uint8_t data[2048];
    uint64_t bytes = 0;
    char name[] = "bootorder";
    const char *file = NULL;
    leave(NULL);
    for (unsigned i = 0; i < 2; i++)
        config.disk[config.disk_count++] =
            (struct loaded_file){.base = (uint64_t)(uintptr_t)data, .size = 512};
    config.cdrom = (struct loaded_file){.base = (uint64_t)(uintptr_t)data, .size = sizeof(data)};
    make();
    for (uint32_t i = 0; i < pc->fwcfg.files; i++)
        if (strcmp(pc->fwcfg.directory.entry[i].name, name) == 0)
            for (uint32_t k = 0; k < pc->fwcfg.items; k++)
                if (pc->fwcfg.item[k].key == VFWCFG_FIRST_FILE + i) {
                    file = (const char *)pc->fwcfg.item[k].data;
                    bytes = pc->fwcfg.item[k].bytes;
                }
    assert_non_null(file);
    assert_string_equal(file, "/pci@i0cf8/ide@1,1/drive@0/disk@0\n"
                              "/pci@i0cf8/ide@1,1/drive@0/disk@1\n"
                              "/pci@i0cf8/ide@1,1/drive@1/disk@0");
    assert_int_equal(bytes, strlen(file) + 1);
}

static bool has(uint64_t at, const void *bytes, size_t count)
{
    uint8_t read[16];
    assert_true(guestmem_read(&pc->vm.mem, gpa(at), read, count));
    return memcmp(read, bytes, count) == 0;
}

/* What a BIOS would have left, where kernels look for it. */
/* Where the line leads to and whether it is level-triggered, by each who tells of it. */
struct told {
    unsigned pin;
    bool level;
};

static const uint8_t *find_in_bios(const char *signature)
{
    const uint8_t *area = guestmem_window(&pc->vm.mem, gpa(LAYOUT_ACPI), 0x20000);
    for (size_t at = 0; at < 0x20000 - 4; at += 4)
        if (memcmp(area + at, signature, 4) == 0)
            return area + at;
    fail_msg("there is no %s", signature);
    return NULL;
}

static struct told told_by_madt(unsigned irq)
{
    const uint8_t *madt = find_in_bios("APIC");
    for (unsigned at = 44; at < madt[4]; at += madt[at + 1])
        if (madt[at] == 2 && madt[at + 3] == irq)
            return (struct told){madt[at + 4], madt[at + 8] == 0x0d};
    return (struct told){irq, false};
}

static struct told told_by_mp_table(unsigned irq)
{
    const uint8_t *table = find_in_bios("PCMP"), *entry = table + 44;
    for (unsigned left = table[34]; left > 0; left--, entry += entry[0] == 0 ? 20 : 8)
        if (entry[0] == 3 && entry[5] == irq)
            return (struct told){entry[7], entry[2] == 0x0d};
    fail_msg("the MP table knows no IRQ %u", irq);
    return (struct told){0, false};
}

static void lines_are_the_same_to_all(void **state)
{
    (void)state;
    const uint32_t elcr =
        bus_port_read(&pc->vm.bus, 0x4d0, 1) | bus_port_read(&pc->vm.bus, 0x4d1, 1) << 8;
    unsigned level = 0;
    for (unsigned irq = 0; irq < 16; irq++) {
        if (irq == 2) /* the second 8259 */
            continue;
        const struct told madt = told_by_madt(irq), mp = told_by_mp_table(irq);
        assert_int_equal(madt.pin, mp.pin);
        assert_int_equal(madt.level, mp.level);
        assert_int_equal(madt.level, elcr >> irq & 1);
        level += madt.level;
    }
    assert_int_equal(level, 3);
    assert_true(told_by_madt(9).level); /* the SCI, as the FADT has it */
    for (unsigned i = 0; i < 4; i++) {  /* and whatever PCI is routed to */
        const unsigned irq = pc->chipset.isa.config[VCHIPSET_PIRQA + i];
        assert_true(irq < 16 && told_by_madt(irq).level);
    }
}

static void test_tables(void **state)
{
    (void)state;
    assert_true(has(0xe0000, "RSD PTR ", 8));
    assert_true(has(0xf0000, "_MP_", 4));
    assert_true(has(0x40e, "\xc0\x9f\x22\x02\0\x7f\x02", 7)); /* EBDA, equipment, 639 KiB */
    assert_true(has(0x449, "\x03\x50\0\0\x10", 5));           /* mode 3, 80 columns, 4 KiB a page */
    assert_true(has(0x9fc00, "\1", 1));
    assert_true(has(4 * 0x06, "\0\0\0\xf1", 4));
    assert_true(has(4 * 0x13, "\1\0\0\xf1", 4));
    assert_true(has(0xf1000, "\xcf\x55", 2));
}

static char dumped[1024];

/* What pc_dump() says, all lines of it. */
static const char *dump(const struct cpu_state *state)
{
    dumped[0] = 0;
    dumping = dumped;
    pc_dump(&pc->vm, state);
    dumping = NULL;
    return dumped;
}

static void debug_console_with_a_file(void **state)
{
    (void)state;
    struct vcpu *vcpu = pc->vm.vcpu[0];
    leave(NULL);
    config.debugcon_file = "f";
    make();
    vcpu = pc->vm.vcpu[0];
    debug_text[0] = 0;
    for (const char *s = "one\ntwo"; *s != 0; s++)
        bus_port_write(&pc->vm.bus, 0xe9, 1, (uint8_t)*s);
    assert_string_equal(debug_text, "one\n");
    assert_string_equal(console_text, "");
    pc_flush_debug(pc);
    assert_string_equal(debug_text, "one\ntwo");
    debug_is_taken = false; /* nothing is lost: the vCPU waits */
    for (unsigned i = 0; i < PC_DEBUG_LINE; i++) {
        assert_int_equal(vcpu->activity, ACTIVITY_ACTIVE);
        bus_port_write(&pc->vm.bus, 0xe9, 1, 'x');
    }
    assert_int_equal(vcpu->activity, ACTIVITY_WAIT_FOR_IO);
    for (unsigned i = 0; i < 2 * PC_DEBUG_TEXT; i++) /* whatever others do meanwhile */
        bus_port_write(&pc->vm.bus, 0xe9, 1, 'y');
    debug_is_taken = true;
    debug_text[0] = 0;
    pc_flush_debug(pc);
    assert_int_equal(strlen(debug_text), PC_DEBUG_TEXT);
    assert_int_equal(pc->debug_length, 0);
}

static void what_the_controllers_have_is_told(void **unused)
{
    (void)unused;
    const struct cpu_state real = {0}, off = {.cr0 = CR0_PE};
    const struct cpu_state protected = {.cr0 = CR0_PE, .rflags = RFLAGS_IF};
    assert_null(strstr(dump(&real), "IRQ"));
    bus_port_write(&pc->vm.bus, 0xa1, 1, 0xff);
    bus_port_write(&pc->vm.bus, 0x20, 1, 0x11);
    bus_port_write(&pc->vm.bus, 0x21, 1, 8);
    bus_port_write(&pc->vm.bus, 0x21, 1, 4);
    vpic_set(&pc->pic, 0, false);
    vpic_set(&pc->pic, 0, true);
    assert_non_null(strstr(dump(&real), "IRQ 0 waits for the rest of the 8259's initialisation"));
    bus_port_write(&pc->vm.bus, 0x21, 1, 1);
    bus_port_write(&pc->vm.bus, 0x21, 1, 0xf8);
    assert_non_null(strstr(dump(&real), "IRQ 0 waits until the CPU takes it"));
    assert_null(strstr(dump(&real), "remapped"));
    assert_null(strstr(dump(&off), "remapped")); /* nothing arrives */
    assert_non_null(
        strstr(dump(&protected), "IRQ 0 arrives as vector 8: the 8259 was not remapped"));

    struct vlapic *apic = &pc->vm.vcpu[0]->apic;
    assert_int_equal(apic->pic_acknowledge(apic->pic), 8);
    fake_host.now += 3 * host.tsc_hz + host.tsc_hz / 5;
    vpic_set(&pc->pic, 1, true);
    vpic_set(&pc->pic, 4, true);
    vpic_set(&pc->pic, 8, true);
    dump(&real);
    assert_non_null(strstr(dumped, "IRQ 0 is in service at the 8259, with no EOI for 3.200 s"));
    assert_non_null(strstr(dumped, "IRQ 1 waits for the EOI of one that comes before it"));
    assert_non_null(strstr(dumped, "IRQ 4 waits masked at the 8259"));
    assert_non_null(strstr(dumped, "IRQ 8 waits masked at the 8259"));
    for (unsigned i = 0; i < 1000; i++)
        (void)bus_port_read(&pc->vm.bus, 0x321, 1);
    assert_non_null(strstr(dump(&real), "port 0x321 was read 1000 times, and no device answers"));
    pc->paravirtual = true; /* a domain has no 8259 that could stand in some way */
    assert_null(strstr(dump(&protected), "IRQ"));
    assert_non_null(strstr(dumped, "port 0x321 was read"));
    pc->paravirtual = false;
}

/* A port that is there is told, too, with what it answers: but only as long as somebody looks. */
static void what_is_polled_is_told(void **unused)
{
    (void)unused;
    const struct cpu_state real = {0};
    for (unsigned look = 0; look < 2; look++) {
        if (look != 0)
            bus_watch_begin(&pc->vm.bus);
        for (unsigned i = 0; i < 5000; i++)
            (void)in(0x64);
        dump(&real);
        assert_int_equal(look != 0, strstr(dumped, "port 0x64 was read 5000 times within 10 ms, "
                                                   "and it answers 0x14 each time") != NULL);
        assert_null(strstr(dump(&real), "port 0x64"));
    }
    bus_watch_begin(&pc->vm.bus);
    for (unsigned i = 0; i < 5000; i++) {
        fake_host.now += host.tsc_hz / 50000;
        (void)in(0x61);
    }
    assert_non_null(strstr(dump(&real), "and it answers 0x0, while bits 0x10 change"));
}

/* Watched for the last 10 ms before its limit. */
static void the_limit_watches_first(void **unused)
{
    (void)unused;
    struct vm *vm = &pc->vm;
    const uint64_t begin = fake_host.now;
    vm->vcpu[0]->started = true;
    vm->tsc_first_entry = begin;
    pc_set_limit(pc, host.tsc_hz);
    for (unsigned ms = 0; ms < 1000; ms++) {
        assert_int_equal(vm->bus.watch.on, ms >= 990);
        assert_false(vm_has_ended(vm));
        fake_host.now = begin + host.tsc_hz / 1000 * (ms + 1);
        (void)vm_run_timers(vm, fake_host.now);
    }
    assert_int_equal(vm->end, VM_LIMIT);
}

/* Chips as SeaBIOS leaves them, for a program that takes its interrupts and does no more. */
static void test_chips(void **state)
{
    (void)state;
    struct vlapic *apic = &pc->vm.vcpu[0]->apic;
    assert_int_equal(in(0x21), 0xf8);
    assert_int_equal(in(0xa1), 0x8e);
    out(0x43, 0xe2); /* the status of channel 0: mode 2, both bytes, counting */
    assert_int_equal(in(0x40) & 0x3f, 0x34);
    assert_int_equal(pc->boot.rflags & RFLAGS_IF, RFLAGS_IF);
    for (unsigned tick = 0; tick < 3; tick++) {
        assert_false(vlapic_extint_pending(apic));
        fake_host.now += 55 * host.tsc_hz / 1000; /* 65536 / 1193182 Hz are 54.9 ms */
        timers_run(&pc->vm.timers, fake_host.now);
        assert_true(vlapic_extint_pending(apic));
        assert_int_equal(vlapic_extint_acknowledge(apic), 0x08);
        out(0x20, 0x20);
    }
    assert_true(vi8042_key(&pc->keyboard, 0x1e));
    assert_int_equal(vlapic_extint_acknowledge(apic), 0x09);
    assert_int_equal(in(0x60), 0x1e); /* set 1 */
    out(0x20, 0x20);
}

static void reset(void)
{
    leave(&kept);
    assert_int_equal(kept.memory.count, 1);
    make();
    assert_int_equal(kept.memory.count, 0);
}

static uint8_t cmos(uint8_t index)
{
    out(0x70, index);
    return (uint8_t)in(0x71);
}

static void set_cmos(uint8_t index, uint8_t value)
{
    out(0x70, index);
    out(0x71, value);
}

/* RAM is kept, but where the program and what it is told are put again. */
static void test_reset_keeps_ram(void **state)
{
    (void)state;
    static const uint64_t kept_at[] = {0x600, 0x7000, 0x8000, 0x80000, 0x100000, 0x2000000};
    for (unsigned life = 0; life < 3; life++) {
        for (size_t i = 0; i < sizeof(kept_at) / sizeof(kept_at[0]); i++) {
            const uint64_t mark = kept_at[i] + life;
            assert_true(guestmem_write(&pc->vm.mem, gpa(kept_at[i]), &mark, sizeof(mark)));
        }
        static const uint64_t rewritten[] = {0x20, 0x40e, 0x472, 0x4f0, 0x7c00, 0x9fc80, 0xe0000};
        uint8_t was[sizeof(rewritten) / sizeof(rewritten[0])];
        const uint8_t rubbish = 0xee;
        for (size_t i = 0; i < sizeof(was); i++) {
            assert_true(guestmem_read(&pc->vm.mem, gpa(rewritten[i]), &was[i], 1));
            assert_true(guestmem_write(&pc->vm.mem, gpa(rewritten[i]), &rubbish, 1));
        }
        fake_host.now += host.tsc_hz;
        reset();
        for (size_t i = 0; i < sizeof(kept_at) / sizeof(kept_at[0]); i++) {
            uint64_t mark;
            assert_true(guestmem_read(&pc->vm.mem, gpa(kept_at[i]), &mark, sizeof(mark)));
            assert_int_equal(mark, kept_at[i] + life);
        }
        for (size_t i = 0; i < sizeof(was); i++)
            assert_true(has(rewritten[i], &was[i], 1));
        assert_int_equal(pc->vm.vcpu[0]->tsc_offset + fake_host.now, 0); /* the TSC is 0 */
    }
}

/* The clock runs on, from the date that was set, and has its memory; nothing else does. */
static void test_reset_keeps_the_clock(void **state)
{
    (void)state;
    const uint8_t month = cmos(8);
    set_cmos(0x0b, 0x82);
    set_cmos(9, 0x42);
    set_cmos(0x0b, 0x7a); /* 24 hours, each interrupt, square wave */
    set_cmos(0x0f, 0x0a);
    set_cmos(0x14, 0x55);
    set_cmos(0x5f, 0x66);
    const uint8_t seconds = cmos(0);
    fake_host.now += 3 * host.tsc_hz;
    out(0x92, 0);
    out(0x21, 0x12);
    out(0x3ff, 0x77);
    reset();
    fake_host.now += 4 * host.tsc_hz;
    assert_int_equal(cmos(8), month);
    assert_int_equal(cmos(9), 0x42);
    assert_int_equal((cmos(0) >> 4) * 10 + (cmos(0) & 15),
                     ((seconds >> 4) * 10 + (seconds & 15) + 7) % 60);
    assert_int_equal(cmos(0x0b), 2);
    assert_int_equal(cmos(0x0c) & 0x80, 0);
    assert_int_equal(cmos(0x0f), 0x0a);
    assert_int_equal(cmos(0x14), 0x55);
    assert_int_equal(cmos(0x5f), 0x66);
    assert_int_equal(in(0x92), 2);
    assert_int_equal(in(0x3ff), 0);
    leave(NULL); /* switched off, and on later: the time of day, not the date that was set */
    fake_host.now += 5 * host.tsc_hz;
    make();
    assert_int_equal(cmos(9), 0x23);
    assert_int_equal(cmos(0x0f), 0);
}

/* What the chip set shows below 1 MiB is as before, the RAM behind ROM, too. */
static void test_reset_keeps_the_shadow(void **state)
{
    (void)state;
    set_pam(0, 0x30);
    poke(0xf1234, 0x77);
    set_pam(6, 0x02); /* 0xe8000: ROM, with writes to RAM */
    poke(0xe8000, 0x11);
    poke(0x5000, 0x22);
    for (unsigned life = 0; life < 2; life++) {
        reset();
        assert_int_equal(pc->boot.cs.base + pc->boot.rip, 0xfffffff0);
        assert_int_equal(peek(0xf1234), 0x77);
        assert_int_equal(peek(0xe8000), 0x28);
        assert_int_equal(peek(0xfffffff0), 0x3f);
        assert_int_equal(peek(0x5000), 0x22);
    }
    set_pam(6, 0x03);
    assert_int_equal(peek(0xe8000), 0x11);
    set_pam(0, 0);
    assert_int_equal(peek(0xf1234), 0x31);
}

/* A reset that cannot be gone through with gives back what it was to take over. */
static void test_reset_fails(void **state)
{
    (void)state;
    leave(&kept);
    pc = NULL;
    config.kernel.size = 100;
    struct pc *other;
    assert_int_equal(pc_create(&config, 0, &host, &console, &kept, &other), ERR_BAD_INPUT);
    assert_int_equal(page_alloc_free_bytes(), free_before);
}

/* What kernels read without asking, where CPUID says AuthenticAMD; an Intel CPU has no such MSR. */
static void test_amd_msrs(void **state)
{
    (void)state;
    static const unsigned families[] = {0, 0xf, 0x10, 0x19};
    for (unsigned i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        struct msr_table table = {0};
        struct msr_policy policy;
        uint64_t value = 1;
        const bool amd = families[i] != 0;
        assert_int_equal(msr_policy_init(&policy, &table, 1, 2000000000, families[i]), OK);
        const struct msr_range *r = msr_table_find(&table, MSR_AMD_SYSCFG);
        assert_int_equal(r != NULL, amd);
        assert_int_equal(msr_table_find(&table, MSR_AMD_INTERRUPT_PENDING) != NULL, amd);
        assert_non_null(msr_table_find(&table, MSR_IA32_MCG_CAP));
        if (r != NULL)
            assert_true(r->read(r->dev, MSR_AMD_SYSCFG, &value) && value == 0);
        for (uint32_t msr = MSR_AMD_EVENT_SELECT_0; msr <= MSR_AMD_COUNTER_3; msr++) {
            r = msr_table_find(&table, msr);
            assert_int_equal(r != NULL, amd);
            if (r != NULL)
                assert_true(r->write(r->dev, msr, 0) && r->read(r->dev, msr, &value) && value == 0);
        }
        r = msr_table_find(&table, MSR_AMD_HWCR);
        assert_int_equal(r != NULL, amd);
        if (r == NULL)
            continue;
        /* Xen sets bit 6 where the family is 0Fh; from 10h on Linux warns unless bit 24 is set. */
        assert_true(r->write(r->dev, MSR_AMD_HWCR, 1 << 6));
        assert_true(r->read(r->dev, MSR_AMD_HWCR, &value));
        assert_int_equal(value, families[i] >= 0x10 ? 1 << 24 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amd_msrs),
        cmocka_unit_test_setup_teardown(test_engine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_controllers_have_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_polled_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_limit_watches_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(debug_console_with_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_console, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_console_is_slow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wires, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_msrs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paravirt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cdrom, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_absent_chips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cmos_disks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reset_vector, set_up_firmware, tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_shadowing, set_up_firmware, tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_shadowing_of_pieces, set_up_firmware,
                                        tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_shadow_in_step, set_up_firmware, tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_variables, set_up_firmware, tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_boot_order, set_up_firmware, tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reset_keeps_ram, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reset_keeps_the_clock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reset_keeps_the_shadow, set_up_firmware,
                                        tear_down_firmware),
        cmocka_unit_test_setup_teardown(test_reset_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_chips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_are_the_same_to_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
