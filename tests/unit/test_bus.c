// link: drivers/bus/bus.c drivers/bus/bus_watch.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the port and memory map of a VM. */
#include "tests/unit/device_test.h"

struct access {
    uint64_t address, value;
    unsigned bytes;
};
static struct access seen[1024];
static unsigned seen_count;

static uint32_t port_read(void *dev, uint16_t port, unsigned bytes)
{
    (void)dev;
    seen[seen_count++] = (struct access){port, 0, bytes};
    return 0xdeadbe00u | (port & 0xff);
}

static void port_write(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)dev;
    seen[seen_count++] = (struct access){port, value, bytes};
}

static uint64_t mmio_read(void *dev, gpa_t at, unsigned bytes)
{
    (void)dev;
    seen[seen_count++] = (struct access){at.v, 0, bytes};
    return 0x1122334455667788;
}

static void mmio_write(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    (void)dev;
    seen[seen_count++] = (struct access){at.v, value, bytes};
}

static struct port_range ports(uint16_t first, uint16_t last, uint8_t width)
{
    return (struct port_range){first, last, width, NULL, port_read, port_write};
}

static int setup(void **state)
{
    (void)state;
    start_machine();
    seen_count = 0;
    return 0;
}

static void unclaimed_ports_read_ones(void **state)
{
    (void)state;
    assert_int_equal(bus_port_read(&bus, 0x80, 1), 0xff);
    assert_int_equal(bus_port_read(&bus, 0x80, 2), 0xffff);
    assert_int_equal(bus_port_read(&bus, 0x80, 4), 0xffffffff);
    assert_int_equal(bus_port_read(&bus, 0xffff, 4), 0xffffffff);
    bus_port_write(&bus, 0xffff, 4, 1);
}

static void malformed_and_overlapping_ranges_are_refused(void **state)
{
    (void)state;
    struct port_range range = ports(0x40, 0x43, 1);
    assert_int_equal(bus_add_ports(&bus, &range), OK);
    assert_int_equal(bus_add_ports(&bus, &range), ERR_BAD_INPUT);
    range = ports(0x3f, 0x40, 1);
    assert_int_equal(bus_add_ports(&bus, &range), ERR_BAD_INPUT);
    range = ports(0x51, 0x50, 1);
    assert_int_equal(bus_add_ports(&bus, &range), ERR_BAD_INPUT);
    range = ports(0x50, 0x51, 3);
    assert_int_equal(bus_add_ports(&bus, &range), ERR_BAD_INPUT);
    assert_int_equal(bus_port_read(&bus, 0x3f, 1), 0xff);
    for (unsigned i = 1; i < BUS_MAX_PORT_RANGES; i++) {
        range = ports((uint16_t)(0x1000 + i), (uint16_t)(0x1000 + i), 1);
        assert_int_equal(bus_add_ports(&bus, &range), OK);
    }
    range = ports(0xffff, 0xffff, 1);
    assert_int_equal(bus_add_ports(&bus, &range), ERR_LIMIT);
}

static void wide_accesses_are_split_low_first(void **state)
{
    (void)state;
    struct port_range narrow = ports(0x10, 0x12, 1), wide = ports(0x20, 0x27, 4);
    assert_int_equal(bus_add_ports(&bus, &narrow), OK);
    assert_int_equal(bus_add_ports(&bus, &wide), OK);
    assert_int_equal(bus_port_read(&bus, 0x10, 4), 0xff121110);
    assert_int_equal(seen_count, 3);
    bus_port_write(&bus, 0x11, 2, 0xaabbccdd);
    assert_int_equal(seen[3].address, 0x11);
    assert_int_equal(seen[3].value, 0xdd);
    assert_int_equal(seen[4].value, 0xcc);
    bus_port_write(&bus, 0x21, 4, 0xaabbccdd);
    assert_int_equal(seen[5].bytes, 4);
    assert_int_equal(seen[5].value, 0xaabbccdd);
    /* Half in the range: two bytes come whole, the rest is lost. */
    assert_int_equal(bus_port_read(&bus, 0x26, 4), 0xffffbe26);
    assert_int_equal(seen[6].bytes, 2);
}

