// link: drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
// link: drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the ATA channel: registers, commands, and both ways in which data moves. */
#include "drivers/virt/vata.h"

#include "tests/unit/device_test.h"

#include <stdlib.h>

enum { DATA = 0x1f0, FEATURES, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, COMMAND };
enum { ERROR = FEATURES, STATUS = COMMAND, CONTROL = 0x3f6, IRQ = 14 };
enum { READY = 0x50, READY_DATA = 0x58, READY_ERROR = 0x51, LBA_MODE = 0x40, DEVICE_1 = 0x10 };
enum { SECTORS = 4096, SECOND_SECTORS = 100, RAM = 1 << 20 };

static struct vata ata;
static struct guestmem mem;
static uint8_t *disk, *second, *ram;

static int setup_disks(bool both)
{
    start_machine();
    mem = (struct guestmem){0};
    disk = malloc(SECTORS * VATA_SECTOR);
    second = malloc(SECOND_SECTORS * VATA_SECTOR);
    ram = calloc(1, RAM);
    for (unsigned i = 0; i < SECTORS * VATA_SECTOR; i++)
        disk[i] = (uint8_t)(i / VATA_SECTOR * 7 + i);
    memset(second, 0x22, SECOND_SECTORS * VATA_SECTOR);
    assert_int_equal(guestmem_add(&mem, gpa(0), RAM, ram), OK);
    const struct vata_image image[2] = {
        {.data = disk, .bytes = SECTORS * VATA_SECTOR},
        {.data = both ? second : NULL, .bytes = both ? SECOND_SECTORS * VATA_SECTOR : 0}};
    assert_int_equal(vata_init(&ata, 0, image, &mem, &bus, &timers, pin_line(IRQ)), OK);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_disks(true);
}

static int setup_one(void **state)
{
    (void)state;
    return setup_disks(false);
}

static int teardown(void **state)
{
    (void)state;
    free(disk);
    free(second);
    free(ram);
    return 0;
}

static uint16_t word_in(void)
{
    return (uint16_t)bus_port_read(&bus, DATA, 2);
}

static void word_out(uint16_t value)
{
    bus_port_write(&bus, DATA, 2, value);
}

static void set_lba28(uint32_t lba, uint8_t count, uint8_t device)
{
    out(DEVICE, (uint8_t)(device | LBA_MODE | (lba >> 24 & 15)));
    out(COUNT, count);
    out(LBA_LOW, (uint8_t)lba);
    out(LBA_MID, (uint8_t)(lba >> 8));
    out(LBA_HIGH, (uint8_t)(lba >> 16));
}

static void set_lba48(uint64_t lba, uint16_t count)
{
    out(DEVICE, LBA_MODE);
    out(COUNT, (uint8_t)(count >> 8));
    out(LBA_LOW, (uint8_t)(lba >> 24));
    out(LBA_MID, (uint8_t)(lba >> 32));
    out(LBA_HIGH, (uint8_t)(lba >> 40));
    out(COUNT, (uint8_t)count);
    out(LBA_LOW, (uint8_t)lba);
    out(LBA_MID, (uint8_t)(lba >> 8));
    out(LBA_HIGH, (uint8_t)(lba >> 16));
}

/* Takes an interrupt that must be there, with the status that comes with it. */
static void expect_interrupt(uint8_t status)
{
    assert_true(pin_high[IRQ]);
    assert_int_equal(in(STATUS), status);
    assert_false(pin_high[IRQ]);
}

/* A command without data, and how it ends. */
static void run(uint8_t command, uint8_t status, uint8_t error)
{
    out(COMMAND, command);
    expect_interrupt(status);
    assert_int_equal(in(ERROR), error);
}

static void expect_sectors(const uint8_t *from, unsigned sectors)
{
    for (unsigned i = 0; i < sectors * VATA_SECTOR / 2; i++)
        assert_int_equal(word_in(), from[2 * i] | from[2 * i + 1] << 8);
}

static void expect_signature(void)
{
    assert_int_equal(in(ERROR), 1);
    assert_int_equal(in(COUNT), 1);
    assert_int_equal(in(LBA_LOW), 1);
    assert_int_equal(in(LBA_MID), 0);
    assert_int_equal(in(LBA_HIGH), 0);
    assert_int_equal(in(DEVICE), 0);
}

