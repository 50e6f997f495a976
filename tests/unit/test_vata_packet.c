// link: drivers/virt/vata.c drivers/virt/vata_command.c drivers/virt/vata_dma.c
// link: drivers/virt/vata_packet.c drivers/virt/vata_mmc.c
// link: mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the CD drive: what ATA/ATAPI-6 says of a packet device, and SFF-8020i and MMC-3 of its
 * packets. It is the second channel's only drive. */
#include "drivers/virt/vata_mmc.h"

#include "tests/unit/device_test.h"

#include <stdlib.h>

enum { DATA = 0x170, FEATURES, REASON, LBA_LOW, COUNT_LOW, COUNT_HIGH, DEVICE, COMMAND };
enum { ERROR = FEATURES, STATUS = COMMAND, CONTROL = 0x376, IRQ = 15 };
enum { READY = 0x50, READY_DATA = 0x58, READY_ERROR = 0x51, DEVICE_1 = 0x10 };
enum { AWAITS_PACKET = 1, SENDS = 2, ENDS = 3 };
enum { SECTORS = 300, RAM = 1 << 20, TABLE = 0x100, BUFFER = 0x20000 };
enum { NOT_READY = 2, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };

static struct vata ata;
static struct guestmem mem;
static uint8_t *disc, *ram, got[SECTORS * VATA_CD_SECTOR];

static int setup(void **state)
{
    (void)state;
    start_machine();
    mem = (struct guestmem){0};
    disc = malloc(SECTORS * VATA_CD_SECTOR);
    ram = calloc(1, RAM);
    for (unsigned i = 0; i < SECTORS * VATA_CD_SECTOR; i++)
        disc[i] = (uint8_t)(i / VATA_CD_SECTOR * 7 + i);
    assert_int_equal(guestmem_add(&mem, gpa(0), RAM, ram), OK);
    const struct vata_image image[2] = {
        {.data = disc, .bytes = SECTORS * VATA_CD_SECTOR, .is_cd = true}};
    assert_int_equal(vata_init(&ata, 1, image, &mem, &bus, &timers, pin_line(IRQ)), OK);
    memset(got, 0xa5, sizeof(got));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SECTORS * VATA_CD_SECTOR; i++) /* nothing writes there */
        assert_int_equal(disc[i], (uint8_t)(i / VATA_CD_SECTOR * 7 + i));
    free(disc);
    free(ram);
    return 0;
}

static uint16_t word_in(void)
{
    return (uint16_t)bus_port_read(&bus, DATA, 2);
}

/* Takes an interrupt that must be there, with the status that comes with it. */
static void expect_interrupt(uint8_t status)
{
    assert_true(pin_high[IRQ]);
    assert_int_equal(in(STATUS), status);
    assert_false(pin_high[IRQ]);
}

static void expect_signature(uint8_t error, uint8_t status)
{
    assert_int_equal(in(CONTROL), status);
    assert_int_equal(in(ERROR), error);
    assert_int_equal(in(REASON), 1);
    assert_int_equal(in(LBA_LOW), 1);
    assert_int_equal(in(COUNT_LOW), 0x14);
    assert_int_equal(in(COUNT_HIGH), 0xeb);
}

/* Sends a packet, of which the drive gets 12 bytes, and asks for blocks of at most so many. */
static void send(const uint8_t *packet, size_t bytes, uint16_t limit, uint8_t features)
{
    uint8_t whole[VATA_PACKET_BYTES] = {0};
    memcpy(whole, packet, bytes);
    out(FEATURES, features);
    out(COUNT_LOW, (uint8_t)limit);
    out(COUNT_HIGH, (uint8_t)(limit >> 8));
    out(COMMAND, 0xa0);
    assert_false(pin_high[IRQ]); /* IDENTIFY says that it does not interrupt here */
    assert_int_equal(in(STATUS), READY_DATA);
    assert_int_equal(in(REASON), AWAITS_PACKET);
    for (unsigned i = 0; i < sizeof(whole); i += 2)
        bus_port_write(&bus, DATA, 2, whole[i] | (uint32_t)whole[i + 1] << 8);
}

