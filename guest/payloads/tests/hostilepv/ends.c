/* SPDX-License-Identifier: BSD-2-Clause */
/* What ends a domain, and nothing else. */
#include "hostilepv.h"

#include "guest/hypercall.h"

static const struct iret_frame to_user = {
    .rip = 0x200000, .cs = XEN_FLAT_CODE, .rflags = 2, .rsp = 8, .ss = XEN_FLAT_DATA};

/* A trap of user code, whose frame has no stack. */
static void no_kernel_stack(void)
{
    put_code("\x0f\x0b", 2);
    struct iret_frame f = to_user;
    f.rip = (uint64_t)code_page;
    (void)xen_call(XEN_STACK_SWITCH, XEN_FLAT_DATA, (uint64_t)area[2], 0, 0);
    (void)probe_iret(&f);
}

static void no_stack(void)
{
    __asm__ volatile("mov $0xffff800000001000, %%rsp; ud2" ::: "memory");
}

static void stack_beyond_all(void)
{
    __asm__ volatile("mov $0x800000000010, %%rsp; ud2" ::: "memory");
}

static void stack_read_only(void)
{
    __asm__ volatile("mov %0, %%rsp; ud2" ::"r"((uint64_t)area[12] + PAGE) : "memory");
}

static void iret_without_stack(void)
{
    (void)probe_iret((const struct iret_frame *)0x7ffffffffff0);
}

static void no_handler(void)
{
    (void)xen_call(XEN_SET_TRAP_TABLE, 0, 0, 0, 0);
    __asm__ volatile("ud2");
}

/* The handler's first fetch is the next fault: frames go down the stack until that ends. */
static void handler_nowhere(void)
{
    static const struct xen_trap_info traps[] = {
        {PF, 0, 0, 0x7000000000}, {GP, 0, 0, HOLE}, {0, 0, 0, 0}};
    (void)xen_call(XEN_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0);
    (void)*(volatile uint8_t *)HOLE;
}

static void no_user_tables(void)
{
    (void)mmuext(XEN_NEW_USER_BASEPTR, 0, 0);
    (void)probe_iret(&to_user);
}

static void event_without_callback(void)
{
    (void)xen_call(XEN_SET_CALLBACKS, 0, 0, 0, 0);
    infos[0].pending = 1;
    infos[0].masked = 0;
    (void)xen_call(XEN_VERSION, 0, 0, 0, 0);
}

static void other_root(void)
{
    memset(area[0], 0, PAGE);
    (void)mmuext(XEN_NEW_BASEPTR, (uint64_t)area[0] / PAGE, 0);
}

static void root_of_rubbish(void)
{
    (void)mmuext(XEN_NEW_BASEPTR, (uint64_t)code_page / PAGE, 0);
}

static void own_mapping_gone(void)
{
    (void)mmu_update(kernel_root, 0);
    (void)mmuext(XEN_FLUSH_LOCAL, 0, 0);
}

static void reboot(void)
{
    const uint32_t reason = 1;
    (void)xen_call(XEN_SCHED_OP, 2, (uint64_t)&reason, 0, 0);
}

static void down(void)
{
    for (unsigned i = 0; i < 2; i++)
        (void)xen_call(XEN_VCPU_OP, 2, i, 0, 0);
}

static void exit_7(void)
{
    (void)xen_call(NADIR_CALL_EXIT, 7, 0, 0, 0);
}

bool end_as(const char *how)
{
    static const struct {
        const char *name;
        void (*end)(void);
    } ways[] = {
        {"no-kernel-stack", no_kernel_stack},
        {"no-stack", no_stack},
        {"stack-beyond-all", stack_beyond_all},
        {"stack-read-only", stack_read_only},
        {"iret-without-stack", iret_without_stack},
        {"no-handler", no_handler},
        {"handler-nowhere", handler_nowhere},
        {"no-user-tables", no_user_tables},
        {"event-without-callback", event_without_callback},
        {"other-root", other_root},
        {"root-of-rubbish", root_of_rubbish},
        {"own-mapping-gone", own_mapping_gone},
        {"reboot", reboot},
        {"exit-7", exit_7},
        {"down", down},
    };
    for (unsigned i = 0; i < ARRAY(ways); i++)
        if (is_text(ways[i].name, how)) {
            ways[i].end();
            return true;
        }
    return false;
}