static void power_up(void **state)
{
    (void)state;
    assert_int_equal(in(STATUS), READY);
    expect_signature();
    assert_false(pin_high[IRQ]);
    out(DEVICE, DEVICE_1);
    assert_int_equal(in(STATUS), READY);
}

static void absent_second(void **state)
{
    (void)state;
    out(DEVICE, DEVICE_1);
    assert_int_equal(in(STATUS), 0);
    assert_int_equal(in(CONTROL), 0);
    assert_int_equal(in(LBA_LOW), 1); /* the first disk's registers are seen */
    out(COMMAND, 0xec);
    assert_int_equal(in(STATUS), 0);
    assert_false(pin_high[IRQ]);
    assert_int_equal(word_in(), 0);
    out(COMMAND, 0x90); /* which every disk listens to */
    expect_interrupt(READY);
    expect_signature();
}

static void bad_images(void **state)
{
    (void)state;
    struct vata other;
    const struct vata_image second[2] = {{.data = NULL}, {.data = disk, .bytes = 512}},
                            odd[2] = {{.data = disk, .bytes = 513}}, empty[2] = {{.data = disk}},
                            odd_second[2] = {{.data = disk, .bytes = 512},
                                             {.data = disk, .bytes = 100}},
                            odd_cd[2] = {{.data = disk, .bytes = 3 * 512, .is_cd = true}};
    assert_int_equal(vata_init(&other, 0, odd_cd, &mem, &bus, &timers, pin_line(IRQ)),
                     ERR_BAD_INPUT);
    assert_int_equal(vata_init(&other, 0, second, &mem, &bus, &timers, pin_line(IRQ)),
                     ERR_BAD_INPUT);
    assert_int_equal(vata_init(&other, 0, odd, &mem, &bus, &timers, pin_line(IRQ)), ERR_BAD_INPUT);
    assert_int_equal(vata_init(&other, 0, empty, &mem, &bus, &timers, pin_line(IRQ)),
                     ERR_BAD_INPUT);
    assert_int_equal(vata_init(&other, 0, odd_second, &mem, &bus, &timers, pin_line(IRQ)),
                     ERR_BAD_INPUT);
}

static void identify_into(uint16_t words[256], uint8_t device)
{
    out(DEVICE, device);
    out(COMMAND, 0xec);
    expect_interrupt(READY_DATA);
    for (unsigned i = 0; i < 256; i++)
        words[i] = word_in();
    assert_int_equal(in(STATUS), READY);
    assert_false(pin_high[IRQ]); /* none at the end of PIO data-in */
}

static void identify(void **state)
{
    (void)state;
    uint16_t w[256];
    identify_into(w, 0);
    assert_int_equal(w[0] & 0x8000, 0);
    assert_int_equal(w[1], 4); /* 4096 sectors of 16 heads, 63 sectors */
    assert_int_equal(w[3], 16);
    assert_int_equal(w[6], 63);
    assert_int_equal(w[27], 'N' << 8 | 'a');
    assert_int_equal(w[46], ' ' << 8 | ' ');
    assert_int_equal(w[47], 0x8010);
    assert_int_equal(w[49] & 0x0300, 0x0300);
    assert_int_equal(w[57] | w[58] << 16, 4 * 16 * 63);
    assert_int_equal(w[59], 0);
    assert_int_equal(w[60] | w[61] << 16, SECTORS);
    assert_int_equal(w[63], 0x0007);
    assert_int_equal(w[83] & 0xc400, 0x4400); /* valid, with 48-bit addresses */
    assert_int_equal(w[93], 0x403b);
    assert_int_equal(w[100], SECTORS);
    assert_int_equal(w[255] & 0xff, 0xa5);
    uint8_t sum = 0;
    for (unsigned i = 0; i < 256; i++)
        sum = (uint8_t)(sum + w[i] + (w[i] >> 8));
    assert_int_equal(sum, 0);
    identify_into(w, DEVICE_1);
    assert_int_equal(w[60], SECOND_SECTORS);
    assert_int_equal(w[1], 1); /* a small one: one head */
    assert_int_equal(w[3], 1);
    assert_int_equal(w[6], 63);
    assert_int_equal(w[93], 0x4b00);
}