/* Takes what comes, block by block as an interrupt handler does; returns how many bytes. */
static uint32_t take(uint16_t limit)
{
    uint32_t bytes = 0;
    while (in(CONTROL) == READY_DATA) {
        expect_interrupt(READY_DATA);
        assert_int_equal(in(REASON), SENDS);
        const uint32_t block = in(COUNT_LOW) | (uint32_t)in(COUNT_HIGH) << 8;
        assert_in_range(block, 1, limit);
        for (uint32_t i = 0; i < block; i += 2) {
            const uint16_t word = word_in();
            memcpy(got + bytes + i, &word, 2);
        }
        bytes += block;
    }
    expect_interrupt(READY);
    assert_int_equal(in(REASON), ENDS);
    assert_int_equal(in(ERROR), 0);
    return bytes;
}

#define PACKET(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static uint32_t ask(const uint8_t *packet, size_t bytes)
{
    memset(got, 0xa5, sizeof(got));
    send(packet, bytes, 0xfffe, 0);
    return take(0xfffe);
}

/* The key in the Error register, and all of it by REQUEST SENSE, which forgets it. */
static void refused(uint32_t sense, const uint8_t *packet, size_t bytes)
{
    send(packet, bytes, 0xfffe, 0);
    expect_interrupt(READY_ERROR);
    assert_int_equal(in(REASON), ENDS);
    assert_int_equal(in(ERROR), sense >> 16 << 4);
    for (unsigned again = 0; again < 2; again++, sense = 0) {
        assert_int_equal(ask(PACKET(0x03, 0, 0, 0, 18)), 18);
        assert_int_equal(got[0], 0x70);
        assert_int_equal(got[2], sense >> 16);
        assert_int_equal(got[7], 10);
        assert_int_equal(got[12] << 8 | got[13], sense & 0xffff);
    }
}

/* --- the drive among its registers --- */

static void power_up(void **state)
{
    (void)state;
    expect_signature(1, 0);
    assert_false(pin_high[IRQ]);
    out(DEVICE, DEVICE_1); /* there is no second: neither signature nor registers that are kept */
    out(REASON, 0x55);
    out(LBA_LOW, 0xaa);
    for (uint16_t port = REASON; port <= COUNT_HIGH; port++)
        assert_int_equal(in(port), 0);
    assert_int_equal(in(STATUS), 0);
    assert_int_equal(in(CONTROL), 0);
}

static void resets(void **state)
{
    (void)state;
    (void)ask(PACKET(0x12, 0, 0, 0, 36));
    out(CONTROL, 4);
    assert_int_equal(in(STATUS), 0x80);
    out(CONTROL, 0);
    expect_signature(1, 0);
    out(COMMAND, 0x90);
    expect_interrupt(0);
    expect_signature(1, 0);
    send(PACKET(0x28, 0, 0, 0, 0, 3, 0, 0, 2), 0xfffe, 0);
    expect_interrupt(READY_DATA);
    out(COMMAND, 0xe5); /* not now; */
    assert_int_equal(in(STATUS), READY_DATA);
    out(COMMAND, 0x08); /* but DEVICE RESET always */
    expect_signature(1, 0);
    assert_int_equal(word_in(), 0);
    assert_false(pin_high[IRQ]);
    out(COMMAND, 0xe6); /* SLEEP, from which it wakes by that as well */
    expect_interrupt(READY);
    out(COMMAND, 0xa1);
    assert_false(pin_high[IRQ]);
    out(COMMAND, 0x08);
    out(COMMAND, 0xa1);
    expect_interrupt(READY_DATA);
}

/* A disk's commands are aborted; the two by which one is looked for leave the signature. */
static void disk_commands(void **state)
{
    (void)state;
    static const uint8_t aborted[] = {0xec, 0x20, 0x00, 0x30, 0xc8, 0x91, 0xf8, 0xc6, 0x27, 0xff};
    for (size_t i = 0; i < sizeof(aborted); i++) {
        out(COUNT_LOW, 0x77);
        out(COMMAND, aborted[i]);
        assert_true(pin_high[IRQ]);
        assert_int_equal(in(ERROR), ATA_ABRT);
        if (i < 2)
            expect_signature(ATA_ABRT, READY_ERROR);
        else
            assert_int_equal(in(COUNT_LOW), 0x77);
        expect_interrupt(READY_ERROR);
    }
    out(COMMAND, 0xe5);
    expect_interrupt(READY);
    assert_int_equal(in(REASON), 0xff);
    out(FEATURES, 3); /* SET FEATURES: multi-word DMA mode 2 */
    out(REASON, 0x22);
    out(COMMAND, 0xef);
    expect_interrupt(READY);
}

