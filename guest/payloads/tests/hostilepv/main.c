/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A paravirtual kernel that does to its hypervisor what it can: calls by all numbers with pointers
 * and counts of all kinds, privileged instructions, tables and selectors of no sense, two vCPUs of
 * which one changes what the other's call reads. What Xen's interface defines is checked; beside
 * that, the hypervisor has to go on, and others must not notice. By its command line it ends in one
 * of the ways that end a domain (ends.c).
 */
#include "hostilepv.h"

page shared;
struct xen_vcpu_info infos[2] __attribute__((aligned(128)));
uint64_t kernel_root, pages;
static unsigned passed, failed;

void check(bool ok, const char *what, uint64_t a, uint64_t b)
{
    enum { SHOWN = 20 };
    passed += ok;
    failed += !ok;
    if (!ok && failed <= SHOWN)
        print("FAIL hostilepv: %s: %lx %lx\n", what, a, b);
}

void expect(int64_t got, int64_t want, const char *what, uint64_t about)
{
    enum { SHOWN = 20 };
    passed += got == want;
    failed += got != want;
    if (got != want && failed <= SHOWN)
        print("FAIL hostilepv: %s (%lx): %ld, not %ld\n", what, about, got, want);
}

uint64_t wild(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void put_code(const void *bytes, unsigned length)
{
    memcpy(code_page, bytes, length);
    code_page[length] = 0xc3; /* RET */
}

_Noreturn void trap_unexpected(void);
_Noreturn void trap_unexpected(void)
{
    print("FAIL hostilepv: trap %lu, error %lx, at %lx\n", trap_last.vector, trap_last.error,
          trap_last.rip);
    xen_end(false);
}

void make_traps(void)
{
    enum { STUBS = 32, STUB_BYTES = 16, GATE = 0x80 };
    static struct xen_trap_info traps[STUBS + 1];
    for (unsigned i = 0; i < STUBS; i++)
        traps[i] = (struct xen_trap_info){(uint8_t)i, i == BP ? 3 : 0, XEN_FLAT_CODE,
                                          (uint64_t)stubs + i * STUB_BYTES};
    (void)xen_call(XEN_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0);
    (void)xen_call(XEN_STACK_SWITCH, XEN_FLAT_DATA, (uint64_t)trap_stack_end, 0, 0);
    xen_tell_callback(XEN_CALLBACK_EVENT, entry_event);
    xen_tell_callback(XEN_CALLBACK_FAILSAFE, entry_failsafe);
    xen_tell_callback(XEN_CALLBACK_SYSCALL, entry_syscall);
    (void)xen_call(XEN_FPU_TASKSWITCH, 0, 0, 0, 0); /* CR0.TS off */
    (void)xen_call(XEN_SET_DEBUGREG, 7, 0, 0, 0);   /* DR7 */
    (void)xen_call(XEN_SET_TIMER_OP, 0, 0, 0, 0);
    infos[0].pending = 0;
    infos[0].pending_words = 0;
    for (unsigned i = 0; i < 64; i++)
        ((volatile uint64_t *)shared)[256 + i] = 0;
}

/* What is said once: no call can move or bind these again. */
static void make_infos_and_timer(void)
{
    enum { BIND_VIRQ = 1, UNMASK = 9, IS_UP = 3 };
    for (uint64_t i = 0; i < 2 && xen_call(XEN_VCPU_OP, IS_UP, i, 0, 0) >= 0; i++) {
        const uint64_t at = (uint64_t)&infos[i], argument[2] = {at / PAGE, at % PAGE};
        expect(xen_call(XEN_VCPU_OP, XEN_VCPU_REGISTER_INFO, i, (uint64_t)argument, 0), 0,
               "register_vcpu_info", i);
        expect(xen_call(XEN_VCPU_OP, XEN_VCPU_REGISTER_INFO, i, (uint64_t)argument, 0), EINVAL,
               "register_vcpu_info, again", i);
    }
    uint32_t bind[3] = {0, 0, 0};
    expect(xen_call(XEN_EVENT_CHANNEL_OP, BIND_VIRQ, (uint64_t)bind, 0, 0), 0, "bind_virq", 0);
    expect(xen_call(XEN_EVENT_CHANNEL_OP, UNMASK, (uint64_t)&bind[2], 0, 0), 0, "unmask", 0);
}

void end_user_code_after(uint64_t ns)
{
    enum { RUNSTATE = 4 };
    uint64_t state[6]; /* of them the second: when it began, which is now */
    (void)xen_call(XEN_VCPU_OP, RUNSTATE, 0, (uint64_t)state, 0);
    (void)xen_call(XEN_SET_TIMER_OP, state[1] + ns, 0, 0, 0);
}

static const struct {
    const char *name;
    void (*attack)(void);
} parts[] = {{"calls", attack_calls},
             {"instructions", attack_cpu},
             {"segments", attack_segments},
             {"page-tables", attack_memory},
             {"two-vcpus", attack_by_two}};

/* That part, or all. */
static bool attack(const char *name)
{
    bool any = false;
    for (unsigned i = 0; i < ARRAY(parts); i++) {
        const unsigned before = failed;
        if (*name != 0 && !is_text(name, parts[i].name))
            continue;
        parts[i].attack();
        make_traps();
        print("%s hostilepv: %s\n", failed == before ? "ok" : "FAIL", parts[i].name);
        any = true;
    }
    return any;
}

bool is_text(const char *a, const char *b)
{
    for (; *a != 0 && *a == *b; a++, b++) {}
    return *a == *b;
}

_Noreturn void pv_main(const struct xen_start_info *info);
_Noreturn void pv_main(const struct xen_start_info *info)
{
    static char how[64];
    xen_print();
    memcpy(how, info->command_line, sizeof(how) - 1);
    kernel_root = info->page_tables;
    pages = info->pages;
    make_traps();
    expect(map(shared, info->shared_info | PTE_P | PTE_W), 0, "the shared page", 0);
    make_memory(info);
    make_infos_and_timer();
    if (attack(how)) {
        print("hostilepv: %u passed, %u failed\n", passed, failed);
        xen_end(failed == 0);
    }
    print("FAIL hostilepv: it has not ended as '%s'\n", end_as(how) ? how : "unknown");
    xen_end(false);
}
