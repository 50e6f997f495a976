/* SPDX-License-Identifier: BSD-2-Clause */
/* Buffers the console, and knows when looking at the slow port pays off. */
#include "drivers/host/console.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/spinlock.h"
#include "drivers/host/keymap.h"
#include "drivers/host/ps2.h"
#include "drivers/host/report_port.h"
#include "drivers/host/typing.h"
#include "drivers/host/uart16550.h"

#define IN_BYTES      4096 /* so many keys a guest may leave, and DUMP_KEY is seen all the same */
#define FLUSH_SECONDS 10
#define BITS_A_CHAR   10 /* start, 8 data, stop */
#define ESCAPE_PART   20 /* of a second: how long nothing may follow an escape that begins a key */
#define DRAWING_SHARE 16 /* of a period, one part may go into the screen */
#define CELLS_AT_ONCE 4
#define DUMP_KEY      0x1d /* Ctrl-] */
#define DUMP_PRESSES  3

static char out_bytes[CONSOLE_OUT_BYTES], in_bytes[IN_BYTES];
static struct ring out = {.bytes = out_bytes, .size = CONSOLE_OUT_BYTES};
static struct ring in = {.bytes = in_bytes, .size = IN_BYTES};
static struct spinlock lock;
static struct typing typing; /* what has been read as keys */
static struct uart uart;
static uint32_t log_count;
static uint32_t lost;     /* bytes that had no room, and were not told of yet */
static bool line_is_open; /* what console_write() or the log wrote last is no end of a line */
static uint32_t dump_presses, dump_requests;
static bool dump_is_read;
static struct fbconsole screen;
static uint64_t tsc_hz = 1000000000, period = 1000000; /* until it is measured */

/* In a panic the lock's holder may be stopped: then go without, which 0 says (RFLAGS never is). */
static uint64_t console_lock(void)
{
    return panic_is_active() ? 0 : spinlock_lock_irqsave(&lock);
}

static void console_unlock(uint64_t flags)
{
    if (flags != 0)
        spinlock_unlock_irqrestore(&lock, flags);
}

/* Not all at once, which may take many milliseconds: whoever polls has a guest to run. */
static void draw_some_locked(void)
{
    if (fbconsole_refresh(&screen, CELLS_AT_ONCE))
        return;
    const uint64_t until = cpu_rdtsc() + period / DRAWING_SHARE;
    while (!fbconsole_refresh(&screen, CELLS_AT_ONCE) && cpu_rdtsc() < until) {}
}

/* The guest gets all keys: those that ask Nadir for something do nothing to most programs. */
static void typed_locked(char c)
{
    ring_put(&in, c);
    dump_presses = c == DUMP_KEY ? dump_presses + 1 : 0;
    const bool show = dump_presses == DUMP_PRESSES;
    __atomic_store_n(&dump_is_read, show, __ATOMIC_RELAXED);
    if (!show)
        return;
    dump_presses = 0;
    __atomic_add_fetch(&dump_requests, 1, __ATOMIC_RELAXED);
}

static void poll_locked(void)
{
    draw_some_locked();
    for (const char *typed;
         ring_held(&in) <= IN_BYTES - KEYMAP_MAX && (typed = ps2_read()) != NULL;)
        while (*typed != '\0')
            typed_locked(*typed++);
    if (uart.port == 0)
        return;
    uint8_t status = uart_status(&uart);
    if (ring_held(&out) != 0) {
        const char *text;
        size_t length = ring_peek(&out, &text);
        ring_drop(&out, uart_write(&uart, status, text, length));
    }
    for (int c; ring_held(&in) < IN_BYTES && (c = uart_read(&uart, status)) >= 0;
         status = uart_status(&uart))
        typed_locked((char)c);
}

/* Until the port says so, or should have. Asleep where possible: emulators skip it, CPUs cool. */
static void wait_locked(uint8_t until_status)
{
    uint64_t until = cpu_rdtsc() + console_period_ticks();
    bool asleep = lapic_timer_is_ready() && !panic_is_active();
    while (cpu_rdtsc() < until && (asleep || !(uart_status(&uart) & until_status)))
        if (asleep)
            cpu_idle_until(until);
}