static void identify(void **state)
{
    (void)state;
    uint16_t words[256];
    uint8_t sum = 0;
    out(COMMAND, 0xa1);
    expect_interrupt(READY_DATA);
    for (unsigned i = 0; i < 256; i++) {
        words[i] = word_in();
        sum = (uint8_t)(sum + words[i] + (words[i] >> 8));
    }
    assert_int_equal(in(STATUS), READY);
    assert_false(pin_high[IRQ]); /* none at the end, as of a disk's */
    assert_int_equal(words[0], 0x85c0);
    assert_int_equal(words[27], 'N' << 8 | 'a');
    assert_int_equal(words[49] & 0x0300, 0x0300);
    assert_int_equal(words[63], 7);
    assert_int_equal(words[82] & 0x0210, 0x0210);
    assert_int_equal(words[93], 0x400b);
    assert_int_equal(sum, 0);
}

/* --- how data moves --- */

static void blocks(void **state)
{
    (void)state;
    static const struct {
        uint16_t limit;
        uint32_t most;
        unsigned interrupts;
    } cases[] = {{2048, 2048, 4}, {0xffff, 0xfffe, 2}, {4095, 4094, 3},
                 {6144, 6144, 2}, {512, 512, 13},      {2, 2, 3073}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const unsigned before = pin_rises[IRQ];
        send(PACKET(0x28, 0, 0, 0, 0x01, 0x05, 0, 0, 3), cases[i].limit, 0);
        assert_int_equal(take((uint16_t)cases[i].most), 3 * VATA_CD_SECTOR);
        assert_memory_equal(got, disc + 0x105 * VATA_CD_SECTOR, 3 * VATA_CD_SECTOR);
        assert_int_equal(pin_rises[IRQ] - before, cases[i].interrupts);
    }
    for (uint16_t limit = 0; limit < 2; limit++) { /* no block is so small */
        send(PACKET(0x28, 0, 0, 0, 0, 0, 0, 0, 1), limit, 0);
        expect_interrupt(READY_ERROR);
        assert_int_equal(in(ERROR), ATA_ABRT);
    }
    send(PACKET(0x00), 0, 0); /* where there is no data it does not matter */
    expect_interrupt(READY);
    out(FEATURES, 2); /* overlapped */
    out(COMMAND, 0xa0);
    expect_interrupt(READY_ERROR);
}

/* REP INSW takes more than a block, and an odd end has a word of its own. */
static void strings(void **state)
{
    (void)state;
    const struct port_string *string = bus_port_string(&bus, DATA);
    static const uint8_t packet[VATA_PACKET_BYTES] = {0x28, 0, 0, 0, 0, 9, 0, 0, 2};
    out(COUNT_HIGH, 0x08);
    out(COUNT_LOW, 0);
    out(COMMAND, 0xa0);
    string->write(string->dev, 2, packet, 6);
    string->read(string->dev, 2, got, 2 * VATA_CD_SECTOR / 2);
    assert_memory_equal(got, disc + 9 * VATA_CD_SECTOR, 2 * VATA_CD_SECTOR);
    expect_interrupt(READY);
    send(PACKET(0x12, 0, 0, 0, 5), 0xfffe, 0);
    assert_int_equal(in(COUNT_LOW), 5);
    assert_int_equal(bus_port_read(&bus, DATA, 4), 0x21008005);
    assert_int_equal(in(CONTROL), READY_DATA);
    assert_int_equal(word_in(), 31);
    expect_interrupt(READY);
}

static void dma_begin(uint32_t bytes, uint8_t command)
{
    const uint32_t descriptor[2] = {BUFFER, bytes | 1u << 31};
    memcpy(ram + TABLE, descriptor, sizeof(descriptor));
    vata_dma_write(&ata, 12, 4, TABLE);
    vata_dma_write(&ata, 10, 1, 6);
    vata_dma_write(&ata, 8, 1, command);
}