/* Wherever the one port that somebody has lies in a wide access, it is found. */
static void a_wide_access_finds_its_only_port(void **state)
{
    (void)state;
    struct port_range one = ports(0x84, 0x84, 1);
    assert_int_equal(bus_add_ports(&bus, &one), OK);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2) {
        for (uint16_t port = 0x7f; port <= 0x86; port++) {
            const bool hit = port <= 0x84 && port + bytes > 0x84;
            const uint64_t ones = bytes == 2 ? 0xffff : 0xffffffff;
            const unsigned shift = 8 * (0x84u - port);
            const uint64_t want = hit ? (ones & ~(0xffull << shift)) | 0x84ull << shift : ones;
            seen_count = 0;
            assert_int_equal(bus_port_read(&bus, port, bytes), want);
            assert_int_equal(seen_count, hit);
            bus_port_write(&bus, port, bytes, (uint32_t)(hit ? 0x5aull << shift : 0));
            assert_int_equal(seen_count, 2 * hit);
            assert_true(!hit || seen[1].value == 0x5a);
        }
    }
}

static void a_wide_access_wraps_at_the_last_port(void **state)
{
    (void)state;
    struct port_range low = ports(0, 0, 1);
    assert_int_equal(bus_add_ports(&bus, &low), OK);
    assert_int_equal(bus_port_read(&bus, 0xffff, 2), 0x00ff);
}

static void missing_handlers_read_ones_and_drop(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, &(struct port_range){.first = 9, .last = 9, .width = 1}),
                     OK);
    assert_int_equal(bus_port_read(&bus, 9, 1), 0xff);
    bus_port_write(&bus, 9, 1, 0);
}

static uint8_t device[BUS_MAX_PORT_RANGES + 1];

static uint32_t which_device(void *dev, uint16_t port, unsigned bytes)
{
    (void)port;
    (void)bytes;
    return (uint32_t)((uint8_t *)dev - device);
}

/* Four ports of device i, which say that they are its. */
static struct port_range ports_of(unsigned i)
{
    uint16_t first = (uint16_t)(0x1000 + 4 * i);
    return (struct port_range){first, first + 3, 1, &device[i], which_device, NULL};
}

/* Every port is that of its device, but for those of one that has none. */
static void assert_owners(unsigned without)
{
    for (unsigned i = 0; i <= BUS_MAX_PORT_RANGES; i++)
        for (unsigned port = 0; port < 4; port++)
            assert_int_equal(bus_port_read(&bus, (uint16_t)(0x1000 + 4 * i + port), 1),
                             i == without ? 0xff : i);
}

static void removed_ranges_leave_room(void **state)
{
    (void)state;
    const unsigned last = BUS_MAX_PORT_RANGES;
    struct port_range range, removed = ports_of(2), added = ports_of(last);
    for (unsigned i = 0; i < last; i++) {
        range = ports_of(i);
        assert_int_equal(bus_add_ports(&bus, &range), OK);
    }
    assert_int_equal(bus_add_ports(&bus, &added), ERR_LIMIT);
    bus_remove_ports(&bus, &device[3], removed.first);     /* another device's */
    bus_remove_ports(&bus, &device[2], removed.first + 1); /* in the middle of one */
    bus_remove_ports(&bus, &device[last], added.first);    /* nobody's */
    assert_owners(last);
    bus_remove_ports(&bus, &device[2], removed.first);
    for (uint16_t port = removed.first; port <= removed.last; port++)
        assert_int_equal(bus_port_read(&bus, port, 1), 0xff);
    /* The new one takes the slot of the removed one, and nobody else's. */
    assert_int_equal(bus_add_ports(&bus, &added), OK);
    assert_owners(2);
    assert_int_equal(bus_add_ports(&bus, &removed), ERR_LIMIT); /* its ports are free, no slot is */
    bus_remove_ports(&bus, &device[last], added.first);
    assert_int_equal(bus_add_ports(&bus, &removed), OK);
    assert_owners(last);
}

