/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir_main(): the hypervisor's table of contents. A step is a call, in the order of need. */
#include "arch/canary.h"
#include "arch/cet.h"
#include "arch/cpu.h"
#include "arch/desc.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/report.h"
#include "arch/smp.h"
#include "boot/handoff.h"
#include "drivers/host/acpi.h"
#include "drivers/host/console.h"
#include "drivers/host/ioapic.h"
#include "drivers/host/power.h"
#include "drivers/host/report_port.h"
#include "drivers/host/tsc.h"
#include "drivers/host/typing.h"
#include "guest/bt/engine.h"
#include "guest/config.h"
#include "guest/load/kernel.h"
#include "guest/monitor/vms.h"
#include "guest/pv/engine.h"
#include "guest/vm/sched.h"
#include "mm/host_paging.h"
#include "mm/mtrr.h"
#include "mm/page_alloc.h"
#include "vmx/vmx.h"

_Noreturn void nadir_main(struct handoff *handoff);

extern uint8_t __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
    __data_end[];                  /* boot/nadir.ld */
extern uint8_t boot_stack_guard[]; /* boot/entry.asm */

/* What can execute VMs, in the order in which `engine = auto` tries. A further engine is a row here
 * and a word in guest/config.h. */
static struct {
    struct pc_engine of_pc;
    const char *title;
    bool asked;         /* probed */
    enum status answer; /* OK: the machine has what it needs */
} engines[] = {
    [CONFIG_ENGINE_VTX] = {{.engine = &vmx_engine}, "VT-x"},
    [CONFIG_ENGINE_BT] = {{.engine = &bt_engine}, "binary translation"},
    [CONFIG_ENGINE_PV] = {{.engine = &pv_engine}, "paravirtualisation"},
};

_Static_assert(sizeof(engines) / sizeof(engines[0]) == CONFIG_ENGINES, "a row for each word");

_Static_assert(CONFIG_MAX_PV_VCPUS == PV_MAX_VCPUS, "what nadir.cfg may say, the engine has");
_Static_assert(HANDOFF_MAX_CPUS == CONFIG_MAX_CPUS, "a mask in nadir.cfg has a bit for each CPU");
_Static_assert(HANDOFF_MAX_CPUS >= CPU_MAX, "the loader names all that can be used");
_Static_assert(RUN_CPU_MAX >= CPU_MAX, "each has a run queue");
_Static_assert(2 * HANDOFF_MAX_REGIONS <= PAGE_ALLOC_MAX_RANGES,
               "each may be free memory, with two ends that guests do not get");

#define LOW_MEMORY_END (1ull << 20)

static struct mtrr_state mtrr; /* of the boot CPU; all have the same */

static void turn_engines_off(void)
{
    for (unsigned i = CONFIG_ENGINE_AUTO + 1; i < CONFIG_ENGINES; i++)
        engines[i].of_pc.engine->cpu_off();
}

/* For whoever reads the screen: after the last VM, and after what he should write down. */
enum { LINGER_SECONDS = 10, LINGER_FAILED_SECONDS = 120 };

static _Noreturn void end_machine(uint32_t linger_seconds, bool reset)
{
    const enum console_wish wish = console_linger(linger_seconds, reset);
    turn_engines_off();
    if (wish == CONSOLE_RESET)
        power_reset();
    power_off();
}

/* The last words, for the reader and for tools/nadir, then the end of the machine. */
static _Noreturn void finish(const char *how, uint32_t linger_seconds, bool reset)
{
    console_flush(); /* what VMs have to say and to report comes before that */
    log_line("end: %s", how);
    console_flush();
    (void)report_format("{\"nadir-end\": \"%s\"}\n", how);
    end_machine(linger_seconds, reset);
}

static void finish_panic(void)
{
    end_machine(LINGER_FAILED_SECONDS, false);
}

/* Start-up went wrong: the step has said why. */
static void require(enum status s, const char *step)
{
    if (s == OK)
        return;
    log_line("error: %s: %s", step, status_text(s));
    finish("refused", LINGER_FAILED_SECONDS, false);
}

/* The parts of a region that are cached as RAM should be: firmware has been seen to leave some that
 * the MTRRs do not cover, and a VM there would run a hundred times slower. */
