/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel's flash command set, as far as the header says. Programs and erases are done at once: the
 * status is "ready" after each. */
#include "drivers/virt/vflash.h"

#include "arch/nospec.h"

enum {
    PROGRAM = 0x10,
    PROGRAM_TOO = 0x40, /* the same command's other number */
    ERASE = 0x20,
    CLEAR_STATUS = 0x50,
    READ_STATUS = 0x70,
    READ_ID = 0x90,
    ERASE_CONFIRM = 0xd0,
    READ_ARRAY = 0xff,
};
enum { STATUS_READY = 0x80, STATUS_ERASE_ERROR = 0x20, STATUS_PROGRAM_ERROR = 0x10 };
enum { MANUFACTURER = 0x89, DEVICE = 0x16 };

static void set_command(struct vflash *f, uint8_t command)
{
    bool array = command == READ_ARRAY, was_array = f->command == READ_ARRAY;
    f->command = command;
    if (array != was_array)
        f->mode_changed(f->ctx, array);
}

static uint8_t read_byte(const struct vflash *f, uint64_t offset)
{
    if (f->command == READ_ARRAY)
        return f->memory[index_nospec(offset, f->bytes)];
    if (f->command == READ_ID)
        return (offset & 0xff) == 0 ? MANUFACTURER : (offset & 0xff) == 1 ? DEVICE : 0;
    return f->status;
}

static void erase(struct vflash *f, uint64_t offset)
{
    uint8_t *block = f->memory + offset / VFLASH_BLOCK * VFLASH_BLOCK;
    for (unsigned i = 0; i < VFLASH_BLOCK; i++)
        block[i] = 0xff;
}

/* The second write of a command of two. */
static void write_second(struct vflash *f, uint64_t offset, uint8_t value)
{
    f->status |= STATUS_READY;
    if (f->command != ERASE)
        f->memory[offset] &= value; /* programming only clears bits */
    else if (value == ERASE_CONFIRM)
        erase(f, offset);
    else
        f->status |= STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR; /* wrong sequence */
    set_command(f, READ_STATUS);
}

static void write_byte(struct vflash *f, uint64_t offset, uint8_t value)
{
    switch (f->command) {
    case PROGRAM:
    case PROGRAM_TOO:
    case ERASE: write_second(f, offset, value); return;
    default: break;
    }
    switch (value) {
    case PROGRAM:
    case PROGRAM_TOO:
    case ERASE:
    case READ_STATUS:
    case READ_ID:
    case READ_ARRAY: set_command(f, value); return;
    case CLEAR_STATUS: f->status = 0; return; /* see the header */
    default: f->status |= STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR; return;
    }
}

uint64_t vflash_read(void *flash, gpa_t at, unsigned bytes)
{
    const struct vflash *f = flash;
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)read_byte(f, at.v - f->base.v + i) << (8 * i);
    return value;
}

void vflash_write(void *flash, gpa_t at, unsigned bytes, uint64_t value)
{
    struct vflash *f = flash;
    for (unsigned i = 0; i < bytes; i++)
        write_byte(f, at.v - f->base.v + i, (uint8_t)(value >> (8 * i)));
}

void vflash_init(struct vflash *f)
{
    f->command = READ_ARRAY;
    f->status = STATUS_READY;
}
