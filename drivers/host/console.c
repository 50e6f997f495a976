/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of each VM, and one of Nadir's own, on their way to serial port and screen; and what is
 * typed there. */
#include "drivers/host/console.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/ring.h"
#include "arch/spinlock.h"
#include "drivers/host/keymap.h"
#include "drivers/host/out_rings.h"
#include "drivers/host/ps2.h"
#include "drivers/host/report_port.h"
#include "drivers/host/typing.h"
#include "drivers/host/uart16550.h"
#include "mm/page_alloc.h"

#define OWN_BYTES     16384
#define IN_BYTES      4096 /* so many keys a guest may leave, and DUMP_KEY is seen all the same */
#define FLUSH_SECONDS 10
#define BITS_A_CHAR   10 /* start, 8 data, stop */
#define ESCAPE_PART   20 /* of a second: how long nothing may follow an escape that begins a key */
#define SCREEN_SHARE  16 /* of a period, one part may go into the screen */
#define CELLS_AT_ONCE 4
#define DUMP_KEY      0x1d /* Ctrl-] */
#define DUMP_PRESSES  3
#define RINGS         (1 + CONSOLE_MAX_VMS)

/*
 * Who writes takes the lock of his ring, for as long as copying takes; who moves text to the port
 * takes `mover`, and only where that is free: so nobody waits for the port, or for another's text.
 */
static char own_bytes[OWN_BYTES], in_bytes[IN_BYTES];
static struct out_ring ring[RINGS] = {[LOG_OF_NADIR] = {.bytes = own_bytes, .size = OWN_BYTES}};
static struct spinlock writers[RINGS];
static bool closed[RINGS]; /* with that lock: the ring goes when all of it has left */
static uint32_t closing;   /* rings of that kind; atomic */
static struct out_rings outs = {.ring = ring, .count = 1, .report = report_port_take};
static struct spinlock mover;
static struct spinlock screen_lock;
static struct spinlock keys_lock; /* over taking from `in`; who has `mover` puts there */
static struct ring in = {.bytes = in_bytes, .size = IN_BYTES};
static struct typing typing; /* what has been read as keys */
static struct uart uart;
static uint64_t busy_since; /* when the port was first seen to take nothing; 0: it does */
static uint32_t dump_presses, dump_requests;
static bool dump_is_read;
static struct fbconsole screen;
static uint64_t tsc_hz = 1000000000, period = 1000000; /* until it is measured */

/* In a panic the lock's holder may be stopped: then go without. */
static bool is_locked(struct spinlock *lock)
{
    if (panic_is_active())
        return false;
    spinlock_lock(lock);
    return true;
}

static void unlock(struct spinlock *lock, bool was_locked)
{
    if (was_locked)
        spinlock_unlock(lock);
}

/* Nobody else runs that could move text, or wants the CPU meanwhile. */
static bool is_alone(void)
{
    return panic_is_active() || !lapic_timer_is_ready();
}

/* Not all at once, which may take many milliseconds: whoever polls has a guest to run. */
static void draw_some(void)
{
    const bool panics = panic_is_active();
    if (screen.pixels == NULL || (!panics && !spinlock_try(&screen_lock)))
        return;
    const uint64_t until = cpu_rdtsc() + period / SCREEN_SHARE;
    while (!fbconsole_refresh(&screen, CELLS_AT_ONCE) && cpu_rdtsc() < until) {}
    if (!panics)
        spinlock_unlock(&screen_lock);
}

static void draw_all(void)
{
    const bool locked = is_locked(&screen_lock);
    (void)fbconsole_refresh(&screen, UINT32_MAX);
    unlock(&screen_lock, locked);
}

/* The guest gets all keys: those that ask Nadir for something do nothing to most programs. */
static void typed_one(char c)
{
    (void)ring_put(&in, c);
    dump_presses = c == DUMP_KEY ? dump_presses + 1 : 0;
    const bool show = dump_presses == DUMP_PRESSES;
    __atomic_store_n(&dump_is_read, show, __ATOMIC_RELAXED);
    if (!show)
        return;
    dump_presses = 0;
    __atomic_add_fetch(&dump_requests, 1, __ATOMIC_RELAXED);
}

/* Bytes that may go now. A port that takes nothing for a second is no reason to keep what the
 * screen can show. */
static unsigned room_of_port(uint8_t status)
{
    const uint64_t now = cpu_rdtsc();
    if (uart.port == 0 || (status & UART_CAN_SEND) != 0) {
        busy_since = 0;
        return uart.port != 0 ? uart.fifo : UART_FIFO;
    }
    if (busy_since == 0)
        busy_since = now;
    return now - busy_since > tsc_hz ? UART_FIFO : 0;
}

