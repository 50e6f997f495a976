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

/* Xen's numbers (public/xen.h, vcpu.h, callback.h). */
enum xen_call {
    SET_TRAP_TABLE = 0,
    STACK_SWITCH = 3,
    UPDATE_VA_MAPPING = 14,
    VCPU_OP = 24,
    MMUEXT_OP = 26,
    CALLBACK_OP = 30,
};
enum { VCPU_INITIALISE = 0, VCPU_UP = 1, VCPU_REGISTER_INFO = 10 };
enum { PIN_L4_TABLE = 3, NEW_BASEPTR = 5, NEW_USER_BASEPTR = 15 };
enum { CALLBACK_EVENT, CALLBACK_FAILSAFE, CALLBACK_SYSCALL };
enum { THIS_DOMAIN = 0x7ff0, FLAT_CODE = 0xe033, FLAT_DATA = 0xe02b, MASKS_EVENTS = 4 };

struct start_info {
    char magic[32];
    uint64_t pages, shared_info;
    uint32_t flags;
    uint64_t store_frame;
    uint32_t store_port;
    uint64_t console_frame;
    uint32_t console_port;
    uint64_t page_tables; /* of which the kernel has been started: where they are */
};

struct trap_info {
    uint8_t vector, flags;
    uint16_t cs;
    uint64_t address;
};

struct mmuext {
    uint32_t command;
    uint64_t frame, argument;
};

/* What a vCPU shares with the hypervisor: entry.asm clears `pending`. */
struct vcpu_info {
    uint8_t pending, masked;
    uint64_t pending_words, fault_address;
    uint8_t time[40];
};
struct vcpu_info pv_info[2] __attribute__((aligned(128)));
_Static_assert(sizeof(struct vcpu_info) == 64, "they are in one page, and entry.asm counts on it");

void pv_event(void), pv_second_entry(void);
extern uint8_t pv_second_stack[];

static int64_t xen(enum xen_call number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t result;
    register uint64_t fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth)
                     : "0"((uint64_t)number)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

/* --- the column: of its own it has what natively is CR3 and CR2 --- */

static void switch_space(unsigned n)
{
    const struct mmuext list[] = {
        {NEW_BASEPTR, (uint64_t)space[n].root / PAGE, 0},
        {NEW_USER_BASEPTR, (uint64_t)space[n].user_root / PAGE, 0},
    };
    (void)xen(MMUEXT_OP, (uint64_t)list, 2, 0, THIS_DOMAIN);
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

static struct trap_info traps[STUBS + 1]; /* the last one, which is 0, ends the list */

static void tell_traps(void)
{
    for (unsigned i = 0; i < STUBS; i++)
        traps[i] = (struct trap_info){
            .vector = (uint8_t)(i < EXCEPTIONS ? i : TIMER + i - EXCEPTIONS),
            .flags = MASKS_EVENTS,
            .cs = FLAT_CODE,
            .address = (uint64_t)pv_stubs + i * STUB_BYTES,
        };
    (void)xen(SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0);
    (void)xen(STACK_SWITCH, FLAT_DATA, (uint64_t)trap_stack + TRAP_STACK_BYTES, 0, 0);
}

static void tell_callback(uint16_t type, void (*entry)(void))
{
    const struct {
        uint16_t type, flags;
        uint64_t address;
    } callback = {type, 1, (uint64_t)entry}; /* 1: events are masked for it */
    (void)xen(CALLBACK_OP, 0, (uint64_t)&callback, 0, 0);
}

/* Where faults' addresses are told: in each vCPU's own struct. */
static void tell_info(uint64_t cpu)
{
    const uint64_t at = (uint64_t)&pv_info[cpu];
    const uint64_t argument[2] = {at / PAGE, at % PAGE};
    (void)xen(VCPU_OP, VCPU_REGISTER_INFO, cpu, (uint64_t)argument, 0);
    pv_info[cpu].pending = 0;
}

/* Page tables are the kernel's to read, the hypervisor's to write: Xen demands that before it takes
 * them. */
static void give_tables(struct space *s)
{
    uint64_t *const table[] = {s->root, s->user_root, s->pointers, s->directory, s->table};
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        (void)xen(UPDATE_VA_MAPPING, (uint64_t)table[i], (uint64_t)table[i] | PRESENT | USER, 2, 0);
    const struct mmuext list[] = {
        {PIN_L4_TABLE, (uint64_t)s->root / PAGE, 0},
        {PIN_L4_TABLE, (uint64_t)s->user_root / PAGE, 0},
    };
    (void)xen(MMUEXT_OP, (uint64_t)list, 2, 0, THIS_DOMAIN);
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
    context[CS / 8] = FLAT_CODE;
    context[RFLAGS / 8] = 2;
    context[RSP / 8] = (uint64_t)pv_second_stack;
    context[SS / 8] = FLAT_DATA;
    for (unsigned i = 0; i < STUBS; i++)
        memcpy(&context[TRAPS / 8 + 2 * traps[i].vector], &traps[i], sizeof(traps[i]));
    context[KERNEL_SS / 8] = FLAT_DATA;
    context[KERNEL_SP / 8] = (uint64_t)pv_second_stack;
    context[CR3 / 8] = (uint64_t)space[0].root;
    context[EVENT / 8] = (uint64_t)pv_event;
    context[FAILSAFE / 8] = (uint64_t)pv_failsafe;
    (void)xen(VCPU_OP, VCPU_INITIALISE, 1, (uint64_t)context, 0);
    (void)xen(VCPU_OP, VCPU_UP, 1, 0, 0);
}

void pv_main(const struct start_info *info);
void pv_main(const struct start_info *info)
{
    static const struct ops *const columns[] = {&pv_ops};
    is_pv = true;
    ops = &pv_ops;
    user_cs = FLAT_CODE;
    user_ss = FLAT_DATA;
    tell_info(0);
    tell_info(1);
    tell_traps();
    tell_callback(CALLBACK_EVENT, pv_event);
    tell_callback(CALLBACK_FAILSAFE, pv_failsafe);
    tell_callback(CALLBACK_SYSCALL, pv_system_call_entry);
    spaces_build(*(const uint64_t *)info->page_tables);
    for (unsigned n = 0; n < SPACES; n++)
        give_tables(&space[n]);
    switch_space(0);
    start_second();
    call_exit(work(columns, 1) ? 0 : 1);
}
