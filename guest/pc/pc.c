/* SPDX-License-Identifier: BSD-2-Clause */
/* How a virtual PC is put together: which device sits where, and which wire leads to which chip. */
#include "guest/pc/pc.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/string.h"
#include "guest/pc/domain.h"
#include "guest/pc/firmware_files.h"
#include "guest/pc/isa_lines.h"
#include "guest/pc/layout.h"
#include "guest/pc/pc_memory.h"
#include "guest/pc/pc_policies.h"
#include "guest/pc/pc_program.h"
#include "guest/pc/pc_set_up.h"
#include "guest/vm/hypercall.h"
#include "guest/vm/sched.h"
#include "mm/guestspace.h"
#include "mm/page_alloc.h"

#include <stddef.h>

#define SCREEN_HZ 15

/* ISA interrupt lines. */
enum {
    IRQ_TIMER = ISA_TIMER,
    IRQ_KEYBOARD = 1,
    IRQ_COM1 = 4,
    IRQ_RTC = 8,
    IRQ_SCI = ISA_SCI,
    IRQ_MOUSE = 12,
    IRQ_X87 = 13,
    IRQ_DISK = 14,
    IRQ_CDROM = 15,
};

/* An ISA line leads to both interrupt controllers; the guest masks the one that it does not use. */
static void isa_irq_set(void *dev, unsigned irq, bool high)
{
    struct pc *pc = dev;
    vpic_set(&pc->pic, irq, high);
    vioapic_set(&pc->ioapic, isa_line_pin(irq), high);
}

static void timer_edge_taken(void *dev, unsigned pin)
{
    struct pc *pc = dev;
    (void)pin;
    vpit_taken(&pc->pit);
}

/* The timer's: it may want to know which of the two a CPU has listened to. */
static void timer_irq_set(void *dev, unsigned irq, bool high)
{
    struct pc *pc = dev;
    if (high && pc->pit.asks) {
        vpic_set(&pc->pic, irq, true);
        vioapic_set_and_tell(&pc->ioapic, isa_line_pin(irq), timer_edge_taken, pc);
    } else {
        isa_irq_set(pc, irq, high);
    }
}

static struct irq_line isa_irq(struct pc *pc, unsigned irq)
{
    return (struct irq_line){isa_irq_set, pc, irq};
}

static unsigned pic_acknowledge(void *dev)
{
    struct pc *pc = dev;
    const unsigned vector = vpic_acknowledge(&pc->pic);
    pc->pic_taken[pc->pic.acknowledged] = pc->vm.timers.read();
    if (pc->pic.acknowledged == IRQ_TIMER && pc->pit.asks)
        vpit_taken(&pc->pit);
    return vector;
}

/* A byte for the user. A CPU that writes faster than they can be shown is stopped for a while. */
static void pc_out(void *dev, uint8_t byte)
{
    struct pc *pc = dev;
    pc->console.out(pc->console.ctx, byte);
    if (!pc->console.ready(pc->console.ctx))
        vm_wait_for_io(&pc->vm);
}

static void hypercall_out(struct vm *vm, uint8_t byte)
{
    pc_out(pc_of(vm), byte);
}

void pc_flush_debug(struct pc *pc)
{
    if (pc->debug_length != 0 &&
        pc->console.debug(pc->console.ctx, pc->debug_text, pc->debug_length))
        pc->debug_length = 0;
}

/* A byte for the debug console's own file. Each vCPU stops behind the one with which it finds the
 * line full, so that there is room for all of them. */
static void debug_out(void *dev, uint8_t byte)
{
    struct pc *pc = dev;
    if (pc->debug_length < PC_DEBUG_TEXT)
        pc->debug_text[pc->debug_length++] = (char)byte;
    if (byte == '\n' || pc->debug_length >= PC_DEBUG_LINE)
        pc_flush_debug(pc);
    if (pc->debug_length >= PC_DEBUG_LINE)
        vm_wait_for_io(&pc->vm);
}