static void identify_large(void **state)
{
    (void)state;
    uint16_t w[256];
    ata.drive[0].sectors = 0x123456789aull; /* nothing is read of it here */
    identify_into(w, 0);
    assert_int_equal(w[1], 16383);
    assert_int_equal(w[60] | w[61] << 16, 0x0fffffff);
    assert_int_equal(w[100], 0x789a);
    assert_int_equal(w[101], 0x3456);
    assert_int_equal(w[102], 0x0012);
    assert_int_equal(w[103], 0);
}

static void read_sectors(void **state)
{
    (void)state;
    set_lba28(1000, 2, 0);
    out(COMMAND, 0x20);
    for (unsigned i = 0; i < 2; i++) { /* an interrupt before each sector, none after the last */
        expect_interrupt(READY_DATA);
        expect_sectors(disk + (1000 + i) * VATA_SECTOR, 1);
    }
    assert_false(pin_high[IRQ]);
    assert_int_equal(in(STATUS), READY);
    assert_int_equal(word_in(), 0);
}

static void data_port_widths(void **state)
{
    (void)state;
    set_lba28(8, 1, 0);
    out(COMMAND, 0x20);
    const uint8_t *s = disk + 8 * VATA_SECTOR;
    assert_int_equal(bus_port_read(&bus, DATA, 4),
                     s[0] | s[1] << 8 | s[2] << 16 | (uint32_t)s[3] << 24);
    assert_int_equal(in(DATA), s[4]); /* the whole word is gone */
    assert_int_equal(word_in(), s[6] | s[7] << 8);
    for (unsigned i = 8; i < VATA_SECTOR - 2; i += 2)
        word_in();
    assert_int_equal(bus_port_read(&bus, DATA, 4), s[510] | s[511] << 8); /* ends in the middle */
    assert_int_equal(in(STATUS), READY);
}

/* REP INS and OUTS, as if word by word: over the end of a sector, and past the last. */
static void strings(void **state)
{
    (void)state;
    uint8_t got[3 * VATA_SECTOR];
    const struct port_string *string = bus_port_string(&bus, DATA);
    assert_non_null(string);
    assert_null(bus_port_string(&bus, COMMAND));
    set_lba28(8, 2, 0);
    out(COMMAND, 0x20);
    expect_interrupt(READY_DATA);
    string->read(string->dev, 2, got, 200);
    assert_false(pin_high[IRQ]);
    string->read(string->dev, 4, got + 400, 200); /* the next sector's first interrupt is in it */
    expect_interrupt(READY);
    assert_memory_equal(got, disk + 8 * VATA_SECTOR, 2 * VATA_SECTOR);
    for (unsigned i = 0; i < 176; i++)
        assert_int_equal(got[2 * VATA_SECTOR + i], 0);
    set_lba28(30, 1, 0);
    out(COMMAND, 0x20);
    string->read(string->dev, 1, got, 3); /* each byte takes a word */
    assert_int_equal(got[2], disk[30 * VATA_SECTOR + 4]);
    assert_int_equal(word_in(), disk[30 * VATA_SECTOR + 6] | disk[30 * VATA_SECTOR + 7] << 8);
    out(CONTROL, 4);
    out(CONTROL, 0);
    memset(got, 0x77, sizeof(got));
    set_lba28(20, 2, 0);
    out(COMMAND, 0x30);
    string->write(string->dev, 2, got, 3 * VATA_SECTOR / 2);
    expect_interrupt(READY);
    assert_int_equal(disk[22 * VATA_SECTOR - 1], 0x77);
    assert_int_not_equal(disk[22 * VATA_SECTOR], 0x77);
    vata_enable(&ata, false, false);
    string->read(string->dev, 2, got, 2);
    assert_int_equal(got[3], 0xff);
}

static void registers_in_one_access(void **state)
{
    (void)state;
    bus_port_write(&bus, LBA_LOW, 2, 0x1234);
    assert_int_equal(in(LBA_LOW), 0x34);
    assert_int_equal(in(LBA_MID), 0x12);
    assert_int_equal(bus_port_read(&bus, LBA_LOW, 2), 0x1234);
}