static void write_locked(char c)
{
    while (uart.port != 0 && !ring_put(&out, c)) {
        poll_locked();
        if (ring_held(&out) == CONSOLE_OUT_BYTES)
            wait_locked(UART_CAN_SEND);
    }
}

static bool fits(size_t length)
{
    return uart.port == 0 || length <= CONSOLE_OUT_BYTES - ring_held(&out);
}

/* Whoever writes may hold locks that others want: where there is no room, his text is left out, and
 * that is said before the next. Only in a panic, and before timers run, is there nobody else: then
 * all is waited for. */
static bool has_room_locked(size_t length)
{
    char note[80];
    if (panic_is_active() || !lapic_timer_is_ready())
        return true;
    if (!fits(length + sizeof(note))) {
        lost += (uint32_t)length;
        return false;
    }
    if (lost != 0) {
        const size_t n = format_text(note, sizeof(note),
                                     "\r\nnadir: %u bytes of text are left out here\r\n", lost);
        for (size_t i = 0; i < n; i++)
            write_locked(note[i]);
    }
    lost = 0;
    return true;
}

/* newlines: they are to become \r\n. */
static void write_text_locked(const char *text, size_t length, bool newlines)
{
    size_t bytes = length;
    for (size_t i = 0; newlines && i < length; i++)
        bytes += text[i] == '\n';
    if (!has_room_locked(bytes))
        return;
    for (size_t i = 0; i < length; i++) {
        if (newlines && text[i] == '\n')
            write_locked('\r');
        write_locked(text[i]);
    }
    if (length != 0)
        line_is_open = text[length - 1] != '\n';
}

void console_write(const char *text, size_t length)
{
    uint64_t flags = console_lock();
    write_text_locked(text, length, false);
    fbconsole_write(&screen, text, length);
    console_unlock(flags);
}

bool console_write_behind(uint32_t count, const char *text, size_t length)
{
    uint64_t flags = console_lock();
    const bool behind = count == log_count;
    if (behind) {
        write_text_locked(text, length, false);
        fbconsole_write(&screen, text, length);
    }
    console_unlock(flags);
    return behind;
}

/* A text of the log begins a line, whatever a guest has left open. Whoever logs may be the last to
 * run: what fits leaves at once; all does in a panic, and as long
 * as there is one CPU, no timer to sleep by, and much that may go wrong. */
static void console_log(const char *text, size_t length)
{
    uint64_t flags = console_lock();
    if (line_is_open) {
        write_text_locked("\r\n", 2, false);
        fbconsole_write(&screen, "\r\n", 2);
    }
    write_text_locked(text, length, true);
    line_is_open = length == 0 || text[length - 1] != '\n';
    fbconsole_write(&screen, text, length);
    log_count++;
    poll_locked();
    console_unlock(flags);
    if (flags == 0 || !lapic_timer_is_ready())
        console_flush();
}

void console_init(uint16_t serial_base, const struct fbconsole_screen *where)
{
    const bool has_uart = uart_init(&uart, serial_base);
    if (fbconsole_init(&screen, where))
        (void)ps2_init(); /* somebody sits there; without one there is only the serial port */
    log_add_sink(console_log);
    if (serial_base != 0 && !has_uart)
        log_line("no serial port at 0x%x", serial_base);
}

void console_move_screen(volatile void *pixels)
{
    const uint64_t flags = console_lock();
    if (screen.pixels != NULL)
        screen.pixels = pixels;
    console_unlock(flags);
}

void console_set_tsc_hz(uint64_t hz)
{
    tsc_hz = hz;
    period = uart.port != 0 ? tsc_hz * UART_FIFO * BITS_A_CHAR / UART_BAUD : tsc_hz / 100;
}

/* Who has the lock looks after the port: waiting for it would stop a VM while another one prints.
 */
void console_poll(void)
{
    report_port_poll();
    if (!spinlock_try(&lock))
        return;
    poll_locked();
    spinlock_unlock(&lock);
}