static void strings_are_found_by_their_port(void **state)
{
    (void)state;
    assert_null(bus_port_string(&bus, 0));
    for (uint16_t i = 0; i < BUS_MAX_STRINGS; i++)
        assert_int_equal(bus_add_string(&bus, &(struct port_string){.port = 0x1f0 + i}), OK);
    assert_int_equal(bus_add_string(&bus, &(struct port_string){.port = 0x300}), ERR_LIMIT);
    for (uint16_t i = 0; i < BUS_MAX_STRINGS; i++)
        assert_int_equal(bus_port_string(&bus, 0x1f0 + i)->port, 0x1f0 + i);
    assert_null(bus_port_string(&bus, 0x1ef));
    assert_null(bus_port_string(&bus, 0x300));
}

static void device_memory(void **state)
{
    (void)state;
    struct mmio_range range = {{0xfec00000}, {0xfec00fff}, NULL, mmio_read, mmio_write, NULL};
    assert_int_equal(bus_add_mmio(&bus, &range), OK);
    assert_int_equal(bus_add_mmio(&bus, &range), ERR_BAD_INPUT);
    assert_int_equal(bus_add_mmio(&bus, &(struct mmio_range){.first = {2}, .last = {1}}),
                     ERR_BAD_INPUT);
    static uint8_t pages[2 * 4096];
    range = (struct mmio_range){{0xff000000}, {0xff001fff}, NULL, mmio_read, mmio_write, pages};
    assert_int_equal(bus_add_mmio(&bus, &range), OK);
    void *memory;
    assert_false(bus_mmio_is_plain(&bus, gpa(0xfec00000), &memory));
    assert_true(bus_mmio_is_plain(&bus, gpa(0xfec01000), &memory));
    assert_null(memory);
    assert_true(bus_mmio_is_plain(&bus, gpa(0xfebff000), &memory));
    assert_null(memory);
    assert_true(bus_mmio_is_plain(&bus, gpa(0xff000000), &memory));
    assert_ptr_equal(memory, pages);
    assert_true(bus_mmio_is_plain(&bus, gpa(0xff001000), &memory));
    assert_ptr_equal(memory, pages + 4096);
    assert_true(
        bus_mmio_is_plain(&bus, gpa(0), &memory)); /* where a slot that is not used would lie */
    assert_null(memory);
    assert_int_equal(bus_mmio_read(&bus, gpa(0xfec00010), 4), 0x55667788);
    assert_true(bus_mmio_read(&bus, gpa(0xfec00010), 8) == 0x1122334455667788);
    bus_mmio_write(&bus, gpa(0xfec00ffe), 2, 0x12345678);
    assert_int_equal(seen[2].value, 0x5678);
    assert_int_equal(bus_mmio_read(&bus, gpa(0xfec00ffe), 4), 0xffffffff); /* leaves the range */
    assert_true(bus_mmio_read(&bus, gpa(0), 8) == UINT64_MAX);
    assert_int_equal(bus_mmio_read(&bus, gpa(UINT64_MAX), 1), 0xff);
    bus_mmio_write(&bus, gpa(UINT64_MAX), 8, 0);
    assert_int_equal(seen_count, 3);
    for (uint64_t i = 2; i < BUS_MAX_MMIO_RANGES; i++)
        assert_int_equal(bus_add_mmio(&bus, &(struct mmio_range){.first = {i}, .last = {i}}), OK);
    assert_int_equal(bus_add_mmio(&bus, &(struct mmio_range){.first = {99}, .last = {99}}),
                     ERR_LIMIT);
}