static size_t add_cached(const struct handoff_region *region, struct page_range *out, size_t room)
{
    const uint64_t end_of_region = region->base + region->pages * PAGE_SIZE;
    const hpa_t limit = hpa(end_of_region < HOST_RAM_END ? end_of_region : HOST_RAM_END);
    const bool off = (mtrr.default_type & MTRR_DEF_ENABLE) == 0; /* then all is alike */
    size_t count = 0;
    for (hpa_t at = hpa(region->base), end; at.v < limit.v; at = end) {
        const enum memory_type type = mtrr_run(&mtrr, at, limit, &end);
        if ((type == MEMORY_WB || off) && count < room)
            out[count++] = (struct page_range){at.v, (end.v - at.v) / PAGE_SIZE};
        else if (at.v >= LOW_MEMORY_END) /* below, it is not used anyway */
            log_line("RAM at 0x%lx, %lu KiB, is left out: memory type %u by the MTRRs", at.v,
                     (end.v - at.v) / 1024, type);
    }
    const uint64_t beyond = region->base > limit.v ? region->base : limit.v;
    if (end_of_region > beyond)
        log_line("RAM at 0x%lx, %lu MiB, is left out: it is above 3 TiB", beyond,
                 (end_of_region - beyond) >> 20);
    return count;
}

static enum status init_page_alloc(const struct handoff *handoff)
{
    static struct page_range ranges[2 * HANDOFF_MAX_REGIONS];
    const size_t room = sizeof(ranges) / sizeof(ranges[0]);
    size_t count = 0;
    mtrr_read(&mtrr);
    for (uint32_t i = 0; i < handoff->region_count; i++)
        if (handoff->region[i].kind == REGION_FREE)
            count += add_cached(&handoff->region[i], ranges + count, room - count);
    return page_alloc_init(ranges, count);
}

/* The top of what the physmap is to reach: RAM of any kind, as far as there is room for it. */
static uint64_t physmap_end(const struct handoff *handoff)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < handoff->region_count; i++) {
        const struct handoff_region *r = &handoff->region[i];
        uint64_t region_end = r->base + r->pages * PAGE_SIZE;
        if (r->kind != REGION_MMIO && r->kind != REGION_RUNTIME_MMIO && region_end > end)
            end = region_end;
    }
    end = (end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    return end < HOST_RAM_END ? end : HOST_RAM_END;
}

static enum status init_paging(const struct handoff *handoff)
{
    static struct host_runtime runtime[HANDOFF_MAX_REGIONS];
    size_t count = 0;
    for (uint32_t i = 0; i < handoff->region_count; i++) {
        const struct handoff_region *r = &handoff->region[i];
        if (r->kind == REGION_RUNTIME_CODE || r->kind == REGION_RUNTIME_DATA ||
            r->kind == REGION_RUNTIME_MMIO)
            runtime[count++] =
                (struct host_runtime){r->base, r->pages, r->kind == REGION_RUNTIME_MMIO};
    }
    if ((cpu_rdmsr(MSR_IA32_EFER) & EFER_NXE) == 0)
        log_line("no execute-disable bit: data of the hypervisor's can be executed");
    const struct host_map_request request = {
        .physmap_end = physmap_end(handoff),
        .image_base = handoff->image_base,
        .text_start = (uint64_t)__text_start,
        .text_end = (uint64_t)__text_end,
        .rodata_start = (uint64_t)__rodata_start,
        .rodata_end = (uint64_t)__rodata_end,
        .data_start = (uint64_t)__data_start,
        .data_end = (uint64_t)__data_end,
        .guard = (uint64_t)boot_stack_guard,
        .trampoline = handoff->trampoline,
        .screen = handoff->framebuffer.base,
        .screen_bytes = handoff->framebuffer.size,
        .nx = (cpu_rdmsr(MSR_IA32_EFER) & EFER_NXE) != 0,
        .pages_1g = (cpu_cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_1G) != 0,
        .mtrr = &mtrr,
        .runtime = runtime,
        .runtime_count = count,
    };
    enum status s = host_paging_init(&request);
    if (s == OK)
        host_paging_load();
    return s;
}

/* Both are there from the first line on: what goes wrong at start is to be seen. */
static void init_console(const struct handoff *handoff)
{
    const struct handoff_framebuffer *fb = &handoff->framebuffer;
    const struct fbconsole_screen screen = {
        .pixels = fb->size != 0 ? hpa_to_ptr(hpa(fb->base)) : NULL,
        .bytes = fb->size,
        .width = fb->width,
        .height = fb->height,
        .pixels_per_line = fb->pixels_per_line,
        .red = fb->red,
        .green = fb->green,
        .blue = fb->blue,
    };
    console_init((uint16_t)handoff->serial_port, &screen);
}

