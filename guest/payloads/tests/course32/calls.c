/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls: the number in EAX, arguments on the user's stack, which are looked at before they
 * are believed. */
#include "guest/payloads/tests/course32/kernel.h"

#define PIPES      2u
#define PIPE_BYTES 16u

enum call {
    FORK = 1,
    EXIT,
    WAIT,
    KILL,
    OWN_ID,
    SLEEP,
    TICKS,
    GROW,
    PRINT,
    DISK_READ,
    DISK_WRITE,
    PUT,
    GET,
    TYPE,
    KEY,
    CPUS,
    END
};

struct pipe {
    struct lock lock;
    uint8_t ring[PIPE_BYTES];
    uint32_t put, got;
};

static struct lock tick_lock;
static struct pipe pipes[PIPES];
static const uint32_t wrong = 0xffffffff;

static bool is_users(const struct process *process, uint32_t at, uint32_t bytes)
{
    return at >= USER_BASE && bytes <= process->size && at <= process->size - bytes;
}

static bool argument(const struct process *process, uint32_t number, uint32_t *out)
{
    const uint32_t at = process->frame->esp + 4 + 4 * number; /* behind the return address */
    if (!is_users(process, at, 4))
        return false;
    *out = *(const uint32_t *)(uintptr_t)at;
    return true;
}

static uint32_t sleep_for(const struct process *process, uint32_t count)
{
    lock_take(&tick_lock);
    const uint32_t since = ticks;
    while (ticks - since < count && !process->killed)
        process_sleep(&ticks, &tick_lock); /* one that it has missed is not the last */
    lock_give(&tick_lock);
    return 0;
}

static uint32_t grow(struct process *process, uint32_t by)
{
    const uint32_t size = process->size;
    if (!space_resize(process->directory, size, size + by))
        return wrong;
    process->size = size + by;
    __asm__ volatile("mov %0, %%cr3"
                     :
                     : "r"(physical(process->directory))
                     : "memory"); /* fewer pages */
    return size;
}

static uint32_t use_disk(const struct process *process, uint32_t disk, uint32_t sector, uint32_t at,
                         bool is_write)
{
    if (disk > 1 || !is_users(process, at, SECTOR_BYTES))
        return wrong;
    uint8_t *data = page_take();
    if (data == NULL)
        return wrong;
    if (is_write)
        copy(data, (const void *)(uintptr_t)at, SECTOR_BYTES);
    disk_transfer(disk, sector, is_write, data);
    if (!is_write)
        copy((void *)(uintptr_t)at, data, SECTOR_BYTES);
    page_give(data);
    return 0;
}

static uint32_t put(const struct process *process, struct pipe *pipe, uint8_t byte)
{
    lock_take(&pipe->lock);
    while (pipe->put - pipe->got == PIPE_BYTES && !process->killed)
        process_sleep(&pipe->put, &pipe->lock);
    pipe->ring[pipe->put++ % PIPE_BYTES] = byte;
    process_wake(&pipe->got);
    lock_give(&pipe->lock);
    return 0;
}

static uint32_t get(const struct process *process, struct pipe *pipe)
{
    lock_take(&pipe->lock);
    while (pipe->put == pipe->got && !process->killed)
        process_sleep(&pipe->got, &pipe->lock);
    const uint8_t byte = pipe->ring[pipe->got++ % PIPE_BYTES];
    process_wake(&pipe->put);
    lock_give(&pipe->lock);
    return byte;
}

static uint32_t wait(const struct process *process, uint32_t at)
{
    uint32_t status;
    if (!is_users(process, at, sizeof(status)))
        return wrong;
    const uint32_t id = process_wait(&status);
    if (id != wrong)
        *(uint32_t *)(uintptr_t)at = status;
    return id;
}

uint32_t system_call(struct process *process)
{
    uint32_t a = 0, b = 0, c = 0;
    if (!argument(process, 0, &a) || !argument(process, 1, &b) || !argument(process, 2, &c))
        return wrong;
    switch ((enum call)process->frame->eax) {
    case FORK: return process_fork();
    case EXIT: process_exit(a);
    case WAIT: return wait(process, a);
    case KILL: return process_kill(a) ? 0 : wrong;
    case OWN_ID: return process->id;
    case SLEEP: return sleep_for(process, a);
    case TICKS: return ticks;
    case GROW: return grow(process, a);
    case PRINT:
        if (!is_users(process, a, b))
            return wrong;
        console_send((const char *)(uintptr_t)a, b);
        return 0;
    case DISK_READ: return use_disk(process, a, b, c, false);
    case DISK_WRITE: return use_disk(process, a, b, c, true);
    case PUT: return a < PIPES ? put(process, &pipes[a], (uint8_t)b) : wrong;
    case GET: return a < PIPES ? get(process, &pipes[a]) : wrong;
    case TYPE: keyboard_type((uint8_t)a); return 0;
    case KEY: return keyboard_read();
    case CPUS: return a == 0 ? cpu_count : a == 1 ? user_cpus : pages_free();
    case END: machine_end(a);
    }
    return wrong;
}
