/* SPDX-License-Identifier: BSD-2-Clause */
/* The program of all processes: the first tests what the kernel and the machine give it, and prints
 * a line for each check. It has only itself and its system calls. */
#include <stdbool.h>
#include <stdint.h>

#define FAILED   0xffffffffu
#define PAGE     4096u
#define KILLED   0x100u
#define SECTOR   512u
#define CHILDREN 8u
#define PIPED    2000u

/* start.asm */
uint32_t call_fork(void);
_Noreturn void call_exit(uint32_t status);
uint32_t call_wait(uint32_t *status);
uint32_t call_kill(uint32_t id);
uint32_t call_own_id(void);
uint32_t call_sleep(uint32_t ticks);
uint32_t call_ticks(void);
uint32_t call_grow(uint32_t bytes);
uint32_t call_print(const char *text, uint32_t bytes);
uint32_t call_disk_read(uint32_t disk, uint32_t sector, void *to);
uint32_t call_disk_write(uint32_t disk, uint32_t sector, const void *from);
uint32_t call_put(uint32_t pipe, uint32_t byte);
uint32_t call_get(uint32_t pipe);
uint32_t call_type(uint32_t code);
uint32_t call_key(void);
uint32_t call_cpus(uint32_t what);
_Noreturn void call_end(uint32_t code);

enum cpus_what { CPUS_ALL, CPUS_OF_USERS, PAGES_FREE };

_Noreturn void user_main(void);

static uint32_t passed, failed;
static volatile uint32_t word = 0x1234;
static volatile uint8_t zeroes[2 * PAGE];
static uint8_t sector[SECTOR];

static void say(const char *text)
{
    uint32_t bytes = 0;
    while (text[bytes] != 0)
        bytes++;
    call_print(text, bytes);
}

static void say_number(uint32_t n)
{
    char digits[11];
    uint32_t at = sizeof(digits) - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    say(digits + at);
}

static void check(bool ok, const char *what)
{
    if (ok)
        passed++;
    else
        failed++;
    say(ok ? "ok course32: " : "FAIL course32: ");
    say(what);
    say("\r\n");
}

static void check_equal(uint32_t got, uint32_t want, const char *what)
{
    check(got == want, what);
    if (got != want) {
        say("  ");
        say_number(got);
        say(", not ");
        say_number(want);
        say("\r\n");
    }
}

/* A process that does this, and its status when it has ended. */
static uint32_t status_of(void (*act)(void))
{
    uint32_t status = FAILED;
    const uint32_t id = call_fork();
    if (id == 0) {
        act();
        call_exit(0);
    }
    return call_wait(&status) == id ? status : FAILED;
}

/* The sum of what some children that have been started end with. */
static uint32_t wait_for(uint32_t count)
{
    uint32_t sum = 0, status;
    for (uint32_t i = 0; i < count; i++)
        if (call_wait(&status) != FAILED)
            sum += status;
    return sum;
}

static void check_memory(void)
{
    uint32_t sum = 0, id = 1;
    for (uint32_t i = 0; i < sizeof(zeroes); i++)
        sum += zeroes[i];
    check(word == 0x1234 && sum == 0, "data and zeroes as they were linked");
    for (uint32_t i = 1; i <= CHILDREN && id != 0; i++) {
        id = call_fork();
        if (id == 0) {
            for (uint32_t j = 0; j < 50; j++) {
                word = word + i;
                zeroes[PAGE] = (uint8_t)(zeroes[PAGE] + 1);
                if (j % 10 == 0)
                    call_sleep(1);
            }
            call_exit(word - 0x1234 + zeroes[PAGE]);
        }
    }
    check_equal(wait_for(CHILDREN), 50 * CHILDREN * (CHILDREN + 1) / 2 + 50 * CHILDREN,
                "each child has memory of its own");
    check(word == 0x1234 && zeroes[PAGE] == 0, "and the parent's is not theirs");
    check_equal(call_wait((uint32_t *)(uintptr_t)&sum), FAILED, "nobody to wait for");
}

