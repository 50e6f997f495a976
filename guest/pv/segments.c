/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A domain's descriptors in the real GDT and LDT, and its selectors in the registers. The guest
 * says by calls which frames its tables are in and what changes in them; so they are copied then,
 * each as CPL 3 may have it. What the guest writes to these frames otherwise counts for nothing.
 */
#include "guest/pv/pv.h"

#include "arch/desc.h"
#include "arch/string.h"

#define DESCRIPTOR_P        (1ull << 47)
#define DESCRIPTOR_S        (1ull << 44) /* code or data */
#define DESCRIPTOR_CODE     (1ull << 43)
#define DESCRIPTOR_ACCESSED (1ull << 40)
#define DESCRIPTOR_DPL      (3ull << 45)
#define DESCRIPTOR_L        (1ull << 53)
#define DESCRIPTOR_DB       (1ull << 54)

#define FLAT_DATA   0x00cff3000000ffffull /* writable, accessed, 4 GiB */
#define FLAT_CODE32 0x00cffb000000ffffull
#define FLAT_CODE64 0x00affb000000ffffull

#define PER_PAGE (PAGE_SIZE / sizeof(uint64_t))

/*
 * What stands in the real table. All of a domain runs at CPL 3, its kernel, too, so any DPL becomes
 * 3; and A is set, lest the processor writes to the table. There are no gates, and no segments of
 * the system. 0: nothing.
 */
static uint64_t real_descriptor(uint64_t guest)
{
    if ((guest & (DESCRIPTOR_P | DESCRIPTOR_S)) != (DESCRIPTOR_P | DESCRIPTOR_S))
        return 0;
    if ((guest & DESCRIPTOR_CODE) == 0)
        guest &= ~DESCRIPTOR_L;
    if ((guest & (DESCRIPTOR_L | DESCRIPTOR_DB)) == (DESCRIPTOR_L | DESCRIPTOR_DB))
        return 0;
    return guest | DESCRIPTOR_DPL | DESCRIPTOR_ACCESSED;
}

static uint64_t *gdt_of_cpu(void)
{
    return cpu_self()->memory.gdt;
}

static bool is_loaded(const struct pv_vcpu *v)
{
    return cpu_self()->vcpu == &v->vcpu;
}

/* --- the tables --- */

static void put_gdt(const struct pv_vcpu *v, bool present)
{
    uint64_t *gdt = gdt_of_cpu();
    if (present)
        memcpy(gdt, v->gdt, v->gdt_count * sizeof(gdt[0]));
    else
        memset(gdt, 0, v->gdt_count * sizeof(gdt[0]));
    gdt[XEN_CODE32 / 8] = present ? FLAT_CODE32 : 0;
    gdt[XEN_DATA / 8] = present ? FLAT_DATA : 0;
    gdt[XEN_CODE64 / 8] = present ? FLAT_CODE64 : 0;
    desc_show_user(gdt, !present);
}
_Static_assert(PV_DESCRIPTORS <= XEN_GDT_ENTRIES && XEN_CODE64 < DESC_OWN,
               "guest's, Xen's, and the host's own descriptors, one behind the other");

static void put_ldt(const struct pv_vcpu *v)
{
    desc_load_ldt(cpu_self(), v->ldt_count != 0 ? v->ldt : NULL, v->ldt_count * 8);
}

/* The descriptors of a frame, or as many of them as count; false: that is not the domain's. */
static bool copy_frame(const struct pv_vcpu *v, gpa_t frame, uint64_t *to, uint64_t count)
{
    const uint64_t *from = guestmem_window(&v->vcpu.vm->mem, frame, PAGE_SIZE);
    if (from == NULL)
        return false;
    for (uint64_t i = 0; i < count; i++)
        to[i] = real_descriptor(__atomic_load_n(&from[i], __ATOMIC_RELAXED));
    return true;
}

/* Before it is read: pv_update_descriptor() looks at it behind a write to the frame, so that one of
 * both sees what the other has done. */
static void uses_frame(gpa_t *place, gpa_t frame)
{
    __atomic_store_n(&place->v, frame.v, __ATOMIC_SEQ_CST);
}