static void write_sectors(void **state)
{
    (void)state;
    uint8_t next = disk[22 * VATA_SECTOR];
    set_lba28(20, 2, 0);
    out(COMMAND, 0x30);
    assert_false(pin_high[IRQ]); /* none before the first sector */
    assert_int_equal(in(STATUS), READY_DATA);
    for (unsigned i = 0; i < 256; i++)
        word_out((uint16_t)(0xaa00 | i));
    expect_interrupt(READY_DATA);
    for (unsigned i = 0; i < 128; i++)
        bus_port_write(&bus, DATA, 4, 0xbb0000bb | i << 8);
    expect_interrupt(READY);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(disk[20 * VATA_SECTOR + 2 * i], i);
    assert_int_equal(disk[21 * VATA_SECTOR + 1], 0);
    assert_int_equal(disk[21 * VATA_SECTOR + 5], 1);
    assert_int_equal(disk[22 * VATA_SECTOR], next);
    word_out(0xffff); /* nobody listens */
    assert_int_equal(disk[22 * VATA_SECTOR], next);
}

static void half_a_sector_is_none(void **state)
{
    (void)state;
    uint8_t before = disk[20 * VATA_SECTOR];
    set_lba28(20, 1, 0);
    out(COMMAND, 0x30);
    for (unsigned i = 0; i < 255; i++)
        word_out((uint16_t)~before);
    out(CONTROL, 4);
    assert_int_equal(in(STATUS), 0x80);
    out(CONTROL, 0);
    assert_int_equal(in(STATUS), READY);
    expect_signature();
    word_out(0);
    assert_int_equal(disk[20 * VATA_SECTOR], before);
}

static void count_zero_is_256(void **state)
{
    (void)state;
    set_lba28(SECTORS - 256, 0, 0);
    out(COMMAND, 0x20);
    expect_sectors(disk + (SECTORS - 256) * VATA_SECTOR, 256);
    assert_int_equal(in(STATUS), READY);
    set_lba28(SECTORS - 255, 0, 0);
    run(0x20, READY_ERROR, ATA_IDNF);
}

static void lba48(void **state)
{
    (void)state;
    set_lba48(300, 0x0101);
    out(COMMAND, 0x24);
    expect_sectors(disk + 300 * VATA_SECTOR, 257);
    assert_int_equal(in(STATUS), READY);
    set_lba48((1ull << 40) + 300, 1);
    run(0x24, READY_ERROR, ATA_IDNF);
    set_lba48(SECTORS - 1, 0); /* 65536 sectors */
    run(0x24, READY_ERROR, ATA_IDNF);
    assert_int_equal(in(LBA_LOW) | in(LBA_MID) << 8, SECTORS); /* the first that is not there */
    out(CONTROL, 0x80);
    assert_int_equal(in(LBA_LOW), 0);
    set_lba48(5, 1);
    out(COMMAND, 0x34);
    for (unsigned i = 0; i < 256; i++)
        word_out(0x5a5a);
    expect_interrupt(READY);
    assert_int_equal(disk[5 * VATA_SECTOR + 511], 0x5a);
}

static void high_order_bytes(void **state)
{
    (void)state;
    set_lba48(0x060504030201, 0x0807);
    out(CONTROL, 0x80);
    assert_int_equal(in(COUNT), 8);
    assert_int_equal(in(LBA_LOW), 4);
    assert_int_equal(in(LBA_HIGH), 6);
    out(LBA_MID, 9); /* a write clears HOB */
    assert_int_equal(in(COUNT), 7);
    assert_int_equal(in(LBA_MID), 9);
}