void (*pc_debug_sink(const struct vm_config *config))(void *, uint8_t)
{
    return config->debugcon_file != NULL ? debug_out : pc_out;
}

/* A CPU that waits for a device goes on when none of them keeps it. */
static void look_at_waiting(struct pc *pc)
{
    if (pc->vm.io_waits && pc->console.ready(pc->console.ctx) && pc->debug_length < PC_DEBUG_LINE &&
        !vfwcfg_is_busy(&pc->fwcfg))
        vm_io_ready(&pc->vm);
}

void pc_device_works(void *dev, bool busy)
{
    struct pc *pc = dev;
    if (busy)
        vm_wait_for_io(&pc->vm);
    else
        look_at_waiting(pc);
}

/* The console's alarm: what is typed to the keyboard or COM1, and what is buffered on its way. */
static uint64_t poll_locked(struct pc *pc, uint64_t now)
{
    int key;
    if (pc->paravirtual)
        domain_poll(pc);
    while (pc->console.screen != NULL && vps2kbd_has_room(&pc->keyboard.kbd) &&
           (key = pc->console.key(pc->console.ctx, now)) >= 0)
        (void)vi8042_key(&pc->keyboard, (unsigned)key);
    while (pc->console.screen == NULL && !pc->paravirtual && vuart_room(&pc->com1) > 0) {
        const int byte = pc->console.in(pc->console.ctx);
        if (byte < 0)
            break;
        vuart_receive(&pc->com1, (uint8_t)byte);
    }
    const uint64_t next = pc->console.poll(pc->console.ctx, now);
    pc_flush_debug(pc);
    look_at_waiting(pc);
    return next;
}

/* Behind the VM's end the console is its report's: guest/monitor/ takes the lock for that. */
static uint64_t poll_console(void *dev, uint64_t now)
{
    struct pc *pc = dev;
    vm_lock(&pc->vm);
    uint64_t next = RUN_NEVER;
    if (!vm_has_ended(&pc->vm)) {
        const hpa_t before = guestspace_enter(pc->vm.root); /* its screen is in its RAM */
        next = poll_locked(pc, now);
        (void)guestspace_enter(before);
    }
    vm_unlock(&pc->vm);
    return next;
}

static void pc_show_screen(void *dev, uint64_t now)
{
    struct pc *pc = dev;
    pc->console.screen(pc->console.ctx, &pc->picture, &pc->vga);
    timers_arm(&pc->vm.timers, &pc->screen_timer, now + pc->vm.timers.hz / SCREEN_HZ);
}

/* When to begin to watch what the guest polls, for a VM that is to end then. */
static uint64_t watch_before(const struct pc *pc, uint64_t end)
{
    const uint64_t ticks = pc->vm.timers.hz / PC_WATCHES_PER_SECOND;
    return end > ticks ? end - ticks : 0;
}

/* A VM that waits for its first turn, while its CPU makes others, has used none of its time. */
static void limit_reached(void *dev, uint64_t now)
{
    struct pc *pc = dev;
    struct vm *vm = &pc->vm;
    const uint64_t due = (vm->vcpu[0]->started ? vm->tsc_first_entry : now) + pc->limit;
    const uint64_t watch = watch_before(pc, due);
    if (watch <= now)
        bus_watch_begin(&vm->bus);
    if (due > now)
        timers_arm(&vm->timers, &pc->limit_timer, watch > now ? watch : due);
    else
        vm_end_request(vm, VM_LIMIT, 0, "its time limit is reached");
}

void pc_set_limit(struct pc *pc, uint64_t ticks)
{
    pc->limit = ticks;
    timers_arm(&pc->vm.timers, &pc->limit_timer, watch_before(pc, pc->vm.timers.read() + ticks));
}

/* Once, whoever comes first: the alarm, or pc_start_now(). A VM whose ends fill its console waits
 * here, where that keeps nobody else. */
