// link: guest/vm/vlapic.c guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/bus/timers.c
// link: guest/vm/vcpu_pv_eoi.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC: registers, priorities, modes, IPIs and the timer against a fake clock. */
#include "tests/unit/vlapic_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID       0x20
#define VERSION  0x30
#define TPR      0x80
#define PPR      0xa0
#define EOI      0xb0
#define LDR      0xd0
#define DFR      0xe0
#define SVR      0xf0
#define ISR      0x100
#define TMR      0x180
#define IRR      0x200
#define ESR      0x280
#define ICR      0x300
#define ICR_HIGH 0x310
#define TIMER    0x320
#define LINT0    0x350
#define LINT1    0x360
#define ERROR    0x370
#define INITIAL  0x380
#define CURRENT  0x390
#define DIVIDE   0x3e0
#define SELF     0x3f0

#define MASKED   0x10000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u
#define BSP      0x100ull
#define X2       0x400ull
#define EN       0x800ull
#define BASE     VLAPIC_DEFAULT_BASE

static uint64_t clock_now;
static unsigned eois, last_eoi;

uint64_t read_clock(void)
{
    return clock_now;
}

static unsigned pic_acknowledge(void *pic)
{
    assert_ptr_equal(pic, &eois);
    return 0x31;
}

static void on_eoi(void *ioapic, unsigned vector)
{
    assert_ptr_equal(ioapic, &last_eoi);
    eois++;
    last_eoi = vector;
}

static uint64_t get(unsigned cpu, unsigned offset)
{
    uint64_t value = 0xdead;
    assert_true(vlapic_read(APIC(cpu), offset, &value));
    return value;
}

static void put(unsigned cpu, unsigned offset, uint64_t value)
{
    assert_true(vlapic_write(APIC(cpu), offset, value));
}

static bool refuses(unsigned offset, uint64_t value)
{
    return !vlapic_write(APIC(0), offset, value);
}

static int pending(unsigned cpu)
{
    return vlapic_pending(APIC(cpu));
}

static bool base(uint64_t value)
{
    return vlapic_write_base(APIC(0), value);
}

static bool has_bit(unsigned offset, unsigned vector)
{
    vlapic_collect(APIC(0));
    return (APIC(0)->page[(offset + vector / 32 * 16) / 4] >> vector % 32 & 1) != 0;
}

static void go_to(uint64_t now)
{
    clock_now = now;
    for (uint32_t i = 0; i < vm.vcpu_count; i++)
        if (vcpu[i].timers.next <= now)
            timers_run(&vcpu[i].timers, now);
}

/* Takes the pending interrupt, which must be this one, and ends it. */
static void take(int vector)
{
    assert_int_equal(pending(0), vector);
    vlapic_accept(APIC(0), (unsigned)vector);
    put(0, EOI, 0);
    assert_int_equal(pending(0), -1);
}

static int setup(void **state)
{
    (void)state;
    clock_now = 1000;
    start_vm(65536 * 4);
    eois = last_eoi = 0;
    for (unsigned i = 0; i < CPUS; i++)
        add_apic(i, i, pic_acknowledge, &eois);
    vm.ioapic = (struct msi_source){.eoi = on_eoi, .chip = &last_eoi};
    memset(changes, 0, sizeof(changes));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    end_vm();
    return 0;
}

/* The same with all APICs enabled by software. */
static int setup_enabled(void **state)
{
    setup(state);
    for (unsigned i = 0; i < CPUS; i++)
        put(i, SVR, 0x1ff);
    memset(changes, 0, sizeof(changes));
    return 0;
}

static void enter_x2apic(void)
{
    assert_true(base(BASE | BSP | EN | X2));
}

static void test_reset_values(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(get(i, ID), i << 24);
    assert_int_equal(get(0, VERSION), 0x50014);
    assert_int_equal(get(0, SVR), 0xff);
    assert_int_equal(get(0, DFR), 0xffffffff);
    assert_int_equal(get(0, LDR), 0);
    for (unsigned lvt = TIMER; lvt <= ERROR; lvt += 0x10)
        assert_int_equal(get(0, lvt), MASKED);
    for (unsigned i = ISR; i < ESR; i += 0x10)
        assert_int_equal(get(0, i), 0);
    assert_int_equal(get(0, INITIAL) | get(0, CURRENT) | get(0, DIVIDE) | get(0, ESR), 0);
    assert_int_equal(get(0, TPR) | get(0, PPR) | get(0, 0x90) | get(0, ICR) | get(0, ICR_HIGH), 0);
    assert_int_equal(APIC(0)->base, BASE | BSP | EN);
    assert_int_equal(APIC(1)->base, BASE | EN);
    assert_int_equal(pending(0), -1);
    assert_false(vlapic_extint_pending(APIC(0)));
}

