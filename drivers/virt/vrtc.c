/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818 as its data sheet describes it. The registers hold the time and are brought up to
 * date when somebody looks; timers run only for interrupts that are enabled. */
#include "drivers/virt/vrtc.h"

#include "arch/bytes.h"
#include "arch/string.h"

enum { PORT_INDEX = 0x70, PORT_DATA = 0x71 };
enum { SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9 };
enum { REG_A = 10, REG_B, REG_C, REG_D };
enum { A_UPDATING = 0x80, A_HALTED = 0x60, A_RATE = 0x0f };
enum { B_SET = 0x80, B_UPDATE = 0x10, B_SQUARE_WAVE = 0x08, B_BINARY = 0x04, B_24_HOURS = 0x02 };
enum { PERIODIC = 0x40, ALARM = 0x20, UPDATE = 0x10 }; /* enabled in B, reported in C */
enum { C_IRQ = 0x80, D_VALID = 0x80 };
enum { MICROSECOND_HZ = 1000000, DAY_SECONDS = 86400 };
enum { UPDATE_TIME = 244 + 1984 }; /* microseconds from UIP to the end of the update */

static unsigned decode(const struct vrtc *r, uint8_t value)
{
    return r->ram[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t encode(const struct vrtc *r, unsigned n)
{
    return (uint8_t)(r->ram[REG_B] & B_BINARY ? n : n / 10 << 4 | n % 10);
}

static unsigned decode_hour(const struct vrtc *r, uint8_t value)
{
    if (r->ram[REG_B] & B_24_HOURS)
        return decode(r, value);
    return decode(r, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

static uint8_t encode_hour(const struct vrtc *r, unsigned hour)
{
    if (r->ram[REG_B] & B_24_HOURS)
        return encode(r, hour);
    return encode(r, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}

/* Days since 1 March of the year -400: with the leap day last, month lengths are a linear rule. */
static uint64_t days_of_date(unsigned year, unsigned month, unsigned day)
{
    uint64_t y = year + 400 - (month < 3), m = (month + 9) % 12;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
}

static void advance_date(struct vrtc *r, uint64_t days)
{
    unsigned year = decode(r, r->ram[VRTC_CENTURY]) * 100 + decode(r, r->ram[YEAR]);
    unsigned month = decode(r, r->ram[MONTH]), day = decode(r, r->ram[DAY]);
    uint64_t n = days_of_date(year, month == 0 ? 1 : month, day == 0 ? 1 : day) + days;
    uint64_t d = n % 146097; /* in a cycle of 400 years */
    uint64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    d -= 365 * y + y / 4 - y / 100;
    unsigned m = (unsigned)(5 * d + 2) / 153;
    month = m < 10 ? m + 3 : m - 9;
    year = (unsigned)((y + n / 146097 * 400 - 400 + (month < 3)) % 10000);
    r->ram[DAY] = encode(r, (unsigned)d - (153 * m + 2) / 5 + 1);
    r->ram[MONTH] = encode(r, month);
    r->ram[YEAR] = encode(r, year % 100);
    r->ram[VRTC_CENTURY] = encode(r, year / 100);
    r->ram[WEEKDAY] = (uint8_t)((r->ram[WEEKDAY] + 6 + days % 7) % 7 + 1);
}

static uint64_t second_of_day(const struct vrtc *r)
{
    return (decode_hour(r, r->ram[HOURS]) * 3600 + decode(r, r->ram[MINUTES]) * 60 +
            decode(r, r->ram[SECONDS])) %
           DAY_SECONDS;
}

static void advance_time(struct vrtc *r, uint64_t seconds)
{
    uint64_t day = seconds / DAY_SECONDS, now = second_of_day(r) + seconds % DAY_SECONDS;
    day += now / DAY_SECONDS;
    unsigned s = (unsigned)(now % DAY_SECONDS);
    r->ram[HOURS] = encode_hour(r, s / 3600);
    r->ram[MINUTES] = encode(r, s / 60 % 60);
    r->ram[SECONDS] = encode(r, s % 60);
    if (day != 0)
        advance_date(r, day);
}

/* Does an alarm register agree with the time? 11xxxxxx agrees with all. */
static bool alarm_agrees(uint8_t alarm, uint8_t value)
{
    return alarm >= 0xc0 || alarm == value;
}

/* Does the alarm go off in one of the next seconds? At most some 150 steps. */
static bool alarm_within(const struct vrtc *r, uint64_t seconds)
{
    const uint8_t *alarm = &r->ram[SECONDS + 1];
    uint64_t t = second_of_day(r) + 1;
    uint64_t end = t + (seconds < DAY_SECONDS ? seconds : DAY_SECONDS);
    for (unsigned steps = 0; t < end && steps < 200; steps++) {
        if (!alarm_agrees(alarm[4], encode_hour(r, (unsigned)(t / 3600 % 24))))
            t += 3600 - t % 3600;
        else if (!alarm_agrees(alarm[2], encode(r, (unsigned)(t / 60 % 60))))
            t += 60 - t % 60;
        else if (!alarm_agrees(alarm[0], encode(r, (unsigned)(t % 60))))
            t++;
        else
            return true;
    }
    return false;
}

/* Periods a second that the divider is set to; 0: none. */
static uint64_t periodic_hz(const struct vrtc *r)
{
    unsigned rate = r->ram[REG_A] & A_RATE;
    if (rate == 0)
        return 0;
    return 32768u >> (rate < 3 ? rate + 6 : rate - 1);
}

static bool is_halted(const struct vrtc *r)
{
    return (r->ram[REG_A] & A_HALTED) == A_HALTED;
}

static void update_irq(struct vrtc *r)
{
    bool high = r->ram[REG_B] & r->ram[REG_C] & (PERIODIC | ALARM | UPDATE);
    r->ram[REG_C] = (uint8_t)((r->ram[REG_C] & ~C_IRQ) | (high ? C_IRQ : 0));
    if (high != r->irq_high) {
        r->irq_high = high;
        irq_line_set(&r->irq, high);
    }
}

/* Periods that the host was too late for come when their time is over, one each time that register
 * C has been read: who counts them to know the time loses none. More than a second's are never
 * owed. */
static void owe_periods(struct vrtc *r, uint64_t missed, uint64_t hz)
{
    const uint64_t owed = r->owed + missed;
    r->owed = (uint32_t)(owed < hz ? owed : hz);
}

/* Brings time and flags up to now. */
static void sync_time(struct vrtc *r)
{
    if (is_halted(r))
        return;
    uint64_t now = timers_cycles_since(r->timers, r->base, 1), hz = periodic_hz(r);
    uint64_t passed = now > r->seconds ? now - r->seconds : 0;
    r->seconds += passed;
    if (passed != 0 && !(r->ram[REG_B] & B_SET)) {
        r->ram[REG_C] |= alarm_within(r, passed) ? ALARM | UPDATE : UPDATE;
        advance_time(r, passed);
    }
    uint64_t periods = hz != 0 ? timers_cycles_since(r->timers, r->base, hz) : 0;
    if (periods > r->periods) {
        /* A flag that is not set yet has a timer, so that more than one period is the host's
         * doing. */
        if ((r->ram[REG_B] & ~r->ram[REG_C] & PERIODIC) != 0)
            owe_periods(r, periods - r->periods - 1, hz);
        r->ram[REG_C] |= PERIODIC;
    }
    r->periods = periods;
}

/* Interrupt line and timer. A flag that is set already needs no timer until it has been read. */
static void update_output(struct vrtc *r)
{
    update_irq(r);
    uint8_t wanted = r->ram[REG_B] & (uint8_t)~r->ram[REG_C];
    uint64_t deadline = TIMER_NEVER, hz = periodic_hz(r);
    if (!is_halted(r) && (wanted & (ALARM | UPDATE)) && !(r->ram[REG_B] & B_SET))
        deadline = timers_cycle_start(r->timers, r->base, 1, r->seconds + 1);
    if (!is_halted(r) && (wanted & PERIODIC) && hz != 0) {
        uint64_t period = timers_cycle_start(r->timers, r->base, hz, r->periods + 1);
        deadline = period < deadline ? period : deadline;
    }
    timers_arm(r->timers, &r->timer, deadline);
}

static void timer_fired(void *dev, uint64_t now)
{
    struct vrtc *r = dev;
    (void)now;
    sync_time(r);
    update_output(r);
}

static bool is_updating(const struct vrtc *r)
{
    if (is_halted(r) || (r->ram[REG_B] & B_SET))
        return false;
    uint64_t now = timers_cycles_since(r->timers, r->base, MICROSECOND_HZ);
    return now % MICROSECOND_HZ >= MICROSECOND_HZ - UPDATE_TIME;
}

static void write_reg_a(struct vrtc *r, uint8_t value)
{
    bool was_halted = is_halted(r);
    r->ram[REG_A] = value & (uint8_t)~A_UPDATING;
    if (was_halted && !is_halted(r)) { /* the first update comes half a second later */
        uint64_t now = timers_now(r->timers), half = r->timers->hz / 2;
        r->base = now > half ? now - half : 0;
        r->seconds = 0;
    }
    r->periods = 0;
    r->owed = 0;
    if (periodic_hz(r) != 0)
        r->periods = timers_cycles_since(r->timers, r->base, periodic_hz(r));
}

static void write_data(struct vrtc *r, uint8_t value)
{
    sync_time(r);
    switch (r->index) {
    case REG_A: write_reg_a(r, value); break;
    case REG_B:
        r->ram[REG_B] = value & B_SET ? value & (uint8_t)~B_UPDATE : value;
        if ((value & PERIODIC) == 0)
            r->owed = 0;
        break;
    case REG_C:
    case REG_D: break; /* read-only */
    default: r->ram[r->index] = value; break;
    }
    update_output(r);
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vrtc *r = dev;
    (void)bytes;
    if (port == PORT_INDEX)
        return UINT32_MAX; /* write-only */
    sync_time(r);
    update_irq(r);
    uint8_t value = r->ram[r->index];
    if (r->index == REG_A && is_updating(r))
        value |= A_UPDATING;
    if (r->index == REG_C) {
        r->ram[REG_C] = 0;
        update_output(r); /* the line falls, and rises again where a period is owed */
        if (r->owed != 0) {
            r->owed--;
            r->ram[REG_C] = PERIODIC;
            update_output(r);
        }
    }
    return value;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vrtc *r = dev;
    (void)bytes;
    if (port == PORT_DATA) {
        write_data(r, (uint8_t)value);
        return;
    }
    r->index = value & 0x7f;
    r->nmi_masked = value & 0x80;
}

/* What a BIOS leaves in the memory: sizes, equipment, and the checksum over them. */
static void fill_memory(struct vrtc *r, uint64_t below_4g, uint64_t above_4g)
{
    uint64_t kib = below_4g > 0x100000 ? (below_4g - 0x100000) >> 10 : 0;
    uint64_t above_16m = below_4g > 0x1000000 ? (below_4g - 0x1000000) >> 16 : 0;
    uint8_t *ram = r->ram;
    kib = kib > 0xffff ? 0xffff : kib;
    ram[0x14] = 0x02; /* an FPU, no floppy drives */
    put_le(ram + 0x15, 2, 640);
    put_le(ram + 0x17, 2, kib);
    put_le(ram + 0x30, 2, kib);
    put_le(ram + 0x34, 2, above_16m); /* in 64 KiB; fits, as it ends at 4 GiB */
    put_le(ram + 0x5b, 3, above_4g >> 16);
    unsigned sum = 0;
    for (unsigned i = 0x10; i < 0x2e; i++)
        sum += ram[i];
    ram[0x2e] = (uint8_t)(sum >> 8);
    ram[0x2f] = (uint8_t)sum;
}

enum status vrtc_init(struct vrtc *rtc, uint64_t epoch, uint64_t below_4g, uint64_t above_4g,
                      struct bus *bus, struct timers *timers, struct irq_line irq)
{
    if (timers->hz == 0)
        return ERR_BAD_INPUT;
    *rtc = (struct vrtc){.base = timers_now(timers), .timers = timers, .irq = irq};
    rtc->timer = (struct timer){.fire = timer_fired, .dev = rtc};
    timers_add(timers, &rtc->timer);
    rtc->ram[REG_A] = 0x26; /* 32768 Hz, 1024 periods a second: what every BIOS sets */
    rtc->ram[REG_B] = B_24_HOURS;
    rtc->ram[REG_D] = D_VALID;
    rtc->ram[WEEKDAY] = 5; /* the epoch: Thursday, 1 January 1970 */
    rtc->ram[DAY] = rtc->ram[MONTH] = 1;
    rtc->ram[YEAR] = 0x70;
    rtc->ram[VRTC_CENTURY] = 0x19;
    advance_time(rtc, epoch);
    fill_memory(rtc, below_4g, above_4g);
    return bus_add_ports(
        bus, &(struct port_range){PORT_INDEX, PORT_DATA, 1, rtc, read_port, write_port});
}

/* MC146818, "RESET": clock, calendar and memory are not affected. */
void vrtc_keep(struct vrtc *rtc, const struct vrtc *before)
{
    memcpy(rtc->ram, before->ram, sizeof(rtc->ram));
    rtc->ram[REG_B] &= (uint8_t) ~(PERIODIC | ALARM | UPDATE | B_SQUARE_WAVE);
    rtc->ram[REG_C] = 0;
    rtc->base = before->base;
    rtc->seconds = before->seconds;
    rtc->periods = before->periods;
}
