// link: guest/vm/hypercall.c guest/vm/hypercall_memory.c guest/cpu/delivery.c guest/cpu/guestwalk.c guest/vm/vcpu_speculation.c
// link: guest/monitor/vms.c guest/monitor/vm_console.c guest/monitor/ansi.c
// link: guest/monitor/plain_text.c drivers/host/out_rings.c
// link: guest/config.c guest/config_keys.c
// link: guest/pc/firmware.c guest/pc/firmware_files.c drivers/virt/vflash.c drivers/virt/vfwcfg.c
// link: guest/pc/pc.c guest/pc/pc_set_up.c guest/pc/domain.c guest/pc/pc_dump.c guest/pc/pc_memory.c guest/load/linux.c guest/load/flat.c guest/pc/acpi.c
// link: guest/pc/cpuid_policy.c guest/pc/pc_program.c guest/load/program.c guest/load/segments.c
// link: guest/load/elf.c guest/load/multiboot.c guest/load/multiboot2.c guest/load/pvh.c
// link: guest/load/kernel.c guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/foreign.c
// link: guest/pc/pc_policies.c guest/pc/mptable.c guest/pc/msr_policy.c mm/guestmem.c mm/page_alloc.c
// link: drivers/bus/bus.c drivers/bus/bus_watch.c drivers/bus/timers.c guest/cpu/msr_table.c drivers/virt/vdebug.c
// link: drivers/virt/vi8042.c drivers/virt/vioapic.c drivers/virt/vtestdev.c drivers/virt/vferr.c guest/vm/vlapic.c
// link: guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/virt/vpci.c drivers/virt/vpic.c
// link: drivers/virt/vchipset.c drivers/virt/vide.c drivers/virt/vata.c drivers/virt/vata_command.c
// link: drivers/virt/vata_dma.c drivers/virt/vps2kbd.c drivers/virt/vvga.c guest/pc/screen.c drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
// link: drivers/virt/vpit.c drivers/virt/vpm.c drivers/virt/vrtc.c drivers/virt/vuart.c
// link: arch/format.c arch/report.c guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/vcpu_signal.c guest/vm/sched.c
// link: guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c guest/vm/run_alarm.c guest/vm/run_share.c guest/cpu/control.c guest/cpu/event.c
// link: tests/unit/fake_engine.c tests/unit/fake_space.c tests/unit/fake_host.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c guest/pc/kvm_pv.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* VMs that come and go while others run: whole PCs on the fake engine, whose guests are scripts.
 * The guest of the first VM plays the monitor, and another CPU's part in a race. */
#include "guest/monitor/vms.h"

#include "arch/log.h"
#include "drivers/host/out_rings.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/two_cpus.h"

#include <string.h>

#define ARENA      (64ull << 20)
#define HZ         1000000000ull
#define EXIT_TICKS 1000u
#define LIVES      1020u /* of each kind of end and run state as many */

typedef enum exit_action guest_fn(struct fake_vcpu *fake);

const uint8_t dsdt_aml_start[64] = "DSDT\x40";
extern const uint8_t dsdt_aml_end[];
__asm__(".globl dsdt_aml_end\n.set dsdt_aml_end, dsdt_aml_start + 64\n");

static char logged[512];
static unsigned made;            /* vCPUs of the second section, ever */
static struct vcpu *second[2];   /* those that there are */
static guest_fn *guest[2][2];    /* of each section and vCPU */
static void (*while_made)(void); /* what another CPU does while a vCPU of the second is made */
static uint8_t *arena;
static struct vm_config sections[2];
static struct nadir_config config;

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(logged, sizeof(logged), format, args);
    va_end(args);
}

static void log_of(unsigned of, const char *prefix, const char *format, va_list args);

void log_line_of(unsigned of, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(logged, sizeof(logged), format, args);
    va_end(args);
    va_start(args, format);
    log_of(of, "nadir: ", format, args);
    va_end(args);
}

void log_text_of(unsigned of, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_of(of, "", format, args);
    va_end(args);
}

void stats_print(const struct vm *vm)
{
    assert_int_equal(vm->running, 0);
}

static unsigned reported; /* accounts of a VM that runs */

void stats_report(const struct vm *vm)
{
    reported += vm->end == VM_RUNS;
}

/*
 * The host's console: real rings, and a port that takes all at once.
 */