static void test_init_refuses(void **state)
{
    (void)state;
    static struct vcpu other;
    vlapic_destroy(&other.apic); /* never made: harmless */
    other = (struct vcpu){.vm = &vm, .phys_bits = 64};
    assert_int_equal(vlapic_init(&other.apic, NULL, NULL), ERR_BAD_INPUT);
    other.phys_bits = 31;
    assert_int_equal(vlapic_init(&other.apic, NULL, NULL), ERR_BAD_INPUT);
    other.phys_bits = 52;
    pages_left = 0;
    assert_int_equal(vlapic_init(&other.apic, NULL, NULL), ERR_NO_MEMORY);
    vlapic_destroy(&other.apic);
}

static void test_priorities_and_nesting(void **state)
{
    (void)state;
    put(0, ICR, 0x00040041); /* self, vector 41 */
    assert_int_equal(pending(0), 0x41);
    vlapic_accept(APIC(0), 0x41);
    assert_int_equal(pending(0), -1);
    assert_int_equal(get(0, PPR), 0x40);
    put(0, ICR, 0x0004004f); /* the same class: waits */
    assert_int_equal(pending(0), -1);
    put(0, ICR, 0x000400e0); /* a higher one nests */
    assert_int_equal(pending(0), 0xe0);
    vlapic_accept(APIC(0), 0xe0);
    assert_int_equal(get(0, PPR), 0xe0);
    assert_int_equal(get(0, ISR + 0x20), 2);
    assert_int_equal(get(0, ISR + 0x70), 1);
    unsigned before = changes[0];
    put(0, EOI, 0x1234);                      /* ends the highest: e0 */
    assert_int_equal(changes[0], before + 1); /* 4f waits: it might come */
    assert_int_equal(get(0, ISR + 0x70), 0);
    assert_int_equal(get(0, PPR), 0x40);
    assert_int_equal(pending(0), -1);
    put(0, EOI, 0);
    assert_int_equal(get(0, PPR), 0);
    before = changes[0];
    take(0x4f);
    assert_int_equal(changes[0], before); /* nothing can come behind that */
    put(0, EOI, 0);                       /* nothing in service: harmless */
    assert_int_equal(eois, 0);
}

static void test_tpr(void **state)
{
    (void)state;
    put(0, ICR, 0x00040055);
    put(0, TPR, 0x50);
    assert_int_equal(pending(0), -1);
    assert_int_equal(get(0, PPR), 0x50);
    put(0, TPR, 0x4f);
    assert_int_equal(get(0, PPR), 0x4f);
    assert_int_equal(pending(0), 0x55);
    changes[0] = 0;
    put(0, TPR, 0x10);
    assert_int_equal(changes[0], 1);
    APIC(0)->page[TPR / 4] = 0x60; /* as MOV CR8 with a TPR shadow does */
    assert_int_equal(pending(0), -1);
    APIC(0)->page[TPR / 4] = 0;
    vlapic_accept(APIC(0), 0x55);
    put(0, TPR, 0x52); /* the class of ISR and TPR equal: PPR is TPR */
    assert_int_equal(get(0, PPR), 0x52);
}

static void test_every_vector(void **state)
{
    (void)state;
    for (unsigned v = 16; v < 256; v++) {
        struct vlapic_message m = {.destination = 0, .vector = (uint8_t)v};
        assert_true(vlapic_deliver(&vm, &m));
        assert_true(has_bit(IRR, v));
    }
    for (int v = 255; v >= 16; v--) {
        assert_int_equal(pending(0), v);
        vlapic_accept(APIC(0), (unsigned)v);
        assert_false(has_bit(IRR, (unsigned)v));
        assert_true(has_bit(ISR, (unsigned)v));
        put(0, EOI, 0);
    }
    assert_int_equal(pending(0), -1);
}

static void test_level_eoi(void **state)
{
    (void)state;
    struct vlapic_message m = {.destination = 0, .vector = 0x60, .level = true};
    assert_true(vlapic_deliver(&vm, &m));
    assert_true(has_bit(TMR, 0x60));
    vlapic_accept(APIC(0), 0x60);
    assert_int_equal(eois, 0);
    put(0, EOI, 0);
    assert_int_equal(eois, 1);
    assert_int_equal(last_eoi, 0x60);
    m.level = false;
    vlapic_deliver(&vm, &m);
    assert_false(has_bit(TMR, 0x60));
    take(0x60);
    assert_int_equal(eois, 1);
    vlapic_eoi(APIC(0), 0x77); /* EOI-induced exit */
    assert_int_equal(last_eoi, 0x77);
}

static void test_software_disable(void **state)
{
    (void)state;
    struct vlapic_message m = {.destination = 0, .vector = 0x60};
    put(0, LINT0, 0x700);
    put(0, TIMER, 0x40);
    put(0, ICR, 0x00040041);
    put(0, SVR, 0xff);
    for (unsigned lvt = TIMER; lvt <= ERROR; lvt += 0x10)
        assert_true(get(0, lvt) & MASKED);
    put(0, TIMER, 0x40); /* cannot be unmasked now */
    assert_int_equal(get(0, TIMER), MASKED | 0x40);
    assert_false(vlapic_deliver(&vm, &m));
    assert_int_equal(pending(0), 0x41); /* what had been accepted stays */
    put(0, SVR, 0xffffffff);
    assert_int_equal(get(0, SVR), 0x3ff);
    assert_int_equal(get(0, LINT0), MASKED | 0x700);
    assert_true(vlapic_deliver(&vm, &m));
}