static enum status allocate_stack(uint64_t bytes, uint64_t *top)
{
    hpa_t base;
    enum status s = page_alloc(bytes / PAGE_SIZE, 1, &base);
    if (s != OK)
        return s;
    uint8_t *stack = host_map_stack(base, bytes / PAGE_SIZE);
    *top = (uint64_t)(stack + bytes);
    return stack != NULL ? OK : ERR_NO_MEMORY;
}

/* The boot CPU has begun on stacks in the image, which lie one behind the other: from here on each
 * of its interrupt stacks has an unmapped page below it, too. */
static enum status guard_boot_stacks(struct cpu *cpu)
{
    enum status s = OK;
    for (unsigned i = 0; i < CPU_IST_COUNT && s == OK; i++)
        s = allocate_stack(CPU_IST_STACK_BYTES, &cpu->memory.ist_top[i]);
    for (unsigned i = 0; i < CPU_IST_COUNT && s == OK; i++)
        desc_set_ist(cpu, i);
    return s;
}

/* The CPU's shadow stacks, beside its stacks. */
static enum status allocate_shadow_stacks(struct cpu_memory *memory)
{
    enum status s = OK;
    for (unsigned i = 0; i <= CPU_IST_COUNT && s == OK; i++) {
        uint64_t *token = i == 0 ? &memory->shadow_token : &memory->ist_shadow_token[i - 1];
        hpa_t page;
        s = page_alloc(1, 1, &page);
        if (s == OK)
            *token = host_map_shadow_stack(page);
        if (s == OK && *token == 0)
            s = ERR_NO_MEMORY;
    }
    return s;
}

/* Without a list of them, one is where chipsets have it. */
static void mask_io_apics(const struct handoff *handoff)
{
    uint32_t address[16] = {0xfec00000};
    uint32_t count = acpi_list_io_apics(hpa(handoff->rsdp), power_read_memory, address,
                                        sizeof(address) / sizeof(address[0]));
    for (uint32_t i = 0; i < (count > 0 ? count : 1); i++)
        ioapic_mask(hpa(address[i]));
}

/* Firmware tables, the clock's rate, and with them the ways to end the machine. */
static uint64_t init_platform(const struct handoff *handoff)
{
    struct acpi_facts acpi = {0};
    const bool has_acpi = acpi_read_facts(hpa(handoff->rsdp), power_read_memory, &acpi);
    if (!has_acpi)
        log_line("no ACPI tables from the firmware");
    power_init(handoff->reset_system, host_paging_efi_root(), has_acpi ? &acpi : NULL);
    mask_io_apics(handoff);
    uint64_t hz = tsc_measure_hz(&acpi);
    require(hz != 0 ? OK : ERR_UNSUPPORTED, "measuring the time-stamp counter");
    console_set_tsc_hz(hz);
    lapic_timer_init(hz);
    power_set_tsc_hz(hz);
    return hz;
}

/* The program that has started the machine hears of nothing else that the hypervisor does, but of
 * this: from here on nobody's words on the console are Nadir's. */
static void init_reports(const struct handoff *handoff)
{
    const uint16_t port = (uint16_t)handoff->report_port;
    if (report_port_init(port))
        report_set_sink(console_report);
    else if (port != 0)
        log_line("no serial port for reports at 0x%x", port);
    (void)report_format("{\"nadir\": \"%s\"}\n", NADIR_VERSION);
}

/* The host's console for guest/monitor/, which may not include drivers/host/. */
static const struct host_console host_console = {
    .ring_bytes = CONSOLE_RING_BYTES,
    .open = console_open,
    .close = console_close,
    .write = console_write,
    .write_serial = console_write_serial,
    .held = console_held,
    .is_last = console_is_last,
    .draw = console_draw,
    .texts = console_texts,
    .read = console_read,
    .read_key = console_read_key,
    .forget_keys = console_forget_keys,
    .dump_requests = console_dump_requests,
    .dump_is_read = console_dump_is_read,
    .asked = report_port_requests,
    .may_report = report_port_has_room,
    .poll = console_poll,
    .period_ticks = console_period_ticks,
};
_Static_assert(CONSOLE_MAX_VMS >= CONFIG_MAX_VMS, "each has a ring");
_Static_assert((int)TYPED_RELEASED == (int)KEY_RELEASED && (int)TYPED_EXTENDED == (int)KEY_EXTENDED,
               "a key that is typed is one of the guest's keyboard");