enum { RING_BYTES = 1024, RINGS = 1 + 2 };
static char ring_bytes[RINGS][RING_BYTES];
static struct out_ring ring[RINGS];
static struct out_rings outs;
static char said[512];
static bool port_is_stuck, log_goes_there;

static void drain(void)
{
    struct out_piece piece;
    while (!port_is_stuck && out_rings_next(&outs, &piece)) {
        const size_t n = strlen(said);
        if (n + piece.length < sizeof(said))
            memcpy(said + n, piece.text, piece.length);
        out_rings_sent(&outs, piece.length);
    }
}

static void log_of(unsigned of, const char *prefix, const char *format, va_list args)
{
    char text[256], line[300];
    vsnprintf(text, sizeof(text), format, args);
    const int n = snprintf(line, sizeof(line), "%s%s%s", prefix, text, *prefix != 0 ? "\n" : "");
    if (log_goes_there)
        (void)out_ring_put(&ring[of], OUT_LINE, NULL, line, (size_t)n);
}

static enum status open_ring(uint32_t vm)
{
    assert_true(vm + 1 < RINGS);
    ring[vm + 1].bytes = ring_bytes[vm + 1];
    ring[vm + 1].size = RING_BYTES;
    return OK;
}

static void close_ring(uint32_t vm)
{
    assert_true(vm + 1 < RINGS);
}

static void write_text(uint32_t vm, const char *name, const char *text, size_t length)
{
    (void)out_ring_put(&ring[vm + 1], name != NULL ? OUT_NAMED : OUT_RAW, name, text, length);
}

static void write_serial(uint32_t vm, const char *text, size_t length)
{
    (void)out_ring_put(&ring[vm + 1], OUT_PICTURE, NULL, text, length);
}

static uint32_t held(uint32_t vm)
{
    return out_ring_held(&ring[vm + 1]);
}

static bool is_last(uint32_t vm)
{
    return outs.open == &ring[vm + 1];
}

static uint32_t texts(void)
{
    return outs.texts;
}

static uint32_t zero(void)
{
    return 0;
}

static uint32_t asked_for;

static uint32_t asked(void)
{
    return asked_for;
}

static bool yes(void)
{
    return true;
}

static uint64_t period(void)
{
    return HZ / 10000;
}

static const char *typed = "";

static int read_byte(void)
{
    return *typed != 0 ? *typed++ : -1;
}

static bool forgets; /* forget_keys() leaves nothing */

static void forget_keys(void)
{
    if (*typed != 0)
        forgets = true;
    typed = "";
}

static const struct host_console host_console = {.ring_bytes = RING_BYTES,
                                                 .open = open_ring,
                                                 .close = close_ring,
                                                 .write = write_text,
                                                 .write_serial = write_serial,
                                                 .held = held,
                                                 .is_last = is_last,
                                                 .read = read_byte,
                                                 .forget_keys = forget_keys,
                                                 .dump_requests = zero,
                                                 .asked = asked,
                                                 .may_report = yes,
                                                 .texts = texts,
                                                 .poll = drain,
                                                 .period_ticks = period};

/*
 * The engine: fake_engine, whose guests are those of this file.
 */

static enum status make_vcpu(struct vm *vm, struct vcpu **out)
{
    const uint32_t i = vm->vcpu_count;
    const enum status s = fake_engine.vcpu_create(vm, out);
    fake_vcpu(*out)->guest = guest[vm->index != 0][i];
    if (vm->index == 0)
        return s;
    second[i] = *out;
    made++;
    if (while_made != NULL)
        while_made();
    return s;
}

static void destroy_vcpu(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < 2; i++)
        if (second[i] == vcpu)
            second[i] = NULL;
    fake_engine.vcpu_destroy(vcpu);
}

static struct engine test_engine;
static struct pc_engine pc_engine = {.engine = &test_engine};
static struct pc_host host = {
    .cpuid = fake_host_cpuid, .read_tsc = cpu_rdtsc, .tsc_hz = HZ, .engine = {&pc_engine}};

