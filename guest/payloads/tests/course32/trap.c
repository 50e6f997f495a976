/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments and gates of each CPU, and what comes through the gates. */
#include "guest/payloads/tests/course32/kernel.h"

struct __attribute__((packed)) pointer {
    uint16_t limit;
    uint32_t base;
};

volatile uint32_t ticks, user_cpus;
static uint64_t gates[256];

void trap_init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        const uint32_t type =
            i == VECTOR_CALL ? 0xef00 : 0x8e00; /* interrupts stay on in system calls */
        gates[i] = (uint64_t)((vectors[i] & 0xffff0000) | type) << 32 | KERNEL_CODE << 16 |
                   (vectors[i] & 0xffff);
    }
}

static uint64_t segment(uint32_t base, uint32_t limit, uint64_t type)
{
    return (uint64_t)(base >> 24) << 56 | type << 40 | (uint64_t)(limit & 0xf0000) << 32 |
           (uint64_t)(base & 0xffffff) << 16 | (limit & 0xffff);
}

void trap_init_cpu(struct cpu *cpu)
{
    const uint32_t task = (uint32_t)(uintptr_t)cpu->task, own = (uint32_t)(uintptr_t)cpu;
    const struct pointer gdt = {sizeof(cpu->gdt) - 1, (uint32_t)(uintptr_t)cpu->gdt},
                         idt = {sizeof(gates) - 1, (uint32_t)(uintptr_t)gates};
    cpu->self = cpu;
    cpu->gdt[KERNEL_CODE / 8] = segment(0, 0xfffff, 0xc09a);
    cpu->gdt[KERNEL_DATA / 8] = segment(0, 0xfffff, 0xc092);
    cpu->gdt[KERNEL_CPU / 8] = segment(own, sizeof(*cpu) - 1, 0x4092);
    cpu->gdt[USER_CODE / 8] = segment(0, 0xfffff, 0xc0fa);
    cpu->gdt[USER_DATA / 8] = segment(0, 0xfffff, 0xc0f2);
    cpu->gdt[TASK / 8] = segment(task, sizeof(cpu->task) - 1, 0x0089);
    cpu->task[2] = KERNEL_DATA;                        /* SS0 */
    cpu->task[25] = (uint32_t)sizeof(cpu->task) << 16; /* no ports for users */
    __asm__ volatile("lgdt %0; ljmp %1, $1f; 1:" : : "m"(gdt), "i"(KERNEL_CODE) : "memory");
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(KERNEL_DATA));
    __asm__ volatile("mov %0, %%fs; mov %1, %%gs" : : "r"(0), "r"(KERNEL_CPU));
    __asm__ volatile("lidt %0; ltr %w1" : : "m"(idt), "r"(TASK));
}

static void interrupt(uint32_t vector)
{
    switch (vector) {
    case VECTOR_TIMER:
        if (this_cpu()->number == 0) {
            ticks++;
            process_wake(&ticks);
        }
        break;
    case VECTOR_LINES + LINE_KEYBOARD: keyboard_interrupt(); break;
    case VECTOR_LINES + LINE_SERIAL: console_interrupt(); break;
    case VECTOR_LINES + LINE_DISK: disk_interrupt(); break;
    case VECTOR_SPURIOUS: return;
    default: panic("nobody asked for interrupt", vector);
    }
    cpu_end_interrupt();
}

void trap(struct frame *frame)
{
    struct process *process = this_process();
    const bool is_user = (frame->cs & 3) == 3;
    if (is_user && frame->vector != VECTOR_CALL)
        __atomic_or_fetch(&user_cpus, 1u << this_cpu()->number, __ATOMIC_SEQ_CST);
    if (frame->vector == VECTOR_CALL) {
        process->frame = frame;
        if (!process->killed)
            frame->eax = system_call(process);
    } else if (frame->vector >= 32) {
        interrupt(frame->vector);
    } else {
        if (process == NULL || !is_user)
            panic("an exception in the kernel", frame->vector);
        process->status = KILLED | frame->vector;
        process->killed = true;
    }
    if (process == NULL)
        return;
    if (process->killed && is_user)
        process_exit(process->status);
    if (frame->vector == VECTOR_TIMER && process->state == RUNS)
        process_yield();
    if (process->killed && is_user)
        process_exit(process->status);
}
