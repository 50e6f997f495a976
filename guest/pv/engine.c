/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine's table: what it can do, and how its VMs and vCPUs come and go. */
#include "guest/pv/engine.h"

#include "arch/hardening.h"
#include "arch/log.h"
#include "guest/pv/mmu.h"
#include "guest/vm/vcpu_extended.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

/* Of CR4, what its user code can tell; the rest is the hypervisor's. */
#define CR4_ALLOWED (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_TSD | CR4_DE | CR4_MCE)

#define PAGES_OF(type) ((sizeof(type) + PAGE_SIZE - 1) / PAGE_SIZE)

static enum status probe(struct engine_facts *facts)
{
    hardening_init(facts->threads_shared);
    if (hardening_measures()->reads_supervisor)
        log_line("pv: Meltdown is OPEN for its guests, which run in tables that map the "
                 "hypervisor, but no other guest's RAM");
    *facts = (struct engine_facts){
        .rdtscp = (cpu_cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_RDTSCP) != 0,
        .cr4_allowed = CR4_ALLOWED,
        .host_cet = !hardening_measures()->thunks,
    };
    return OK;
}

static enum status cpu_on(struct cpu *cpu)
{
    (void)cpu;
    hardening_cpu_on();
    return OK;
}

static void cpu_off(void)
{
}

/* What all vCPUs share in the guest's RAM comes when the first of them is loaded. */
static enum status vm_create(struct vm *vm)
{
    hpa_t page;
    const enum status s = page_alloc(PAGES_OF(struct pv_vm), 1, &page);
    if (s != OK)
        return s;
    struct pv_vm *own = hpa_to_ptr(page);
    own->port[0].kind = PV_PORT_RESERVED;
    own->port[DOMAIN_CONSOLE_PORT].kind = PV_PORT_CONSOLE;
    vm->engine_vm = own;
    return OK;
}

static void vm_destroy(struct vm *vm)
{
    struct pv_vm *own = vm->engine_vm;
    vm->mem.written = NULL;
    if (own->shadow != NULL)
        shadow_destroy(own->shadow);
    for (uint64_t i = 0; i < own->m2p_pages; i++)
        host_unmap_user(vm->root, PV_M2P_BASE + i * PAGE_SIZE);
    if (own->m2p.v != 0)
        page_free(own->m2p, own->m2p_pages);
    if (own->written.v != 0)
        page_free(own->written, own->written_pages);
    page_free(ptr_to_hpa(own), PAGES_OF(struct pv_vm));
    vm->engine_vm = NULL;
}

/* struct guestmem has all of it. */
static enum status map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms)
{
    (void)vm;
    (void)guest;
    (void)host;
    (void)bytes;
    (void)perms;
    return OK;
}

static enum status protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms)
{
    return map(vm, guest, hpa(0), bytes, perms);
}

static enum status redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms)
{
    return map(vm, page, host, PAGE_SIZE, perms);
}

static void memory(const struct vm *vm, struct engine_memory *out)
{
    (void)vm;
    *out = (struct engine_memory){0};
}

static void destroy_vcpu(struct vcpu *vcpu)
{
    struct pv_vcpu *v = pv_vcpu(vcpu);
    pv_space_destroy(v);
    pv_start_forget(v);
    if (v->extended.v != 0)
        page_free(v->extended, v->extended_pages);
    if (v->ldt != NULL)
        page_free(ptr_to_hpa(v->ldt), 1);
    page_free(ptr_to_hpa(v), PAGES_OF(struct pv_vcpu));
}

static enum status vcpu_create(struct vm *vm, struct vcpu **out)
{
    hpa_t page, ldt = hpa(0);
    if (vm->vcpu_count >= PV_MAX_VCPUS) {
        log_line_of(vm->log, "vm %s: a domain has at most %u vCPUs", vm->name, PV_MAX_VCPUS);
        return ERR_LIMIT;
    }
    enum status s = page_alloc(PAGES_OF(struct pv_vcpu), 1, &page);
    if (s != OK)
        return s;
    struct pv_vcpu *v = hpa_to_ptr(page);
    v->vcpu.engine = vm->engine;
    v->extended_pages = vcpu_extended_pages(vm);
    s = page_alloc(v->extended_pages, 1, &v->extended);
    if (s == OK)
        s = page_alloc(1, 1, &ldt);
    if (s != OK) {
        destroy_vcpu(&v->vcpu);
        return s;
    }
    v->ldt = hpa_to_ptr(ldt);
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->cr4 = (CR4_OSFXSR | CR4_OSXMMEXCPT) | (vm->xcr0_allowed != 0 ? CR4_OSXSAVE : 0);
    v->dr6 = DR6_RESET;
    v->dr7 = DR7_RESET;
    v->wait = PV_IS_DOWN; /* until it is given a state */
    *out = &v->vcpu;
    return OK;
}

