/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of this kernel share. It is as kernels of courses are: loaded by multiboot at 1
 * MiB, running at 2 GiB, each process with a page directory that has the kernel in it, a stack in
 * the kernel for each, one lock for all of them, and all CPUs looking for one that can run. Begin
 * at main.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_BASE 0x80000000u
#define PAGE_BYTES  4096u
#define USER_BASE   0x1000u /* an address of 0 is nobody's */
#define MAX_CPUS    4
#define PROCESSES   24
#define KILLED      0x100u /* status of a process that has ended by an exception, and its vector */

enum {
    KERNEL_CODE = 0x08,
    KERNEL_DATA = 0x10,
    KERNEL_CPU = 0x18,
    USER_CODE = 0x23,
    USER_DATA = 0x2b,
    TASK = 0x30
};
enum { VECTOR_TIMER = 32, VECTOR_LINES = 32, VECTOR_CALL = 0x40, VECTOR_SPURIOUS = 63 };
enum { LINE_KEYBOARD = 1, LINE_SERIAL = 4, LINE_DISK = 14 };

/* What is on a stack when C code has an interrupt, from below. */
struct frame {
    uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
    uint32_t gs, fs, es, ds;
    uint32_t vector, error;
    uint32_t eip, cs, eflags;
    uint32_t esp, ss; /* if it comes from user code */
};

/* The same for a stack that is not the current one. */
struct context {
    uint32_t edi, esi, ebx, ebp, eip;
};

struct lock {
    volatile uint32_t taken;
};

enum process_state { UNUSED, MADE, SLEEPS, READY, RUNS, ENDED };

struct process {
    enum process_state state;
    uint32_t id;
    struct process *parent;
    uint32_t *directory;
    uint32_t size; /* its memory ends there */
    uint8_t *stack;
    struct frame *frame;
    struct context *context;
    const volatile void *awaits;
    volatile bool killed;
    uint32_t status;
};

/* GS leads to it, in the kernel. */
struct cpu {
    struct cpu *self;
    struct process *process;
    struct context *scheduler;
    unsigned off_depth; /* how many locks it has; with interrupts off meanwhile */
    bool was_on;
    uint8_t number, apic_id;
    volatile uint32_t is_up;
    uint64_t gdt[8];
    uint32_t task[26];
};

extern struct cpu cpus[MAX_CPUS];
extern unsigned cpu_count;
extern volatile uint32_t user_cpus; /* a bit for each CPU that has run user code */
extern volatile uint32_t ticks;

/* main.c */
_Noreturn void kernel_main(uint32_t loaded);
_Noreturn void kernel_other(void);
_Noreturn void machine_end(uint32_t code);
_Noreturn void panic(const char *what, uint32_t number);

/* start.asm */
extern uint32_t first_directory[], other_stack;
extern const uint8_t other_start[], other_end[];
extern const uint32_t vectors[];
void trap_return(void);
void switch_context(struct context **from, struct context *to);

/* memory.c: pages, and address spaces of them */
#define FIRST_MEMORY (4u << 20) /* what the tables reach that each CPU starts with */
void memory_init(uint32_t from, uint32_t to);
void memory_rest(void); /* when all CPUs have those of the kernel */
void *page_take(void);
void page_give(void *page);
uint32_t pages_free(void);
uint32_t *space_make(void);
uint32_t *space_copy(const uint32_t *directory, uint32_t size);
bool space_resize(uint32_t *directory, uint32_t from, uint32_t to);
void space_forbid(uint32_t *directory, uint32_t at);
void space_write(uint32_t *directory, uint32_t at, const uint8_t *from, uint32_t bytes);
void space_free(uint32_t *directory, uint32_t size);
void space_load_kernel(void);

/* cpus.c: the MP table, local APICs and the IO-APIC */
void cpus_find(void);
void cpu_init_apic(void);
void cpus_start_others(void);
void cpu_end_interrupt(void);
void line_enable(unsigned line, unsigned cpu);

/* process.c */
void process_init(void);
_Noreturn void process_schedule(void);
_Noreturn void process_exit(uint32_t status);
uint32_t process_fork(void);
uint32_t process_wait(uint32_t *status);
bool process_kill(uint32_t id);
void process_sleep(const volatile void *what, struct lock *lock);
void process_wake(const volatile void *what);
void process_yield(void);
void lock_take(struct lock *lock);
void lock_give(struct lock *lock);

/* trap.c */
void trap_init(void);
void trap_init_cpu(struct cpu *cpu);
void trap(struct frame *frame);

/* calls.c */
uint32_t system_call(struct process *process);

/* disk.c: two disks by programmed input and output */
#define SECTOR_BYTES 512u
void disk_init(void);
void disk_interrupt(void);
void disk_transfer(unsigned disk, uint32_t sector, bool is_write, uint8_t *data);

/* console.c: the serial port, which sends by interrupt, and the keyboard */
void console_init(void);
void console_send(const char *text, uint32_t bytes);
void console_interrupt(void);
void console_drain(void);
void keyboard_interrupt(void);
void keyboard_type(uint8_t code);
uint8_t keyboard_read(void);

static inline uint32_t physical(const void *at)
{
    return (uint32_t)(uintptr_t)at - KERNEL_BASE;
}

static inline void *at_physical(uint32_t at)
{
    return (void *)(uintptr_t)(at + KERNEL_BASE);
}

static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

/* In one instruction, as the CPU may be another after each while interrupts are on. */
static inline struct process *this_process(void)
{
    struct process *process;
    __asm__ volatile("mov %%gs:%c1, %0" : "=r"(process) : "i"(offsetof(struct cpu, process)));
    return process;
}

static inline uint8_t port_in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("in %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void port_out(uint16_t port, uint8_t value)
{
    __asm__ volatile("out %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline bool interrupts_are_on(void)
{
    uintptr_t flags;
    __asm__ volatile("pushf; pop %0" : "=r"(flags));
    return (flags & 0x200) != 0;
}

static inline void interrupts_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void interrupts_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void fill(void *to, uint8_t value, size_t bytes)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

static inline void copy(void *to, const void *from, size_t bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
