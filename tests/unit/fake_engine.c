/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine without a CPU. */
#include "tests/unit/fake_engine.h"

#include "arch/cpu.h"
#include "guest/vm/linear.h"
#include "tests/unit/fake_space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES 65536u /* of the hash table: a VM of 64 MiB fits with room */

struct fake_page {
    uint64_t guest, host; /* page addresses; host 0: free */
    unsigned perms;
};

struct fake_vm {
    struct fake_page page[PAGES];
    uint64_t count;
};

static struct fake_page *find(struct fake_vm *fake, uint64_t guest)
{
    uint64_t i = guest / PAGE_SIZE * 0x9e3779b97f4a7c15ull >> 48;
    while (fake->page[i].host != 0 && fake->page[i].guest != guest)
        i = (i + 1) % PAGES;
    return &fake->page[i];
}

bool fake_lookup(const struct vm *vm, gpa_t guest, hpa_t *host, unsigned *perms)
{
    const struct fake_page *p = find(vm->engine_vm, guest.v & ~(PAGE_SIZE - 1));
    if (p->host == 0 || p->perms == 0)
        return false;
    if (host != NULL)
        *host = hpa(p->host + guest.v % PAGE_SIZE);
    if (perms != NULL)
        *perms = p->perms;
    return true;
}

static enum status vm_create(struct vm *vm)
{
    vm->engine_vm = calloc(1, sizeof(struct fake_vm));
    return vm->engine_vm != NULL ? OK : ERR_NO_MEMORY;
}

static void vm_destroy(struct vm *vm)
{
    free(vm->engine_vm);
    vm->engine_vm = NULL;
}

static enum status map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms)
{
    struct fake_vm *fake = vm->engine_vm;
    if ((guest.v | host.v | bytes) % PAGE_SIZE != 0 || bytes == 0)
        return ERR_BAD_INPUT;
    for (uint64_t at = 0; at < bytes; at += PAGE_SIZE) {
        struct fake_page *p = find(fake, guest.v + at);
        if (p->host != 0)
            return ERR_BAD_INPUT;
        if (++fake->count > PAGES / 2)
            return ERR_NO_MEMORY;
        *p = (struct fake_page){guest.v + at, host.v + at, perms};
    }
    return OK;
}

static enum status protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms)
{
    for (uint64_t at = 0; at < bytes; at += PAGE_SIZE) {
        struct fake_page *p = find(vm->engine_vm, guest.v + at);
        if (p->host == 0)
            return ERR_BAD_INPUT;
        p->perms = perms;
    }
    return OK;
}

static enum status redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms)
{
    struct fake_page *p = find(vm->engine_vm, page.v);
    if (p->host == 0)
        return ERR_BAD_INPUT;
    p->host = host.v;
    p->perms = perms;
    return OK;
}

static void memory(const struct vm *vm, struct engine_memory *out)
{
    const struct fake_vm *fake = vm->engine_vm;
    *out = (struct engine_memory){.leaves = {fake->count}};
}

static enum status vcpu_create(struct vm *vm, struct vcpu **out)
{
    struct fake_vcpu *fake = calloc(1, sizeof(*fake));
    if (fake == NULL)
        return ERR_NO_MEMORY;
    fake->vcpu.engine = vm->engine;
    *out = &fake->vcpu;
    return OK;
}

static void destroy_vcpu(struct vcpu *vcpu)
{
    free(vcpu);
}

/* As VT-x does at an exit. */
static void demand_root(const struct vcpu *vcpu)
{
    if (fake_space_root().v == vcpu->vm->root.v)
        return;
    fputs("fake engine: the CPU is in another VM's page tables\n", stderr);
    abort();
}

static void load(struct vcpu *vcpu)
{
    demand_root(vcpu);
    fake_vcpu(vcpu)->loads++;
}

static void put(struct vcpu *vcpu)
{
    fake_vcpu(vcpu)->puts++;
}

/* What the next entry brings: an event that is queued, else an NMI, else an interrupt. */
static struct event next_event(struct vcpu *vcpu)
{
    struct cpu_state *state = &fake_vcpu(vcpu)->state;
    const struct event event = vcpu->event;
    vcpu->event = (struct event){0};
    if (event.info != 0)
        return event;
    if (vcpu->nmis_pending != 0 && (state->interruptibility & BLOCKED_BY_NMI) == 0) {
        vcpu->nmis_pending--;
        state->interruptibility |= BLOCKED_BY_NMI;
        return (struct event){.info = EVENT_VALID | EVENT_NMI | VECTOR_NMI};
    }
    const int vector = (state->rflags & RFLAGS_IF) != 0 ? vlapic_pending(&vcpu->apic) : -1;
    if (vector < 0)
        return (struct event){0};
    vlapic_accept(&vcpu->apic, (unsigned)vector);
    return (struct event){.info = EVENT_VALID | EVENT_INTERRUPT | (unsigned)vector};
}

/* Whether the next entry is to be; brings what is due to it. What was held back stands behind a
 * window, which is looked at each time. */
static bool may_enter(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    enum vcpu_prepared prepared = PREPARED_ENTER;
    if (vcpu->attention || cpu_rdtsc() >= vcpu->timers.next)
        prepared = vcpu_prepare(vcpu);
    const bool looks = prepared == PREPARED_LOOK || fake->window;
    if (prepared == PREPARED_LEAVE)
        return false;
    fake->injected = looks ? next_event(vcpu) : (struct event){0};
    fake->window = looks && (vcpu->nmis_pending != 0 || vlapic_pending(&vcpu->apic) >= 0);
    return true;
}