/* A FIFO's worth. True: there may be more. */
static bool send_some(uint8_t status)
{
    unsigned room = room_of_port(status);
    struct out_piece piece;
    while (room > 0 && out_rings_next(&outs, &piece)) {
        const unsigned n = piece.length < room ? (unsigned)piece.length : room;
        if (uart.port != 0 && busy_since == 0)
            (void)uart_write(&uart, UART_CAN_SEND, piece.text, n);
        if (!piece.picture) {
            const bool locked = is_locked(&screen_lock);
            fbconsole_write(&screen, piece.text, n);
            unlock(&screen_lock, locked);
        }
        out_rings_sent(&outs, n);
        room -= n;
    }
    return room == 0 && uart.port == 0;
}

/* All that has left of a VM that has ended for good: its memory goes. */
static void free_closed(void)
{
    for (unsigned i = LOG_OF_NADIR + 1; i < RINGS; i++) {
        char *bytes = NULL;
        spinlock_lock(&writers[i]);
        if (closed[i] && out_ring_held(&ring[i]) == 0) {
            bytes = ring[i].bytes;
            ring[i].bytes = NULL;
            closed[i] = false;
            __atomic_sub_fetch(&closing, 1, __ATOMIC_RELAXED);
        }
        spinlock_unlock(&writers[i]);
        if (bytes != NULL)
            page_free(ptr_to_hpa(bytes), CONSOLE_RING_BYTES / PAGE_SIZE);
    }
}

/* A ring that is empty again, and whose writers have nothing more to say. */
static void tell_lost(void)
{
    const uint32_t count = __atomic_load_n(&outs.count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++) {
        if (!out_ring_owes(&ring[i]))
            continue;
        const bool locked = is_locked(&writers[i]);
        if (ring[i].bytes != NULL)
            out_ring_tell_lost(&ring[i]);
        unlock(&writers[i], locked);
    }
}

/* With `mover`, or in a panic. */
static void move(void)
{
    uint8_t status = uart.port != 0 ? uart_status(&uart) : 0;
    const uint64_t until = cpu_rdtsc() + period / SCREEN_SHARE;
    while (send_some(status) && cpu_rdtsc() < until) {}
    tell_lost();
    for (const char *typed;
         ring_held(&in) <= IN_BYTES - KEYMAP_MAX && (typed = ps2_read()) != NULL;)
        while (*typed != '\0')
            typed_one(*typed++);
    if (uart.port == 0)
        return;
    for (int c; ring_held(&in) < IN_BYTES && (c = uart_read(&uart, status)) >= 0;
         status = uart_status(&uart))
        typed_one((char)c);
}

/* Whoever has `mover` looks after the port. */
static void try_to_move(void)
{
    const bool panics = panic_is_active();
    if (!panics && !spinlock_try(&mover))
        return;
    move();
    if (!panics && __atomic_load_n(&closing, __ATOMIC_RELAXED) != 0)
        free_closed();
    if (!panics)
        spinlock_unlock(&mover);
}

/* Until the port says so, or should have. Asleep where possible: emulators skip it, CPUs cool. */
static void wait_for_port(uint8_t until_status)
{
    const uint64_t until = cpu_rdtsc() + period;
    while (cpu_rdtsc() < until && (!is_alone() || !(uart_status(&uart) & until_status)))
        if (!is_alone())
            cpu_idle_until(until);
}

void console_flush(void)
{
    uint64_t start = cpu_rdtsc();
    uint32_t before = outs.moved;
    try_to_move();
    while (out_rings_pending(&outs) && cpu_rdtsc() - start < FLUSH_SECONDS * tsc_hz) {
        if (uart.port != 0)
            wait_for_port(UART_CAN_SEND);
        try_to_move();
        if (outs.moved != before)
            start = cpu_rdtsc();
        before = outs.moved;
        report_port_poll();
    }
    draw_all();
    if (uart.port != 0)
        wait_for_port(UART_IDLE); /* the FIFO has taken the last characters, not sent them yet */
    report_port_flush(tsc_hz);
}

/* What has no ring of its own goes by Nadir's. */
static bool put(unsigned of, enum out_kind kind, const char *name, const char *text, size_t length)
{
    const bool locked = is_locked(&writers[of]);
    const bool there = ring[of].bytes != NULL;
    const bool done = there && out_ring_put(&ring[of], kind, name, text, length);
    unlock(&writers[of], locked);
    return there || of == LOG_OF_NADIR ? done : put(LOG_OF_NADIR, kind, name, text, length);
}

/* Of a VM that ends what is said leaves some time later. In a panic, and as long as there is one
 * CPU, no timer to sleep by, and much that may go wrong, all does at once: in a panic behind what
 * was said before. */
static void console_log(unsigned of, const char *text, size_t length)
{
    if (is_alone())
        console_flush();
    (void)put(of, OUT_LINE, NULL, text, length);
    if (is_alone())
        console_flush();
}