static void test_esr(void **state)
{
    (void)state;
    put(0, ERROR, 0xfe);
    put(0, ICR, 0x0004000f); /* illegal vector */
    assert_int_equal(get(0, ESR), 0);
    take(0xfe);
    put(0, ICR, 0x00000003); /* one interrupt until ESR is written */
    assert_int_equal(pending(0), -1);
    put(0, ESR, 0xffffffff);
    assert_int_equal(get(0, ESR), 0x20);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0);

    struct vlapic_message m = {.destination = 0, .vector = 0x0f};
    assert_false(vlapic_deliver(&vm, &m));
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x40);
    take(0xfe);

    uint64_t value = 1;
    const unsigned illegal[] = {0x00, 0x10, 0x40, 0x290, 0x2f0, 0x3a0, 0x3f0, 0x400, 0xff0};
    for (unsigned i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++) {
        put(0, ESR, 0);
        assert_false(vlapic_read(APIC(0), illegal[i], &value));
        assert_int_equal(value, 0);
        put(0, ESR, 0);
        assert_int_equal(get(0, ESR), 0x80);
        assert_true(refuses(illegal[i], 0));
        put(0, ESR, 0);
        assert_int_equal(get(0, ESR), 0x80);
    }
}

/* What is not reserved is no error, whatever is done to it. */
static void test_no_error_of_read_only(void **state)
{
    (void)state;
    uint64_t value = 1;
    const unsigned read_only[] = {VERSION, 0x90, PPR, 0xc0, ISR, IRR, CURRENT};
    for (unsigned i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
        assert_true(refuses(read_only[i], 1));
    assert_true(vlapic_read(APIC(0), 0xc0, &value));
    assert_int_equal(value, 0);
    assert_false(vlapic_read(APIC(0), EOI, &value));
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0);
}

static void test_error_lvt_with_illegal_vector(void **state)
{
    (void)state;
    put(0, ERROR, 0x0e);
    put(0, ICR, 0x0004000f);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x60);
    assert_int_equal(pending(0), -1);
}

static void test_xapic_reserved_bits(void **state)
{
    (void)state;
    const struct {
        unsigned offset;
        uint32_t kept;
    } row[] = {{TPR, 0xff},      {LDR, 0xff000000},     {DFR, 0xffffffff}, {SVR, 0x3ff},
               {TIMER, 0x700ff}, {0x330, 0x107ff},      {0x340, 0x107ff},  {LINT0, 0x1a7ff},
               {LINT1, 0x1a7ff}, {ERROR, 0x100ff},      {DIVIDE, 0xb},     {INITIAL, 0xffffffff},
               {ID, 0},          {ICR_HIGH, 0xff000000}};
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        if (row[i].offset == INITIAL)
            put(0, TIMER, MASKED);
        put(0, row[i].offset, 0xffffffff);
        assert_int_equal(get(0, row[i].offset), row[i].kept);
    }
    put(0, DFR, 0);
    assert_int_equal(get(0, DFR), 0x0fffffff);
}

static void test_mmio(void **state)
{
    (void)state;
    assert_int_equal(vlapic_mmio_read(APIC(2), gpa(BASE + ID), 4), 2 << 24);
    assert_int_equal(vlapic_mmio_read(APIC(2), gpa(BASE + ID + 3), 1), 2);
    assert_int_equal(vlapic_mmio_read(APIC(2), gpa(BASE + ID + 4), 4), 0);
    assert_int_equal(vlapic_mmio_read(APIC(2), gpa(BASE + SVR), 1), 0xff & get(2, SVR));
    vlapic_mmio_write(APIC(2), gpa(BASE + TPR), 4, 0xffffffff00000033);
    assert_int_equal(get(2, TPR), 0x33);
    vlapic_mmio_write(APIC(2), gpa(BASE + TPR), 1, 0x44); /* too narrow */
    vlapic_mmio_write(APIC(2), gpa(BASE + TPR + 1), 4, 0x44);
    assert_int_equal(get(2, TPR), 0x33);
    enter_x2apic();
    assert_int_equal(vlapic_mmio_read(APIC(0), gpa(BASE + ID), 4), UINT32_MAX);
    assert_int_equal(vlapic_mmio_read(APIC(0), gpa(BASE + ID), 1), UINT8_MAX);
    assert_int_equal(vlapic_mmio_read(APIC(0), gpa(BASE + ID), 8), UINT64_MAX);
    vlapic_mmio_write(APIC(0), gpa(BASE + TPR), 4, 0x33);
    assert_int_equal(get(0, TPR), 0);
}

