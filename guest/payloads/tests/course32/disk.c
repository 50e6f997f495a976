/* SPDX-License-Identifier: BSD-2-Clause */
/* Two disks of the first IDE channel: one request at a time, the data by REP INS and OUTS, and an
 * interrupt at the end of each. */
#include "guest/payloads/tests/course32/kernel.h"

enum {
    DATA = 0x1f0,
    COUNT = 0x1f2,
    LBA = 0x1f3,
    DEVICE = 0x1f6,
    STATUS = 0x1f7,
    COMMAND = 0x1f7,
    CONTROL = 0x3f6
};
enum {
    BUSY = 0x80,
    READY_BIT = 0x40,
    FAULT = 0x20,
    DATA_ASKED = 8,
    WRONG = 1,
    READ = 0x20,
    WRITE = 0x30
};

struct request {
    struct request *next;
    unsigned disk;
    uint32_t sector;
    bool is_write, is_done;
    uint8_t *data;
};

static struct lock lock;
static struct request *queue; /* the disk does the first */

static void await(uint8_t bits)
{
    uint8_t status;
    do
        status = port_in(STATUS);
    while ((status & (BUSY | bits)) != bits);
    if ((status & (FAULT | WRONG)) != 0)
        panic("the disk says", status);
}

static void start(const struct request *request)
{
    await(READY_BIT);
    port_out(CONTROL, 0);
    port_out(DEVICE, (uint8_t)(0xe0 | request->disk << 4 | request->sector >> 24));
    await(READY_BIT);
    port_out(COUNT, 1);
    for (uint16_t i = 0; i < 3; i++)
        port_out((uint16_t)(LBA + i), (uint8_t)(request->sector >> 8 * i));
    port_out(COMMAND, request->is_write ? WRITE : READ);
    if (request->is_write) {
        const void *from = request->data;
        size_t words = SECTOR_BYTES / 4;
        await(DATA_ASKED);
        __asm__ volatile("rep outsl" : "+S"(from), "+c"(words) : "d"(DATA) : "memory");
    }
}

void disk_init(void)
{
    line_enable(LINE_DISK, cpu_count - 1);
}

void disk_interrupt(void)
{
    lock_take(&lock);
    struct request *request = queue;
    if (request != NULL) {
        queue = request->next;
        await(READY_BIT);
        if (!request->is_write) {
            void *to = request->data;
            size_t words = SECTOR_BYTES / 4;
            __asm__ volatile("rep insl" : "+D"(to), "+c"(words) : "d"(DATA) : "memory");
        }
        request->is_done = true;
        process_wake(request);
        if (queue != NULL)
            start(queue);
    } else {
        (void)port_in(STATUS); /* nobody's */
    }
    lock_give(&lock);
}

/* The data is the kernel's, for the interrupt comes in any process's address space. */
void disk_transfer(unsigned disk, uint32_t sector, bool is_write, uint8_t *data)
{
    struct request own = {.disk = disk, .sector = sector, .is_write = is_write, .data = data},
                   **end = &queue;
    lock_take(&lock);
    while (*end != NULL)
        end = &(*end)->next;
    *end = &own;
    if (queue == &own)
        start(&own);
    while (!own.is_done)
        process_sleep(&own, &lock);
    lock_give(&lock);
}