static int set_up(void **state)
{
    (void)state;
    static uint8_t program[512] = {0xf4, [510] = 0x55, 0xaa};
    const struct loaded_file kernel = {
        .path = "k", .base = (uint64_t)(uintptr_t)program, .size = sizeof(program)};
    arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    fake_host_reset(HZ);
    fake_host.idle = idle;
    while_asleep = while_made = NULL;
    sleeps = made = 0;
    memset(guest, 0, sizeof(guest));
    memset(said, 0, sizeof(said));
    memset(ring, 0, sizeof(ring));
    outs = (struct out_rings){.ring = ring, .count = RINGS};
    ring[0] = (struct out_ring){.bytes = ring_bytes[0], .size = RING_BYTES};
    port_is_stuck = log_goes_there = false;
    typed = "";
    assert_int_equal(sched_init(cpus.count, HZ), OK);
    test_engine = fake_engine;
    test_engine.vcpu_create = make_vcpu;
    test_engine.vcpu_destroy = destroy_vcpu;
    pc_engine.cpus.bits[0] = (1ull << cpus.count) - 1;
    host.queues = sched_queues();
    for (unsigned i = 0; i < 2; i++)
        sections[i] = (struct vm_config){.name = i == 0 ? "first" : "second",
                                         .kernel = kernel,
                                         .memory_mib = 2,
                                         .vcpus = 2,
                                         .load = 0x7c00,
                                         .entry = 0x7c00,
                                         .mode = 16,
                                         .cmdline = "",
                                         .cpus = {3},
                                         .weight = 100,
                                         .start = i == 0,
                                         .debugcon = true,
                                         .on_reboot = ACTION_RESTART};
    config = (struct nadir_config){.max_vms = 2, .vm_count = 1, .vm = sections};
    return 0;
}

/* From the first start to the end of the last VM. */
static void run(void)
{
    const uint64_t free_before = page_alloc_free_bytes();
    vms_init(&config, 0, &host, &host_console);
    vms_start();
    run_cpus();
    assert_null(fake_host.cpu[0].vcpu);
    assert_null(fake_host.cpu[1].vcpu);
    assert_null(second[0]);
    for (uint32_t i = config.vm_count; i < CONFIG_MAX_VMS; i++)
        (void)vms_remove(i);
    assert_int_equal(page_alloc_free_bytes(), free_before);
}

static int tear_down(void **state)
{
    (void)state;
    free(arena);
    return 0;
}

/*
 * Guests.
 */

static void tick(void)
{
    fake_host.now += EXIT_TICKS;
    other_cpu();
}

static enum exit_action spin(struct fake_vcpu *fake)
{
    (void)fake;
    tick();
    return EXIT_NEXT;
}

static enum exit_action end(struct fake_vcpu *fake, enum vm_end how)
{
    vm_end_request(fake->vcpu.vm, how, 0, "asked for");
    return EXIT_NEXT;
}

static enum exit_action power_off(struct fake_vcpu *fake)
{
    return end(fake, VM_POWEROFF);
}

static enum exit_action reset(struct fake_vcpu *fake)
{
    tick();
    return end(fake, VM_RESET);
}

static enum exit_action halt_open(struct fake_vcpu *fake)
{
    tick();
    fake->state.rflags |= RFLAGS_IF;
    return vcpu_halt(&fake->vcpu, true, true, false);
}

static enum exit_action hold(struct fake_vcpu *fake)
{
    tick();
    vm_lock(fake->vcpu.vm);
    vm_wait_for_io(fake->vcpu.vm);
    vm_unlock(fake->vcpu.vm);
    return EXIT_NEXT;
}

/*
 * Sections that are added.
 */

static const char added[] = "[vm added]\nkernel = k\nmemory = 16\ntype = flat\n";
static uint32_t number;
static struct config_error error;

static enum status add(const char *text)
{
    return vms_add(text, strlen(text), &number, &error);
}

static void refuse(const char *text, uint32_t line, const char *why)
{
    const uint64_t free_before = page_alloc_free_bytes();
    assert_int_not_equal(add(text), OK);
    assert_int_equal(error.line, line);
    assert_string_equal(error.text, why);
    assert_int_equal(page_alloc_free_bytes(), free_before);
}

static void refuse_bad_sections(void)
{
    refuse("[vm b]\n", 1, "[vm b] has neither kernel nor firmware");
    refuse("[vm b]\nkernel = other\n", 2, "other: not loaded: nadir.cfg does not name it");
    refuse("[vm b]\nkernel = k\n\ndisk = k\n", 4,
           "k: a VM that is added cannot have disks and firmware");
    refuse("[vm b]\nfirmware = k\n", 2, "k: a VM that is added cannot have disks and firmware");
    refuse("[vm b]\nkernel = k\ncpus = 7\n", 3, "cpus: there is no CPU 7 here; the last one is 0");
    refuse("\n[vm first]\nkernel = k\n", 2, "first: a VM of this name is there already");
}