static void test_transitions(void **state)
{
    (void)state;
    const uint64_t mode[4] = {0, EN, EN | X2, X2};
    const bool legal[4][4] = {
        {true, true, false, false}, {true, true, true, false}, {true, false, true, false}};
    for (unsigned from = 0; from < 3; from++)
        for (unsigned to = 0; to < 4; to++) {
            assert_true(base(BASE)); /* off, xAPIC, and on from there */
            assert_true(from == 0 || base(BASE | EN));
            assert_true(from < 2 || base(BASE | EN | X2));
            assert_int_equal(base(BASE | mode[to]), legal[from][to]);
            uint64_t now = legal[from][to] ? mode[to] : mode[from];
            assert_int_equal(APIC(0)->base, BASE | now);
        }
    assert_true(base(BASE));
    assert_true(base(BASE | EN));
    assert_false(base(BASE | EN | 1));
    assert_false(base(BASE | EN | 0x200));
    assert_false(base(BASE | EN | 1ull << 39));
    assert_true(base(1ull << 38 | EN));
    assert_int_equal(APIC(0)->base, 1ull << 38 | EN);
}

static void test_disable_and_enable(void **state)
{
    (void)state;
    uint64_t value;
    struct vlapic_message m = {.destination = 0, .vector = 0x60};
    put(0, TIMER, DEADLINE | 0x40);
    vlapic_write_deadline(APIC(0), 5000);
    vlapic_deliver(&vm, &m);
    changes[0] = 0;
    assert_true(base(BASE | BSP));
    assert_int_not_equal(changes[0], 0);
    assert_false(vlapic_read(APIC(0), ID, &value));
    assert_true(refuses(TPR, 0));
    assert_false(vlapic_deliver(&vm, &m));
    assert_int_equal(timers->next, TIMER_NEVER);
    assert_int_equal(pending(0), -1);
    assert_true(base(BASE | BSP | EN));
    assert_int_equal(get(0, SVR), 0xff);
    assert_int_equal(get(0, ID), 0);
    put(0, SVR, 0x1ff);
    assert_true(vlapic_deliver(&vm, &m));
    take(0x60);
}

static void test_x2apic_registers(void **state)
{
    (void)state;
    uint64_t value;
    put(0, TPR, 0x20);
    put(0, ICR, 0x00040041);
    enter_x2apic();
    assert_int_equal(get(0, TPR), 0x20); /* kept over the transition */
    assert_int_equal(pending(0), 0x41);
    assert_int_equal(get(0, ID), 0);
    assert_int_equal(get(0, LDR), 1);
    assert_int_equal(get(0, SVR), 0x1ff);
    const unsigned absent[] = {0x90, DFR, ICR_HIGH, SELF, EOI, 0x00, 0x2f0, 0x400, 0x1000, 0x25};
    for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        assert_false(vlapic_read(APIC(0), absent[i], &value));
    const unsigned read_only[] = {ID,  VERSION, 0x90,  PPR,      LDR,     DFR,   ISR,
                                  TMR, IRR,     0x2f0, ICR_HIGH, CURRENT, 0x3f1, 0x10000};
    for (unsigned i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
        assert_true(refuses(read_only[i], 0));
    const struct {
        unsigned offset;
        uint64_t bad;
    } reserved[] = {
        {TPR, 0x100},          {EOI, 1},         {ESR, 1},          {SVR, 0x1000},
        {TIMER, 0x80000},      {TIMER, 0x4000},  {TIMER, 0x100},    {0x330, 0x20000},
        {LINT0, 0x800},        {LINT1, 0x20000}, {ERROR, 0x400},    {DIVIDE, 4},
        {INITIAL, 1ull << 32}, {ICR, 0x1000},    {ICR, 0x2000},     {ICR, 0x10000},
        {ICR, 0x100000},       {SELF, 0x100},    {TPR, 1ull << 63}, {0x340, 1ull << 32}};
    for (unsigned i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        assert_true(refuses(reserved[i].offset, reserved[i].bad));
    put(0, LINT0, MASKED | 0x5000); /* read-only, not reserved */
    assert_int_equal(get(0, LINT0), MASKED);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0); /* these were faults, not errors */
}

static void test_x2apic_ids(void **state)
{
    (void)state;
    uint64_t value = 0;
    add_apic(CPUS, 0x9a, NULL, NULL);
    struct vlapic *far = APIC(CPUS);
    assert_true(vlapic_write_base(far, BASE | EN | X2));
    assert_true(vlapic_read(far, ID, &value));
    assert_int_equal(value, 0x9a);
    assert_true(vlapic_read(far, LDR, &value));
    assert_int_equal(value, 0x90400);
    vlapic_reset(far, true); /* INIT keeps mode and ID */
    assert_int_equal(far->base, BASE | EN | X2);
    assert_true(vlapic_read(far, ID, &value));
    assert_int_equal(value, 0x9a);
    assert_true(vlapic_write(far, SVR, 0x1ff));
    struct vlapic_message m = {.destination = 0x90400, .vector = 0x50, .logical = true};
    assert_true(vlapic_deliver(&vm, &m));
    m.destination = 0x90800;
    assert_false(vlapic_deliver(&vm, &m));
    m.destination = 0x80400;
    assert_false(vlapic_deliver(&vm, &m));
}

static void test_x2apic_icr(void **state)
{
    (void)state;
    enter_x2apic();
    put(0, ICR, 2ull << 32 | 0x61);
    assert_int_equal(get(0, ICR), 2ull << 32 | 0x61);
    assert_int_equal(APIC(0)->page[0x304 / 4], 2); /* where the CPU's own RDMSR reads it */
    assert_int_equal(pending(2), 0x61);
    put(0, ICR, 0xffffffffull << 32 | 0x62);
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(pending(i), 0x62);
    put(0, SELF, 0x99);
    assert_int_equal(pending(0), 0x99);
    put(0, SELF, 5);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x20);
}

