/* SPDX-License-Identifier: BSD-2-Clause */
/* A 32-bit kernel as courses have them, and as it comes up: what the loader says, memory, CPUs,
 * devices, the first process. Its users' program, user.c, tests it, and prints the same lines on
 * any PC with two disks. */
#include "guest/payloads/tests/course32/kernel.h"

#define MOST_MEMORY (8u << 20)
#define DEBUG_EXIT  0xf4

extern const uint8_t kernel_end[];

static void say(const char *text)
{
    uint32_t bytes = 0;
    while (text[bytes] != 0)
        bytes++;
    console_send(text, bytes);
}

_Noreturn void machine_end(uint32_t code)
{
    interrupts_off();
    console_drain();
    port_out(DEBUG_EXIT, (uint8_t)code);
    for (;;)
        __asm__ volatile("hlt");
}

_Noreturn void panic(const char *what, uint32_t number)
{
    char text[] = " 00000000\r\n";
    for (unsigned i = 0; i < 8; i++)
        text[8 - i] = "0123456789abcdef"[number >> 4 * i & 15];
    interrupts_off();
    say("FAIL course32: ");
    say(what);
    say(text);
    machine_end(2);
}

/* What each CPU does last. */
static _Noreturn void run(struct cpu *cpu)
{
    cpu_init_apic();
    __atomic_store_n(&cpu->is_up, 1, __ATOMIC_RELEASE);
    process_schedule();
}

/* Its segments are not its own yet, nor is GS. */
static struct cpu *next_cpu(void)
{
    struct cpu *cpu = cpus;
    while (cpu->is_up != 0)
        cpu++;
    return cpu;
}

_Noreturn void kernel_other(void)
{
    struct cpu *cpu = next_cpu();
    trap_init_cpu(cpu);
    space_load_kernel();
    run(cpu);
}

_Noreturn void kernel_main(uint32_t loaded)
{
    const uint32_t *info = at_physical(loaded);
    const uint32_t memory = (1u << 20) + info[2] * 1024;
    trap_init();
    trap_init_cpu(&cpus[0]);
    console_init();
    cpus_find();
    memory_init(physical(kernel_end), memory < MOST_MEMORY ? memory : MOST_MEMORY);
    port_out(0x21, 0xff); /* no 8259s */
    port_out(0xa1, 0xff);
    line_enable(LINE_SERIAL, 0);
    line_enable(LINE_KEYBOARD, 0);
    disk_init();
    cpus[0].is_up = 1;
    cpus_start_others();
    memory_rest();
    say("course32: CPUs are up: ");
    const char count[] = {(char)('0' + cpu_count), '\r', '\n', 0};
    say(count);
    process_init();
    run(&cpus[0]);
}
