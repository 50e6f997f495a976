/* SPDX-License-Identifier: BSD-2-Clause */
/* The work: what kernels do all the time, by the table of operations, and what it costs in ticks of
 * the time-stamp counter. And what the kernel does when it is entered. */
#include "three.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define PAGES    64u
#define CALLS    100u
#define TICKS    10u
#define PINGS    10u
#define LOOKS    100u
#define SWITCHES 64u

const struct ops *ops;
static volatile unsigned timer_hits, pings, pongs, system_calls, faults;
static unsigned frames_used;

/* --- text --- */

static char line[128];
static unsigned length;

static void put(const char *text)
{
    while (*text != 0 && length < sizeof(line))
        line[length++] = *text++;
}

static void put_number(uint64_t value)
{
    char digits[21];
    char *first = digits + sizeof(digits) - 1;
    *first = 0;
    do
        *--first = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    put(first);
}

static void end_line(void)
{
    put("\r\n");
    ops->write(line, length);
    length = 0;
}

/* --- traps --- */

/* User code has touched a page of its heap that is not there yet: it gets the next frame. */
static bool give_page(const struct frame *f)
{
    const uint64_t at = ops->fault_address() & ~(PAGE - 1);
    const bool is_heap = at >= USER_HEAP && at < USER_HEAP + FRAMES * PAGE;
    if (!is_heap || (f->error & 1) != 0 || frames_used == FRAMES)
        return false;
    faults++;
    ops->map(at, (uint64_t)frame[frames_used++] | PRESENT | WRITABLE | USER);
    return true;
}

static _Noreturn void die(const struct frame *f)
{
    length = 0;
    put("three: unexpected vector ");
    put_number(f->vector);
    put(", error ");
    put_number(f->error);
    put(", RIP ");
    put_number(f->rip);
    put(", address ");
    put_number(f->vector == PAGE_FAULT ? ops->fault_address() : 0);
    end_line();
    ops->exit(126);
}

/* Everything comes here, whichever way: entry.asm. */
void trap(struct frame *f)
{
    switch (f->vector) {
    case SYSTEM_CALL:
        if (f->rax == CALL_EXIT)
            leave_user();
        f->rax = ++system_calls;
        return;
    case PAGE_FAULT:
        if (!give_page(f))
            die(f);
        return;
    case TIMER: timer_hits++; break;
    case PING: pings++; break;
    case PONG: pongs++; break;
    default: die(f);
    }
    ops->end_interrupt();
    if (f->vector == PING)
        ops->send(0, PONG);
}

void lack_second(void)
{
    put("three: there is no second CPU; it needs vcpus = 2");
    end_line();
    ops->exit(1);
}

void second_cpu(void)
{
    for (;;)
        ops->wait();
}

/* --- the parts of the work: each returns what it has counted --- */

static uint64_t view_entry(unsigned i)
{
    return (uint64_t)frame[i % FRAMES] | PRESENT | WRITABLE;
}

static volatile uint64_t *view(unsigned i)
{
    return (volatile uint64_t *)(USER_VIEW + i * PAGE);
}

/* Maps pages, one operation for each, and looks through them at what is in the frames. */
static uint64_t map_singly(void)
{
    unsigned right = 0;
    for (unsigned i = 0; i < PAGES; i++)
        ops->map((uint64_t)view(i), view_entry(i));
    for (unsigned i = 0; i < PAGES; i++)
        right += *view(i) == i % FRAMES;
    return right;
}

/* The same in the reverse order, by one operation for all of them. */
static uint64_t map_together(void)
{
    static change list[PAGES];
    unsigned right = 0;
    for (unsigned i = 0; i < PAGES; i++)
        list[i] = (change){
            .op = NADIR_MAP, .linear = (uint64_t)view(i), .entry = view_entry(PAGES - 1 - i)};
    ops->map_all(list, PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        right += *view(i) == (PAGES - 1 - i) % FRAMES;
    return right;
}

static uint64_t switch_spaces(void)
{
    unsigned right = 0;
    for (unsigned i = 1; i <= SWITCHES; i++) {
        ops->switch_space(i % SPACES);
        right += *(volatile uint64_t *)USER_MARK == i % SPACES;
    }
    return right;
}

static uint64_t call_from_user(void)
{
    system_calls = 0;
    enter_user(USER_CODE + (uint64_t)(user_calls - user_image), USER_STACK, CALLS);
    return system_calls;
}

static uint64_t fault_from_user(void)
{
    faults = frames_used = 0;
    enter_user(USER_CODE + (uint64_t)(user_writes - user_image), USER_STACK, USER_HEAP);
    return faults;
}

static uint64_t look_at_clock(void)
{
    for (unsigned i = 0; i < LOOKS; i++)
        (void)ops->clock();
    return LOOKS;
}

static uint64_t take_timer(void)
{
    timer_hits = 0;
    for (unsigned i = 1; i <= TICKS; i++) {
        ops->start_timer();
        while (timer_hits < i)
            ops->wait();
    }
    return timer_hits;
}

static uint64_t ask_other_cpu(void)
{
    pings = pongs = 0;
    for (unsigned i = 1; i <= PINGS; i++) {
        ops->send(1, PING);
        while (pongs < i)
            ops->wait();
    }
    return pongs;
}

static uint64_t print_line(void)
{
    static const char text[] = "three: a line of text, for what it costs to print one\r\n";
    ops->write(text, sizeof(text) - 1);
    return 1;
}

static const struct {
    const char *what;
    uint64_t (*part)(void);
    uint64_t expected;
} parts[] = {
    {"pages mapped one by one", map_singly, PAGES},
    {"pages mapped together", map_together, PAGES},
    {"switches of the address space", switch_spaces, SWITCHES},
    {"system calls", call_from_user, CALLS},
    {"page faults of user code", fault_from_user, FRAMES},
    {"looks at a clock", look_at_clock, LOOKS},
    {"timer interrupts", take_timer, TICKS},
    {"questions to the other CPU, and answers", ask_other_cpu, PINGS},
    {"line printed", print_line, 1},
};

/* Heap and view are empty again, and frames have their numbers. */
static void begin_column(void)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        ops->map(USER_HEAP + i * PAGE, 0);
        frame[i][0] = i;
    }
    for (unsigned i = 0; i < PAGES; i++)
        ops->map((uint64_t)view(i), 0);
}

static bool do_part(unsigned i)
{
    const uint64_t begin = rdtsc();
    const uint64_t counted = parts[i].part();
    const uint64_t ticks = rdtsc() - begin;
    put("three: ");
    put(ops->name);
    put(": ");
    put_number(counted);
    put(" ");
    put(parts[i].what);
    put(counted == parts[i].expected ? "" : ", WRONG");
    put(": ");
    put_number(ticks / counted);
    put(" ticks each");
    end_line();
    return counted == parts[i].expected;
}

bool work(const struct ops *const *columns, unsigned count)
{
    bool right = true;
    for (unsigned c = 0; c < count; c++) {
        ops = columns[c];
        ops->switch_space(0);
        begin_column();
        for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
            right = do_part(i) && right;
    }
    put(right ? "three: all is right" : "three: something is WRONG");
    end_line();
    return right;
}

/* The start as a kernel of a PC, which guest/lib/start.asm has brought into 64-bit mode. */
int main(void)
{
    static const struct ops *const columns[] = {&native_ops, &hypercall_ops};
    ops = &native_ops;
    native_start();
    const bool right = work(columns, hypercalls_exist() ? 2 : 1);
    ops->exit(right ? 0 : 1);
}