static void test_ipi_destinations(void **state)
{
    (void)state;
    /* ICR high, ICR low, CPUs that get it */
    const struct {
        uint32_t high, low;
        unsigned cpus;
    } row[] = {{0x02000000, 0x41, 4},    {0xff000000, 0x41, 15},    {0x09000000, 0x41, 0},
               {0x05000000, 0x841, 5},   {0xff000000, 0x841, 15},   {0, 0x841, 0},
               {0x02000000, 0x40041, 1}, {0x02000000, 0x80041, 15}, {0x02000000, 0xc0041, 14},
               {0x0e000000, 0x941, 2},   {0x02000000, 0x341, 0},    {0x02000000, 0x741, 0},
               {0x02000000, 0x241, 0},   {0x02000000, 0x40441, 0}};
    for (unsigned i = 0; i < CPUS; i++)
        put(i, LDR, 1u << (24 + i));
    for (unsigned r = 0; r < sizeof(row) / sizeof(row[0]); r++) {
        put(0, ICR_HIGH, row[r].high);
        put(0, ICR, row[r].low);
        for (unsigned i = 0; i < CPUS; i++) {
            assert_int_equal(pending(i), row[r].cpus >> i & 1 ? 0x41 : -1);
            if (pending(i) == 0x41) {
                vlapic_accept(APIC(i), 0x41);
                put(i, EOI, 0);
            }
        }
    }
    put(1, TPR, 0x30); /* lowest priority goes where TPR is lowest */
    put(0, ICR_HIGH, 0x0e000000);
    put(0, ICR, 0x951);
    assert_int_equal(pending(2), 0x51);
    assert_int_equal(pending(1), -1);
}

static void test_cluster_model(void **state)
{
    (void)state;
    const uint8_t ldr[CPUS] = {0x11, 0x12, 0x21, 0x22};
    const struct {
        uint8_t mda;
        unsigned cpus;
    } row[] = {{0x11, 1}, {0x13, 3}, {0x22, 8}, {0x31, 0}, {0xf1, 5}, {0xff, 15}, {0x10, 0}};
    for (unsigned i = 0; i < CPUS; i++) {
        put(i, DFR, 0x0fffffff);
        put(i, LDR, (uint32_t)ldr[i] << 24);
    }
    for (unsigned r = 0; r < sizeof(row) / sizeof(row[0]); r++) {
        put(0, ICR_HIGH, (uint32_t)row[r].mda << 24);
        put(0, ICR, 0x841);
        for (unsigned i = 0; i < CPUS; i++) {
            assert_int_equal(pending(i), row[r].cpus >> i & 1 ? 0x41 : -1);
            if (pending(i) == 0x41)
                vlapic_accept(APIC(i), 0x41);
            put(i, EOI, 0);
        }
    }
}

static void test_nmi_init_sipi(void **state)
{
    (void)state;
    put(0, ICR, 0xc4400); /* NMI, all but self */
    assert_int_equal(nmis[0], 0);
    assert_int_equal(nmis[1] + nmis[2] + nmis[3], 3);
    put(0, ICR_HIGH, 0x01000000);
    put(0, ICR, 0xc500); /* INIT, assert, level */
    assert_int_equal(inits[1], 1);
    assert_int_equal(get(1, SVR), 0xff);
    assert_int_equal(get(1, ID), 1 << 24);
    put(0, ICR, 0x8500); /* INIT level de-assert */
    assert_int_equal(inits[1], 1);
    put(0, ICR, 0x4608);
    assert_int_equal(sipi[1], 8);
    assert_int_equal(inits[0] + inits[2] + inits[3], 0);
}

static void test_lint0(void **state)
{
    (void)state;
    vlapic_set_lint0(APIC(0), 0, true);
    assert_false(vlapic_extint_pending(APIC(0))); /* masked at reset */
    changes[0] = 0;
    put(0, LINT0, 0x700);
    assert_true(changes[0] > 0);
    assert_true(vlapic_extint_pending(APIC(0)));
    assert_int_equal(vlapic_extint_acknowledge(APIC(0)), 0x31);
    vlapic_set_lint0(APIC(0), 0, false);
    assert_false(vlapic_extint_pending(APIC(0)));
    put(0, LINT0, 0x45); /* fixed: on the rising edge */
    vlapic_set_lint0(APIC(0), 0, true);
    assert_false(vlapic_extint_pending(APIC(0)));
    take(0x45);
    vlapic_set_lint0(APIC(0), 0, true);
    assert_int_equal(pending(0), -1);
    assert_false(vlapic_device_may_wake(APIC(0)));
    put(0, LINT0, MASKED | 0x400);
    assert_false(vlapic_device_may_wake(APIC(0)));
    put(0, LINT0, 0x400);
    assert_true(vlapic_device_may_wake(APIC(0)));
    vlapic_set_lint0(APIC(0), 0, false);
    vlapic_set_lint0(APIC(0), 0, true);
    assert_int_equal(nmis[0], 1);
    assert_true(base(BASE)); /* no APIC: INTR goes straight to the CPU */
    assert_true(vlapic_extint_pending(APIC(0)));
}