static void grow_too_far(void)
{
    call_exit(call_grow(64u << 20));
}

static void check_growth(void)
{
    const uint32_t free = call_cpus(PAGES_FREE), bytes = 100 * PAGE, at = call_grow(bytes);
    uint32_t wrong = 0;
    volatile uint32_t *const words = (volatile uint32_t *)(uintptr_t)at;
    for (uint32_t i = 0; i < bytes / 4; i += 256)
        words[i] = i * 3;
    for (uint32_t i = 0; i < bytes / 4; i += 256)
        wrong += words[i] != i * 3;
    check(at != FAILED && wrong == 0, "a hundred pages more");
    check_equal(call_grow((uint32_t)-bytes), at + bytes, "and given back");
    check_equal(call_cpus(PAGES_FREE), free, "all of them");
    check_equal(status_of(grow_too_far), FAILED, "more than there is");
    check_equal(call_cpus(PAGES_FREE), free, "and nothing is lost by that");
}

static void store(uint32_t at)
{
    __asm__ volatile("movl $1, (%0)" : : "r"(at) : "memory");
}

static void touch_null(void)
{
    store(PAGE - 4);
}

static void touch_kernel(void)
{
    store(0x80100000u);
}

static void touch_given_back(void)
{
    const uint32_t at = call_grow(PAGE);
    store(at);
    call_grow((uint32_t)-PAGE);
    store(at);
}

static void overflow(void)
{
    uint32_t here;
    store((uint32_t)(uintptr_t)&here - PAGE);
}

static void divide(void)
{
    uint32_t low = 1, high = 1;
    __asm__ volatile("divl %2" : "+a"(low), "+d"(high) : "r"(0));
}

static void close_interrupts(void)
{
    __asm__ volatile("cli");
}

static void send_port(void)
{
    __asm__ volatile("outb %%al, $0x80" : : "a"(0));
}

static void ask_for_timer(void)
{
    __asm__ volatile("int $32");
}

static void be_nothing(void)
{
    __asm__ volatile("ud2");
}