static void cylinders(void **state)
{
    (void)state;
    out(COUNT, 1);
    out(LBA_LOW, 63);
    out(LBA_MID, 3);
    out(LBA_HIGH, 0);
    out(DEVICE, 0xa0 | 15);
    out(COMMAND, 0x20);
    expect_interrupt(READY_DATA);
    expect_sectors(disk + ((3 * 16 + 15) * 63 + 62) * VATA_SECTOR, 1);
    out(LBA_LOW, 0); /* sectors count from 1 */
    run(0x20, READY_ERROR, ATA_IDNF);
    out(LBA_LOW, 64);
    run(0x20, READY_ERROR, ATA_IDNF);
    out(LBA_LOW, 1);
    out(LBA_MID, 4);
    run(0x20, READY_ERROR, ATA_IDNF);

    out(DEVICE, 0xa0 | 3); /* 4 heads of 32 sectors */
    out(COUNT, 32);
    run(0x91, READY, 0);
    uint16_t w[256];
    identify_into(w, 0);
    assert_int_equal(w[3], 16);
    assert_int_equal(w[54], 32);
    assert_int_equal(w[55], 4);
    assert_int_equal(w[56], 32);
    out(COUNT, 1);
    out(LBA_LOW, 2);
    out(LBA_MID, 1);
    out(DEVICE, 0xa0 | 2);
    out(COMMAND, 0x20);
    expect_interrupt(READY_DATA);
    expect_sectors(disk + ((1 * 4 + 2) * 32 + 1) * VATA_SECTOR, 1);
    out(DEVICE, 0xa0 | 4);
    run(0x20, READY_ERROR, ATA_IDNF);
    out(COUNT, 0);
    run(0x91, READY_ERROR, ATA_ABRT);
    out(COUNT, 1);
    out(DEVICE, 0xa0);
    run(0x20, READY_ERROR, ATA_IDNF);
}

static void multiple(void **state)
{
    (void)state;
    set_lba28(40, 6, 0);
    run(0xc4, READY_ERROR, ATA_ABRT); /* not set yet */
    out(COUNT, 4);
    run(0xc6, READY, 0);
    uint16_t w[256];
    identify_into(w, 0);
    assert_int_equal(w[59], 0x104);
    set_lba28(40, 6, 0);
    out(COMMAND, 0xc4);
    expect_interrupt(READY_DATA);
    expect_sectors(disk + 40 * VATA_SECTOR, 4);
    expect_interrupt(READY_DATA);
    expect_sectors(disk + 44 * VATA_SECTOR, 2);
    assert_int_equal(in(STATUS), READY);
    set_lba28(40, 5, 0);
    out(COMMAND, 0xc5);
    for (unsigned i = 0; i < 4 * 256; i++)
        word_out(0x1111);
    expect_interrupt(READY_DATA);
    for (unsigned i = 0; i < 256; i++)
        word_out(0x2222);
    expect_interrupt(READY);
    assert_int_equal(disk[44 * VATA_SECTOR - 1], 0x11);
    assert_int_equal(disk[44 * VATA_SECTOR], 0x22);
    out(COUNT, 3);
    run(0xc6, READY_ERROR, ATA_ABRT); /* and turns it off */
    run(0xc4, READY_ERROR, ATA_ABRT);
    out(COUNT, 32);
    run(0xc6, READY_ERROR, ATA_ABRT);
}

static void settings_and_resets(void **state)
{
    (void)state;
    uint16_t w[256];
    out(COUNT, 16);
    run(0xc6, READY, 0);
    out(FEATURES, 3);
    out(COUNT, 0x22);
    run(0xef, READY, 0);
    identify_into(w, 0);
    assert_int_equal(w[63], 0x0407);
    assert_int_equal(w[59], 0x110);
    out(FEATURES, 0x66);
    run(0xef, READY, 0);
    out(CONTROL, 4);
    out(CONTROL, 0);
    identify_into(w, 0);
    assert_int_equal(w[59], 0x110);
    out(FEATURES, 0xcc);
    run(0xef, READY, 0);
    out(CONTROL, 4);
    out(CONTROL, 0);
    identify_into(w, 0);
    assert_int_equal(w[59], 0);
    assert_int_equal(w[63], 0x0007);
    static const uint8_t wrong_modes[] = {0x02, 0x0d, 0x11, 0x23, 0x42, 0xff};
    for (unsigned i = 0; i < sizeof(wrong_modes); i++) {
        out(FEATURES, 3);
        out(COUNT, wrong_modes[i]);
        run(0xef, READY_ERROR, ATA_ABRT);
    }
    out(COUNT, 0x0c);
    run(0xef, READY, 0);
    out(FEATURES, 0x02); /* no write cache */
    run(0xef, READY_ERROR, ATA_ABRT);
}