/* The kernel out of a bzImage is no substitute for it, but where it is needed. */
static void add_unpacked(void)
{
    sections[0].kernel.unpacked = true;
    refuse("[vm b]\nkernel = k\nengine = bt\n", 2,
           "k: a bzImage that is loaded unpacked only, for engine = pv");
    refuse("[vm b]\nkernel = k\nramdisk = k\nengine = pv\n", 3,
           "k: a bzImage that is loaded unpacked only, for engine = pv");
    assert_int_equal(add("[vm b]\nkernel = k\nengine = pv\n"), OK);
    assert_int_equal(vms_remove(number), OK);
    sections[0].kernel.unpacked = false;
    assert_int_equal(add("[vm b]\nkernel = k\nengine = pv\n"), OK);
    assert_int_equal(vms_remove(number), OK);
}

/* As many as the table has; each goes again. */
static void fill_the_table(void)
{
    char text[64];
    for (uint32_t i = 1; i < CONFIG_MAX_VMS; i++) {
        snprintf(text, sizeof(text), "[vm n%u]\nkernel = k\n", i);
        assert_int_equal(add(text), OK);
        assert_int_equal(number, i);
    }
    refuse("[vm b]\nkernel = k\n", 1, "b: too many VMs: the table of sections is full");
    assert_int_equal(vms_remove(7), OK);
    assert_int_equal(add("[vm b]\nkernel = k\n"), OK);
    assert_int_equal(number, 7); /* the place that is free */
    for (uint32_t i = 1; i < CONFIG_MAX_VMS; i++)
        assert_int_equal(vms_remove(i), OK);
    assert_int_equal(vms_remove(CONFIG_MAX_VMS), ERR_BAD_INPUT);
}

/* The first VM's guest: what each of its exits has a monitor do. */
static enum exit_action adder(struct fake_vcpu *fake)
{
    static uint64_t free_before;
    tick();
    switch (fake->entries) {
    case 1:
        free_before = page_alloc_free_bytes();
        refuse_bad_sections();
        add_unpacked();
        fill_the_table();
        assert_int_equal(add(added), OK);
        assert_int_equal(vms_destroy(number), ERR_BAD_INPUT); /* it has no VM yet */
        config.max_vms = 1;
        assert_int_equal(vms_start_one(number), ERR_LIMIT);
        assert_string_equal(logged, "error: no further VM starts: max_vms = 1 run");
        config.max_vms = 2;
        assert_int_equal(vms_start_one(number), OK);
        assert_int_equal(vms_start_one(number), ERR_BAD_INPUT);
        assert_int_equal(vms_remove(number), ERR_BAD_INPUT);
        assert_true(page_alloc_free_bytes() < free_before - (16u << 20));
        return EXIT_NEXT;
    case 10000:
        assert_non_null(second[0]);
        assert_true(fake_vcpu(second[0])->entries > 1000);
        assert_int_equal(vms_destroy(number), OK);
        assert_int_equal(vms_destroy(number), OK); /* asked twice is asked once */
        return EXIT_NEXT;
    case 60000: /* its memory has been zeroed between turns */
        assert_null(second[0]);
        assert_string_equal(logged, "added: ended: destroyed");
        assert_int_equal(vms_destroy(number), ERR_BAD_INPUT);
        assert_int_equal(vms_remove(number), OK);
        assert_int_equal(vms_remove(number), ERR_BAD_INPUT);
        assert_int_equal(vms_start_one(number), ERR_BAD_INPUT);
        assert_int_equal(vms_remove(0), ERR_BAD_INPUT); /* nadir.cfg's stays */
        assert_int_equal(page_alloc_free_bytes(), free_before);
        return power_off(fake);
    default: return EXIT_NEXT;
    }
}

static void test_add(void **state)
{
    (void)state;
    guest[0][0] = adder;
    guest[1][0] = spin;
    run();
    assert_int_equal(vms_outcome(), VMS_OK);
    assert_int_equal(made, 1);
    /* The machine ends: none starts any more. */
    assert_int_equal(add(added), OK);
    assert_int_equal(vms_start_one(number), ERR_DENIED);
    assert_int_equal(vms_start_one(0), ERR_DENIED);
}

/* The console is the first one's alone until there is another; then lines bear names. A prompt is
 * shown when it has stood for a while, and what comes behind it stands in its line. */