static uint64_t start(void *dev, uint64_t now)
{
    struct pc *pc = dev;
    if (!pc->console.may_begin(pc->console.ctx))
        return now + pc->vm.timers.hz / 1000;
    if (!__atomic_exchange_n(&pc->started, true, __ATOMIC_ACQ_REL)) {
        vm_lock(&pc->vm); /* the console's alarm may fire */
        vm_arm_alarm(&pc->vm);
        vm_unlock(&pc->vm);
        vm_start(&pc->vm);
    }
    return RUN_NEVER;
}

static enum status make_cpu(struct pc *pc, uint32_t index)
{
    struct vm *vm = &pc->vm;
    struct vcpu *vcpu;
    const enum status s = vm->engine->vcpu_create(vm, &vcpu);
    if (s != OK)
        return s;
    vcpu_init(vcpu, vm, index);
    if (index == 0) {
        pc->console_alarm = (struct run_alarm){.fire = poll_console, .dev = pc};
        run_alarm_add(&vcpu->run, &pc->console_alarm);
        pc->start_alarm = (struct run_alarm){.fire = start, .dev = pc};
        run_alarm_add(&vcpu->run, &pc->start_alarm);
    }
    /* The 8259 leads to the first alone. */
    return vlapic_init(&vcpu->apic, index == 0 ? pic_acknowledge : NULL, pc);
}

static enum status make_cpus(struct pc *pc, uint32_t vcpus)
{
    enum status s = OK;
    for (uint32_t i = 0; i < vcpus && s == OK; i++) {
        s = make_cpu(pc, i);
        sched_look();
    }
    return s;
}

/* The interrupt controllers first: whoever raises a line at start must find them. */
static enum status make_interrupt_controllers(struct pc *pc, uint32_t vcpus)
{
    struct vm *vm = &pc->vm;
    const struct mmio_range ioapic = {.first = gpa(VIOAPIC_BASE),
                                      .last = gpa(VIOAPIC_BASE + VIOAPIC_SIZE - 1),
                                      .dev = &pc->ioapic,
                                      .read = vioapic_read,
                                      .write = vioapic_write};
    enum status s = make_cpus(pc, vcpus);
    if (s == OK)
        s = bus_add_mmio(&vm->bus, &ioapic);
    if (s == OK)
        s = vpic_init(&pc->pic, &vm->bus,
                      (struct irq_line){vlapic_set_lint0, &pc->vm.vcpu[0]->apic, 0});
    if (s != OK)
        return s;
    vioapic_init(&pc->ioapic, (struct msi_sink){vlapic_receive_msi, vm});
    vm->ferr = (struct ferr_line){vferr_set, &pc->ferr};
    vm->ioapic = (struct msi_source){vioapic_eoi, vioapic_may_send_nmi, &pc->ioapic};
    return OK;
}

static uint32_t read_at_rest(void *value, uint16_t port, unsigned bytes)
{
    (void)port;
    (void)bytes;
    return (uint32_t)(uintptr_t)value * 0x01010101u; /* in each byte */
}

/*
 * Chips that are not there, but that programs ask without a look whether they are, to wait then for
 * a bit of their status. All ones, as where nobody answers, would hold them for ever: these read as
 * a chip at rest. Elsewhere all ones are what lets a program go on: a serial port whose transmitter
 * is empty, a printer that is not busy, a DMA channel at its end, a mouse card's wrong signature.
 * Who reads from an absent serial port until it has nothing more is held here as in QEMU: the same
 * register tells others, by FFh, that there is none, so that it cannot have that one bit clear.
 */
static enum status make_absent_chips(struct bus *bus)
{
    static const struct {
        uint16_t first, last;
        uint8_t value;
    } at_rest[] = {
        {0x1e8, 0x1ef, 0}, /* the third and fourth IDE channel, of sound cards, which old programs
                              try, too: no disk, so nobody is busy (as in QEMU) */
        {0x3ee, 0x3ee, 0},    {0x168, 0x16f, 0}, {0x36e, 0x36e, 0},
        {0x3f4, 0x3f4, 0x80}, /* floppy controller: it takes a byte, and is not at a command */
        {0x66, 0x66, 0x01},   /* a laptop's controller: it takes a byte, and has answered */
    };
    enum status s = OK;
    for (size_t i = 0; i < sizeof(at_rest) / sizeof(at_rest[0]) && s == OK; i++)
        s = bus_add_ports(bus, &(struct port_range){at_rest[i].first, at_rest[i].last, 4,
                                                    (void *)(uintptr_t)at_rest[i].value,
                                                    read_at_rest, NULL});
    return s;
}