static void test_virtual_wire(void **state)
{
    (void)state;
    vlapic_set_virtual_wire(APIC(0));
    assert_int_equal(get(0, SVR), 0x10f);
    vlapic_set_lint0(APIC(0), 0, true);
    assert_true(vlapic_extint_pending(APIC(0)));
    vlapic_set_lint0(APIC(0), 0, false);
    struct vlapic_message m = {.mode = DELIVERY_EXTINT}; /* through the IO-APIC */
    assert_true(vlapic_deliver(&vm, &m));
    assert_true(vlapic_extint_pending(APIC(0)));
    vlapic_extint_acknowledge(APIC(0));
    assert_false(vlapic_extint_pending(APIC(0)));
}

static void test_one_shot(void **state)
{
    (void)state;
    put(0, TIMER, 0x40);
    put(0, INITIAL, 100); /* divisor 2 after reset */
    assert_int_equal(timers->next, 1200);
    assert_int_equal(get(0, CURRENT), 100);
    go_to(1100);
    assert_int_equal(get(0, CURRENT), 50);
    go_to(1199);
    assert_int_equal(get(0, CURRENT), 1);
    assert_int_equal(pending(0), -1);
    go_to(1200);
    take(0x40);
    assert_int_equal(get(0, CURRENT), 0);
    assert_int_equal(get(0, INITIAL), 100);
    go_to(5000);
    assert_int_equal(pending(0), -1);
    put(0, INITIAL, 100);
    put(0, INITIAL, 0); /* stops */
    assert_int_equal(timers->next, TIMER_NEVER);
    put(0, TIMER, MASKED | 0x40); /* masked, it counts all the same */
    put(0, INITIAL, 100);
    go_to(5100);
    assert_int_equal(get(0, CURRENT), 50);
    go_to(5200);
    assert_int_equal(pending(0), -1);
    assert_int_equal(get(0, CURRENT), 0);
}

static void test_divisors(void **state)
{
    (void)state;
    const unsigned divisor[] = {2, 4, 8, 16, 32, 64, 128, 1};
    for (unsigned i = 0; i < 8; i++) {
        put(0, DIVIDE, (i & 3) | (i & 4) << 1);
        put(0, INITIAL, 1000);
        assert_int_equal(timers->next, clock_now + 1000 * divisor[i]);
    }
    clock_now += 400; /* the divisor changes while counting: 600 left */
    put(0, DIVIDE, 3);
    assert_int_equal(get(0, CURRENT), 600);
    assert_int_equal(timers->next, clock_now + 600 * 16);
    put(0, DIVIDE, 0xa);
    put(0, INITIAL, 0xffffffff);
    assert_int_equal(get(0, CURRENT), 0xffffffff);
    assert_int_equal(timers->next, clock_now + 0xffffffffull * 128);
}

static void test_periodic(void **state)
{
    (void)state;
    put(0, TIMER, PERIODIC | 0x40);
    put(0, DIVIDE, 0xb);
    put(0, INITIAL, 100);
    for (unsigned i = 1; i <= 5; i++) {
        go_to(1000 + 100 * i);
        take(0x40);
        assert_int_equal(get(0, CURRENT), 100);
    }
    assert_int_equal(timers->next, 1600);
    clock_now = 1830; /* late, and nobody has run the timers */
    assert_int_equal(get(0, CURRENT), 70);
    go_to(1830); /* one interrupt for those missed, and in phase */
    take(0x40);
    assert_int_equal(timers->next, 1900);
    go_to(1831);
    assert_int_equal(pending(0), -1);
    put(0, INITIAL, 1); /* as fast as it can: bounded */
    go_to(1832);
    take(0x40);
    assert_int_equal(timers->next, 1832 + (timers->hz >> 13));
}

static void test_deadline(void **state)
{
    (void)state;
    struct vlapic *apic = APIC(0);
    vlapic_write_deadline(apic, 2000); /* not in this mode */
    assert_int_equal(vlapic_deadline(apic), 0);
    assert_int_equal(timers->next, TIMER_NEVER);
    put(0, TIMER, DEADLINE | 0x40);
    put(0, INITIAL, 5);
    assert_int_equal(get(0, INITIAL), 0);
    vcpu[0].tsc_offset = (uint64_t)-600;
    vlapic_write_deadline(apic, 2000);
    assert_int_equal(vlapic_deadline(apic), 2000);
    assert_int_equal(timers->next, 2600);
    assert_int_equal(get(0, CURRENT), 0);
    go_to(2599);
    assert_int_equal(pending(0), -1);
    go_to(2600);
    assert_int_equal(vlapic_deadline(apic), 0);
    take(0x40);
    assert_int_equal(timers->next, TIMER_NEVER);
    vlapic_write_deadline(apic, 1); /* in the past: at once */
    go_to(2600);
    take(0x40);
    vlapic_write_deadline(apic, 9000);
    vlapic_write_deadline(apic, 0);
    assert_int_equal(timers->next, TIMER_NEVER);
    vlapic_write_deadline(apic, UINT64_MAX); /* never, but armed */
    assert_int_equal(timers->next, TIMER_NEVER);
    assert_int_equal(vlapic_deadline(apic), UINT64_MAX);
    vcpu[0].tsc_offset = 5000; /* the guest's clock is ahead */
    vlapic_write_deadline(apic, 4000);
    assert_int_equal(timers->next, 0);
    vlapic_write_deadline(apic, 9000);
    assert_int_equal(timers->next, 4000);
    vcpu[0].tsc_offset = 4000; /* moved while armed */
    vlapic_write_deadline(apic, vlapic_deadline(apic));
    assert_int_equal(timers->next, 5000);
}