static bool is_usable(unsigned number)
{
    return engines[number].asked && engines[number].answer == OK;
}

static enum status probe_engine(unsigned number, bool threads_shared)
{
    engines[number].of_pc.facts.threads_shared = threads_shared;
    if (!engines[number].asked) /* capabilities and the checklist */
        engines[number].answer = engines[number].of_pc.engine->probe(&engines[number].of_pc.facts);
    engines[number].asked = true;
    return engines[number].answer;
}

/* Only who names an engine can ask for one that is not there: the last one needs nothing. */
static _Noreturn void refuse_engine(const struct vm_config *vm, unsigned number, enum status s)
{
    log_line("error: [vm %s] asks for engine = %s: %s: %s; engine = auto does without", vm->name,
             engines[number].of_pc.engine->name, engines[number].title, status_text(s));
    finish("refused", LINGER_FAILED_SECONDS, false);
}

/* Finds what each VM asks for, those that do not start yet, too. VMs that are added later can ask
 * for what has been found. */
static void probe_engines(const struct nadir_config *config, struct pc_host *host)
{
    const bool shared = config->share_cores && config->vm_count > 1 && cpu_thread_bits() > 0;
    bool told = false;
    for (uint32_t i = 0; i < config->vm_count; i++) {
        const unsigned wanted = config->vm[i].engine;
        unsigned number = wanted == CONFIG_ENGINE_AUTO ? wanted + 1 : wanted;
        enum status s = probe_engine(number, shared);
        while (s != OK && wanted == CONFIG_ENGINE_AUTO && number < CONFIG_ENGINE_BT)
            s = probe_engine(++number, shared);
        if (s != OK)
            refuse_engine(&config->vm[i], number, s);
        if (wanted == CONFIG_ENGINE_AUTO && !told) {
            log_line("engine = auto: %s, %s", engines[number].of_pc.engine->name,
                     number == wanted + 1 ? "as there is VT-x" : "for want of VT-x");
            told = true;
        }
        if (number != CONFIG_ENGINE_BT && config->vm[i].bt != CONFIG_BT_TRANSLATE)
            log_line("warning: %s: its key bt does nothing, as %s executes it: say engine = bt",
                     config->vm[i].name, engines[number].of_pc.engine->name);
    }
    for (unsigned number = CONFIG_ENGINES - 1; number > CONFIG_ENGINE_AUTO; number--) {
        if (!is_usable(number))
            continue;
        host->engine[number] = &engines[number].of_pc;
        if (number != CONFIG_ENGINE_PV) /* which kernel_settle_engine() has chosen */
            host->engine[CONFIG_ENGINE_AUTO] = host->engine[number];
    }
}

/* For the boot CPU; the others follow it. Not before the engines have patched the code, for which
 * they clear CR0.WP. */
static uint64_t prepare_cet(struct cpu *cpu)
{
    const uint64_t has = cet_features();
    bool allowed = true;
    for (unsigned i = 0; i < CONFIG_ENGINES; i++)
        allowed = allowed && (!is_usable(i) || engines[i].of_pc.facts.host_cet);
    if (has == 0)
        return 0;
    if (!allowed) {
        log_line("no shadow stacks, no branch tracking: return thunks are in use, or VMX does not "
                 "switch them");
        return 0;
    }
    if ((has & S_CET_SHADOW_STACK) != 0)
        require(allocate_shadow_stacks(&cpu->memory), "shadow stacks");
    cpu_write_cr3(cpu_read_cr3()); /* by the physmap nobody writes to them */
    log_line("the hypervisor is guarded by%s%s%s",
             (has & S_CET_SHADOW_STACK) != 0 ? " shadow stacks" : "",
             has == (S_CET_SHADOW_STACK | S_CET_ENDBRANCH) ? " and" : "",
             (has & S_CET_ENDBRANCH) != 0 ? " branch tracking" : "");
    return has;
}

/* How far start-up has come, for the other CPUs; and how many of them have answered. */
static bool all_started, queues_made;
static uint32_t answered;

