// link: drivers/virt/vfwcfg.c drivers/bus/bus.c drivers/bus/timers.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of fw_cfg as firmware reads it. */
#include "drivers/virt/vfwcfg.h"

#include "arch/bytes.h"

#include "tests/unit/device_test.h"

static struct vfwcfg fwcfg;
static unsigned refreshes;
static struct guestmem mem;
static uint8_t ram[0x20000]; /* at 1 MiB */
#define RAM 0x100000u

static void refresh(void *ctx)
{
    (*(char *)ctx)++;
    refreshes++;
}

static bool works;     /* as the CPU was told */
static uint64_t ticks; /* of each look at the clock */

static void busy(void *dev, bool is_busy)
{
    assert_int_equal(*(bool *)dev, !is_busy);
    *(bool *)dev = is_busy;
}

static uint64_t passing(void)
{
    return clock_now += ticks;
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    refreshes = 0;
    works = false;
    ticks = 0;
    timers.read = passing;
    memset(ram, 0xcc, sizeof(ram));
    mem.count = 0;
    assert_int_equal(guestmem_add(&mem, gpa(RAM), sizeof(ram), ram), OK);
    assert_int_equal(vfwcfg_init(&fwcfg, &bus, &mem, &timers, (struct work_line){busy, &works}),
                     OK);
    return 0;
}

static void select(uint16_t key)
{
    bus_port_write(&bus, 0x510, 2, key);
}

static uint64_t read_le(unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)in(0x511) << (8 * i);
    return value;
}

static void numbers(void **state)
{
    (void)state;
    vfwcfg_add_number(&fwcfg, VFWCFG_CPUS, 3, 2);
    vfwcfg_add_number(&fwcfg, VFWCFG_RAM_BYTES, 0x123456789abc, 8);
    select(0);
    assert_int_equal(read_le(4), 0x554d4551); /* QEMU */
    assert_int_equal(read_le(1), 0);
    select(1);
    assert_int_equal(read_le(4), 3); /* ports and DMA */
    select(3);
    assert_true(read_le(8) == 0x123456789abc);
    select(5);
    assert_int_equal(read_le(1), 3);
    out(0x510, 0); /* a byte does not select, nor is data written */
    out(0x511, 0);
    assert_int_equal(read_le(2), 0);
    select(5);
    assert_int_equal(read_le(2), 3);
    select(0x4000);
    assert_int_equal(read_le(8), 0);
    select(0x20);
    assert_int_equal(read_le(8), 0);
}

static void files(void **state)
{
    (void)state;
    char text[] = "abc";
    vfwcfg_add_file(&fwcfg, "etc/one", text, 3);
    vfwcfg_add_file_number(
        &fwcfg, "opt/a-name-of-more-than-fifty-five-characters/is-cut-to-its-size", 7, 4);
    fwcfg.refresh = refresh;
    fwcfg.ctx = text;
    select(0x19);
    assert_int_equal(read_le(4), 0x02000000);
    assert_int_equal(read_le(4), 0x03000000);
    assert_int_equal(read_le(4), 0x2000);
    char name[VFWCFG_NAME];
    for (unsigned i = 0; i < sizeof(name); i++)
        name[i] = (char)in(0x511);
    assert_string_equal(name, "etc/one");
    assert_int_equal(read_le(4), 0x04000000);
    assert_int_equal(read_le(4), 0x2100);
    for (unsigned i = 0; i < sizeof(name); i++)
        name[i] = (char)in(0x511);
    assert_int_equal(strlen(name), 55);
    assert_int_equal(refreshes, 0);
    select(0x20);
    assert_int_equal(read_le(4), 0x636262); /* the first letter is new */
    select(0x21);
    assert_int_equal(read_le(8), 7);
    assert_int_equal(refreshes, 2);
}

/* Descriptors lie at an odd place. The control word afterwards. */
static uint32_t dma_at(uint64_t at, uint32_t control, uint32_t bytes, uint64_t to)
{
    const uint32_t words[4] = {__builtin_bswap32(control), __builtin_bswap32(bytes),
                               __builtin_bswap32((uint32_t)(to >> 32)),
                               __builtin_bswap32((uint32_t)to)};
    uint32_t result = 0xffffffff;
    (void)guestmem_write(&mem, gpa(at), words, sizeof(words));
    bus_port_write(&bus, 0x514, 4, __builtin_bswap32((uint32_t)(at >> 32)));
    bus_port_write(&bus, 0x518, 4, __builtin_bswap32((uint32_t)at));
    (void)guestmem_read(&mem, gpa(at), &result, sizeof(result));
    return __builtin_bswap32(result);
}

static uint32_t dma(uint32_t control, uint32_t bytes, uint64_t to)
{
    return dma_at(RAM + 0x1f001, control, bytes, to);
}

enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };
#define FILE_0 (0x20u << 16 | SELECT)

