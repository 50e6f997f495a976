/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine's table: what it can do, and how its VMs and vCPUs come and go. */
#include "guest/pv/engine.h"

#include "arch/log.h"
#include "guest/pv/mmu.h"
#include "guest/ring3/engine.h"
#include "guest/vm/vcpu_extended.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

/* Of CR4, what its user code can tell; the rest is the hypervisor's. */
#define CR4_ALLOWED (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_TSD | CR4_DE | CR4_MCE)

#define PAGES_OF(type) ((sizeof(type) + PAGE_SIZE - 1) / PAGE_SIZE)

static enum status probe(struct engine_facts *facts)
{
    return ring3_probe("pv", CR4_ALLOWED, facts);
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
    .cpu_on = ring3_cpu_on,
    .cpu_off = ring3_cpu_off,
    .vm_create = vm_create,
    .vm_destroy = vm_destroy,
    .map = ring3_map,
    .protect = ring3_protect,
    .redirect = ring3_redirect,
    .memory = ring3_memory,
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
    .apic_changed = ring3_nothing_changed,
    .tsc_changed = ring3_nothing_changed,
    .open_spec_control = ring3_nothing_changed,
    .show = ring3_show,
    .step = ring3_step,
    .watch = ring3_step,
    .set_debug = ring3_set_debug,
    .event_count = PV_EVENT_COUNT,
    .event_name = event_name,
    .event_class = event_class,
    .counter_count = PV_COUNTERS,
    .counter_name = counter_name,
    .counter = counter,
};