/* False: none is on, the CPU can run no vCPU. */
static bool turn_engines_on(struct cpu *cpu)
{
    bool any = false;
    for (unsigned i = CONFIG_ENGINE_AUTO + 1; i < CONFIG_ENGINES; i++) {
        if (!is_usable(i) || engines[i].of_pc.engine->cpu_on(cpu) != OK)
            continue;
        __atomic_fetch_or(&engines[i].of_pc.cpus.bits[cpu->index / 64], 1ull << cpu->index % 64,
                          __ATOMIC_SEQ_CST);
        any = true;
    }
    __atomic_fetch_add(&answered, 1, __ATOMIC_SEQ_CST);
    return any;
}

static void wait_for(const bool *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
        cpu_pause();
}

/* What the other CPUs do: the engine on, then vCPUs until all VMs have ended, then sleep. */
static _Noreturn void other_cpu_main(struct cpu *cpu)
{
    cet_start(cpu, boot_cpu.cet); /* of a hybrid CPU, another kind of core may have less */
    wait_for(&all_started);
    cpu_write_cr3(cpu_read_cr3()); /* forget the trampoline's mapping, which is gone */
    const bool any_on = turn_engines_on(cpu);
    wait_for(&queues_made);
    if (any_on)
        sched_run();
    turn_engines_off();
    for (;;)
        cpu_idle();
}

static void init_lapic(const struct handoff *handoff)
{
    for (uint32_t i = 0; i < handoff->cpu_count; i++)
        if (handoff->cpu[i].apic_id >= APIC_XAPIC_EVERYBODY)
            lapic_use_x2apic();
    lapic_init();
}

static enum status allocate_cpu(struct cpu_memory *memory)
{
    const uint64_t gdt_pages = DESC_GDT_ENTRIES * sizeof(uint64_t) / PAGE_SIZE;
    hpa_t cpu, gdt;
    enum status s = page_alloc((sizeof(struct cpu) + PAGE_SIZE - 1) / PAGE_SIZE, 1, &cpu);
    if (s == OK)
        s = page_alloc(gdt_pages, 1, &gdt);
    if (s != OK)
        return s;
    memory->cpu = hpa_to_ptr(cpu);
    memory->gdt = hpa_to_ptr(gdt);
    return OK;
}

/* VMs that do not trust each other are not to share a core's caches and buffers at a time. */
static bool keeps_apart(const struct nadir_config *config)
{
    return !config->share_cores && config->vm_count > 1;
}

/* Whether a CPU on that core has been started. */
static bool is_core_taken(uint32_t apic_id)
{
    const unsigned bits = cpu_thread_bits();
    for (uint32_t i = 0; i < cpu_count(); i++)
        if (cpu_by_index(i)->apic_id >> bits == apic_id >> bits)
            return true;
    return false;
}

static void start_other_cpus(const struct handoff *handoff, bool apart, uint64_t tsc_hz)
{
    uint32_t idle = 0;
    const struct smp_env env = {
        .trampoline = hpa(handoff->trampoline),
        .cr3 = host_paging_root(),
        .tsc_hz = tsc_hz,
        .entry = other_cpu_main,
    };
    if (handoff->trampoline == 0 && handoff->cpu_count > 1)
        log_line("no free page below 640 KiB: the boot CPU is the only one");
    for (uint32_t i = 0; i < handoff->cpu_count && handoff->trampoline != 0; i++) {
        if (handoff->cpu[i].is_boot_cpu)
            continue;
        if (apart && is_core_taken(handoff->cpu[i].apic_id)) {
            idle++;
            continue;
        }
        struct cpu_memory memory = {0};
        enum status s = allocate_cpu(&memory);
        if (s == OK)
            s = allocate_stack(CPU_STACK_BYTES, &memory.stack_top);
        for (unsigned j = 0; j < CPU_IST_COUNT && s == OK; j++)
            s = allocate_stack(CPU_IST_STACK_BYTES, &memory.ist_top[j]);
        if (s == OK && (boot_cpu.cet & S_CET_SHADOW_STACK) != 0)
            s = allocate_shadow_stacks(&memory);
        require(s, "memory for the other CPUs");
        if (smp_start_cpu(&env, handoff->cpu[i].apic_id, &memory) == ERR_LIMIT)
            break;
    }
    if (idle > 0)
        log_line("%u further threads of cores stay idle, since VMs are kept apart (smt = apart)",
                 idle);
    host_unmap_low();
    cpu_write_cr3(cpu_read_cr3());
    __atomic_store_n(&all_started, true, __ATOMIC_RELEASE);
    log_line("%u CPU%s", cpu_count(), cpu_count() == 1 ? "" : "s");
}