static void run(struct vcpu *vcpu)
{
    struct fake_vcpu *fake = fake_vcpu(vcpu);
    while (may_enter(fake)) {
        demand_root(vcpu);
        fake->entries++;
        if (fake->guest == NULL)
            return;
        if (fake->guest(fake) != EXIT_SAME)
            fake->state.rip++;
    }
}

static void get_state(struct vcpu *vcpu, unsigned parts, struct cpu_state *out)
{
    (void)parts;
    *out = fake_vcpu(vcpu)->state;
    memcpy(out->gpr, vcpu->regs.gpr, sizeof(out->gpr));
    out->rsp = fake_vcpu(vcpu)->state.rsp;
}

static void copy(struct cpu_state *to, const struct cpu_state *from, unsigned parts)
{
    if ((parts & STATE_IP) != 0)
        to->rip = from->rip, to->rsp = from->rsp, to->rflags = from->rflags;
    if ((parts & STATE_CONTROL) != 0) {
        to->cr0 = from->cr0, to->cr3 = from->cr3, to->cr4 = from->cr4, to->efer = from->efer;
        memcpy(to->pdpte, from->pdpte, sizeof(to->pdpte));
    }
    if ((parts & STATE_CR2) != 0)
        to->cr2 = from->cr2;
    if ((parts & STATE_SEGMENTS) != 0)
        memcpy(to->segment, from->segment, sizeof(to->segment));
    if ((parts & STATE_TABLES) != 0)
        to->gdtr = from->gdtr, to->idtr = from->idtr;
    if ((parts & STATE_DEBUG) != 0) {
        memcpy(to->dr, from->dr, sizeof(to->dr));
        to->dr6 = from->dr6, to->dr7 = from->dr7, to->debugctl = from->debugctl;
    }
    if ((parts & STATE_MSRS) != 0) {
        to->pat = from->pat, to->sysenter_cs = from->sysenter_cs;
        to->sysenter_esp = from->sysenter_esp, to->sysenter_eip = from->sysenter_eip;
    }
    if ((parts & STATE_EVENTS) != 0)
        to->interruptibility = from->interruptibility, to->pending_debug = from->pending_debug;
}

static void set_state(struct vcpu *vcpu, unsigned parts, const struct cpu_state *in)
{
    copy(&fake_vcpu(vcpu)->state, in, parts);
    if ((parts & STATE_GPRS) != 0)
        memcpy(vcpu->regs.gpr, in->gpr, sizeof(vcpu->regs.gpr));
    if ((parts & STATE_CONTROL) != 0)
        fake_vcpu(vcpu)->flushes++;
}

static void get_segment(struct vcpu *vcpu, unsigned number, struct cpu_segment *out)
{
    *out = fake_vcpu(vcpu)->state.segment[number];
}

static void flush_tlb(struct vcpu *vcpu)
{
    fake_vcpu(vcpu)->flushes++;
}

static void view(struct vcpu *vcpu, struct emulate_context *out)
{
    const struct cpu_state *s = &fake_vcpu(vcpu)->state;
    *out =
        (struct emulate_context){.vcpu = vcpu, .rip = s->rip, .cs_base = s->cs.base, .dr7 = s->dr7};
    out->paging = (struct guest_paging){.cr0 = s->cr0,
                                        .cr3 = s->cr3,
                                        .cr4 = s->cr4,
                                        .efer = s->efer,
                                        .rflags = s->rflags,
                                        .cpl = s->ss.access >> 5 & 3,
                                        .phys_bits = vcpu->phys_bits};
    memcpy(out->pdpte, s->pdpte, sizeof(out->pdpte));
    out->paging.pdpte = out->pdpte;
    out->mode = (s->cs.access & 1 << 13) != 0   ? INSN_64
                : (s->cs.access & 1 << 14) != 0 ? INSN_32
                                                : INSN_16;
}

static void inject(struct vcpu *vcpu, const struct event *event)
{
    vcpu->event = *event;
    vcpu->attention = true;
}

static void nothing(struct vcpu *vcpu)
{
    (void)vcpu;
}

static enum status show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms)
{
    struct fake_vcpu *fake = fake_vcpu(vcpu);
    if (fake->shown_count == FAKE_SHOWN)
        return ERR_LIMIT;
    fake->shown[fake->shown_count++] = (struct fake_shown){page, host, perms};
    return OK;
}

static bool step(struct vcpu *vcpu, bool on)
{
    if (!on)
        fake_vcpu(vcpu)->shown_count = 0;
    fake_vcpu(vcpu)->stepping = on;
    return !on || !fake_vcpu(vcpu)->cannot_step;
}

static bool set_debug(struct vcpu *vcpu, unsigned stops)
{
    (void)vcpu;
    return stops == 0;
}

static const char *event_name(unsigned event)
{
    (void)event;
    return "exit";
}

static enum event_class event_class(unsigned event)
{
    (void)event;
    return CLASS_OTHER;
}

const struct engine fake_engine = {
    .name = "fake",
    .vm_create = vm_create,
    .vm_destroy = vm_destroy,
    .map = map,
    .protect = protect,
    .redirect = redirect,
    .memory = memory,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = destroy_vcpu,
    .load = load,
    .put = put,
    .run = run,
    .get_state = get_state,
    .set_state = set_state,
    .get_segment = get_segment,
    .flush_tlb = flush_tlb,
    .view = view,
    .inject = inject,
    .apic_changed = nothing,
    .tsc_changed = nothing,
    .open_spec_control = nothing,
    .show = show,
    .step = step,
    .set_debug = set_debug,
    .event_count = 1,
    .event_name = event_name,
    .event_class = event_class,
};