static void test_timer_mode_switches(void **state)
{
    (void)state;
    put(0, TIMER, 0x40);
    put(0, DIVIDE, 0xb);
    put(0, INITIAL, 100);
    go_to(1050);
    put(0, TIMER, PERIODIC | 0x40); /* the count goes on, then reloads */
    assert_int_equal(get(0, CURRENT), 50);
    go_to(1100);
    take(0x40);
    assert_int_equal(get(0, CURRENT), 100);
    put(0, TIMER, 0x41);
    go_to(1200);
    take(0x41);
    assert_int_equal(timers->next, TIMER_NEVER);
    put(0, TIMER, PERIODIC | 0x41); /* stopped stays stopped */
    assert_int_equal(get(0, CURRENT), 0);
    put(0, INITIAL, 100);
    put(0, TIMER, DEADLINE | 0x41); /* disarmed */
    assert_int_equal(timers->next, TIMER_NEVER);
    vlapic_write_deadline(APIC(0), 9000);
    put(0, TIMER, DEADLINE | MASKED | 0x42); /* the same mode: stays armed */
    assert_int_equal(timers->next, 9000);
    put(0, TIMER, 0x42);
    assert_int_equal(timers->next, TIMER_NEVER);
    put(0, TIMER, DEADLINE | 0x42);
    assert_int_equal(vlapic_deadline(APIC(0)), 0);
    put(0, TIMER, PERIODIC | DEADLINE | 0x42); /* reserved mode: nothing runs */
    put(0, INITIAL, 100);
    vlapic_write_deadline(APIC(0), 9000);
    assert_int_equal(timers->next, TIMER_NEVER);
}

/* What comes from elsewhere waits in struct posted, and is announced once until it is collected. */
static void test_posted(void **state)
{
    (void)state;
    struct vlapic_message m = {.destination = 1, .vector = 0x50};
    assert_true(vlapic_deliver(&vm, &m));
    m.vector = 0xf3;
    assert_true(vlapic_deliver(&vm, &m));
    assert_int_equal(changes[1], 1);
    assert_int_equal(silents[1], 1);
    assert_int_equal(APIC(1)->page[(IRR + 0x20) / 4], 0); /* the page is its own CPU's */
    assert_int_equal(APIC(1)->posted->outstanding, 1);
    assert_int_equal(APIC(1)->posted->requests[1], 1ull << (0x50 - 64));
    assert_int_equal(APIC(1)->posted->requests[3], 1ull << (0xf3 - 192));
    vlapic_collect(APIC(1));
    assert_int_equal(APIC(1)->posted->outstanding, 0);
    assert_int_equal(APIC(1)->posted->requests[1] | APIC(1)->posted->requests[3], 0);
    assert_int_equal(pending(1), 0xf3);
    vlapic_accept(APIC(1), 0xf3);
    put(1, EOI, 0);
    assert_int_equal(pending(1), 0x50);
    /* A level-triggered one, and the first edge behind it, are announced aloud: each changes what
     * the EOI is to do. */
    m = (struct vlapic_message){.destination = 1, .vector = 0x61, .level = true};
    vlapic_deliver(&vm, &m);
    m.level = false;
    vlapic_deliver(&vm, &m);
    assert_int_equal(changes[1], 4);
    assert_int_equal(silents[1], 1);
    /* The CPU, which may be in the guest still, does not see them before it has been made to leave,
     * be it told of another one meanwhile. */
    assert_int_equal(APIC(1)->posted->requests[1], 0);
    APIC(1)->posted->outstanding &= ~1u;
    vlapic_collect(APIC(1));
    assert_int_equal(APIC(1)->page[(IRR + 0x30) / 4], 2);
    vlapic_deliver(&vm, &m);
    assert_int_equal(silents[1], 2);
    vlapic_reset(APIC(1), true); /* INIT forgets them */
    vlapic_collect(APIC(1));
    assert_int_equal(pending(1), -1);
}