static void by_bus_master(void **state)
{
    (void)state;
    send(PACKET(0xa8, 0, 0, 0, 0, 77, 0, 0, 0, 5), 0, 1);
    assert_false(pin_high[IRQ]);
    assert_int_equal(in(STATUS), READY_DATA);
    dma_begin(5 * VATA_CD_SECTOR, 9);
    assert_int_equal(vata_dma_read(&ata, 10, 1) & 0xff, 4);
    expect_interrupt(READY);
    assert_int_equal(in(REASON), ENDS);
    assert_memory_equal(ram + BUFFER, disc + 77 * VATA_CD_SECTOR, 5 * VATA_CD_SECTOR);
    assert_int_equal(ram[BUFFER + 5 * VATA_CD_SECTOR], 0);
    vata_dma_write(&ata, 8, 1, 0);
    dma_begin(64, 9); /* before the packet is as good, and there may be more room than data */
    send(PACKET(0x25), 0, 1);
    expect_interrupt(READY);
    assert_int_equal(vata_dma_read(&ata, 10, 1) & 0xff, 5);
    assert_int_equal(ram[BUFFER + 3], (SECTORS - 1) & 0xff);
    assert_int_equal(ram[BUFFER + 6], 8);
    vata_dma_write(&ata, 8, 1, 0);
    dma_begin(64, 1); /* memory is not written to the disc */
    send(PACKET(0x28, 0, 0, 0, 0, 0, 0, 0, 1), 0, 1);
    assert_false(pin_high[IRQ]);
    out(COMMAND, 0x08);
    send(PACKET(0x28, 0, 0, 0, 9, 9, 0, 0, 1), 0, 1);
    expect_interrupt(READY_ERROR);
}

/* --- packets --- */

static void reads(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0x28, 0, 0, 0, 0x01, 0x2b, 0, 0, 1)), VATA_CD_SECTOR);
    assert_memory_equal(got, disc + (SECTORS - 1) * VATA_CD_SECTOR, VATA_CD_SECTOR);
    assert_int_equal(ask(PACKET(0xa8, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x2c)), SECTORS * VATA_CD_SECTOR);
    assert_memory_equal(got, disc, SECTORS * VATA_CD_SECTOR);
    assert_int_equal(ask(PACKET(0x28, 0, 0, 0, 0, 7)), 0);
    assert_int_equal(ask(PACKET(0x2b, 0, 0, 0, 0x01, 0x2b)), 0);
    refused(SENSE_BAD_LBA, PACKET(0x28, 0, 0, 0, 0x01, 0x2b, 0, 0, 2));
    refused(SENSE_BAD_LBA, PACKET(0x28, 0, 0, 0, 0x01, 0x2c, 0, 0, 1));
    refused(SENSE_BAD_LBA, PACKET(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1));
    refused(SENSE_BAD_LBA, PACKET(0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff));
    refused(SENSE_BAD_LBA, PACKET(0x2b, 0, 0, 0, 0x01, 0x2c));
    assert_int_equal(ask(PACKET(0x25)), 8);
    assert_memory_equal(got, "\0\0\x01\x2b\0\0\x08\0", 8);
}

static void read_cd(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0xbe, 0, 0, 0, 0, 5, 0, 0, 2, 0x10)), 2 * VATA_CD_SECTOR);
    assert_memory_equal(got, disc + 5 * VATA_CD_SECTOR, 2 * VATA_CD_SECTOR);
    assert_int_equal(ask(PACKET(0xbe, 2 << 2, 0, 0, 0, 5, 0, 0, 1, 0x10)), VATA_CD_SECTOR);
    assert_int_equal(ask(PACKET(0xbe, 0, 0, 0, 0, 5, 0, 0, 2, 0)), 0);
    refused(SENSE_WRONG_SECTOR, PACKET(0xbe, 1 << 2, 0, 0, 0, 5, 0, 0, 1, 0x10)); /* sound */
    refused(SENSE_BAD_FIELD, PACKET(0xbe, 0, 0, 0, 0, 5, 0, 0, 1, 0xf8));
    refused(SENSE_BAD_FIELD, PACKET(0xbe, 0, 0, 0, 0, 5, 0, 0, 1, 0x10, 1));
    refused(SENSE_BAD_LBA, PACKET(0xbe, 0, 0, 0, 0x01, 0x2c, 0, 0, 1, 0x10));
}