int64_t pv_read_gdt(struct pv_vcpu *v, const uint64_t *frames, uint64_t count)
{
    if (count > PV_DESCRIPTORS)
        return XEN_EINVAL;
    for (uint64_t i = 0; i * PER_PAGE < count; i++)
        if (frames[i] >= v->vcpu.vm->domain->pages)
            return XEN_EINVAL;
    if (is_loaded(v))
        put_gdt(v, false);
    v->gdt_count = 0;
    for (uint64_t done = 0; done < count; done += PER_PAGE) {
        const gpa_t frame = gpa(frames[done / PER_PAGE] * PAGE_SIZE);
        const uint64_t left = count - done;
        uses_frame(&v->gdt_frame[done / PER_PAGE], frame);
        (void)copy_frame(v, frame, &v->gdt[done], left < PER_PAGE ? left : PER_PAGE);
    }
    v->gdt[0] = 0;
    v->gdt_count = (unsigned)count;
    if (is_loaded(v))
        put_gdt(v, true);
    return 0;
}
_Static_assert(sizeof(((struct pv_vcpu *)0)->gdt_frame) / sizeof(gpa_t) * PER_PAGE >=
                   PV_DESCRIPTORS,
               "a frame for each page of them");

int64_t pv_set_gdt(struct pv_vcpu *v, struct pv_call *call)
{
    uint64_t frames[(PV_DESCRIPTORS + PER_PAGE - 1) / PER_PAGE];
    const uint64_t count = call->gpr[ARG1], pages = (count + PER_PAGE - 1) / PER_PAGE;
    if (count > PV_DESCRIPTORS)
        return XEN_EINVAL;
    if (!pv_read(v, call->gpr[ARG0], frames, pages * sizeof(frames[0])))
        return XEN_EFAULT;
    return pv_read_gdt(v, frames, count);
}

static void read_ldt(struct pv_vcpu *v)
{
    if (!copy_frame(v, v->ldt_frame, v->ldt, v->ldt_count))
        memset(v->ldt, 0, PAGE_SIZE);
}

/* An LDT may lie anywhere in the kernel's linear memory. */
int64_t pv_set_ldt(struct pv_vcpu *v, uint64_t linear, uint64_t count)
{
    if (count > PER_PAGE || linear % PAGE_SIZE != 0)
        return XEN_EINVAL;
    v->ldt_count = (unsigned)count;
    uses_frame(&v->ldt_frame, pv_page_at(v, linear));
    read_ldt(v);
    if (is_loaded(v))
        put_ldt(v);
    return 0;
}

void pv_descriptors_changed(struct pv_vcpu *v)
{
    const uint64_t frames[] = {v->gdt_frame[0].v / PAGE_SIZE, v->gdt_frame[1].v / PAGE_SIZE};
    (void)pv_read_gdt(v, frames, v->gdt_count);
    read_ldt(v);
}

static bool has_frame(const struct pv_vcpu *v, gpa_t frame)
{
    return __atomic_load_n(&v->gdt_frame[0].v, __ATOMIC_SEQ_CST) == frame.v ||
           __atomic_load_n(&v->gdt_frame[1].v, __ATOMIC_SEQ_CST) == frame.v ||
           __atomic_load_n(&v->ldt_frame.v, __ATOMIC_SEQ_CST) == frame.v;
}

static uint64_t others_with(const struct pv_vcpu *v, gpa_t frame)
{
    const struct vm *vm = v->vcpu.vm;
    uint64_t found = 0;
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        if (i != v->vcpu.index && has_frame(pv_vcpu(vm->vcpu[i]), frame))
            found |= 1ull << i;
    return found;
}

/* The guest's page gets the descriptor as it is; the processor's copies, of each vCPU whose table
 * the page is part of, what CPL 3 may have. */
int64_t pv_update_descriptor(struct pv_vcpu *v, struct pv_call *call)
{
    const gpa_t at = gpa(call->gpr[ARG0] & ~7ull), frame = gpa(at.v & ~(PAGE_SIZE - 1));
    const uint64_t value = call->gpr[ARG1], real = real_descriptor(value);
    uint64_t *entry = guestmem_writable_window(&v->vcpu.vm->mem, at, sizeof(*entry));
    if (entry == NULL || at.v / PAGE_SIZE >= v->vcpu.vm->domain->pages ||
        ((value & DESCRIPTOR_P) != 0 && real == 0))
        return XEN_EINVAL;
    __atomic_store_n(entry, value, __ATOMIC_SEQ_CST);
    const uint64_t offset = at.v % PAGE_SIZE / sizeof(value), others = others_with(v, frame);
    if (others != 0)
        pv_ask_others(v, others, PV_ASK_DESCRIPTORS);
    if (v->ldt_frame.v == frame.v && offset < v->ldt_count)
        v->ldt[offset] = real;
    for (unsigned page = 0; page * PER_PAGE < v->gdt_count; page++) {
        const uint64_t index = page * PER_PAGE + offset;
        if (v->gdt_frame[page].v != frame.v || index == 0 || index >= v->gdt_count)
            continue;
        v->gdt[index] = gdt_of_cpu()[index] = real;
    }
    return 0;
}