static enum exit_action talker(struct fake_vcpu *fake)
{
    struct vm *vm = fake->vcpu.vm;
    const char *text = "";
    tick();
    switch (fake->entries) {
    case 1: text = "alone\r\n"; break;
    case 2:
        assert_int_equal(add(added), OK);
        assert_int_equal(vms_start_one(number), OK);
        text = "prompt: ";
        break;
    case 20000:
        assert_string_equal(said, "alone\r\n[first] prompt: ");
        text = "an\033[2Kswer\r\n";
        break;
    case 20001: text = "more"; break;
    case 45000:
        assert_string_equal(said, "alone\r\n[first] prompt: answer\r\n[first] more");
        /* Something else is printed: it may not go on unmarked behind that. */
        assert_true(out_ring_put(&ring[0], OUT_LINE, NULL, "nadir: x\n", 9));
        drain();
        text = "later\r\n";
        break;
    case 45001:
        (void)power_off(fake);
        typed = "left"; /* for nobody: this one has ended */
        break;
    default: break;
    }
    for (vm_lock(vm); *text != 0; text++)
        bus_port_write(&vm->bus, 0xe9, 1, (uint8_t)*text);
    vm_unlock(vm);
    return EXIT_NEXT;
}

/* The keyboard goes to it when the first has ended, and nothing that was typed before. */
static enum exit_action listener(struct fake_vcpu *fake)
{
    struct pc *pc = pc_of(fake->vcpu.vm);
    tick();
    if (forgets) /* for this one */
        typed = "x";
    forgets = false;
    vm_lock(&pc->vm);
    const bool came = (bus_port_read(&pc->vm.bus, PC_COM1_PORT + 5, 1) & 1) != 0;
    if (came)
        assert_int_equal(bus_port_read(&pc->vm.bus, PC_COM1_PORT, 1), 'x');
    vm_unlock(&pc->vm);
    assert_true(fake->entries < 100000);
    return came ? power_off(fake) : EXIT_NEXT;
}

static void test_console(void **state)
{
    (void)state;
    sections[0].vcpus = 1;
    guest[0][0] = talker;
    guest[1][0] = listener;
    run();
    assert_string_equal(
        said, "alone\r\n[first] prompt: answer\r\n[first] more\r\nnadir: x\r\n[first] later\r\n");
    assert_string_equal(typed, "");
}

/*
 * One whose ends fill its ring, on a port that takes nothing: its next life waits, with no CPU. The
 * other one writes, and has all of the CPU.
 */
static enum exit_action stuck_worker(struct fake_vcpu *fake)
{
    struct vm *vm = fake->vcpu.vm;
    static unsigned lives;
    tick();
    switch (fake->entries) {
    case 1: assert_int_equal(vms_start_one(1), OK); return EXIT_NEXT;
    case 50000:
        lives = made;
        assert_in_range(lives, 2, 7);
        assert_true(out_ring_held(&ring[2]) >= RING_BYTES / 4);
        assert_int_equal(ring[2].lost, 0);
        vm_lock(vm);
        bus_port_write(&vm->bus, 0xe9, 1, 'x');
        bus_port_write(&vm->bus, 0xe9, 1, '\n');
        vm_unlock(vm);
        assert_false(vm->io_waits);
        return EXIT_NEXT;
    case 100000:
        assert_int_equal(made, lives);
        port_is_stuck = false;
        return EXIT_NEXT;
    case 200000:
        assert_true(made > lives + 2);
        assert_non_null(strstr(said, "\r\n[first] x\r\n"));
        assert_int_equal(vms_destroy(1), OK);
        return power_off(fake);
    default: return EXIT_NEXT;
    }
}

static void test_stuck_port(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    guest[0][0] = stuck_worker;
    guest[1][0] = reset;
    port_is_stuck = log_goes_there = true;
    run();
}

/* The second VM is there, or its next life is being made, by a CPU that lends itself meanwhile. */
static bool second_lives(void)
{
    return second[0] != NULL || fake_host.cpu[0].lending == SCHED_HAS_LENT ||
           fake_host.cpu[1].lending == SCHED_HAS_LENT;
}

/*
 * A VM that is destroyed while it is made, by whatever other CPU that is.
 */

static void destroy_second(void)
{
    assert_int_equal(vms_destroy(1), OK);
}

