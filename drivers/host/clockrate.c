/* SPDX-License-Identifier: BSD-2-Clause */
/* Chooses among what sources say of the TSC's rate, and measures it against a timer. */
#include "drivers/host/clockrate.h"
#include "arch/cpu.h"

#define RUNS      5
#define RUNS_MOST 20           /* as long as the two least of them do not agree */
#define RUN_HZ    100u         /* a run takes 10 ms */
#define RUN_DEAD  (1ull << 28) /* TSC ticks after which a timer counts as dead, */
#define RUN_READS 20000u       /* if it has been read so often, too */
#define MIN_HZ    10000000ull
#define MAX_HZ    20000000000ull
#define PERCENT   100u

static bool is_timer(enum rate_source source)
{
    return source == RATE_PM_TIMER || source == RATE_HPET || source == RATE_PIT;
}

static bool agree(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) <= b / PERCENT;
}

/* The preferred of those that have answered without a second one to agree. */
static void choose_alone(struct clock_rate *out, const uint64_t hz[RATE_SOURCES])
{
    for (unsigned i = 0; i < RATE_SOURCES; i++) {
        if (hz[i] == 0 || (out->hz != 0 && (is_timer(out->by) || !is_timer(i))))
            continue;
        out->hz = hz[i];
        out->by = i;
    }
}

struct clock_rate clock_rate_choose(uint64_t (*ask)(enum rate_source source))
{
    uint64_t hz[RATE_SOURCES] = {0};
    struct clock_rate out = {.by = RATE_NOBODY, .second = RATE_NOBODY, .odd = RATE_NOBODY};
    for (unsigned i = 0; i < RATE_SOURCES && out.hz == 0; i++) {
        hz[i] = ask(i);
        if (hz[i] < MIN_HZ || hz[i] > MAX_HZ)
            hz[i] = 0;
        for (unsigned j = 0; j < i && hz[i] != 0 && out.hz == 0; j++) {
            if (hz[j] == 0 || !agree(hz[i], hz[j]) || (!is_timer(i) && !is_timer(j)))
                continue;
            out.hz = hz[j];
            out.by = j;
            out.second = i;
        }
    }
    if (out.hz == 0)
        choose_alone(&out, hz);
    for (unsigned i = 0; i < RATE_SOURCES && out.odd == RATE_NOBODY; i++)
        if (hz[i] != 0 && !agree(hz[i], out.hz)) {
            out.odd = i;
            out.other_hz = hz[i];
        }
    return out;
}

const char *clock_rate_source_name(enum rate_source source)
{
    static const char *const name[] = {
        [RATE_CRYSTAL] = "CPUID leaf 0x15", [RATE_HYPERVISOR] = "CPUID leaf 0x40000010",
        [RATE_HYPERV] = "Hyper-V's MSR",    [RATE_PM_TIMER] = "the ACPI PM timer",
        [RATE_HPET] = "the HPET",           [RATE_PIT] = "the PIT",
        [RATE_NOMINAL] = "CPUID leaf 0x16", [RATE_NOBODY] = "nobody",
    };
    return name[source];
}

static uint32_t passed_since(const struct rate_timer *t, uint32_t from)
{
    const uint32_t now = t->read();
    return (t->counts_down ? from - now : now - from) & t->mask;
}

/* For how long a timer is watched: by the TSC, but not before it has been read often enough, since
 * whatever takes the CPU away makes the TSC jump between two readings. */
struct watch {
    uint64_t begin;
    unsigned reads;
};

static bool goes_on(struct watch *w, uint64_t now)
{
    return w->reads++ < RUN_READS || now - w->begin < RUN_DEAD;
}

/* One run, from a tick of the timer on: 0 where none comes, or too few; `moves` tells which. The
 * TSC is read before the timer at the start, and behind it at the end. */
static uint64_t run(const struct rate_timer *t, bool *moves)
{
    const uint32_t goal = (uint32_t)(t->hz / RUN_HZ);
    uint64_t start = cpu_rdtsc(), now = start;
    uint32_t from = t->read(), passed = 0;
    for (struct watch w = {.begin = now}; passed == 0 && goes_on(&w, now); now = cpu_rdtsc()) {
        start = cpu_rdtsc();
        passed = passed_since(t, from);
    }
    *moves = passed != 0;
    if (!*moves)
        return 0;
    from = t->counts_down ? from - passed : from + passed;
    passed = 0;
    for (struct watch w = {.begin = now}; passed < goal && goes_on(&w, now); now = cpu_rdtsc())
        passed = passed_since(t, from);
    return passed != 0 && passed >= goal ? (now - start) * t->hz / passed : 0;
}

uint64_t clock_rate_measure(const struct rate_timer *timer)
{
    uint64_t least = 0, second = 0;
    bool moves = true;
    for (unsigned i = 0; moves && (i < RUNS || (i < RUNS_MOST && !agree(second, least))); i++) {
        const uint64_t hz = run(timer, &moves);
        if (hz != 0 && (least == 0 || hz < least)) {
            second = least;
            least = hz;
        } else if (hz != 0 && (second == 0 || hz < second)) {
            second = hz;
        }
    }
    return least;
}