/* A range is its first byte, its last byte and what is between, for each of what looks for it. */
static void first_and_last_byte_of_device_memory(void **state)
{
    (void)state;
    const struct mmio_range far = {{0x9000}, {0x9fff}, NULL, mmio_read, mmio_write, NULL};
    const struct mmio_range range = {{0x2fff}, {0x3000}, NULL, mmio_read, mmio_write, NULL};
    assert_int_equal(bus_add_mmio(&bus, &far), OK);
    assert_int_equal(bus_add_mmio(&bus, &range), OK);
    static const struct {
        uint64_t first, last;
        enum status status;
    } others[] = {
        {0x3000, 0x3fff, ERR_BAD_INPUT},
        {0x2000, 0x2fff, ERR_BAD_INPUT},
        {0x8000, 0x9000, ERR_BAD_INPUT},
        {0x9fff, 0xa000, ERR_BAD_INPUT},
        {0x2000, 0x2ffe, OK},
        {0x3001, 0x3fff, OK},
    };
    void *memory;
    assert_true(bus_mmio_is_plain(&bus, gpa(0x1000), &memory));
    assert_false(bus_mmio_is_plain(&bus, gpa(0x2000), &memory));
    assert_false(bus_mmio_is_plain(&bus, gpa(0x3000), &memory));
    assert_true(bus_mmio_is_plain(&bus, gpa(0x4000), &memory));
    assert_int_equal(bus_mmio_read(&bus, gpa(0x2ffe), 1), 0xff);
    assert_int_equal(bus_mmio_read(&bus, gpa(0x2fff), 1), 0x88);
    assert_int_equal(bus_mmio_read(&bus, gpa(0x2fff), 2), 0x7788);
    assert_int_equal(bus_mmio_read(&bus, gpa(0x3000), 1), 0x88);
    assert_int_equal(bus_mmio_read(&bus, gpa(0x3000), 2), 0xffff);
    assert_int_equal(bus_mmio_read(&bus, gpa(0x3001), 1), 0xff);
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct mmio_range other = {.first = {others[i].first}, .last = {others[i].last}};
        assert_int_equal(bus_add_mmio(&bus, &other), others[i].status);
    }
}

/* Of many reads that nothing answers, those of the addresses that are read most are known. */
static void polled_addresses_are_known(void **state)
{
    (void)state;
    assert_int_equal(
        bus_add_ports(
            &bus, &(struct port_range){.first = 0x60, .last = 0x60, .width = 1, .read = port_read}),
        OK);
    for (unsigned i = 0; i < 3000; i++) {
        (void)bus_port_read(&bus, 0x1f7, 1);
        (void)bus_port_read(&bus, 0x60, 1); /* answers */
        seen_count = 0;
        (void)bus_mmio_read(&bus, gpa(0xd0000004), 4);
        (void)bus_port_read(&bus, (uint16_t)(0x8000 + i), 1); /* a different one each time */
    }
    unsigned found = 0;
    for (unsigned i = 0; i < BUS_MISSES; i++) {
        const struct bus_miss *m = &bus.miss[i];
        found += !m->memory && m->at == 0x1f7 && m->count >= 1200 && m->count <= 3000;
        found += m->memory && m->at == 0xd0000004 && m->count >= 1200 && m->count <= 3000;
        assert_false(m->at == 0x60);
    }
    assert_int_equal(found, 2);
}

static uint32_t answer;

static uint32_t answered(void *dev, uint16_t port, unsigned bytes)
{
    (void)bytes;
    assert_ptr_equal(dev, &answer);
    return port == 0x61 ? answer ^= 0x10 : answer;
}

static uint64_t answered_mmio(void *dev, gpa_t at, unsigned bytes)
{
    (void)at, (void)bytes;
    assert_ptr_equal(dev, &answer);
    return answer;
}

/* While it is watched, each device answers as before, and what is read and never written to is
 * known, with the answers; afterwards it is as if nobody had looked. */