/* The virtual PC as a table: each device with its ports (in its own file) and interrupt line. */
static enum status make_devices(struct pc *pc, const struct vm_config *config,
                                const struct pc_host *host)
{
    struct vm *vm = &pc->vm;
    struct bus *bus = &vm->bus;
    struct timers *timers = &vm->timers;
    const struct power_line power = {vm_end_request, vm};
    const uint64_t below = layout_below_4g(vm->memory_bytes);
    const uint64_t above = layout_above_4g(vm->memory_bytes);

    const enum status results[] = {
        vpit_init(&pc->pit, bus, timers, (struct irq_line){timer_irq_set, pc, IRQ_TIMER}),
        vrtc_init(&pc->rtc, host->epoch + timers_now(timers) / timers->hz, below, above, bus,
                  timers, isa_irq(pc, IRQ_RTC)),
        vferr_init(&pc->ferr, bus, isa_irq(pc, IRQ_X87)),
        vuart_init(&pc->com1, PC_COM1_PORT, pc_out, pc, bus, isa_irq(pc, IRQ_COM1)),
        vi8042_init(&pc->keyboard, bus, timers, isa_irq(pc, IRQ_KEYBOARD), isa_irq(pc, IRQ_MOUSE),
                    power, (struct a20_line){vm_set_a20, vm}),
        vvga_init(&pc->vga, guestmem_window(&vm->mem, gpa(VVGA_MEMORY), VVGA_MEMORY_BYTES), bus,
                  timers),
        vpci_init(&pc->pci, bus, power),
        vchipset_init(&pc->chipset, &pc->pci),
        vpm_init(&pc->pm, bus, &pc->pci, timers, isa_irq(pc, IRQ_SCI), power),
        vdebug_init(&pc->debug, pc_debug_sink(config), pc, config->debugcon, config->firmware_log,
                    bus, power),
        make_absent_chips(bus),
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        if (results[i] != OK)
            return results[i];
    }
    return OK;
}

/* The disks' memory is the loader's: what is written lives longer than this life of the VM. Nothing
 * is written to a CD's, which several VMs may have. */
static enum status make_disks(struct pc *pc, const struct vm_config *config)
{
    _Static_assert(VATA_DRIVES == CONFIG_MAX_DISKS, "one channel takes all");
    struct vata_image image[VATA_CHANNELS][VATA_DRIVES] = {{{.data = NULL}}};
    const struct irq_line irq[VATA_CHANNELS] = {isa_irq(pc, IRQ_DISK), isa_irq(pc, IRQ_CDROM)};
    for (uint32_t i = 0; i < config->disk_count; i++)
        image[0][i] = (struct vata_image){.data = hpa_to_ptr(hpa(config->disk[i].base)),
                                          .bytes = config->disk[i].size};
    if (config->cdrom.base != 0)
        image[1][0] = (struct vata_image){.data = hpa_to_ptr(hpa(config->cdrom.base)),
                                          .bytes = config->cdrom.size,
                                          .is_cd = true};
    return vide_init(&pc->ide, image, &pc->vm.mem, &pc->vm.bus, &pc->pci, &pc->vm.timers, irq);
}

static enum status make_memory(struct pc *pc, const struct vm_config *config,
                               const struct pc_host *host)
{
    const uint64_t free_mib = page_alloc_free_bytes() / LAYOUT_MIB;
    enum status s = pc->vm.engine->vm_create(&pc->vm);
    if (s == OK)
        s = pc_memory_create(pc, config->memory_mib, &host->engine[config->engine]->facts);
    if (s != OK)
        log_line_of(
            pc->vm.log,
            "error: nadir.cfg:%u: [vm %s] has memory = %llu (MiB), but only %llu MiB are free: %s",
            config->line, config->name, (unsigned long long)config->memory_mib,
            (unsigned long long)free_mib, status_text(s));
    return s;
}