static void no_data(void **state)
{
    (void)state;
    static const uint8_t good[] = {0x10, 0xe0, 0xe1, 0xe2, 0xe3, 0xe7, 0xea};
    static const uint8_t bad[] = {0x00, 0x08, 0xa1, 0xa0, 0xb0, 0xf5, 0xf9, 0xff};
    for (unsigned i = 0; i < sizeof(good); i++)
        run(good[i], READY, 0);
    for (unsigned i = 0; i < sizeof(bad); i++)
        run(bad[i], READY_ERROR, ATA_ABRT);
    run(0xe5, READY, 0);
    set_lba28(SECTORS - 1, 1, 0);
    run(0x40, READY, 0);
    run(0x70, READY, 0);
    set_lba28(SECTORS - 1, 2, 0);
    run(0x40, READY_ERROR, ATA_IDNF);
    set_lba28(SECTORS, 1, 0);
    run(0x70, READY_ERROR, ATA_IDNF);
    set_lba48(SECTORS, 1);
    run(0x42, READY_ERROR, ATA_IDNF);
    out(DEVICE, LBA_MODE);
    run(0xf8, READY, 0);
    assert_int_equal(in(LBA_LOW) | in(LBA_MID) << 8, SECTORS - 1);
    run(0x27, READY, 0);
    assert_int_equal(in(LBA_LOW) | in(LBA_MID) << 8, SECTORS - 1);
}

static void power(void **state)
{
    (void)state;
    run(0xe5, READY, 0);
    assert_int_equal(in(COUNT), 0xff);
    run(0xe0, READY, 0);
    run(0xe5, READY, 0);
    assert_int_equal(in(COUNT), 0);
    set_lba28(0, 1, 0);
    run(0x40, READY, 0); /* spins it up */
    run(0xe5, READY, 0);
    assert_int_equal(in(COUNT), 0xff);
    run(0xe6, READY, 0);
    out(COMMAND, 0xec); /* asleep */
    assert_false(pin_high[IRQ]);
    out(CONTROL, 4);
    out(CONTROL, 0);
    run(0xe5, READY, 0);
    assert_int_equal(in(COUNT), 0xff);
}

static void interrupts(void **state)
{
    (void)state;
    out(CONTROL, 2); /* nIEN */
    out(COMMAND, 0xe7);
    assert_false(pin_high[IRQ]);
    out(CONTROL, 0); /* it has been waiting */
    assert_true(pin_high[IRQ]);
    assert_int_equal(in(CONTROL), READY); /* Alternate Status leaves it */
    assert_true(pin_high[IRQ]);
    out(DEVICE, DEVICE_1); /* a disk that is not selected does not drive the line */
    assert_false(pin_high[IRQ]);
    out(DEVICE, 0);
    assert_true(pin_high[IRQ]);
    out(COMMAND, 0xe7); /* a command takes the old one back */
    assert_int_equal(pin_rises[IRQ], 3);
    out(CONTROL, 4);
    assert_false(pin_high[IRQ]);
    out(CONTROL, 0);
    assert_false(pin_high[IRQ]);
}

static void busy_ignores_writes(void **state)
{
    (void)state;
    set_lba28(3, 1, 0);
    out(COMMAND, 0x20);
    out(DEVICE, DEVICE_1);
    out(LBA_LOW, 99);
    out(COMMAND, 0xe7);
    assert_int_equal(in(DEVICE), LBA_MODE);
    assert_int_equal(in(LBA_LOW), 3);
    expect_interrupt(READY_DATA);
    expect_sectors(disk + 3 * VATA_SECTOR, 1);
}

static void second_disk(void **state)
{
    (void)state;
    set_lba28(7, 1, DEVICE_1);
    out(COMMAND, 0x30);
    for (unsigned i = 0; i < 256; i++)
        word_out(0x7777);
    expect_interrupt(READY);
    assert_int_equal(second[7 * VATA_SECTOR], 0x77);
    assert_int_not_equal(disk[7 * VATA_SECTOR], 0x77);
    set_lba28(SECOND_SECTORS, 1, DEVICE_1);
    run(0x20, READY_ERROR, ATA_IDNF);
    out(DEVICE, 0);
    assert_int_equal(in(STATUS), READY); /* the first has nothing to complain about */
}