static enum exit_action starter(struct fake_vcpu *fake)
{
    tick();
    switch (fake->entries) {
    case 1: /* its first life never is */
        while_made = destroy_second;
        assert_int_equal(vms_start_one(1), ERR_DENIED);
        assert_string_equal(logged, "second: destroyed before it has run");
        assert_null(second[0]);
        while_made = NULL;
        assert_int_equal(vms_start_one(1), OK); /* and the word is not kept */
        while_made = destroy_second;            /* its second one: see reset() */
        return EXIT_NEXT;
    default:
        assert_true(fake->entries < 100000);
        if (second_lives())
            return EXIT_NEXT;
        assert_string_equal(logged, "second: destroyed before it has run");
        return power_off(fake);
    }
}

static void test_destroyed_while_made(void **state)
{
    (void)state;
    config.vm_count = 2;
    guest[0][0] = starter;
    guest[1][0] = reset;
    run();
    assert_int_equal(vms_outcome(), VMS_OK);
    assert_int_equal(made, 6); /* two vCPUs in each of three lives */
}

/* As late as can be: all has been said of its start, and what can be found by others is started. */
static void destroy_when_told(void)
{
    if (strstr(logged, "second: ") == NULL || strstr(logged, " MiB, ") == NULL)
        return;
    fake_host.at_rdtsc = NULL;
    destroy_second();
}

static enum exit_action start_and_be_late(struct fake_vcpu *fake)
{
    tick();
    fake_host.at_rdtsc = destroy_when_told;
    assert_int_equal(vms_start_one(1), ERR_DENIED);
    assert_string_equal(logged, "second: destroyed before it has run");
    assert_null(second[0]);
    return power_off(fake);
}

static void test_destroyed_before_its_start(void **state)
{
    (void)state;
    config.vm_count = 2;
    guest[0][0] = start_and_be_late;
    run();
    assert_int_equal(made, 2);
}

/* The VM has asked for its end already, when somebody else destroys it: no other life follows. */
static enum exit_action reset_and_destroyed(struct fake_vcpu *fake)
{
    tick();
    (void)end(fake, VM_RESET);
    destroy_second();
    return EXIT_NEXT;
}

static enum exit_action start_and_wait(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries == 1)
        assert_int_equal(vms_start_one(1), OK);
    return second[0] != NULL ? EXIT_NEXT : power_off(fake);
}

static void test_destroyed_at_its_end(void **state)
{
    (void)state;
    config.vm_count = 2;
    guest[0][0] = start_and_wait;
    guest[1][0] = reset_and_destroyed;
    run();
    assert_int_equal(made, 2);
    assert_string_equal(logged, "first: ended: asked for");
}

/* A section that cannot be made: its start says so, and the others go on. */
static enum exit_action start_too_large(struct fake_vcpu *fake)
{
    tick();
    const uint64_t free_before = page_alloc_free_bytes();
    assert_int_equal(vms_start_one(1), ERR_NO_MEMORY);
    assert_non_null(strstr(logged, "[vm second] has memory = 1024 (MiB), but only"));
    assert_int_equal(page_alloc_free_bytes(), free_before);
    return power_off(fake);
}

static void test_no_memory(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[1].memory_mib = 1024;
    guest[0][0] = start_too_large;
    run();
    assert_int_equal(vms_outcome(), VMS_OK);
    tear_down(NULL);
    set_up(NULL);
    config.vm_count = 2;
    sections[1].memory_mib = 1024;
    sections[1].start = true;
    guest[0][0] = power_off;
    run();
    assert_int_equal(vms_outcome(), VMS_CONFIG_ERROR);
}

/* One that resets itself at once, and whose making takes longer than a turn, beside one that works:
 * that one gets to run between any two lives. */
static void make_slowly(void)
{
    fake_host.now += HZ / 400;
    assert_true(made < 100);
}

static enum exit_action worker(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries == 1) {
        while_made = make_slowly;
        assert_int_equal(vms_start_one(1), OK);
    }
    if (fake->entries < 100000)
        return EXIT_NEXT;
    while_made = NULL;
    assert_int_equal(vms_destroy(1), OK);
    return power_off(fake);
}

static enum exit_action brief(struct fake_vcpu *fake)
{
    return fake->entries < 100 ? spin(fake) : reset(fake);
}

static void test_resets_and_work(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    guest[0][0] = worker;
    guest[1][0] = brief;
    run();
    assert_in_range(made, 10, 60); /* of 100,000 exits, some 2,000 a turn */
}

