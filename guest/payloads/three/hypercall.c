/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypercall column: the same by Nadir's calls (guest/hypercall.h). Where the kernel is at CPL 0
 * they are made by VMCALL, and what the column has no call for is done as natively; where it is at
 * CPL 3 (pv.c), by SYSCALL, and there nothing else can be done. */
#include "three.h"

#include "guest/lib/cpu.h"

bool is_pv;

int64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    int64_t result;
    if (is_pv)
        __asm__ volatile("syscall"
                         : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                         : "0"(number)
                         : "rcx", "r11", "memory", "cc");
    else
        __asm__ volatile("vmcall"
                         : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                         : "0"(number)
                         : "memory", "cc");
    return result;
}

/* By a feature of its own; the numbers alone could be another hypervisor's. */
bool hypercalls_exist(void)
{
    enum { HYPERVISOR = 1u << 31, NADI = 0x6964614e, WANTED = NADIR_FEATURES };
    if ((cpuid(1, 0).ecx & HYPERVISOR) == 0 || cpuid(0x40000000, 0).ebx != NADI)
        return false;
    return (cpuid(0x40000001, 0).ebx & WANTED) == WANTED;
}

void call_map_all(change *list, unsigned count)
{
    (void)hypercall(NADIR_CALL_MEMORY, (uint64_t)list, count, 0);
}

void call_map(uint64_t linear, uint64_t entry)
{
    change one = {.op = NADIR_MAP, .linear = linear, .entry = entry};
    call_map_all(&one, 1);
}

uint64_t call_clock(void)
{
    return (uint64_t)hypercall(NADIR_CALL_TIME, 0, 0, 0);
}

void call_start_timer(void)
{
    (void)hypercall(NADIR_CALL_TIMER, call_clock() + 1000, TIMER, 0);
}

void call_send(unsigned cpu, unsigned vector)
{
    (void)hypercall(NADIR_CALL_SEND, vector, cpu, 0);
}

void call_end_interrupt(void)
{
    (void)hypercall(NADIR_CALL_END, 0, 0, 0);
}

/* For as long as it takes. Interrupts come behind the one call, and until the other. */
void call_wait(void)
{
    (void)hypercall(NADIR_CALL_SLEEP, ~0ull, 0, ~0ull);
    (void)hypercall(NADIR_CALL_MASK, 0, 0, 0);
}

void call_write(const char *text, unsigned length)
{
    (void)hypercall(NADIR_CALL_WRITE, (uint64_t)text, length, 0);
}

void call_exit(int code)
{
    for (;;)
        (void)hypercall(NADIR_CALL_EXIT, (uint64_t)code, 0, 0);
}

static void switch_space(unsigned n)
{
    write_cr3((uint64_t)space[n].root);
}

const struct ops hypercall_ops = {
    .name = "hypercall",
    .map = call_map,
    .map_all = call_map_all,
    .switch_space = switch_space,
    .fault_address = read_cr2,
    .clock = call_clock,
    .start_timer = call_start_timer,
    .send = call_send,
    .end_interrupt = call_end_interrupt,
    .wait = call_wait,
    .write = call_write,
    .exit = call_exit,
};