static void dma_reads(void **state)
{
    (void)state;
    char text[] = "abcdefgh";
    assert_int_equal(bus_port_read(&bus, 0x514, 4), 0x554d4551); /* QEMU CFG */
    assert_int_equal(bus_port_read(&bus, 0x518, 4), 0x47464320);
    assert_int_equal(in(0x51b), 'G');
    vfwcfg_add_file(&fwcfg, "a", text, 8);
    fwcfg.refresh = refresh;
    fwcfg.ctx = text;
    assert_int_equal(dma(FILE_0 | READ, 3, RAM + 1), 0);
    assert_memory_equal(ram,
                        "\xcc"
                        "bbc\xcc",
                        5); /* the first letter is new */
    assert_int_equal(refreshes, 1);
    assert_int_equal(dma(SKIP, 2, 0), 0);
    assert_int_equal(dma(READ | SKIP | WRITE, 1, RAM), 0); /* READ comes first */
    assert_int_equal(ram[0], 'f');
    assert_int_equal(in(0x511), 'g'); /* both ways have one place in the item */
    assert_int_equal(dma(READ, 3, RAM), 0);
    assert_memory_equal(ram, "h\0\0c", 4);
    assert_int_equal(dma(SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(0x4000u << 16 | SELECT | READ, 2, RAM), 0); /* no such item */
    assert_memory_equal(ram, "\0\0\0c", 4);
    assert_int_equal(dma(5u << 16 | SELECT, 0, 0), 0); /* nothing but to select */
    assert_int_equal(dma(READ, 0, UINT64_MAX), 0);
}

static void dma_refusals(void **state)
{
    (void)state;
    static uint8_t all[0x40000];
    const uint64_t end = RAM + sizeof(ram);
    vfwcfg_add_file(&fwcfg, "all", all, sizeof(all));
    assert_int_equal(dma(FILE_0 | WRITE, 1, RAM), ERROR);
    assert_int_equal(dma(FILE_0 | READ, UINT32_MAX, RAM), ERROR);
    assert_int_equal(dma(FILE_0 | READ, 1, end), ERROR);
    assert_int_equal(dma(FILE_0 | READ, 2, end - 1), ERROR);
    assert_int_equal(dma(FILE_0 | READ, 2, UINT64_MAX), ERROR);
    assert_int_equal(dma(FILE_0 | READ, 1, 0), ERROR);
    assert_int_equal(dma(SKIP, sizeof(all), 0), 0);
    assert_int_equal(dma(READ, 0x10000, RAM), 0);
    assert_int_equal(dma(READ, 0x10001, RAM), 0);
    assert_int_equal(dma(READ, 0x10000, end - 0x8000), ERROR);
    /* Descriptors that are not in RAM, or not wholly. */
    assert_int_equal(dma_at(end - 16, SKIP, 0, 0), 0);
    assert_int_equal(dma_at(end - 15, SKIP, 0, 0), ERROR);
    dma_at(end - 3, SKIP, 0, 0);
    dma_at(0, SKIP, 0, 0);
    dma_at(UINT64_MAX - 7, SKIP, 0, 0);
    dma_at(1ull << 32 | RAM, SKIP, 0, 0);
    /* The upper half is used up by each; other widths and places do nothing. */
    ram[0] = 0;
    memset(ram, 0x55, 16);
    bus_port_write(&bus, 0x514, 4, 0x01000000);
    bus_port_write(&bus, 0x518, 4, __builtin_bswap32(RAM));
    assert_int_equal(ram[0], 0x55);
    bus_port_write(&bus, 0x518, 2, 0);
    bus_port_write(&bus, 0x516, 4, __builtin_bswap32(RAM));
    assert_int_equal(ram[0], 0x55);
    bus_port_write(&bus, 0x518, 4, __builtin_bswap32(RAM));
    assert_memory_equal(ram, "\0\0\0\1\x55", 5);
}

/* A descriptor that its own data lands on counts as it was. */
static void dma_over_itself(void **state)
{
    (void)state;
    static uint8_t ones[32];
    memset(ones, 0xff, sizeof(ones));
    vfwcfg_add_file(&fwcfg, "ones", ones, sizeof(ones));
    assert_int_equal(dma_at(RAM, FILE_0 | READ, 32, RAM), 0);
    assert_memory_equal(ram, "\0\0\0\0\xff", 5);
    assert_int_equal(ram[31], 0xff);
    assert_int_equal(ram[32], 0xcc);
}

/* So slow that a portion is more than may be done at a time: the rest comes by the timer, the CPU
 * waits, and another one that asks meanwhile changes nothing. */
static void dma_takes_its_time(void **state)
{
    (void)state;
    static uint8_t all[0x3001];
    memset(all, 0xaa, sizeof(all));
    vfwcfg_add_file(&fwcfg, "all", all, sizeof(all));
    ticks = WORK_TICKS + 1;
    assert_int_equal(dma(FILE_0 | READ, 0x5000, RAM), FILE_0 | READ); /* no answer yet */
    for (unsigned runs = 1; works; runs++) {
        assert_true(runs < 10);
        assert_int_equal(dma_at(RAM + 0x1e001, SKIP, 0, 0), SKIP);
        timers_run(&timers, clock_now);
    }
    assert_memory_equal(ram, all, sizeof(all));
    assert_int_equal(ram[0x3001], 0);
    assert_int_equal(ram[0x4fff], 0);
    assert_int_equal(ram[0x5000], 0xcc);
    assert_int_equal(get_le32(ram + 0x1f001), 0);
    assert_false(vfwcfg_is_busy(&fwcfg));
    /* As long as nothing takes time, there is no timer; and an error is none that comes late. */
    ticks = 0;
    assert_int_equal(dma(FILE_0 | READ, 0x3001, RAM), 0);
    ticks = WORK_TICKS + 1;
    memset(ram + sizeof(ram) - 0x4000, 0xcc, 16);
    assert_int_equal(dma(FILE_0 | READ, 0x5000, RAM + sizeof(ram) - 0x4000), ERROR);
    assert_int_equal(ram[sizeof(ram) - 0x4000], 0xcc); /* nothing was written before */
    assert_false(vfwcfg_is_busy(&fwcfg));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers, setup),
        cmocka_unit_test_setup(files, setup),
        cmocka_unit_test_setup(dma_reads, setup),
        cmocka_unit_test_setup(dma_refusals, setup),
        cmocka_unit_test_setup(dma_over_itself, setup),
        cmocka_unit_test_setup(dma_takes_its_time, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
