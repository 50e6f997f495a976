/* SPDX-License-Identifier: BSD-2-Clause */
/* What every test of an emulated device stands on: a bus, a clock that a test moves, and recorders
 * for interrupt pins, the power line and output bytes. One nanosecond is one clock tick. */
#pragma once

#include "drivers/bus/bus.h"
#include "drivers/bus/lines.h"
#include "drivers/bus/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static struct bus bus;
static struct timers timers;
static uint64_t clock_now;
static bool pin_high[16];
static unsigned pin_rises[16];
static enum vm_end power_end;
static uint32_t power_code;
static char output[256];
static size_t output_size;

static inline uint64_t clock_read(void)
{
    return clock_now;
}

static inline void pin_set(void *chip, unsigned pin, bool high)
{
    (void)chip;
    pin_rises[pin] += high && !pin_high[pin];
    pin_high[pin] = high;
}

static inline struct irq_line pin_line(unsigned pin)
{
    return (struct irq_line){.set = pin_set, .pin = pin};
}

static inline void power_set(void *vm, enum vm_end end, uint32_t code, const char *why)
{
    (void)vm;
    assert_non_null(why);
    power_end = end;
    power_code = code;
}

static inline struct power_line power_recorder(void)
{
    return (struct power_line){.request = power_set};
}

static inline void output_byte(void *ctx, uint8_t byte)
{
    (void)ctx;
    if (output_size < sizeof(output))
        output[output_size++] = (char)byte;
}

static inline void start_machine(void)
{
    memset(&bus, 0, sizeof(bus));
    memset(pin_high, 0, sizeof(pin_high));
    memset(pin_rises, 0, sizeof(pin_rises));
    timers = (struct timers){.read = clock_read, .hz = SECOND, .next = TIMER_NEVER};
    clock_now = 5 * SECOND;
    power_end = VM_RUNS;
    power_code = 0;
    output_size = 0;
}

static inline uint8_t in(uint16_t port)
{
    return (uint8_t)bus_port_read(&bus, port, 1);
}

static inline void out(uint16_t port, uint8_t value)
{
    bus_port_write(&bus, port, 1, value);
}

/* Lets time pass, with every timer fired at its own moment. */
static inline void wait_ticks(uint64_t ticks)
{
    uint64_t end = clock_now + ticks;
    while (timers.next <= end) {
        if (timers.next > clock_now)
            clock_now = timers.next;
        timers_run(&timers, clock_now);
    }
    clock_now = end;
}