static void what_is_polled_is_seen(void **state)
{
    (void)state;
    const struct port_range status = {0x60, 0x64, 1, &answer, answered, port_write};
    const struct mmio_range device = {gpa(0x5000),   gpa(0x5fff), &answer,
                                      answered_mmio, mmio_write,  NULL};
    assert_int_equal(bus_add_ports(&bus, &status), OK);
    assert_int_equal(bus_add_mmio(&bus, &device), OK);
    static struct bus before;
    before = bus;
    answer = 0x1c;
    bus_watch_begin(&bus);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(bus_port_read(&bus, 0x64, 1), 0x1c);
        assert_int_equal(bus_mmio_read(&bus, gpa(0x5010), 4), 0x1c);
    }
    for (unsigned i = 0; i < 300; i++)
        (void)bus_port_read(&bus, 0x61, 1);
    const struct bus_read *read = bus_watch_end(&bus);
    assert_int_equal(bus.watch.on, false);
    assert_int_equal(read[0].at, 0x64);
    assert_int_equal(read[0].count, 500);
    assert_int_equal(read[0].all_of & read[0].any_of, 0x1c);
    assert_int_equal(read[0].all_of, read[0].any_of);
    assert_true(read[1].memory && read[1].at == 0x5010 && read[1].count == 500);
    assert_int_equal(read[2].at, 0x61);
    assert_int_equal(read[2].all_of, 0x0c);
    assert_int_equal(read[2].any_of, 0x1c);
    memcpy(&before.watch, &bus.watch, sizeof(bus.watch));
    memcpy(before.miss, bus.miss, sizeof(bus.miss));
    assert_memory_equal(&before, &bus, sizeof(bus));
}

/* By an index, always the same one, it is polled, too. */
static void polled_by_an_index(void **state)
{
    (void)state;
    const struct port_range clock = {0x70, 0x71, 1, &answer, answered, port_write};
    assert_int_equal(bus_add_ports(&bus, &clock), OK);
    bus_watch_begin(&bus);
    for (unsigned i = 0; i < 100; i++) {
        bus_port_write(&bus, 0x70, 1, 0xa);
        (void)bus_port_read(&bus, 0x71, 1);
    }
    const struct bus_read *read = bus_watch_end(&bus);
    assert_int_equal(read[0].at, 0x71);
    assert_int_equal(read[0].count, 100);
}

/* A device that is written to, as well, is at work; one that moves meanwhile stays where it has
 * gone; and whoever has not asked is told nothing. */
static void what_is_worked_with_is_not_polled(void **state)
{
    (void)state;
    const struct port_range status = {0x60, 0x64, 1, &answer, answered, port_write};
    struct port_range other = {0x70, 0x71, 1, &answer, answered, port_write};
    assert_int_equal(bus_add_ports(&bus, &status), OK);
    assert_int_equal(bus_add_ports(&bus, &other), OK);
    bus_watch_begin(&bus);
    bus_watch_begin(&bus);
    for (unsigned i = 0; i < 500; i++) {
        (void)bus_port_read(&bus, 0x64, 1);
        bus_port_write(&bus, 0x60, 1, i);
    }
    bus_remove_ports(&bus, &answer, 0x70);
    other.first = 0x80;
    other.last = 0x81;
    assert_int_equal(bus_add_ports(&bus, &other), OK);
    const struct bus_read *read = bus_watch_end(&bus);
    assert_in_range(read[0].count, 0, 1);
    assert_ptr_equal(bus.port[0].dev, &answer);
    assert_ptr_equal(bus.port[1].dev, &answer);
    assert_int_equal(bus.port[1].first, 0x80);
    assert_int_equal(bus_port_read(&bus, 0x70, 1), 0xff);
    assert_null(bus_watch_end(&bus));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(polled_addresses_are_known, setup),
        cmocka_unit_test_setup(unclaimed_ports_read_ones, setup),
        cmocka_unit_test_setup(malformed_and_overlapping_ranges_are_refused, setup),
        cmocka_unit_test_setup(wide_accesses_are_split_low_first, setup),
        cmocka_unit_test_setup(a_wide_access_finds_its_only_port, setup),
        cmocka_unit_test_setup(a_wide_access_wraps_at_the_last_port, setup),
        cmocka_unit_test_setup(missing_handlers_read_ones_and_drop, setup),
        cmocka_unit_test_setup(removed_ranges_leave_room, setup),
        cmocka_unit_test_setup(strings_are_found_by_their_port, setup),
        cmocka_unit_test_setup(device_memory, setup),
        cmocka_unit_test_setup(what_is_polled_is_seen, setup),
        cmocka_unit_test_setup(polled_by_an_index, setup),
        cmocka_unit_test_setup(what_is_worked_with_is_not_polled, setup),
        cmocka_unit_test_setup(first_and_last_byte_of_device_memory, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