static void not_decoded(void **state)
{
    (void)state;
    out(COMMAND, 0xe7);
    vata_enable(&ata, false, false);
    assert_false(pin_high[IRQ]);
    assert_int_equal(in(STATUS), 0xff);
    assert_int_equal(in(CONTROL), 0xff);
    out(LBA_LOW, 77);
    out(CONTROL, 4);
    word_out(1);
    vata_enable(&ata, true, true);
    assert_int_equal(in(LBA_LOW), 1);
    assert_int_equal(in(STATUS), READY);
}

/* --- bus master --- */

static void descriptor(uint32_t at, uint32_t base, uint32_t bytes_and_end)
{
    memcpy(ram + at, &base, 4);
    memcpy(ram + at + 4, &bytes_and_end, 4);
}

#define LAST (1u << 31)

static void dma_start(uint32_t table, uint8_t command)
{
    vata_dma_write(&ata, 4, 4, table);
    vata_dma_write(&ata, 2, 1, 6);
    vata_dma_write(&ata, 0, 1, command);
}

static uint8_t dma_status(void)
{
    return (uint8_t)vata_dma_read(&ata, 2, 1);
}

static void dma_read(void **state)
{
    (void)state;
    descriptor(0x100, 0x10002, 600);
    descriptor(0x108, 0x20000, LAST | 424);
    set_lba28(77, 2, 0);
    out(COMMAND, 0xc8);
    assert_int_equal(in(STATUS), READY_DATA);
    assert_false(pin_high[IRQ]);
    dma_start(0x100, 9);
    assert_int_equal(dma_status(), 4); /* interrupt, not active: both ended together */
    expect_interrupt(READY);
    assert_memory_equal(ram + 0x10002, disk + 77 * VATA_SECTOR, 600);
    assert_memory_equal(ram + 0x20000, disk + 77 * VATA_SECTOR + 600, 424);
    assert_int_equal(ram[0x20000 + 424], 0);
    assert_int_equal(vata_dma_read(&ata, 4, 4), 0x100);
    vata_dma_write(&ata, 0, 1, 8);
    vata_dma_write(&ata, 2, 1, 4 | 0x20);
    assert_int_equal(dma_status(), 0x20);
}

static void dma_write(void **state)
{
    (void)state;
    memset(ram + 0x30000, 0x99, 512);
    descriptor(0x100, 0x30000, LAST); /* 0: 64 KiB, more than the disk takes */
    set_lba48(9, 1);
    dma_start(0x100, 1); /* before the command: that is as good */
    assert_int_equal(dma_status(), 1);
    out(COMMAND, 0x35);
    assert_int_equal(dma_status(), 5);
    expect_interrupt(READY);
    assert_int_equal(disk[9 * VATA_SECTOR], 0x99);
    assert_int_equal(disk[9 * VATA_SECTOR + 511], 0x99);
    assert_int_not_equal(disk[10 * VATA_SECTOR], 0x99);
}

static void dma_too_short(void **state)
{
    (void)state;
    descriptor(0x100, 0x10000, LAST | 512);
    set_lba28(0, 2, 0);
    out(COMMAND, 0xc8);
    dma_start(0x100, 9);
    assert_int_equal(dma_status(), 0); /* neither active nor through */
    assert_false(pin_high[IRQ]);
    assert_int_equal(in(STATUS), READY_DATA);
    vata_dma_write(&ata, 0, 1, 8);
    dma_start(0x100, 9); /* the rest */
    assert_int_equal(dma_status(), 4);
    assert_memory_equal(ram + 0x10000, disk + VATA_SECTOR, 512);
}

static void dma_to_nowhere(void **state)
{
    (void)state;
    descriptor(0x100, RAM - 256, LAST | 512);
    set_lba28(0, 1, 0);
    out(COMMAND, 0xc8);
    dma_start(0x100, 9);
    assert_int_equal(dma_status(), 2);
    assert_false(pin_high[IRQ]);
    out(CONTROL, 4);
    out(CONTROL, 0);
    set_lba28(0, 1, 0);
    out(COMMAND, 0xc8);
    vata_dma_write(&ata, 0, 1, 8);
    dma_start(RAM + 0x1000, 9); /* nor is the table there */
    assert_int_equal(dma_status(), 2);
}