/* What there is beside memory. What stands in the memory of the clock is the machine's, until its
 * battery is empty. */
static enum status fill(struct pc *pc, const struct vm_config *config, const struct pc_host *host,
                        bool is_reset, const struct pc_kept *kept)
{
    const char *step = "CPUID and MSR tables";
    enum status s = pc_policies_make(pc, config, host);
    sched_look();
    if (s == OK)
        s = vcpu_msr_open(&pc->vm);
    sched_look();
    if (s == OK && pc->paravirtual) {
        s = make_cpus(pc, config->vcpus);
        return s == OK ? domain_make(pc, config, host) : s;
    }
    if (s == OK) {
        step = "interrupt controllers";
        s = make_interrupt_controllers(pc, config->vcpus);
    }
    if (s == OK) {
        step = "devices";
        s = make_devices(pc, config, host);
    }
    sched_look();
    if (s == OK) {
        step = "disks";
        s = make_disks(pc, config);
    }
    if (s == OK)
        s = firmware_facts_init(pc, config);
    if (s != OK) {
        log_line_of(pc->vm.log, "vm %s: cannot make its %s: %s", config->name, step,
                    status_text(s));
        return s;
    }
    if (is_reset)
        vrtc_keep(&pc->rtc, &kept->rtc);
    if (pc->firmware.present)
        return firmware_load(pc, config, &kept->firmware);
    pc_set_up(pc);
    s = vtestdev_init(&pc->testdev, &pc->vm.bus, isa_irq(pc, 0));
    sched_look();
    return s == OK ? pc_program_load(pc, config) : s;
}

_Static_assert(CONFIG_MAX_VCPUS == VM_MAX_VCPUS && CONFIG_MAX_CPUS == RUN_CPU_MAX,
               "what nadir.cfg may ask for");

/* The VM's clock, and its part of the CPUs' time. */
static void init_time(struct vm *vm, const struct vm_config *config, const struct pc_host *host)
{
    struct run_queues *queues = host->queues;
    const struct run_cpus *on = &host->engine[config->engine]->cpus;
    vm->timers = (struct timers){.read = host->read_tsc, .hz = host->tsc_hz, .next = TIMER_NEVER};
    vm->alarm_armed = TIMER_NEVER;
    vm->alarm = (struct run_alarm){.fire = vm_run_timers, .dev = vm};
    vm->queues = queues;
    uint32_t cpus = 0;
    for (uint32_t i = 0; i < queues->count; i++) {
        if (!config_allows_cpu(config, i) || (on->bits[i / 64] >> i % 64 & 1) == 0)
            continue;
        vm->cpus.bits[i / 64] |= 1ull << i % 64;
        cpus++;
    }
    vm->cpu_count = cpus < config->vcpus ? cpus : config->vcpus;
    run_share_init(&vm->share, config->weight, config->cap, queues->turn, queues->period,
                   host->read_tsc());
}

static void add_timers(struct pc *pc)
{
    struct timers *timers = &pc->vm.timers;
    pc->screen_timer = (struct timer){.fire = pc_show_screen, .dev = pc};
    timers_add(timers, &pc->screen_timer);
    pc->limit_timer = (struct timer){.fire = limit_reached, .dev = pc};
    timers_add(timers, &pc->limit_timer);
    if (pc->console.screen != NULL)
        timers_arm(timers, &pc->screen_timer, 0);
}

