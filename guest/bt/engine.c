/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine's table: what it can do, and how its VMs and vCPUs come and go. */
#include "guest/bt/engine.h"

#include "arch/cpu.h"
#include "arch/hardening.h"
#include "arch/string.h"
#include "guest/bt/bt.h"
#include "guest/ring3/engine.h"
#include "guest/vm/vcpu_extended.h"
#include "mm/page_alloc.h"

/* Of the host's CR4, what guests may use: what the software CPU carries out, but for what would
 * have to be made of CR3's low bits (PCID), and of pages of the host's (SMAP, protection keys),
 * once user code is run by the processor. */
#define CR4_ALLOWED                                                                           \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
     CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP)

#define PAGES_OF(type) ((sizeof(type) + PAGE_SIZE - 1) / PAGE_SIZE)

static enum status probe(struct engine_facts *facts)
{
    return ring3_probe("bt", CR4_ALLOWED, facts);
}

/* The shadow page tables are made when the first vCPU is loaded: bt_space_load(). */
static enum status vm_create(struct vm *vm)
{
    hpa_t page;
    const enum status s = page_alloc(PAGES_OF(struct bt_vm), 1, &page);
    if (s == OK)
        vm->engine_vm = hpa_to_ptr(page);
    return s;
}

static void vm_destroy(struct vm *vm)
{
    vm->mem.written = NULL;
    bt_space_destroy_vm(vm);
    page_free(ptr_to_hpa(vm->engine_vm), PAGES_OF(struct bt_vm));
    vm->engine_vm = NULL;
}

static void destroy_vcpu(struct vcpu *vcpu)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    bt_space_destroy(v);
    bt_check_destroy(v);
    bt_code_destroy(v);
    bt_direct_destroy(v);
    if (v->extended.v != 0)
        page_free(v->extended, v->extended_pages);
    ring3_window_destroy(&v->window);
    if (v->decoded.v != 0)
        page_free(v->decoded, PAGES_OF(struct interpret_cache));
    page_free(ptr_to_hpa(v), PAGES_OF(struct bt_vcpu));
}

/* The instructions that the VM's CPUID shows. */
static unsigned features_of(const struct vm *vm)
{
    const struct cpuid_entry *basic = cpuid_table_find(&vm->cpuid, 1, 0),
                             *more = cpuid_table_find(&vm->cpuid, 7, 0),
                             *xsave = cpuid_table_find(&vm->cpuid, 0xd, 1),
                             *extended = cpuid_table_find(&vm->cpuid, 0x80000001u, 0),
                             *vendor = cpuid_table_find(&vm->cpuid, 0, 0);
    const bool amd = vendor->ebx == CPUID_0_EBX_AMD, kvm = vm->cpuid.second != 0;
    return (amd ? INTERPRET_AMD : 0u) | (amd && kvm ? INTERPRET_VMMCALL : 0u) |
           ((extended->edx & CPUID_80000001_EDX_RDTSCP) != 0 ? INTERPRET_RDTSCP : 0u) |
           ((more->ecx & CPUID_7_ECX_RDPID) != 0 ? INTERPRET_RDPID : 0u) |
           ((more->edx & CPUID_7_EDX_SERIALIZE) != 0 ? INTERPRET_SERIALIZE : 0u) |
           ((basic->ecx & CPUID_1_ECX_XSAVE) != 0 && (xsave->eax & CPUID_D1_EAX_XGETBV1) != 0
                ? INTERPRET_XGETBV_1
                : 0u);
}

static enum status vcpu_create(struct vm *vm, struct vcpu **out)
{
    hpa_t page;
    enum status s = page_alloc(PAGES_OF(struct bt_vcpu), 1, &page);
    if (s != OK)
        return s;
    struct bt_vcpu *v = hpa_to_ptr(page);
    v->vcpu.engine = vm->engine;
    v->extended_pages = vcpu_extended_pages(vm);
    s = page_alloc(v->extended_pages, 1, &v->extended);
    if (s == OK)
        s = page_alloc(PAGES_OF(struct interpret_cache), 1, &v->decoded);
    if (s == OK)
        s = bt_direct_create(v);
    if (s == OK)
        s = ring3_window_create(&v->window, vm->root, vm->vcpu_count);
    if (s != OK) {
        destroy_vcpu(&v->vcpu);
        return s;
    }
    interpret_init(&v->env, &v->state, &bt_calls, v);
    linear_open_vectors(&v->env.integer);
    v->env.cache = hpa_to_ptr(v->decoded);
    v->env.features = features_of(vm);
    v->env.extra.xcr0 = 1;
    *out = &v->vcpu;
    return OK;
}

static void load(struct vcpu *vcpu)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    hardening_enter_domain(cpu_self(), vcpu->vm->number);
    ring3_load(0);
    bt_space_load(v);
    bt_direct_load(v);
    if (v->filled)
        vcpu_extended_restore(vcpu, hpa_to_ptr(v->extended));
    else
        vcpu_extended_restore_initial(vcpu);
    v->filled = true;
}

static void put(struct vcpu *vcpu)
{
    bt_direct_put(bt_vcpu(vcpu));
    vcpu_extended_save(vcpu, hpa_to_ptr(bt_vcpu(vcpu)->extended));
}

static void invalidate(struct vcpu *vcpu, gva_t linear)
{
    bt_space_invalidate(bt_vcpu(vcpu), linear.v);
}

static void apic_changed(struct vcpu *vcpu)
{
    const uint64_t base = vcpu->apic.base;
    const bool listens = (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
    vcpu->apic_frame = listens ? base / PAGE_SIZE : VCPU_NO_APIC_FRAME;
    vcpu->attention = true;
}

static bool watch(struct vcpu *vcpu, bool on)
{
    bt_vcpu(vcpu)->watched = on;
    return true;
}

static const char *event_name(unsigned event)
{
#define BT_EVENT_NAME(number, class, name) [number] = (name),
    static const char *const names[BT_EVENT_COUNT] = {BT_EVENTS(BT_EVENT_NAME)};
#undef BT_EVENT_NAME
    return names[event];
}

static enum event_class event_class(unsigned event)
{
#define BT_EVENT_CLASS(number, class, name) [number] = (class),
    static const uint8_t classes[BT_EVENT_COUNT] = {BT_EVENTS(BT_EVENT_CLASS)};
#undef BT_EVENT_CLASS
    return (enum event_class)classes[event];
}

const struct engine bt_engine = {
    .name = "bt",
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
    .load = load,
    .put = put,
    .run = bt_run,
    .get_state = bt_get_state,
    .set_state = bt_set_state,
    .get_segment = bt_get_segment,
    .flush_tlb = bt_flush_tlb,
    .invalidate = invalidate,
    .view = bt_view,
    .inject = bt_inject,
    .apic_changed = apic_changed,
    .tsc_changed = ring3_nothing_changed,
    .open_spec_control = ring3_nothing_changed,
    .show = ring3_show,
    .step = ring3_step,
    .watch = watch,
    .set_debug = ring3_set_debug,
    .event_count = BT_EVENT_COUNT,
    .event_name = event_name,
    .event_class = event_class,
    .counter_count = BT_COUNTER_COUNT,
    .counter_name = bt_counter_name,
    .counter = bt_counter,
};