static void identity(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0x12, 0, 0, 0, 255)), 36);
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 0x80);
    assert_int_equal(got[4], 31);
    assert_memory_equal(got + 8, "NADIR   CD-ROM          1   ", 28);
    assert_int_equal(ask(PACKET(0x12, 0, 0, 0, 0)), 0);
    refused(SENSE_BAD_FIELD, PACKET(0x12, 1, 0, 0, 36));
    refused(SENSE_BAD_FIELD, PACKET(0x12, 0, 0x80, 0, 36));
    refused(SENSE_BAD_COMMAND, PACKET(0x2a));
    refused(SENSE_BAD_COMMAND, PACKET(0xff));
}

static void contents(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0x43, 0, 0, 0, 0, 0, 0, 0xff, 0xff)), 20);
    assert_memory_equal(got,
                        "\0\x12\x01\x01"
                        "\0\x14\x01\0\0\0\0\0"
                        "\0\x14\xaa\0\0\0\x01\x2c",
                        20);
    assert_int_equal(ask(PACKET(0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255)), 12);
    assert_memory_equal(got, "\0\x0a\x01\x01\0\x14\xaa\0\0\0\x06\0", 12); /* 300 + 150 frames */
    assert_int_equal(ask(PACKET(0x43, 2, 1, 0, 0, 0, 0, 0, 255)), 12);
    assert_memory_equal(got, "\0\x0a\x01\x01\0\x14\x01\0\0\0\x02\0", 12);
    assert_int_equal(ask(PACKET(0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40)), 12); /* SFF-8020i's 1 */
    assert_int_equal(ask(PACKET(0x43, 0, 0, 0, 0, 0, 1, 0, 4)), 4);
    refused(SENSE_BAD_FIELD, PACKET(0x43, 0, 0, 0, 0, 0, 2, 0, 255));
    refused(SENSE_BAD_FIELD, PACKET(0x43, 0, 2, 0, 0, 0, 0, 0, 255));
    assert_int_equal(ask(PACKET(0x51, 0, 0, 0, 0, 0, 0, 0, 255)), 34);
    assert_memory_equal(got, "\0\x20\x0e\x01\x01\x01\x01\x20", 8);
    refused(SENSE_BAD_FIELD, PACKET(0x51, 1, 0, 0, 0, 0, 0, 0, 255));
}

static void mode_pages(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255)), 28);
    assert_memory_equal(got, "\0\x1a\x01\0\0\0\0\0\x2a\x12\x0b\0\0\0\x29", 15);
    (void)ask(PACKET(0x1e, 0, 0, 0, 1));
    assert_int_equal(ask(PACKET(0x1a, 0, 0x2a, 0, 255)), 24);
    assert_memory_equal(got, "\x17\x01\0\0\x2a\x12\x0b\0\0\0\x2b", 11);
    assert_int_equal(ask(PACKET(0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0)), 8 + 12 + 8 + 20);
    assert_int_equal(got[1], 6 + 12 + 8 + 20);
    assert_int_equal(got[8], 1);
    assert_int_equal(got[20], 0x0d);
    assert_int_equal(got[28], 0x2a);
    assert_int_equal(ask(PACKET(0x5a, 0, 0x6a, 0, 0, 0, 0, 0, 255)), 28); /* what can be changed */
    for (unsigned i = 10; i < 28; i++)
        assert_int_equal(got[i], 0);
    refused(SENSE_NO_SAVED_PAGES, PACKET(0x5a, 0, 0xea, 0, 0, 0, 0, 0, 255));
    refused(SENSE_BAD_FIELD, PACKET(0x5a, 0, 0x0e, 0, 0, 0, 0, 0, 255)); /* no sound */
    refused(SENSE_BAD_FIELD, PACKET(0x1a, 0, 0x05, 0, 255));
}