/* --- the registers --- */

static uint64_t descriptor_of(const struct pv_vcpu *v, uint64_t selector)
{
    const uint64_t index = selector >> 3;
    if ((selector & 4) != 0)
        return index < v->ldt_count ? v->ldt[index] : 0;
    return index < v->gdt_count ? v->gdt[index] : 0;
}

bool pv_is_code64(const struct pv_vcpu *v, uint64_t selector)
{
    const uint64_t l = 1ull << 53;
    return (selector | 3) == XEN_CODE64 || (descriptor_of(v, selector) & l) != 0;
}

static uint64_t base_of(uint64_t descriptor)
{
    return (descriptor >> 16 & 0xffffff) | (descriptor >> 56 & 0xff) << 24;
}

/* The host's own descriptors are in the same GDT, and at CPL 0 they can be loaded. */
static bool is_hosts(uint64_t selector)
{
    return (selector & 4) == 0 && selector >= DESC_OWN;
}

/* GS base of user code is not in the CPU while its kernel runs. */
static int64_t load_user_gs(struct pv_vcpu *v, uint64_t selector)
{
    const bool good =
        selector <= UINT16_MAX && !is_hosts(selector) && ring3_load_gs((uint16_t)selector);
    if (!good)
        (void)ring3_load_gs(0);
    v->user_gs_base = good ? base_of(descriptor_of(v, selector)) : 0;
    return good ? 0 : XEN_EFAULT;
}

int64_t pv_set_segment_base(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t base = call->gpr[ARG1];
    if (call->gpr[ARG0] == XEN_BASE_GS_USER_SELECTOR)
        return load_user_gs(v, base);
    if (!pv_is_canonical(base))
        return XEN_EINVAL;
    switch (call->gpr[ARG0]) {
    case XEN_BASE_FS: cpu_wrmsr(MSR_IA32_FS_BASE, base); return 0;
    case XEN_BASE_GS_USER: v->user_gs_base = base; return 0;
    case XEN_BASE_GS_KERNEL: cpu_wrmsr(MSR_IA32_KERNEL_GS_BASE, base); return 0;
    default: return XEN_EINVAL;
    }
}

/* A selector may have lost its descriptor while the vCPU was away: the guest's failsafe callback is
 * told, by v->selector, and the register is null. Bases are written behind the loads, which change
 * them. */
void pv_segments_load(struct pv_vcpu *v)
{
    static bool (*const load[4])(uint16_t) = {ring3_load_ds, ring3_load_es, ring3_load_fs,
                                              ring3_load_gs};
    put_gdt(v, true);
    put_ldt(v);
    v->failsafe_due = false;
    for (unsigned i = 0; i < 4; i++)
        if (is_hosts(v->selector[i]) || !load[i](v->selector[i])) {
            (void)load[i](0);
            v->failsafe_due = true;
        }
    cpu_wrmsr(MSR_IA32_FS_BASE, v->fs_base);
    cpu_wrmsr(MSR_IA32_KERNEL_GS_BASE, v->user ? v->user_gs_base : v->kernel_gs_base);
}

void pv_segments_put(struct pv_vcpu *v)
{
    const uint64_t gs_base = cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE);
    if (!v->failsafe_due) /* the guest has not run since, and is still to be told */
        ring3_read_selectors(v->selector);
    v->fs_base = cpu_rdmsr(MSR_IA32_FS_BASE);
    if (v->user)
        v->user_gs_base = gs_base;
    else
        v->kernel_gs_base = gs_base;
    put_gdt(v, false);
    desc_load_ldt(cpu_self(), NULL, 0);
    (void)ring3_load_ds(0);
    (void)ring3_load_es(0);
    (void)ring3_load_fs(0);
    (void)ring3_load_gs(0);
}