static uint64_t microcode_revision(void)
{
    uint64_t value = 0;
    return cpu_rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &value) ? value : 0;
}

/* Parses the text again that the loader has judged, and gives each file that it names its place. */
static enum status read_config(const struct handoff *handoff, struct nadir_config *config)
{
    const char *text = hpa_to_ptr(hpa(handoff->config_base));
    const struct handoff_file *file = hpa_to_ptr(hpa(handoff->file_base));
    const uint64_t bytes = config_memory(text, handoff->config_size);
    struct config_error error;
    hpa_t memory;
    const enum status s = page_alloc((bytes + PAGE_SIZE - 1) / PAGE_SIZE, 1, &memory);
    if (s != OK)
        return s;
    if (!config_parse(text, handoff->config_size, hpa_to_ptr(memory), config, &error))
        panic("nadir.cfg:%u: %s, but not for the loader", error.line, error.text);
    struct config_files walk = {.config = config};
    for (uint32_t i = 0; i < handoff->file_count; i++) {
        struct loaded_file *named = config_next_file(&walk);
        if (named == NULL)
            panic("nadir.cfg names fewer than the loader's %u files", handoff->file_count);
        named->base = file[i].base;
        named->size = file[i].size;
    }
    for (uint32_t i = 0; i < config->vm_count; i++) {
        struct vm_config *vm = &config->vm[i];
        if (!kernel_settle_engine(vm, &error))
            panic("nadir.cfg:%u: %s, but not for the loader", error.line, error.text);
        vm->firmware_variables =
            firmware_variable_bytes(hpa_to_ptr(hpa(vm->firmware.base)), vm->firmware.size);
    }
    return OK;
}

static void init_sched(struct pc_host *host)
{
    const bool any_on = turn_engines_on(cpu_self());
    while (__atomic_load_n(&answered, __ATOMIC_SEQ_CST) != cpu_count())
        cpu_pause();
    require(any_on ? OK : ERR_UNSUPPORTED, "turning an engine on");
    require(sched_init(cpu_count(), host->tsc_hz), "run queues");
    host->queues = sched_queues();
    __atomic_store_n(&queues_made, true, __ATOMIC_RELEASE);
}

_Noreturn void nadir_main(struct handoff *handoff)
{
    static struct pc_host host;
    static struct nadir_config config;
    canary_init();         /* before any function that returns */
    init_console(handoff); /* from here on one can see */
    init_reports(handoff);
    panic_set_final(finish_panic);
    log_line("the hypervisor runs");
    desc_init(cpu_self()); /* GDT, TSS, IDT: faults are dumped */
    cpu_enable_features(); /* NX, WP, SMEP, SMAP */
    require(init_page_alloc(handoff), "taking over the memory map");
    require(init_paging(handoff), "own page tables"); /* the firmware's identity map ends here */
    require(guard_boot_stacks(cpu_self()), "stacks for interrupts");
    handoff = hpa_to_ptr(hpa((uint64_t)handoff));
    console_move_screen(host_screen(handoff->framebuffer.base));
    require(read_config(handoff, &config), "reading nadir.cfg");
    init_lapic(handoff); /* the host's own APIC; the 8259s are masked */
    host = (struct pc_host){
        .cpuid = cpu_cpuid,
        .read_tsc = cpu_rdtsc,
        .tsc_hz = init_platform(handoff),
        .microcode = microcode_revision(),
    };
    host.epoch = handoff->epoch - cpu_rdtsc() / host.tsc_hz;
    probe_engines(&config, &host);
    cet_start(cpu_self(), prepare_cet(cpu_self()));
    vms_init(&config, handoff->image_bytes, &host, &host_console); /* before any VM is made */
    start_other_cpus(handoff, keeps_apart(&config), host.tsc_hz);
    init_sched(&host); /* the engines on, a run queue for each CPU */
    log_line("host page tables: %lu pages are both writable and executable",
             host_paging_check_wx());

    vms_start();
    sched_run(); /* until all VMs have ended */
    static const char *const outcome[] = {
        [VMS_OK] = "ok", [VMS_FAILED] = "vm-failed", [VMS_CONFIG_ERROR] = "config-error"};
    finish(outcome[vms_outcome()], LINGER_SECONDS, config.reset_at_end);
}