static void check_faults(void)
{
    const struct {
        void (*act)(void);
        uint32_t vector;
        const char *what;
    } faults[] = {
        {touch_null, 14, "the first page is nobody's"},
        {touch_kernel, 14, "the kernel's memory is not the user's"},
        {touch_given_back, 14, "nor is what was given back"},
        {overflow, 14, "nor the page below the stack"},
        {divide, 0, "a division by zero"},
        {close_interrupts, 13, "CLI is the kernel's"},
        {send_port, 13, "so are ports"},
        {ask_for_timer, 13, "and vectors but for one"},
        {be_nothing, 6, "what is no instruction"},
    };
    const uint32_t free = call_cpus(PAGES_FREE);
    for (uint32_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        check_equal(status_of(faults[i].act), KILLED | faults[i].vector, faults[i].what);
    check_equal(call_cpus(PAGES_FREE), free, "nothing is left of the dead");
    check_equal(call_print((const char *)(uintptr_t)0x80100000u, 4), FAILED,
                "a system call does not read for the user");
}

/* As many as there can be. */
static void check_many(void)
{
    uint32_t made = 0, status, id;
    while ((id = call_fork()) != FAILED) {
        if (id == 0)
            call_exit(1);
        made++;
    }
    check(made > CHILDREN, "processes until there is no room");
    check_equal(wait_for(made), made, "all of them end");
    check_equal(call_wait(&status), FAILED, "and no more");
}

static void check_pipe(void)
{
    uint32_t there = 0, back = 0, want = 0;
    if (call_fork() == 0) {
        for (uint32_t i = 0; i < PIPED; i++)
            call_put(1, call_get(0) ^ 0x55);
        call_exit(0);
    }
    if (call_fork() == 0) {
        for (uint32_t i = 0; i < PIPED; i++)
            call_put(0, i * 7 & 0xff);
        call_exit(0);
    }
    for (uint32_t i = 0; i < PIPED; i++) {
        there = call_get(1);
        back += there * (i + 1);
        want += (((i * 7) & 0xff) ^ 0x55) * (i + 1);
    }
    check_equal(back, want, "bytes through two pipes, in order");
    check_equal(wait_for(2), 0, "both ends end");
}

static void check_time(void)
{
    uint32_t ids[3];
    const uint32_t since = call_ticks();
    call_sleep(3);
    check(call_ticks() - since >= 3, "sleep takes its time");
    for (uint32_t i = 0; i < 3; i++) {
        ids[i] = call_fork();
        for (; ids[i] == 0;)
            word = word + 1;
    }
    call_sleep(6);
    check(true, "the parent has its turns beside those that spin");
    for (uint32_t i = 0; i < 3; i++)
        call_kill(ids[i]);
    check_equal(wait_for(3), 3 * KILLED, "which can be killed");
    check_equal(call_kill(ids[0]), FAILED, "once");
}

static void check_cpus(void)
{
    const uint32_t all = (1u << call_cpus(CPUS_ALL)) - 1;
    uint32_t ids[4], turns = 0;
    for (uint32_t i = 0; i < 4; i++) {
        ids[i] = call_fork();
        for (; ids[i] == 0;)
            word = word + 1;
    }
    while (call_cpus(CPUS_OF_USERS) != all && turns++ < 1000)
        call_sleep(1);
    check_equal(call_cpus(CPUS_OF_USERS), all, "each CPU has run user code");
    for (uint32_t i = 0; i < 4; i++)
        call_kill(ids[i]);
    wait_for(4);
}

/* What the disks are to have: test_course.py fills the first, this program the second. */
static uint8_t byte_of(uint32_t disk, uint32_t number, uint32_t at)
{
    return (uint8_t)(number * 31 + at * 7 + (at >> 8) + disk * 101);
}

static uint32_t wrong_bytes(uint32_t disk, uint32_t number)
{
    uint32_t wrong = 0;
    if (call_disk_read(disk, number, sector) != 0)
        return SECTOR;
    for (uint32_t i = 0; i < SECTOR; i++)
        wrong += sector[i] != byte_of(disk, number, i);
    return wrong;
}

static void check_disks(void)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 8; i++)
        wrong += wrong_bytes(0, i);
    check_equal(wrong, 0, "the first disk's sectors");
    for (uint32_t child = 0; child < 4; child++) {
        if (call_fork() != 0)
            continue;
        for (uint32_t i = child; i < 32; i += 4) {
            for (uint32_t at = 0; at < SECTOR; at++)
                sector[at] = byte_of(1, i, at);
            wrong += call_disk_write(1, i, sector) != 0;
            wrong += wrong_bytes(0, 63 - i);
            wrong += wrong_bytes(1, i);
        }
        call_exit(wrong);
    }
    check_equal(wait_for(4), 0, "four processes write to the second, and read both");
    for (uint32_t i = 0; i < 32; i++)
        wrong += wrong_bytes(1, i);
    check_equal(wrong, 0, "and the second has it");
    check_equal(call_disk_read(1, 0, (void *)(uintptr_t)0x80100000u), FAILED,
                "not into the kernel");
}

static void type_later(void)
{
    call_sleep(2);
    call_type(0x1e);
    call_type(0x9e);
}

static void check_keyboard(void)
{
    uint32_t status;
    if (call_fork() == 0) {
        type_later();
        call_exit(0);
    }
    check_equal(call_key(), 0x1e, "a key is awaited");
    check_equal(call_key(), 0x9e, "and its end");
    call_wait(&status);
}

_Noreturn void user_main(void)
{
    check_equal(call_own_id(), 1, "the first process");
    check_memory();
    check_growth();
    check_faults();
    check_many();
    check_pipe();
    check_time();
    check_cpus();
    check_disks();
    check_keyboard();
    say("test course32: ");
    say_number(passed);
    say(" passed, ");
    say_number(failed);
    say(" failed\r\n");
    call_end(failed != 0);
}
