/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254 as its data sheet describes it. Nothing ticks: a channel remembers when its counter
 * started, and every register is worked out from the clock when it is read. */
#include "drivers/virt/vpit.h"

enum { PORT_CHANNEL_0 = 0x40, PORT_CONTROL = 0x43, PORT_SPEAKER = 0x61 };
enum { ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };
enum { REFRESH_CYCLES = 18 }; /* between two changes of the refresh bit, 15 us */
enum { CYCLE_AT_BASE = 65536 };
enum { MIN_CYCLES = 146 }; /* periodic interrupts come no faster than the RTC can: 122 us */

static uint64_t now_cycle(const struct vpit *pit)
{
    return CYCLE_AT_BASE + timers_cycles_since(pit->timers, pit->base, VPIT_HZ);
}

static bool is_periodic(const struct vpit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool is_triggered(const struct vpit_channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* Cycles since the counter held its count. */
static uint64_t position(const struct vpit_channel *c, uint64_t cycle)
{
    if (!c->gate && !is_triggered(c))
        return c->frozen;
    return cycle > c->start ? cycle - c->start : 0;
}

/* For how long OUT is high in mode 3. */
static uint32_t first_half(uint32_t count)
{
    return (count + 1) / 2;
}

/* Takes a periodic channel to the period that it is in, through the change to a new count. */
static void sync_period(struct vpit_channel *c, uint64_t cycle)
{
    if (!is_periodic(c) || !c->running || !c->gate)
        return;
    if (c->pending && position(c, cycle) >= c->due) {
        c->start += c->due;
        if (c->due < c->count) /* OUT falls, and stays low for the new count's second half */
            c->start -= first_half(c->next_count);
        c->count = c->next_count;
        c->pending = false;
    }
    c->start += position(c, cycle) / c->count * c->count;
}

/* The OUT pin, after sync_period(). */
static bool output(const struct vpit_channel *c, uint64_t cycle)
{
    uint64_t at = position(c, cycle);
    if (!c->running)
        return c->mode != 0;
    if (c->mode <= 1)
        return at >= c->count;
    if (c->mode >= 4)
        return at != c->count;
    if (!c->gate)
        return true;
    return c->mode == 2 ? at != c->count - 1 : at < first_half(c->count);
}

/* The 16 bits of the counter, after sync_period(). */
static uint16_t counter(const struct vpit_channel *c, uint64_t cycle)
{
    uint64_t at = position(c, cycle);
    uint32_t turn = c->bcd ? 10000 : 65536;
    uint32_t value = (uint32_t)((c->count + turn - at % turn) % turn);
    if (!c->running)
        value = 0;
    else if (c->mode == 3) { /* by twos, twice in a period */
        uint32_t half = first_half(c->count);
        value = ((c->count & ~1u) - 2 * (uint32_t)(at < half ? at : at - half)) % turn;
    }
    if (!c->bcd)
        return (uint16_t)value;
    return (uint16_t)(value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

static void load_count(struct vpit_channel *c, uint64_t cycle, uint32_t raw)
{
    uint32_t n = raw;
    if (c->bcd)
        n = (raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15);
    if (n == 0)
        n = c->bcd ? 10000 : 65536;
    c->loaded = true;
    c->next_count = n;
    c->pending = is_triggered(c) || (is_periodic(c) && c->running);
    c->due = c->count;
    if (c->mode == 3 && position(c, cycle) < first_half(c->count))
        c->due = first_half(c->count);
    if (!c->pending) {
        c->count = n;
        c->start = cycle + 1; /* the next clock pulse loads the counter */
        c->frozen = 0;
        c->running = true;
    }
}

static void set_gate(struct vpit_channel *c, uint64_t cycle, bool high)
{
    if (high == c->gate)
        return;
    sync_period(c, cycle);
    if (!high) {
        c->frozen = position(c, cycle);
    } else if (!is_triggered(c) && !is_periodic(c)) {
        c->start = cycle - c->frozen;
    } else if (c->loaded) { /* a trigger */
        if (c->pending)
            c->count = c->next_count;
        c->pending = false;
        c->running = true;
        c->start = cycle + 1;
    }
    c->gate = high;
}

/* OUT0 rises at the end of a period or of a count. Its falling edges are not played in modes 2 to
 * 5: the line stays high between two short low pulses, so a timer event is needed only here. */
static void schedule(struct vpit *pit)
{
    struct vpit_channel *c = &pit->channel[0];
    uint64_t cycle = now_cycle(pit);
    sync_period(c, cycle);
    irq_line_set(&pit->irq, c->mode != 0 || output(c, cycle));
    uint64_t at = position(c, cycle), end = c->count + (c->mode == 4 ? 1u : 0u);
    if (is_periodic(c) && c->pending && c->due < c->count)
        end = c->due + c->next_count - first_half(c->next_count);
    uint64_t deadline = TIMER_NEVER;
    if (c->running && (is_periodic(c) || at < end)) {
        if (is_periodic(c) && c->count < MIN_CYCLES && end < at + MIN_CYCLES)
            end += (at + MIN_CYCLES - end + c->count - 1) / c->count * c->count;
        pit->due = c->start + end;
        deadline = timers_cycle_start(pit->timers, pit->base, VPIT_HZ, pit->due - CYCLE_AT_BASE);
    }
    timers_arm(pit->timers, &pit->timer, deadline);
}

static void give_edge(struct vpit *pit)
{
    pit->asks = pit->owed != 0;
    pit->given = now_cycle(pit);
    irq_line_set(&pit->irq, false);
    irq_line_set(&pit->irq, true);
}

/* Periods that have ended behind the one for whose end the timer was armed. Where edges come less
 * often than periods end, none is missed. */
static uint64_t missed_periods(const struct vpit *pit)
{
    const struct vpit_channel *c = &pit->channel[0];
    const uint64_t now = now_cycle(pit);
    const bool each = is_periodic(c) && c->count >= MIN_CYCLES;
    return each && now > pit->due ? (now - pit->due) / c->count : 0;
}

/*
 * A tick is due. A guest counts them, and takes the time from that, so those that ended while the
 * host did not come to look (as it is itself a guest that had to wait, or an emulator) are given
 * later: each as soon as the one before it has been taken, so that none is lost between them. A
 * tick that comes in time, a whole period behind one that is not taken yet, is the guest's own
 * doing: it does not listen, and loses ticks as on a PC. More than a second's are never owed.
 */
static void timer_fired(void *dev, uint64_t now)
{
    struct vpit *pit = dev;
    const uint32_t count = pit->channel[0].count;
    const uint64_t missed = missed_periods(pit), most = VPIT_HZ / count;
    uint64_t owed = pit->owed + missed;
    (void)now;
    if (pit->asks && missed == 0 && now_cycle(pit) - pit->given >= count)
        owed = 0;
    else if (pit->asks)
        owed++; /* the last edge waits still, and this one falls on it */
    pit->owed = (uint32_t)(owed < most ? owed : most);
    give_edge(pit);
    schedule(pit);
}

void vpit_taken(struct vpit *pit)
{
    if (pit->owed == 0) {
        pit->asks = false;
        return;
    }
    pit->owed--;
    give_edge(pit);
}

static void latch_count(struct vpit_channel *c, uint64_t cycle)
{
    if (c->latched != 0)
        return; /* the first latch holds until it is read */
    c->latch = counter(c, cycle);
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct vpit_channel *c, uint64_t cycle)
{
    if (c->status_latched)
        return;
    bool null_count = !c->loaded || c->pending || (c->running && c->gate && cycle < c->start);
    c->status = (uint8_t)(output(c, cycle) << 7 | null_count << 6 | c->control);
    c->status_latched = true;
}

static void write_control(struct vpit *pit, uint8_t value)
{
    uint64_t cycle = now_cycle(pit);
    unsigned select = value >> 6;
    if (select == 3) { /* read-back: zeros ask for count and status */
        for (unsigned i = 0; i < 3; i++) {
            struct vpit_channel *c = &pit->channel[i];
            if (!(value & 2u << i))
                continue;
            sync_period(c, cycle);
            if (!(value & 0x20))
                latch_count(c, cycle);
            if (!(value & 0x10))
                latch_status(c, cycle);
        }
        return;
    }
    struct vpit_channel *c = &pit->channel[select];
    if ((value & 0x30) == 0) {
        sync_period(c, cycle);
        latch_count(c, cycle);
        return;
    }
    unsigned mode = value >> 1 & 7;
    *c = (struct vpit_channel){.control = value & 0x3f,
                               .mode = (uint8_t)(mode > 5 ? mode - 4 : mode),
                               .access = value >> 4 & 3,
                               .bcd = value & 1,
                               .gate = c->gate};
    if (select == 0) {
        pit->owed = 0; /* what counts the old ticks does not count these */
        schedule(pit);
    }
}

static void write_channel(struct vpit *pit, unsigned n, uint8_t value)
{
    struct vpit_channel *c = &pit->channel[n];
    uint64_t cycle = now_cycle(pit);
    sync_period(c, cycle);
    if (c->access == ACCESS_BOTH && !c->write_high) {
        c->write_low = value;
        c->write_high = true;
        if (c->mode == 0)
            c->running = false; /* the first byte stops the count */
    } else {
        uint32_t raw = c->access == ACCESS_LOW ? value : (uint32_t)value << 8;
        if (c->write_high)
            raw |= c->write_low;
        c->write_high = false;
        load_count(c, cycle, raw);
    }
    if (n == 0)
        schedule(pit);
}

static uint32_t read_channel(struct vpit *pit, unsigned n)
{
    struct vpit_channel *c = &pit->channel[n];
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t value = c->latch;
    if (c->latched == 0) {
        uint64_t cycle = now_cycle(pit);
        sync_period(c, cycle);
        value = counter(c, cycle);
    } else {
        c->latched--;
    }
    bool high = c->access == ACCESS_HIGH || c->read_high;
    if (c->access == ACCESS_BOTH)
        c->read_high = !c->read_high;
    return high ? value >> 8 : value & 0xffu;
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vpit *pit = dev;
    (void)bytes;
    if (port == PORT_CONTROL)
        return UINT32_MAX; /* write-only */
    if (port != PORT_SPEAKER)
        return read_channel(pit, port & 3);
    uint64_t cycle = now_cycle(pit);
    sync_period(&pit->channel[2], cycle);
    return pit->speaker | (cycle / REFRESH_CYCLES & 1) << 4 |
           (uint32_t)output(&pit->channel[2], cycle) << 5;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vpit *pit = dev;
    (void)bytes;
    if (port == PORT_CONTROL) {
        write_control(pit, (uint8_t)value);
    } else if (port != PORT_SPEAKER) {
        write_channel(pit, port & 3, (uint8_t)value);
    } else {
        pit->speaker = value & 0x0f;
        set_gate(&pit->channel[2], now_cycle(pit), value & 1);
    }
}

enum status vpit_init(struct vpit *pit, struct bus *bus, struct timers *timers, struct irq_line irq)
{
    if (timers->hz == 0)
        return ERR_BAD_INPUT;
    *pit = (struct vpit){.base = timers_now(timers), .timers = timers, .irq = irq};
    pit->timer = (struct timer){.fire = timer_fired, .dev = pit};
    timers_add(timers, &pit->timer);
    for (unsigned i = 0; i < 3; i++)
        pit->channel[i] =
            (struct vpit_channel){.control = 0x30, .access = ACCESS_BOTH, .gate = i != 2};
    schedule(pit);
    static const struct port_range ports[] = {
        {PORT_CHANNEL_0, PORT_CONTROL, 1, NULL, read_port, write_port},
        {PORT_SPEAKER, PORT_SPEAKER, 1, NULL, read_port, write_port},
    };
    return bus_add_port_table(bus, pit, ports, 2);
}