static void invalidate(struct vcpu *vcpu, gva_t linear)
{
    pv_invalidate(pv_vcpu(vcpu), linear.v);
}

static void flush_tlb(struct vcpu *vcpu)
{
    pv_flush(pv_vcpu(vcpu), SHADOW_FLUSH_ALL);
}

static void nothing_changed(struct vcpu *vcpu)
{
    (void)vcpu;
}

/* A domain has no device memory that an instruction could be stepped on, and no x87 errors but by
 * exceptions. */
static enum status show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms)
{
    (void)vcpu;
    (void)page;
    (void)host;
    (void)perms;
    return ERR_UNSUPPORTED;
}

static bool step(struct vcpu *vcpu, bool on)
{
    (void)vcpu;
    return !on;
}

static bool set_debug(struct vcpu *vcpu, unsigned stops)
{
    (void)vcpu;
    return stops == 0;
}

static const char *event_name(unsigned event)
{
#define PV_EVENT_NAME(number, class, name) [number] = (name),
    static const char *const names[PV_EVENT_COUNT] = {PV_EVENTS(PV_EVENT_NAME)};
#undef PV_EVENT_NAME
    return names[event];
}

static enum event_class event_class(unsigned event)
{
#define PV_EVENT_CLASS(number, class, name) [number] = (class),
    static const uint8_t classes[PV_EVENT_COUNT] = {PV_EVENTS(PV_EVENT_CLASS)};
#undef PV_EVENT_CLASS
    return (enum event_class)classes[event];
}

static const char *counter_name(unsigned counter)
{
#define PV_CALL_NAME(number, name) [PV_CALL_##name] = #name,
    static const char *const names[PV_COUNTERS] = {
        XEN_CALLS(PV_CALL_NAME) /* */
            [PV_COUNT_CALLS] = "other_calls",
        [PV_COUNT_NADIR] = "nadir_calls",
        [PV_COUNT_UPDATES] = "table_updates",
        [PV_COUNT_MMUEXT] = "mmuext_operations",
        [PV_COUNT_BATCHED] = "calls_in_batches",
        [PV_COUNT_UPCALLS] = "upcalls",
        [PV_COUNT_TABLE_WRITES] = "tables_opened",
        [PV_SHADOW_FILLS] = "shadow_fills",
        [PV_SHADOW_VERIFIED] = "shadow_verified",
        [PV_SHADOW_DROPS] = "shadow_drops",
    };
#undef PV_CALL_NAME
    return names[counter];
}

static uint64_t counter(const struct vm *vm, unsigned number)
{
    static const struct shadow_stats none;
    const struct pv_vm *own = vm->engine_vm; /* NULL: it is not made, or gone */
    const struct shadow_stats *shadow =
        own != NULL && own->shadow != NULL ? &own->shadow->stats : &none;
    uint64_t sum = 0;
    switch (number) {
    case PV_SHADOW_FILLS: return shadow->fills;
    case PV_SHADOW_VERIFIED: return shadow->verified;
    case PV_SHADOW_DROPS: return shadow->dropped_all;
    default: break;
    }
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        sum += __atomic_load_n(&pv_vcpu(vm->vcpu[i])->counted[number], __ATOMIC_RELAXED);
    return sum;
}

const struct engine pv_engine = {
    .name = "pv",
    .probe = probe,
    .cpu_on = cpu_on,
    .cpu_off = cpu_off,
    .vm_create = vm_create,
    .vm_destroy = vm_destroy,
    .map = map,
    .protect = protect,
    .redirect = redirect,
    .memory = memory,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = destroy_vcpu,
    .load = pv_load,
    .put = pv_put,
    .run = pv_run,
    .get_state = pv_get_state,
    .set_state = pv_set_state,
    .get_segment = pv_get_segment,
    .flush_tlb = flush_tlb,
    .invalidate = invalidate,
    .view = pv_view,
    .inject = pv_inject,
    .apic_changed = nothing_changed,
    .tsc_changed = nothing_changed,
    .open_spec_control = nothing_changed,
    .show = show,
    .step = step,
    .watch = step,
    .set_debug = set_debug,
    .event_count = PV_EVENT_COUNT,
    .event_name = event_name,
    .event_class = event_class,
    .counter_count = PV_COUNTERS,
    .counter_name = counter_name,
    .counter = counter,
};