int console_read(void)
{
    if (ring_held(&in) == 0)
        return -1;
    uint64_t flags = console_lock();
    int c = ring_take(&in);
    console_unlock(flags);
    return c;
}

int console_read_key(uint64_t now)
{
    if (ring_held(&in) == 0 && typing_is_idle(&typing))
        return -1;
    uint64_t flags = console_lock();
    int key, byte;
    while ((key = typing_next(&typing)) < 0 && (byte = ring_take(&in)) >= 0)
        typing_byte(&typing, (uint8_t)byte, now);
    if (key < 0) {
        typing_tick(&typing, now, tsc_hz / ESCAPE_PART);
        key = typing_next(&typing);
    }
    console_unlock(flags);
    return key;
}

void console_forget_keys(void)
{
    uint64_t flags = console_lock();
    poll_locked(); /* what the port and the keyboard still have was typed before, too */
    ring_drop(&in, ring_held(&in));
    typing = (struct typing){0};
    console_unlock(flags);
}

void console_write_serial(const char *text, size_t length)
{
    uint64_t flags = console_lock();
    const bool was_open = line_is_open;
    write_text_locked(text, length, false);
    line_is_open = was_open;
    console_unlock(flags);
}

void console_draw(const uint16_t *cells, unsigned columns, unsigned rows, unsigned cursor,
                  bool blinks)
{
    uint64_t flags = console_lock();
    fbconsole_show(&screen, cells, columns, rows, cursor, blinks);
    console_unlock(flags);
}

uint32_t console_held(struct ring_share *share)
{
    return ring_share_held(share, &out);
}

uint32_t console_written(void)
{
    return __atomic_load_n(&out.put, __ATOMIC_RELAXED);
}

uint32_t console_pending(void)
{
    return ring_held(&out);
}

uint32_t console_dump_requests(void)
{
    return __atomic_load_n(&dump_requests, __ATOMIC_RELAXED);
}

bool console_dump_is_read(void)
{
    return __atomic_load_n(&dump_is_read, __ATOMIC_RELAXED);
}

uint32_t console_log_count(void)
{
    return log_count;
}

uint64_t console_period_ticks(void)
{
    return period;
}

void console_flush(void)
{
    uint64_t flags = console_lock(), start = cpu_rdtsc();
    poll_locked();
    while (ring_held(&out) != 0 && cpu_rdtsc() - start < FLUSH_SECONDS * tsc_hz) {
        wait_locked(UART_CAN_SEND);
        poll_locked();
    }
    (void)fbconsole_refresh(&screen, UINT32_MAX);
    if (uart.port != 0)
        wait_locked(UART_IDLE); /* the FIFO has taken the last characters, but not sent them yet */
    console_unlock(flags);
    report_port_flush(tsc_hz);
}

/* The keys of a PC with a screen only: what a serial line sends may be meant for a VM that is gone.
 */
static int read_own_key(void)
{
    const uint64_t flags = console_lock();
    const char *typed = ps2_read();
    (void)fbconsole_refresh(&screen, UINT32_MAX);
    console_unlock(flags);
    return typed != NULL ? (unsigned char)*typed : -1;
}

enum console_wish console_linger(uint32_t seconds, bool reset)
{
    if (screen.pixels == NULL)
        return reset ? CONSOLE_RESET : CONSOLE_POWER_OFF;
    console_flush();
    while (read_own_key() >= 0) {} /* was typed before */
    for (; seconds > 0; seconds--) {
        char line[80];
        const uint64_t start = cpu_rdtsc();
        const size_t length =
            format_text(line, sizeof(line), "\r%s in %u s; R: reset, any other key: off now \033[K",
                        reset ? "Reset" : "Power-off", seconds);
        fbconsole_write(&screen, line, length);
        while (cpu_rdtsc() - start < tsc_hz) {
            const int key = read_own_key();
            if (key >= 0)
                return key == 'r' || key == 'R' ? CONSOLE_RESET : CONSOLE_POWER_OFF;
            cpu_pause();
        }
    }
    return reset ? CONSOLE_RESET : CONSOLE_POWER_OFF;
}
