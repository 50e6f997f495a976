/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The start as a paravirtual guest, by Xen's interface for such kernels. The hypervisor has loaded
 * the ELF file (its notes: pv_entry.asm), built page tables, and entered the kernel at CPL 3. There
 * is no IDT, TSS or MSR to be set: the hypervisor is told where traps, system calls and a second
 * vCPU shall go, and which page tables count. All else are Nadir's own calls, hypercall.c.
 *
 * Memory: addresses, frames and what Xen calls machine frames are one here (VIRT_BASE 0, on Nadir).
 */
#include "three.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

/* What vCPUs share with the hypervisor, in one page: entry.asm clears `pending` of each. */
struct xen_vcpu_info pv_info[2] __attribute__((aligned(128)));

void pv_event(void), pv_second_entry(void);
extern uint8_t pv_second_stack[];

/* --- the column: of its own it has what natively is CR3 and CR2 --- */

static void switch_space(unsigned n)
{
    const struct xen_mmuext list[] = {
        {XEN_NEW_BASEPTR, (uint64_t)space[n].root / PAGE, 0},
        {XEN_NEW_USER_BASEPTR, (uint64_t)space[n].user_root / PAGE, 0},
    };
    (void)xen_call(XEN_MMUEXT_OP, (uint64_t)list, 2, 0, XEN_THIS_DOMAIN);
}

static uint64_t fault_address(void)
{
    return pv_info[0].fault_address;
}

const struct ops pv_ops = {
    .name = "hypercall",
    .map = call_map,
    .map_all = call_map_all,
    .switch_space = switch_space,
    .fault_address = fault_address,
    .clock = call_clock,
    .start_timer = call_start_timer,
    .send = call_send,
    .end_interrupt = call_end_interrupt,
    .wait = call_wait,
    .write = call_write,
    .exit = call_exit,
};

/* --- the start --- */

static struct xen_trap_info traps[STUBS + 1]; /* the last one, which is 0, ends the list */

static void tell_traps(void)
{
    for (unsigned i = 0; i < STUBS; i++)
        traps[i] = (struct xen_trap_info){
            .vector = (uint8_t)(i < EXCEPTIONS ? i : TIMER + i - EXCEPTIONS),
            .flags = XEN_MASKS_EVENTS,
            .cs = XEN_FLAT_CODE,
            .address = (uint64_t)pv_stubs + i * STUB_BYTES,
        };
    (void)xen_call(XEN_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0);
    (void)xen_call(XEN_STACK_SWITCH, XEN_FLAT_DATA, (uint64_t)trap_stack + TRAP_STACK_BYTES, 0, 0);
}

/* Where faults' addresses are told: in each vCPU's own struct. */
static void tell_info(uint64_t cpu)
{
    const uint64_t at = (uint64_t)&pv_info[cpu];
    const uint64_t argument[2] = {at / PAGE, at % PAGE};
    (void)xen_call(XEN_VCPU_OP, XEN_VCPU_REGISTER_INFO, cpu, (uint64_t)argument, 0);
    pv_info[cpu].pending = 0;
}

/* Page tables are the kernel's to read, the hypervisor's to write: Xen demands that before it takes
 * them. */
static void give_tables(struct space *s)
{
    uint64_t *const table[] = {s->root, s->user_root, s->pointers, s->directory, s->table};
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        (void)xen_call(XEN_UPDATE_VA_MAPPING, (uint64_t)table[i],
                       (uint64_t)table[i] | PRESENT | USER, XEN_FLUSH_INVLPG, 0);
    const struct xen_mmuext list[] = {
        {XEN_PIN_L4, (uint64_t)s->root / PAGE, 0},
        {XEN_PIN_L4, (uint64_t)s->user_root / PAGE, 0},
    };
    (void)xen_call(XEN_MMUEXT_OP, (uint64_t)list, 2, 0, XEN_THIS_DOMAIN);
}

/* struct vcpu_guest_context, of which most is 0: what CPU 1 begins with. */
static void start_second(void)
{
    enum { FLAGS = 512, RIP = 648, CS = 656, RFLAGS = 664, RSP = 672, SS = 680, TRAPS = 720 };
    enum { KERNEL_SS = 4968, KERNEL_SP = 4976, CR3 = 5008, EVENT = 5112, FAILSAFE = 5120 };
    enum { IN_KERNEL = 4, WORDS = 5168 / 8 };
    static uint64_t context[WORDS];
    context[FLAGS / 8] = IN_KERNEL;
    context[RIP / 8] = (uint64_t)pv_second_entry;
    context[CS / 8] = XEN_FLAT_CODE;
    context[RFLAGS / 8] = 2;
    context[RSP / 8] = (uint64_t)pv_second_stack;
    context[SS / 8] = XEN_FLAT_DATA;
    for (unsigned i = 0; i < STUBS; i++)
        memcpy(&context[TRAPS / 8 + 2 * traps[i].vector], &traps[i], sizeof(traps[i]));
    context[KERNEL_SS / 8] = XEN_FLAT_DATA;
    context[KERNEL_SP / 8] = (uint64_t)pv_second_stack;
    context[CR3 / 8] = (uint64_t)space[0].root;
    context[EVENT / 8] = (uint64_t)pv_event;
    context[FAILSAFE / 8] = (uint64_t)pv_failsafe;
    if (xen_call(XEN_VCPU_OP, XEN_VCPU_INITIALISE, 1, (uint64_t)context, 0) != 0)
        lack_second();
    (void)xen_call(XEN_VCPU_OP, XEN_VCPU_UP, 1, 0, 0);
}

void pv_main(const struct xen_start_info *info);
void pv_main(const struct xen_start_info *info)
{
    static const struct ops *const columns[] = {&pv_ops};
    is_pv = true;
    ops = &pv_ops;
    user_cs = XEN_FLAT_CODE;
    user_ss = XEN_FLAT_DATA;
    tell_info(0);
    tell_info(1);
    tell_traps();
    xen_tell_callback(XEN_CALLBACK_EVENT, pv_event);
    xen_tell_callback(XEN_CALLBACK_FAILSAFE, pv_failsafe);
    xen_tell_callback(XEN_CALLBACK_SYSCALL, pv_system_call_entry);
    spaces_build(*(const uint64_t *)info->page_tables);
    for (unsigned n = 0; n < SPACES; n++)
        give_tables(&space[n]);
    switch_space(0);
    start_second();
    call_exit(work(columns, 1) ? 0 : 1);
}