static enum status create(const struct vm_config *config, unsigned index,
                          const struct pc_host *host, const struct pc_console *console,
                          struct pc_kept *kept, struct pc **out)
{
    const uint64_t pages = (sizeof(struct pc) + PAGE_SIZE - 1) / PAGE_SIZE;
    hpa_t base;
    if (host->engine[config->engine] == NULL) {
        log_line_of(log_of_vm(index),
                    "error: nadir.cfg:%u: [vm %s] asks for an engine that is not on", config->line,
                    config->name);
        return ERR_UNSUPPORTED;
    }
    enum status s = page_alloc(pages, 1, &base);
    if (s != OK) {
        log_line_of(log_of_vm(index), "vm %s: no memory for its state: %s", config->name,
                    status_text(s));
        return s;
    }
    struct pc *pc = hpa_to_ptr(base); /* zeroed */
    sched_look();
    pc->pages = pages;
    pc->console = *console;
    pc->vm.name = config->name;
    pc->vm.index = index;
    pc->vm.log = log_of_vm(index);
    pc->firmware.present = config->firmware.base != 0;
    init_time(&pc->vm, config, host);
    if (pc->vm.cpu_count == 0) {
        log_line_of(log_of_vm(index),
                    "error: nadir.cfg:%u: [vm %s] may run on no CPU that is there", config->line,
                    config->name);
        page_free(base, pages);
        return ERR_BAD_INPUT;
    }
    pc->vm.dump = pc_dump;
    hypercall_open(&pc->vm);
    pc->vm.console_out = hypercall_out;
    add_timers(pc);
    pc->vm.engine = host->engine[config->engine]->engine;
    pc->paravirtual = config->engine == CONFIG_ENGINE_PV;
    pc->typed = -1;
    pc->vm.interpreted = config->bt == CONFIG_BT_INTERPRET;
    pc->vm.checked = config->bt == CONFIG_BT_CHECK;
    const bool is_reset = kept->memory.count != 0;
    pc->memory = kept->memory;
    kept->memory = (struct pc_memory){.count = 0};
    if (is_reset && !pc->paravirtual) /* it zeroes the TSC; switched on, a VM goes by the host's */
        pc->vm.tsc_offset = 0 - host->read_tsc();
    s = make_memory(pc, config, host);
    if (s == OK) {
        const hpa_t before = guestspace_enter(pc->vm.root);
        s = fill(pc, config, host, is_reset, kept);
        (void)guestspace_enter(before);
    }
    for (uint32_t i = 0; i < pc->vm.vcpu_count && s == OK; i++)
        vcpu_set_initial(pc->vm.vcpu[i], i == 0 || pc->paravirtual ? &pc->boot : NULL);
    if (s != OK) {
        pc_destroy(pc, NULL);
        return s;
    }
    *out = pc;
    return OK;
}

enum status pc_create(const struct vm_config *config, unsigned index, const struct pc_host *host,
                      const struct pc_console *console, struct pc_kept *kept, struct pc **out)
{
    const enum status s = create(config, index, host, console, kept, out);
    pc_forget(kept);
    return s;
}

void pc_start(struct pc *pc, uint64_t tsc)
{
    /* The home CPU fires alarms from here on, and the devices are its own (vm_lock()). */
    sched_interrupt(run_alarm_arm(&pc->console_alarm, 0));
    const uint64_t now = cpu_rdtsc(), next = tsc > now ? tsc : start(pc, now);
    if (next != RUN_NEVER)
        sched_interrupt(run_alarm_arm(&pc->start_alarm, next));
}

void pc_start_now(struct pc *pc)
{
    sched_interrupt(run_alarm_arm(&pc->start_alarm, 0));
}

static void keep(struct pc *pc, struct pc_kept *kept)
{
    kept->memory = pc->memory;
    pc->memory = (struct pc_memory){.count = 0};
    kept->rtc = pc->rtc;
    firmware_keep(pc, &kept->firmware);
}

void pc_destroy(struct pc *pc, struct pc_kept *kept)
{
    struct vm *vm = &pc->vm;
    if (kept != NULL)
        keep(pc, kept);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vcpu_destroy(vm->vcpu[i]);
        sched_look();
    }
    pc_memory_free(&pc->memory);
    vm->engine->vm_destroy(vm);
    page_free(ptr_to_hpa(pc), pc->pages);
}

void pc_forget(struct pc_kept *kept)
{
    pc_memory_free(&kept->memory);
}