static enum exit_action long_worker(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries == 1)
        assert_int_equal(vms_start_one(1), OK);
    if (fake->entries < 100000)
        return EXIT_NEXT;
    assert_int_equal(vms_destroy(1), OK);
    return power_off(fake);
}

static enum exit_action brief_and_off(struct fake_vcpu *fake)
{
    return fake->entries < 100 ? spin(fake) : power_off(fake);
}

/* Behind each MiB of the next life that is zeroed, the other one has a turn: of 100,000 exits, some
 * 2,000 a turn and 8 turns a life. It ends in one of these. */
static void test_large_lives_lend(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    sections[1].memory_mib = 8;
    sections[1].on_poweroff = ACTION_RESTART;
    guest[0][0] = long_worker;
    guest[1][0] = brief_and_off;
    run();
    assert_in_range(made, 4, 8);
}

static enum exit_action start_second_and_leave(struct fake_vcpu *fake)
{
    assert_int_equal(vms_start_one(1), OK);
    return power_off(fake);
}

/* One that resets itself each second, and is made in nearly as long: its limit is of what it lives,
 * as of a first life, which begins with its first turn. */
static unsigned lived_ms;

static void make_in_900_ms(void)
{
    fake_host.now += HZ / 10 * 9;
}

static enum exit_action live_a_second(struct fake_vcpu *fake)
{
    lived_ms++;
    fake_host.now += HZ / 1000;
    tick();
    assert_true(lived_ms < 10000);
    return fake->entries < 1000 ? EXIT_NEXT : reset(fake);
}

static void test_a_limit_is_of_lives(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    sections[1].limit = 2;
    guest[0][0] = start_second_and_leave;
    guest[1][0] = live_a_second;
    while_made = make_in_900_ms;
    lived_ms = 0;
    run();
    while_made = NULL;
    assert_in_range(lived_ms, 1900, 2100);
}

/* But a wait before a next life is a part of it: one of many short lives ends, too. */
static enum exit_action live_a_moment(struct fake_vcpu *fake)
{
    tick();
    assert_true(made < 1000);
    return fake->entries < 100 ? EXIT_NEXT : reset(fake);
}

static void test_a_limit_is_of_waits(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    sections[1].limit = 1;
    guest[0][0] = start_second_and_leave;
    guest[1][0] = live_a_moment;
    run();
    assert_in_range(made, 17, 22); /* 9 at once, and behind 1, 2, 4 ms and so on: 1 s */
}

/* Lives that end by a reset, or by a triple fault, which is one on a PC, leave RAM to the next one;
 * behind other ends it is a machine switched on. */
static enum exit_action remember(struct fake_vcpu *fake)
{
    static const enum vm_end kinds[] = {VM_RESET, VM_TRIPLE_FAULT, VM_POWEROFF,   VM_RESET,
                                        VM_CRASH, VM_RESET,        VM_DEBUG_EXIT, VM_TRIPLE_FAULT};
    enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
    const struct guestmem *mem = &fake->vcpu.vm->mem;
    const unsigned age = made - 1;
    const enum vm_end before = age == 0 ? VM_POWEROFF : kinds[age - 1];
    const bool keeps = before == VM_RESET || before == VM_TRIPLE_FAULT;
    uint64_t found;
    tick();
    assert_true(guestmem_read(mem, gpa(0x180000), &found, sizeof(found)));
    assert_int_equal(found, keeps ? 0x1234500 + age : 0);
    found = 0x1234500 + age + 1;
    assert_true(guestmem_write(mem, gpa(0x180000), &found, sizeof(found)));
    fake_host.now += 2 * HZ; /* no quick failure */
    if (age < KINDS)
        return end(fake, kinds[age]);
    assert_int_equal(vms_destroy(1), OK);
    return EXIT_NEXT;
}

static void test_what_a_life_leaves(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    sections[1].on_poweroff = sections[1].on_crash = ACTION_RESTART;
    guest[0][0] = start_second_and_leave;
    guest[1][0] = remember;
    while_made = NULL;
    run();
    assert_int_equal(made, 9);
}

/* A reset whose next life is not wanted gives back what it has kept. */
static void destroy_while_reset(void)
{
    if (made == 2)
        assert_int_equal(vms_destroy(1), OK);
}

