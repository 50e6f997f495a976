// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A paravirtual kernel of two vCPUs that makes Xen's calls with anything in its registers and
 * memory, its page tables included, which change meanwhile: each call ends in bounded portions,
 * touches nothing but the domain's RAM, and leaves the CPU what CPL 3 may have. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "tests/unit/pv_test.h"

#define STEP      16u /* bytes of input */
#define MAX_STEPS 48u
#define LOOK      500u /* ticks that pass at each look at the clock */
/* What a call takes at most: where it ends a portion, it has looked at the clock at least once for
 * each 32 elements. */
#define MOST    (WORK_TICKS + 40 * LOOK)
#define CONTEXT 0x18f00ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *change; /* what the other vCPU writes at each look at the clock */

/* A value that means something: an address of each kind, a frame, a count, or near a border. */
static uint64_t value_of(const uint8_t *data)
{
    const uint64_t small = (uint64_t)data[1] << 8 | data[2];
    switch (data[0] & 15) {
    case 0: return small;
    case 1: return small & 31;
    case 2: return 0ull - small;
    case 3: return small << (data[0] >> 4) * 3;
    case 4: return 0x800000000000ull - 0x8000 + small;
    case 5: return 0xffff800000000000ull + small;
    case 6: return (uint64_t)XEN_DOMID_SELF;
    case 7: return (small & 0x3f) * PAGE_SIZE | 7; /* an entry */
    case 8: return LEAVES + (small & 0x1ff) * 8 + (data[0] >> 6);
    case 9: return UPPER + small;
    case 10: return GDT + small % PAGE_SIZE;
    case 11: return CONTEXT;
    case 12: return 0x00cf93000000ffffull ^ 1ull << (small & 63);
    case 13: return UNMAPPED - 64 + (small & 127);
    default: return ARGS + (small & 0xfff) * 8;
    }
}

/* Of the second half of RAM, and the tables' leaves. */
static uint64_t place_of(const uint8_t *data)
{
    const uint64_t at = ((uint64_t)data[0] << 8 | data[1]) * 8 % RAM;
    return at;
}

static void other_vcpu(void)
{
    put(place_of(change), value_of(change + 2));
}

static void demand_descriptor(uint64_t d)
{
    const uint64_t present = 1ull << 47 | 1ull << 44 | 3ull << 45 | 1ull << 40;
    demand(d == 0 || (d & present) == present, "a descriptor that CPL 3 must not have");
    demand((d >> 53 & 3) != 3, "a descriptor of two sizes");
}

static bool is_in_ram(const void *p, size_t bytes)
{
    return (const uint8_t *)p >= ram && (const uint8_t *)p + bytes <= ram + RAM + PAGE_SIZE;
}

static void check_vcpu(const struct pv_vcpu *v)
{
    const uint64_t flags = v->frame.rflags;
    demand(is_in_ram(v->info, sizeof(*v->info)), "events are outside of RAM");
    demand(v->kernel_cr3 % PAGE_SIZE == 0 && v->kernel_cr3 < RAM && v->user_cr3 < RAM,
           "page tables are outside of RAM");
    demand((flags & (RFLAGS_IF | RFLAGS_IOPL | RFLAGS_VM)) == RFLAGS_IF, "flags");
    demand((v->frame.cs & 3) == 3, "CPL");
    demand(pv_is_canonical(v->kernel_sp) && pv_is_canonical(v->user_gs_base) &&
               pv_is_canonical(v->kernel_gs_base) && pv_is_canonical(v->fs_base),
           "bases");
    for (unsigned i = 0; i < XEN_CALLBACKS; i++)
        demand(pv_is_canonical(v->callback[i]), "a callback");
    demand(v->gdt_count <= PV_DESCRIPTORS && v->ldt_count <= 512, "limits");
    demand((v->dr7 & DR7_GD) == 0, "the debug registers themselves");
}

static void check_all(void)
{
    demand(!host.locked, "the lock is held");
    for (unsigned i = 0; i < XEN_CODE32 / 8; i++)
        demand_descriptor(real_gdt[i]);
    for (unsigned i = DESC_OWN / 8; i < DESC_GDT_ENTRIES; i++)
        demand(real_gdt[i] == 0, "the host's descriptors");
    for (unsigned i = 0; i < host.ldt_bytes / 8; i++)
        demand_descriptor(host.ldt[i]);
    check_vcpu(&vcpus[0]);
    check_vcpu(&vcpus[1]);
}

/* Until the call is over, or for a while: the counts of some are large. */
static void call(struct pv_vcpu *v, const uint8_t *data)
{
    static const uint8_t argument[5] = {RDI, RSI, RDX, R10, R8};
    struct ring3_frame *f = &v->frame;
    const uint64_t rip = f->rip;
    f->gpr[RAX] = data[1] % 48u;
    for (unsigned i = 0; i < 4; i++)
        f->gpr[argument[i]] = value_of(data + 2 + i * 3);
    if ((data[0] & 0x10) != 0) /* which vcpu_op and others take first */
        f->gpr[RDI] = data[14] & 31;
    if ((data[0] & 0x20) != 0)
        f->gpr[RSI] = data[15] & 3;
    if ((data[0] & 0x40) != 0)
        f->gpr[R10] = XEN_DOMID_SELF;
    if ((data[0] & 0x80) != 0) /* a structure behind an operation, which turn() has written */
        f->gpr[RSI] = ARGS + (data[5] & 15) * 8u;
    for (unsigned parts = 0; parts < 20; parts++) {
        const uint64_t before = host.tsc;
        execute(v);
        demand(host.tsc - before <= MOST, "a portion takes too long");
        if (f->rip != rip || vm.end != VM_RUNS)
            break;
    }
    f->rip = CODE;
}