static void dma_conditions(void **state)
{
    (void)state;
    descriptor(0x100, 0x10000, LAST | 512);
    set_lba28(0, 1, 0);
    out(COMMAND, 0xc8);
    dma_start(0x100, 1); /* the wrong way */
    assert_int_equal(dma_status(), 1);
    vata_dma_write(&ata, 0, 1, 0);
    assert_int_equal(dma_status(), 0);
    vata_enable(&ata, true, false);
    dma_start(0x100, 9); /* PCI says no */
    assert_int_equal(dma_status(), 1);
    vata_enable(&ata, true, true);
    assert_int_equal(dma_status(), 4);
    expect_interrupt(READY);
}

static void dma_table_wraps(void **state)
{
    (void)state;
    descriptor(0x1fff8, 0x40000, 512);
    descriptor(0x10000, 0x50000, LAST | 512);
    set_lba28(100, 2, 0);
    out(COMMAND, 0xc8);
    dma_start(0x1fff8, 9);
    assert_int_equal(dma_status(), 4);
    assert_memory_equal(ram + 0x50000, disk + 101 * VATA_SECTOR, 512);
}

static uint64_t passing(void)
{
    return clock_now += WORK_TICKS / 50;
}

/* A long one in small pieces takes its time, and the guest runs in between. */
static void dma_long(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1024; i++)
        descriptor(0x10000 + 8 * i, 0x20000 + 512 * i, i == 1023 ? LAST | 512 : 512);
    set_lba48(0, 1024);
    out(COMMAND, 0x25);
    timers.read = passing;
    dma_start(0x10000, 9);
    assert_int_equal(dma_status(), 1);
    assert_int_equal(in(STATUS), READY_DATA);
    unsigned pieces = 0;
    while (dma_status() == 1 && pieces < 100) {
        assert_true(timers.next <= clock_now);
        timers_run(&timers, clock_now);
        pieces++;
    }
    assert_in_range(pieces, 1024 / 50, 4 * 1024 / 50);
    assert_int_equal(dma_status(), 4);
    expect_interrupt(READY);
    assert_memory_equal(ram + 0x20000, disk, 1024 * 512);
    assert_int_equal(timers.next, TIMER_NEVER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Nobody on the cable: all reads as 0 and nothing comes, whatever a program tries on both drives.
 */
static void no_disk_at_all(void **state)
{
    (void)state;
    static const uint8_t commands[] = {0xec, 0xa1, 0x90, 0x20, 0x30, 0xc8, 0xe7};
    start_machine();
    const struct vata_image none[2] = {{.data = NULL}};
    assert_int_equal(vata_init(&ata, 0, none, &mem, &bus, &timers, pin_line(IRQ)), OK);
    for (unsigned drive = 0; drive < 2; drive++) {
        out(DEVICE, (uint8_t)(0xa0 | drive << 4));
        for (size_t i = 0; i < sizeof(commands); i++) {
            out(COUNT, 0x55);
            out(LBA_LOW, 0xaa);
            out(COMMAND, commands[i]);
            for (uint16_t port = DATA; port <= STATUS; port++)
                assert_int_equal(in(port), 0);
            assert_int_equal(in(CONTROL), 0);
            word_out(0x1234);
        }
        out(CONTROL, 4);
        assert_int_equal(in(STATUS), 0);
        out(CONTROL, 0);
        assert_int_equal(in(STATUS), 0);
    }
    assert_int_equal(pin_rises[IRQ], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_disk_at_all, setup, teardown),
        TEST(power_up),
        cmocka_unit_test_setup_teardown(absent_second, setup_one, teardown),
        TEST(bad_images),
        TEST(identify),
        TEST(identify_large),
        TEST(read_sectors),
        TEST(data_port_widths),
        TEST(strings),
        TEST(registers_in_one_access),
        TEST(write_sectors),
        TEST(half_a_sector_is_none),
        TEST(count_zero_is_256),
        TEST(lba48),
        TEST(high_order_bytes),
        TEST(cylinders),
        TEST(multiple),
        TEST(settings_and_resets),
        TEST(no_data),
        TEST(power),
        TEST(interrupts),
        TEST(busy_ignores_writes),
        TEST(second_disk),
        TEST(not_decoded),
        TEST(dma_read),
        TEST(dma_write),
        TEST(dma_too_short),
        TEST(dma_to_nowhere),
        TEST(dma_conditions),
        TEST(dma_table_wraps),
        TEST(dma_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
