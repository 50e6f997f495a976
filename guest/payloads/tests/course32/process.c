/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes: made, run in turns by all CPUs, waiting for each other, ended. One lock is for all
 * their states, and is handed over at each switch: who is switched to gives back what the other has
 * taken. */
#include "guest/payloads/tests/course32/kernel.h"

extern const uint8_t user_image[], user_start[], user_end[];

static struct lock lock;
static struct process processes[PROCESSES];
static struct process *first;
static uint32_t next_id = 1;

void lock_take(struct lock *own)
{
    const bool was_on = interrupts_are_on();
    interrupts_off();
    struct cpu *cpu = this_cpu();
    if (cpu->off_depth++ == 0)
        cpu->was_on = was_on;
    while (__atomic_exchange_n(&own->taken, 1, __ATOMIC_ACQUIRE) != 0)
        __asm__ volatile("pause");
}

void lock_give(struct lock *own)
{
    struct cpu *cpu = this_cpu();
    __atomic_store_n(&own->taken, 0, __ATOMIC_RELEASE);
    if (--cpu->off_depth == 0 && cpu->was_on)
        interrupts_on();
}

/* Where a process begins that has never run. */
static void begin(void)
{
    lock_give(&lock); /* "returns" to trap_return */
}

static struct process *make(void)
{
    struct process *made = NULL;
    lock_take(&lock);
    for (struct process *each = processes; each < processes + PROCESSES && made == NULL; each++)
        if (each->state == UNUSED)
            made = each;
    if (made != NULL) {
        fill(made, 0, sizeof(*made));
        made->state = MADE;
        made->id = next_id++;
    }
    lock_give(&lock);
    if (made == NULL)
        return NULL;
    made->stack = page_take();
    if (made->stack == NULL) {
        made->state = UNUSED;
        return NULL;
    }
    uint8_t *top = made->stack + PAGE_BYTES - sizeof(struct frame);
    made->frame = (struct frame *)(void *)top;
    top -= sizeof(uint32_t);
    *(uint32_t *)(void *)top = (uint32_t)(uintptr_t)trap_return;
    made->context = (struct context *)(void *)(top - sizeof(struct context));
    made->context->eip = (uint32_t)(uintptr_t)begin;
    return made;
}

/* The first: its image, a page that it may not touch, and its stack. */
void process_init(void)
{
    const uint32_t image = (uint32_t)(user_end - user_start), guard = USER_BASE + image;
    first = make();
    first->directory = space_make();
    first->size = guard + 2 * PAGE_BYTES;
    if (!space_resize(first->directory, USER_BASE, first->size))
        panic("no memory for the first process", 0);
    space_write(first->directory, USER_BASE, user_image, image);
    space_forbid(first->directory, guard);
    *first->frame =
        (struct frame){.cs = USER_CODE,
                       .ds = USER_DATA,
                       .es = USER_DATA,
                       .ss = USER_DATA,
                       .eflags = 0x202,
                       .esp = first->size - 16, /* a system call may look at three words */
                       .eip = USER_BASE};
    first->state = READY;
}

/* Runs one after the other, on each CPU. */
_Noreturn void process_schedule(void)
{
    struct cpu *cpu = this_cpu();
    for (;;) {
        bool is_idle = true;
        lock_take(&lock);
        for (struct process *each = processes; each < processes + PROCESSES; each++) {
            if (each->state != READY)
                continue;
            is_idle = false;
            each->state = RUNS;
            cpu->process = each;
            cpu->task[1] = (uint32_t)(uintptr_t)(each->stack + PAGE_BYTES); /* ESP0 */
            __asm__ volatile("mov %0, %%cr3" : : "r"(physical(each->directory)) : "memory");
            switch_context(&cpu->scheduler, each->context);
            space_load_kernel();
            cpu->process = NULL;
        }
        cpu->was_on = false;
        lock_give(&lock);
        if (is_idle)
            __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
}

/* To the scheduler, with the lock; back when it is this process's turn, maybe on another CPU. */
static void leave(struct process *process)
{
    const bool was_on = this_cpu()->was_on;
    if (this_cpu()->off_depth != 1 || interrupts_are_on())
        panic("a switch with locks", this_cpu()->off_depth);
    switch_context(&process->context, this_cpu()->scheduler);
    this_cpu()->was_on = was_on;
}

void process_yield(void)
{
    struct process *process = this_process();
    lock_take(&lock);
    process->state = READY;
    leave(process);
    lock_give(&lock);
}

/* Gives the lock of what it waits for, and has it again afterwards. Who wakes has both, so that
 * nothing is missed. */
void process_sleep(const volatile void *what, struct lock *of)
{
    struct process *process = this_process();
    if (of != &lock) {
        lock_take(&lock);
        lock_give(of);
    }
    process->awaits = what;
    process->state = SLEEPS;
    leave(process);
    process->awaits = NULL;
    if (of != &lock) {
        lock_give(&lock);
        lock_take(of);
    }
}

static void wake(const volatile void *what)
{
    for (struct process *each = processes; each < processes + PROCESSES; each++)
        if (each->state == SLEEPS && each->awaits == what)
            each->state = READY;
}

void process_wake(const volatile void *what)
{
    lock_take(&lock);
    wake(what);
    lock_give(&lock);
}

bool process_kill(uint32_t id)
{
    bool is_found = false;
    lock_take(&lock);
    for (struct process *each = processes; each < processes + PROCESSES; each++) {
        if (each->state == UNUSED || each->id != id)
            continue;
        is_found = true;
        each->status = KILLED;
        each->killed = true;
        if (each->state == SLEEPS)
            each->state = READY;
    }
    lock_give(&lock);
    return is_found;
}

/* The same memory again, and the same place in it; the new one is told 0. */
uint32_t process_fork(void)
{
    struct process *own = this_process(), *made = make();
    if (made == NULL)
        return 0xffffffff;
    made->directory = space_copy(own->directory, own->size);
    if (made->directory == NULL) {
        page_give(made->stack);
        made->state = UNUSED;
        return 0xffffffff;
    }
    made->size = own->size;
    made->parent = own;
    *made->frame = *own->frame;
    made->frame->eax = 0;
    const uint32_t id = made->id;
    lock_take(&lock);
    made->state = READY;
    lock_give(&lock);
    return id;
}

_Noreturn void process_exit(uint32_t status)
{
    struct process *own = this_process();
    if (own == first)
        panic("the first process has ended", status);
    lock_take(&lock);
    own->status = status;
    wake(own->parent);
    for (struct process *each = processes; each < processes + PROCESSES; each++) {
        if (each->parent != own || each->state == UNUSED)
            continue;
        each->parent = first;
        if (each->state == ENDED)
            wake(first);
    }
    own->state = ENDED;
    leave(own);
    panic("a process has come back", own->id);
}

uint32_t process_wait(uint32_t *status)
{
    struct process *own = this_process();
    lock_take(&lock);
    for (;;) {
        bool has_any = false;
        for (struct process *each = processes; each < processes + PROCESSES; each++) {
            if (each->parent != own || each->state == UNUSED)
                continue;
            has_any = true;
            if (each->state != ENDED)
                continue;
            const uint32_t id = each->id;
            *status = each->status;
            page_give(each->stack);
            space_free(each->directory, each->size);
            each->state = UNUSED;
            lock_give(&lock);
            return id;
        }
        if (!has_any || own->killed) {
            lock_give(&lock);
            return 0xffffffff;
        }
        process_sleep(own, &lock);
    }
}