/* An exception, with bytes of code that has met it. */
static void trap(struct pv_vcpu *v, const uint8_t *data)
{
    memcpy(ram + CODE, data + 4, 12);
    v->frame.rip = CODE;
    v->frame.error = data[2] & 31;
    v->frame.cr2 = value_of(data + 4);
    v->trap[data[3]].address = CODE;
    pv_trap(v, data[1] & 31);
}

/* What CPL 3 must not execute, and is executed for it: with the registers that it looks at. */
static void privileged(struct pv_vcpu *v, const uint8_t *data)
{
    static const uint8_t code[][2] = {
        {0x0f, 0xa2}, /* CPUID */
        {0x0f, 0x32}, /* RDMSR */
        {0x0f, 0x30}, /* WRMSR */
        {0x0f, 0x20}, /* MOV from, to a control register, a debug register */
        {0x0f, 0x22}, {0x0f, 0x21}, {0x0f, 0x23}, {0x0f, 0x01}, /* XSETBV, and others */
        {0x0f, 0x06},                                           /* CLTS */
        {0x0f, 0x09},                                           /* WBINVD */
        {0xf4, 0x90},                                           /* HLT */
        {0xfa, 0x90}, {0xfb, 0x90},                             /* CLI, STI */
        {0xec, 0x90}, {0xee, 0x90},                             /* IN, OUT */
    };
    static const uint32_t msr[] = {
        MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX,
        MSR_IA32_EFER,    MSR_IA32_PAT,     MSR_IA32_MCG_STATUS,     MSR_IA32_TIME_STAMP_COUNTER,
    };
    uint64_t *gpr = v->frame.gpr;
    memcpy(ram + CODE, code[data[2] % (sizeof(code) / sizeof(code[0]))], 2);
    ram[CODE + 2] = data[3];
    gpr[RCX] = (data[4] & 8) != 0 ? value_of(data + 11) : msr[data[4] & 7];
    gpr[RAX] = value_of(data + 5);
    gpr[RDX] = value_of(data + 8);
    v->frame.rip = CODE;
    v->frame.error = 0;
    pv_trap(v, VECTOR_GENERAL_PROTECTION);
}

static void turn(struct pv_vcpu *v, const uint8_t *data)
{
    load_vcpu(v->vcpu.index);
    vcpus[1 - v->vcpu.index].entered = true;
    switch (data[0] & 7) {
    case 0: put(place_of(data + 1), value_of(data + 3)); break;
    case 1: /* an operation, or a structure of few words */
        put(ARGS + (data[1] & 15) * 8u, value_of(data + 2));
        put(ARGS + (data[1] & 15) * 8u + 8, value_of(data + 5));
        put(ARGS + (data[1] & 15) * 8u + 16, value_of(data + 8));
        break;
    case 2: /* a call among several */
        put(ARGS + (data[1] & 15) * 64u, data[2] % 48u);
        for (unsigned i = 0; i < 4; i++)
            put(ARGS + (data[1] & 15) * 64u + 16 + i * 8u, value_of(data + 3 + i * 3));
        break;
    case 3:
        if ((data[1] & 0x80) != 0)
            privileged(v, data);
        else
            trap(v, data);
        break;
    case 4: pv_deliver_waiting(v); break;
    default:
        if (!v->user)
            call(v, data);
        else
            pv_bounce_syscall(v);
        break;
    }
    if ((vcpus[1].asked & PV_ASK_UP) != 0) {
        load_vcpu(1);
        pv_start_take(&vcpus[1]);
    }
    for (unsigned i = 0; i < 2; i++) {
        vcpus[i].asked = 0;
        if (pv_wait_is_over(&vcpus[i]))
            pv_wait_ends(&vcpus[i]);
        timers_run(&vcpus[i].vcpu.timers, host.tsc);
        pv_space_flush_now(&vcpus[i]);
    }
}

static void make_context(void)
{
    put(CONTEXT + XEN_CONTEXT_GDT, GDT / PAGE_SIZE);
    put(CONTEXT + XEN_CONTEXT_GDT_ENTRIES, 16);
    put(CONTEXT + XEN_CONTEXT_CONTROL + 24, TABLES);
    put(GDT + 8, 0x00cf93000000ffffull);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_domain(2, HZ);
    make_context();
    host.step = LOOK;
    vcpus[0].user_cr3 = USER_TOP;
    for (unsigned n = 0; n < MAX_STEPS && size >= STEP && vm.end == VM_RUNS; n++) {
        change = data + 8;
        host.meanwhile = (data[15] & 0x80) != 0 ? other_vcpu : NULL;
        turn(&vcpus[data[0] >> 3 & vcpus[1].up & 1], data);
        host.meanwhile = NULL;
        check_all();
        data += STEP;
        size -= STEP;
    }
    host.meanwhile = NULL;
    destroy_domain();
    return 0;
}