/* At once, if there is room and none of the same VM's waits; then behind what has been said of it.
 */
bool console_report(unsigned of, const char *line, size_t length)
{
    const bool waits = __atomic_load_n(&ring[of].reports, __ATOMIC_ACQUIRE) != 0;
    return (!waits && report_port_take(line, length, "", 0)) ||
           (of != LOG_OF_NADIR && put(of, OUT_REPORT, NULL, line, length));
}

enum status console_open(uint32_t vm)
{
    const unsigned of = log_of_vm(vm);
    spinlock_lock(&writers[of]);
    const bool there = ring[of].bytes != NULL;
    if (closed[of])
        __atomic_sub_fetch(&closing, 1, __ATOMIC_RELAXED);
    closed[of] = false;
    spinlock_unlock(&writers[of]);
    hpa_t memory;
    const enum status s = there ? OK : page_alloc(CONSOLE_RING_BYTES / PAGE_SIZE, 1, &memory);
    if (there || s != OK)
        return s;
    spinlock_lock(&writers[of]);
    ring[of].bytes = hpa_to_ptr(memory);
    ring[of].size = CONSOLE_RING_BYTES;
    spinlock_unlock(&writers[of]);
    uint32_t count = __atomic_load_n(&outs.count, __ATOMIC_RELAXED);
    while (count <= of && !__atomic_compare_exchange_n(&outs.count, &count, of + 1, false,
                                                       __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
    return OK;
}

void console_close(uint32_t vm)
{
    const unsigned of = log_of_vm(vm);
    spinlock_lock(&writers[of]);
    if (!closed[of])
        __atomic_add_fetch(&closing, 1, __ATOMIC_RELAXED);
    closed[of] = true;
    spinlock_unlock(&writers[of]);
}

void console_write(uint32_t vm, const char *name, const char *text, size_t length)
{
    (void)put(log_of_vm(vm), name != NULL ? OUT_NAMED : OUT_RAW, name, text, length);
}

void console_write_serial(uint32_t vm, const char *text, size_t length)
{
    (void)put(log_of_vm(vm), OUT_PICTURE, NULL, text, length);
}

uint32_t console_held(uint32_t vm)
{
    return out_ring_held(&ring[log_of_vm(vm)]);
}

bool console_is_last(uint32_t vm)
{
    return __atomic_load_n(&outs.open, __ATOMIC_RELAXED) == &ring[log_of_vm(vm)];
}

uint32_t console_texts(void)
{
    return __atomic_load_n(&outs.texts, __ATOMIC_RELAXED);
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
    if (screen.pixels != NULL)
        screen.pixels = pixels;
}

void console_set_tsc_hz(uint64_t hz)
{
    tsc_hz = hz;
    period = uart.port != 0 ? tsc_hz * UART_FIFO * BITS_A_CHAR / UART_BAUD : tsc_hz / 100;
}

void console_poll(void)
{
    report_port_poll();
    draw_some();
    try_to_move();
}

int console_read(void)
{
    if (ring_held(&in) == 0)
        return -1;
    const bool locked = is_locked(&keys_lock);
    const int c = ring_take(&in);
    unlock(&keys_lock, locked);
    return c;
}

int console_read_key(uint64_t now)
{
    if (ring_held(&in) == 0 && typing_is_idle(&typing))
        return -1;
    const bool locked = is_locked(&keys_lock);
    int key, byte;
    while ((key = typing_next(&typing)) < 0 && (byte = ring_take(&in)) >= 0)
        typing_byte(&typing, (uint8_t)byte, now);
    if (key < 0) {
        typing_tick(&typing, now, tsc_hz / ESCAPE_PART);
        key = typing_next(&typing);
    }
    unlock(&keys_lock, locked);
    return key;
}

void console_forget_keys(void)
{
    try_to_move(); /* what the port and the keyboard still have was typed before, too */
    const bool locked = is_locked(&keys_lock);
    ring_drop(&in, ring_held(&in));
    typing = (struct typing){0};
    unlock(&keys_lock, locked);
}

void console_draw(const uint16_t *cells, unsigned columns, unsigned rows, unsigned cursor,
                  bool blinks)
{
    const bool locked = is_locked(&screen_lock);
    fbconsole_show(&screen, cells, columns, rows, cursor, blinks);
    unlock(&screen_lock, locked);
}

uint32_t console_dump_requests(void)
{
    return __atomic_load_n(&dump_requests, __ATOMIC_RELAXED);
}

bool console_dump_is_read(void)
{
    return __atomic_load_n(&dump_is_read, __ATOMIC_RELAXED);
}

uint64_t console_period_ticks(void)
{
    return period;
}

/* The keys of a PC with a screen only: what a serial line sends may be meant for a VM that is gone.
 */
static int read_own_key(void)
{
    const char *typed = ps2_read();
    draw_all();
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