static void test_assisted(void **state)
{
    (void)state;
    vcpu[0].assisted = true;
    struct vlapic_message m = {.destination = 0, .vector = 0x60, .level = true};
    assert_true(vlapic_deliver(&vm, &m));
    assert_int_equal(changes[0], 1);
    assert_true(has_bit(IRR, 0x60) && has_bit(TMR, 0x60));
    /* The CPU moves IRR to ISR and keeps PPR by itself; an EOI reaches us by emulation. */
    APIC(0)->page[(IRR + 0x30) / 4] = 0;
    APIC(0)->page[(ISR + 0x30) / 4] = 1;
    APIC(0)->page[(ISR + 0x70) / 4] = 1u << 31;
    APIC(0)->page[PPR / 4] = 0xf0;
    assert_int_equal(get(0, PPR), 0xf0);
    put(0, EOI, 0);
    assert_int_equal(APIC(0)->page[(ISR + 0x70) / 4], 0);
    put(0, EOI, 0);
    assert_int_equal(APIC(0)->page[(ISR + 0x30) / 4], 0);
    assert_int_equal(last_eoi, 0x60);
    assert_int_equal(eois, 1);
    /* APIC-write exits: the value is in the page, raw. */
    APIC(0)->page[ID / 4] = 0x12345678;
    vlapic_written(APIC(0), ID);
    assert_int_equal(get(0, ID), 0);
    APIC(0)->page[SVR / 4] = 0xfffffeff;
    vlapic_written(APIC(0), SVR);
    assert_int_equal(get(0, SVR), 0x2ff);
    assert_int_equal(get(0, TIMER), MASKED);
    APIC(0)->page[SVR / 4] = 0x1ff;
    vlapic_written(APIC(0), SVR);
    APIC(0)->page[ESR / 4] = 0xffffffff;
    vlapic_written(APIC(0), ESR);
    assert_int_equal(get(0, ESR), 0);
    APIC(0)->page[ICR_HIGH / 4] = 0x01ffffff;
    vlapic_written(APIC(0), ICR_HIGH);
    APIC(0)->page[ICR / 4] = 0x77;
    vlapic_written(APIC(0), ICR);
    assert_int_equal(pending(1), 0x77);
    APIC(0)->page[TIMER / 4] = 0x44;
    vlapic_written(APIC(0), TIMER);
    APIC(0)->page[INITIAL / 4] = 10;
    vlapic_written(APIC(0), INITIAL);
    assert_int_equal(timers->next, 1020);
    go_to(1020);
    assert_true(has_bit(IRR, 0x44));
    vlapic_written(APIC(0), 0xfffff000); /* no register: harmless */
}

static void test_random_accesses(void **state)
{
    (void)state;
    srand(1);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned r = (unsigned)rand();
        uint64_t value = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 16 ^ (uint64_t)rand();
        unsigned cpu = r % CPUS, offset = (r >> 4) % 0x420 & (r & 0x1000000 ? ~0u : ~15u);
        if ((r & 0x2000000) != 0)
            value &= 0x700ff;
        switch (r >> 12 & 15) {
        case 0: vlapic_read(APIC(cpu), offset, &value); break;
        case 1: vlapic_write_deadline(APIC(cpu), value); break;
        case 2: vlapic_write_base(APIC(cpu), (value & 0xd00) | BASE); break;
        case 3: go_to(clock_now + value % 100000); break;
        case 4: vlapic_set_lint0(APIC(cpu), 0, value & 1); break;
        case 5:
            if (pending(cpu) >= 0)
                vlapic_accept(APIC(cpu), (unsigned)pending(cpu));
            break;
        case 6: vcpu[cpu].tsc_offset = value; break;
        case 7: vlapic_written(APIC(cpu), offset); break;
        case 8: vlapic_mmio_write(APIC(cpu), gpa(value), 4, value); break;
        default: vlapic_write(APIC(cpu), offset, value); break;
        }
        int v = pending(cpu);
        assert_true(v == -1 || (v >= 16 && v < 256));
    }
}

int main(void)
{
#define PLAIN(f)   cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ENABLED(f) cmocka_unit_test_setup_teardown(f, setup_enabled, teardown)
    const struct CMUnitTest tests[] = {
        PLAIN(test_reset_values),
        PLAIN(test_init_refuses),
        ENABLED(test_priorities_and_nesting),
        ENABLED(test_tpr),
        ENABLED(test_every_vector),
        ENABLED(test_level_eoi),
        ENABLED(test_software_disable),
        ENABLED(test_esr),
        ENABLED(test_no_error_of_read_only),
        ENABLED(test_error_lvt_with_illegal_vector),
        ENABLED(test_xapic_reserved_bits),
        ENABLED(test_mmio),
        PLAIN(test_transitions),
        ENABLED(test_disable_and_enable),
        ENABLED(test_x2apic_registers),
        ENABLED(test_x2apic_ids),
        ENABLED(test_x2apic_icr),
        ENABLED(test_ipi_destinations),
        ENABLED(test_cluster_model),
        ENABLED(test_nmi_init_sipi),
        ENABLED(test_lint0),
        PLAIN(test_virtual_wire),
        ENABLED(test_one_shot),
        ENABLED(test_divisors),
        ENABLED(test_periodic),
        ENABLED(test_deadline),
        ENABLED(test_timer_mode_switches),
        ENABLED(test_posted),
        ENABLED(test_assisted),
        ENABLED(test_random_accesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