static void configuration(void **state)
{
    (void)state;
    assert_int_equal(ask(PACKET(0x46, 0, 0, 0, 0, 0, 0, 0, 255)), 8 + 12 + 8 + 8 + 12 + 8 + 8);
    assert_memory_equal(got,
                        "\0\0\0\x3c\0\0\0\x08"
                        "\0\0\x03\x08\0\x10\0\0\0\x08\x01\0",
                        20);
    assert_int_equal(ask(PACKET(0x46, 2, 0, 0x1f, 0, 0, 0, 0, 255)), 16);
    assert_memory_equal(got + 8, "\0\x1f\0\x04", 4); /* there, but this is no DVD */
    assert_int_equal(ask(PACKET(0x46, 1, 0, 0x10, 0, 0, 0, 0, 255)), 8 + 12 + 8);
    assert_int_equal(ask(PACKET(0x46, 2, 1, 0, 0, 0, 0, 0, 255)), 8);
    refused(SENSE_BAD_FIELD, PACKET(0x46, 3, 0, 0, 0, 0, 0, 0, 255));
    ata.drive[0].sectors = 2000000; /* nothing is read of it here */
    (void)ask(PACKET(0x46, 0, 0, 0, 0, 0, 0, 0, 8));
    assert_int_equal(got[7], 0x10);
    (void)ask(PACKET(0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255)); /* beyond 255 minutes */
    assert_int_equal(got[9], 255);
    ata.drive[0].sectors = SECTORS;
    refused(SENSE_BAD_FIELD, PACKET(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8));
    assert_int_equal(ask(PACKET(0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8)), 4);
    assert_memory_equal(got, "\0\x02\x80\x10", 4);
}

static uint32_t event(void)
{
    assert_int_equal(ask(PACKET(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8)), 8);
    assert_memory_equal(got, "\0\x06\x04\x10", 4);
    return (uint32_t)got[4] << 8 | got[5];
}

/* Out and in again: who asks for the disc hears that there is none, and then, once, of another. */
static void tray(void **state)
{
    (void)state;
    assert_int_equal(event(), 0x0002);
    (void)ask(PACKET(0x1b, 0, 0, 0, 1)); /* spins up and down, and stays where it is */
    (void)ask(PACKET(0x1b, 0, 0, 0, 0));
    (void)ask(PACKET(0x1b, 0, 0, 0, 0x32));
    (void)ask(PACKET(0x00));
    (void)ask(PACKET(0x1e, 0, 0, 0, 1));
    refused(SENSE_LOCKED, PACKET(0x1b, 0, 0, 0, 2));
    (void)ask(PACKET(0x00));
    (void)ask(PACKET(0x1e, 0, 0, 0, 0));
    (void)ask(PACKET(0x1b, 0, 0, 0, 2));
    static const uint8_t needy[] = {0x00, 0x25, 0x28, 0x2b, 0x43, 0x51, 0xa8, 0xbe};
    for (size_t i = 0; i < sizeof(needy); i++)
        refused(SENSE_NO_MEDIUM, PACKET(needy[i]));
    assert_int_equal(event(), 0x0301);
    assert_int_equal(event(), 0x0001);
    assert_int_equal(ask(PACKET(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8)), 8);
    assert_int_equal(got[1], 0x10);
    (void)ask(PACKET(0x46, 0, 0, 0, 0, 0, 0, 0, 8));
    assert_int_equal(got[7], 0);
    (void)ask(PACKET(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255));
    assert_int_equal(got[2], 0x71);
    (void)ask(PACKET(0x1b, 0, 0, 0, 3));
    (void)ask(PACKET(0x12, 0, 0, 0, 36)); /* which does not take it */
    assert_int_equal(event(), 0x0202);
    refused(SENSE_MEDIUM_CHANGED, PACKET(0x28, 0, 0, 0, 0, 1, 0, 0, 1));
    assert_int_equal(ask(PACKET(0x28, 0, 0, 0, 0, 1, 0, 0, 1)), VATA_CD_SECTOR);
    (void)ask(PACKET(0x1b, 0, 0, 0, 2));
    (void)ask(PACKET(0x1b, 0, 0, 0, 3));
    (void)ask(PACKET(0x03, 0, 0, 0, 18)); /* which tells of it, and then it is told */
    assert_int_equal(got[2], UNIT_ATTENTION);
    assert_int_equal(got[12], 0x28);
    (void)ask(PACKET(0x00));
    (void)ask(PACKET(0x1e, 0, 0, 0, 1));
    out(COMMAND, 0x08); /* unlocks */
    (void)ask(PACKET(0x1b, 0, 0, 0, 2));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(power_up),      TEST(resets),   TEST(disk_commands), TEST(identify), TEST(blocks),
        TEST(strings),       TEST(reads),    TEST(by_bus_master), TEST(read_cd),  TEST(identity),
        TEST(configuration), TEST(contents), TEST(mode_pages),    TEST(tray),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