static void test_destroyed_in_a_reset(void **state)
{
    (void)state;
    config.vm_count = 2;
    sections[0].vcpus = sections[1].vcpus = 1;
    guest[0][0] = start_second_and_leave;
    guest[1][0] = reset;
    while_made = destroy_while_reset;
    run();
    assert_int_equal(made, 2);
}

/*
 * A thousand lives: ends of each kind, while the other vCPU is in each run state.
 */

static const enum vm_end ends[] = {VM_POWEROFF, VM_RESET,      VM_TRIPLE_FAULT,
                                   VM_CRASH,    VM_DEBUG_EXIT, VM_DESTROYED};
static const struct {
    enum vcpu_state state;
    guest_fn *guest;
} states[] = {{VCPU_READY, spin},   /* both on CPU 0 */
              {VCPU_RUNNING, spin}, /* on another CPU; where there is none, READY */
              {VCPU_HALTED, halt_open},
              {VCPU_WAITS_FOR_IO, hold},
              {VCPU_WAITS_FOR_SIPI, spin}};
enum { ENDS = sizeof(ends) / sizeof(ends[0]), STATES = sizeof(states) / sizeof(states[0]) };

static unsigned met[VCPU_RUNNING + 1]; /* run states that the other one was in */

static unsigned life(void)
{
    return made / 2 - 1; /* from 0 */
}

static void place(unsigned next_life)
{
    sections[1].cpus[0] = states[next_life / ENDS % STATES].state == VCPU_READY ? 1 : 3;
}

static enum exit_action one_life(struct fake_vcpu *fake)
{
    struct vcpu *other = fake->vcpu.vm->vcpu[1];
    const unsigned kind = life() % ENDS;
    enum vcpu_state wanted = states[life() / ENDS % STATES].state;
    const bool starts = wanted != VCPU_WAITS_FOR_SIPI;
    if (cpus.count == 1 && wanted == VCPU_RUNNING)
        wanted = VCPU_READY;
    tick();
    assert_true(fake->entries < 100000);
    if (fake->entries == 1 && starts)
        vcpu_request_sipi(other, 1, NULL);
    const bool has_run = fake_vcpu(other)->entries != 0;
    if (other->run.state != wanted || has_run != starts)
        return EXIT_NEXT;
    met[other->run.state]++;
    place(life() + 1);
    if (ends[kind] != VM_DESTROYED)
        return end(fake, ends[kind]);
    destroy_second();
    return EXIT_NEXT;
}

static enum exit_action as_this_life(struct fake_vcpu *fake)
{
    return states[life() / ENDS % STATES].guest(fake);
}

/* Wants all of both CPUs, and begins the other VM again where that does not do so by itself. */
static enum exit_action thousand(struct fake_vcpu *fake)
{
    static uint64_t free_before;
    tick();
    if (fake->entries == 1) {
        vcpu_request_sipi(fake->vcpu.vm->vcpu[1], 1, NULL);
        free_before = page_alloc_free_bytes();
    }
    if (second_lives())
        return EXIT_NEXT;
    assert_int_equal(page_alloc_free_bytes(), free_before);
    if (made / 2 >= LIVES)
        return power_off(fake);
    assert_int_equal(vms_start_one(1), OK);
    return EXIT_NEXT;
}

static void live_a_thousand_times(void)
{
    memset(met, 0, sizeof(met));
    config.vm_count = 2;
    place(0);
    guest[0][0] = thousand;
    guest[0][1] = spin;
    guest[1][0] = one_life;
    guest[1][1] = as_this_life;
    run();
    assert_true(made / 2 >= LIVES);
    assert_int_equal(vms_outcome(), VMS_FAILED); /* some crash */
    for (unsigned i = 0; i < STATES; i++) {
        const enum vcpu_state state = states[i].state;
        assert_true(cpus.count == 1 && state == VCPU_RUNNING ? met[state] == 0
                                                             : met[state] >= LIVES / STATES);
    }
}

static void test_thousand_lives(void **state)
{
    for (cpus.count = 2; cpus.count > 0; cpus.count--) {
        set_up(state);
        live_a_thousand_times();
        tear_down(state);
    }
    cpus.count = 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_add, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_console, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stuck_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroyed_while_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroyed_before_its_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroyed_at_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resets_and_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_lives_lend, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_life_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_limit_is_of_lives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_limit_is_of_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_destroyed_in_a_reset, set_up, tear_down),
        cmocka_unit_test(test_thousand_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
