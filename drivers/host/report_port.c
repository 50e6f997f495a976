/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports wait in a ring for their port, as the console's text does for its own. */
#include "drivers/host/report_port.h"
#include "arch/cpu.h"
#include "arch/panic.h"
#include "arch/ring.h"
#include "arch/spinlock.h"
#include "drivers/host/uart16550.h"

#define OUT_BYTES     32768
#define LONGEST_LINE  8192
#define FLUSH_SECONDS 10
#define ASKS          '?'

static char out_bytes[OUT_BYTES];
static struct ring out = {.bytes = out_bytes, .size = OUT_BYTES};
static struct spinlock lock;
static struct uart uart;
static uint32_t requests;

static bool is_locked(void)
{
    if (panic_is_active()) /* the lock's holder may be stopped */
        return false;
    spinlock_lock(&lock);
    return true;
}

static void poll_locked(void)
{
    uint8_t status = uart_status(&uart);
    const char *text;
    const size_t length = ring_peek(&out, &text);
    if (length != 0)
        ring_drop(&out, uart_write(&uart, status, text, length));
    int c = 0;
    for (unsigned i = 0; i < UART_FIFO && (c = uart_read(&uart, status)) >= 0; i++) {
        if (c == ASKS)
            __atomic_add_fetch(&requests, 1, __ATOMIC_RELAXED);
        status = uart_status(&uart);
    }
}

/* A line whole, or nothing of it: half of one would spoil the next. */
bool report_port_take(const char *first, size_t first_length, const char *rest, size_t rest_length)
{
    const bool locked = is_locked();
    const bool fits = first_length + rest_length <= OUT_BYTES - ring_held(&out);
    if (fits) {
        ring_put_all(&out, first, first_length);
        ring_put_all(&out, rest, rest_length);
    }
    if (locked)
        spinlock_unlock(&lock);
    return fits;
}

bool report_port_init(uint16_t base)
{
    return uart_init(&uart, base);
}

/* Who has the lock looks after the port. */
void report_port_poll(void)
{
    const bool panics = panic_is_active(); /* the lock's holder may be stopped */
    if (uart.port == 0 || (!panics && !spinlock_try(&lock)))
        return;
    poll_locked();
    if (!panics)
        spinlock_unlock(&lock);
}

bool report_port_has_room(void)
{
    return ring_held(&out) <= OUT_BYTES / 2 - LONGEST_LINE;
}

uint32_t report_port_requests(void)
{
    return __atomic_load_n(&requests, __ATOMIC_RELAXED);
}

void report_port_flush(uint64_t tsc_hz)
{
    const uint64_t start = cpu_rdtsc();
    if (uart.port == 0)
        return;
    const bool locked = is_locked();
    while ((ring_held(&out) != 0 || !(uart_status(&uart) & UART_IDLE)) &&
           cpu_rdtsc() - start < FLUSH_SECONDS * tsc_hz) {
        poll_locked();
        cpu_pause();
    }
    if (locked)
        spinlock_unlock(&lock);
}
