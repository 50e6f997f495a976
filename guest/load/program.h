/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loaders of guest programs share: the files that nadir.cfg names, where in the guest's
 * memory something may be put, the memory map that is handed over, and a sentence for a refusal. */
#pragma once

#include "guest/config.h"
#include "guest/cpu/state.h"
#include "guest/load/xen_domain.h"
#include "guest/pc/layout.h"
#include "mm/guestmem.h"

#define PROGRAM_MAX_FILES \
    (2 + CONFIG_MAX_MODULES) /* the ramdisk, modules, and what a loader may add */
#define PROGRAM_MAX_RANGES 5

struct program_file {
    const uint8_t *data;
    uint64_t size;
    const char *name;   /* as the user has written it; never NULL */
    const char *string; /* of a module; never NULL */
};

struct program {
    const struct guestmem *mem; /* zeroed, or as a life before has left it: guest/pc/layout.h */
    uint64_t memory_bytes;
    gpa_t rsdp;
    struct program_file kernel;
    struct program_file file[PROGRAM_MAX_FILES]; /* the ramdisk first, if there is one */
    uint32_t file_count;
    const char *cmdline;
    uint64_t load, entry; /* of a flat program: guest-physical */
    uint32_t mode;        /* of a flat program: 16, 32 or 64 */
    enum guest_loader loader;
    bool type_named;   /* the user has said what kind of kernel it is */
    bool paravirtual;  /* the engine pv runs it: memory is as in xen_domain.h, all else a PC's */
    bool keeps_info;   /* LAYOUT_BOOT_INFO is in use: true, unless the loader says otherwise */
    bool keeps_tables; /* LAYOUT_PAGE_TABLES: likewise */
    void (*between)(void); /* called behind each portion of long work; may be NULL */
    struct xen_domain xen; /* of a Xen PV kernel that is loaded */
    char why[200];         /* what a refusal says */
};

/* guestmem_write() and guestmem_zero() for what may be long, in portions. */
bool program_write(const struct program *p, gpa_t to, const void *from, uint64_t bytes);
bool program_zero(const struct program *p, gpa_t to, uint64_t bytes);

/* A loader checks the program, puts it with all that it needs into guest memory, and fills in the
 * state at entry. Pure but for guest memory. A refusal leaves a sentence in why: ERR_BAD_INPUT for
 * the files, ERR_UNSUPPORTED for what we cannot give, ERR_NO_MEMORY where the guest is too small.
 */
typedef enum status program_loader(struct program *p, struct cpu_state *state);

/* Writes the sentence and returns s. */
enum status program_refuse(struct program *p, enum status s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The memory map as it is handed over, ascending: for each range base, length and type (1: RAM, 2:
 * reserved) in 8, 8 and 4 bytes, each range entry_bytes behind the one before. Returns how many
 * there are, at most PROGRAM_MAX_RANGES. */
unsigned program_put_memory_map(uint64_t memory_bytes, uint8_t *out, size_t entry_bytes);

/* Whether a program may lie at [at, at + bytes): RAM, of a PC's below 4 GiB alone, and nothing
 * there that the loader hands over. Just below 1 MiB it may, as linkers put an ELF file's headers
 * before a kernel at 1 MiB. what: its name in the refusal. */
enum status program_check_place(struct program *p, const char *what, gpa_t at, uint64_t bytes);

/* Puts the files behind a kernel at [low, end), or, where they do not fit there, from 1 MiB on;
 * each at the start of a page. at[i] gets the place of file[i]. */
enum status program_place_files(struct program *p, uint64_t low, uint64_t end,
                                gpa_t at[PROGRAM_MAX_FILES]);

/* Puts a GDT into memory, which GDTR is set to, with the state's code and data segments at 0x10 and
 * 0x18, where Linux's boot protocol wants them. */
enum status program_write_gdt(struct program *p, struct cpu_state *state);

/* Sets the state to 32-bit protected mode at `entry` as multiboot and PVH ask for it. What they
 * leave open, selectors and stack, is as in the boot loader that nadir.cfg names. */
enum status program_start_flat32(struct program *p, uint64_t entry, struct cpu_state *state);

/* An identity map of 4 GiB at LAYOUT_PAGE_TABLES. */
enum status program_write_page_tables(struct program *p);

/* What is handed over, block by block, in the area of LAYOUT_BOOT_INFO. */
struct program_info {
    const struct guestmem *mem;
    uint32_t next; /* guest-physical; 0: it did not fit, or was no RAM */
};

static inline struct program_info program_info_begin(const struct program *p)
{
    return (struct program_info){p->mem, LAYOUT_BOOT_INFO};
}

/* Adds a block at a multiple of align, a power of two; returns its guest-physical address. */
uint32_t program_info_add(struct program_info *info, uint32_t align, const void *data,
                          size_t bytes);
uint32_t program_info_add_string(struct program_info *info, const char *string);
