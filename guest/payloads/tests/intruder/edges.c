/* SPDX-License-Identifier: BSD-2-Clause */
/* Ends of segments, and code that lies across pages. All code that is tried here ends in an
 * exception: UD2, where it has gone through. */
#include "edges.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/mode32.h"
#include "guest/lib/user.h"

#define PAGE  4096u
#define P     1ull
#define W     2ull
#define U     4ull
#define LARGE 0x80ull
#define NOP   0x90

#define LOWER_END 0x00007ffffffff000ull /* the last page below the hole in the addresses */
#define UPPER_END 0xfffffffffffff000ull
#define END_32    0xfffff000ull

/* Behind user_init()'s: 4 KiB of data; all but those; data from the last 4 KiB of 4 GiB on; and
 * code, of 4 KiB, and of all 4 GiB. */
enum { SMALL = 0x68, DOWN = 0x70, WRAPS = 0x78, CODE_SMALL = 0x80, CODE32 = 0x88, GDT_END = 0x90 };

extern uint64_t page_tables[];
static uint64_t tables[3][512] __attribute__((aligned(PAGE))); /* each leads to the next one */
static uint64_t last_table[512] __attribute__((aligned(PAGE)));
static uint8_t pages[3][PAGE] __attribute__((aligned(PAGE)));
static uint64_t gdt[GDT_END / 8];

static void load_gdt(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) old, new = {sizeof(gdt) - 1, (uint64_t)gdt};
    __asm__ volatile("sgdt %0" : "=m"(old));
    memcpy(gdt, (const void *)old.base, SMALL);
    mode32_describe(gdt, SMALL, address32(pages[1]), 0xfff, 0x93, 4);
    mode32_describe(gdt, DOWN, address32(pages[0]), 0xfff, 0x97, 4);
    mode32_describe(gdt, WRAPS, (uint32_t)END_32, 0xfffff, 0x93, 0xc);
    mode32_describe(gdt, CODE_SMALL, address32(pages[0]), 0xfff, 0x9b, 4);
    mode32_describe(gdt, CODE32, 0, 0xfffff, 0x9b, 0xc);
    __asm__ volatile("lgdt %0" : : "m"(new) : "memory");
}

/* --- runs code --- */

struct place {
    uint32_t at;
    uint16_t selector;
} __attribute__((packed));

static void jump_64(void *to)
{
    __asm__ volatile("jmp *%0" : : "r"(to) : "memory");
}

static void jump_32(void *place)
{
    __asm__ volatile("ljmpl *%0" : : "m"(*(struct place *)place) : "memory");
}

static void flat_segments(void)
{
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%ss"
                     :
                     : "r"(USER_KERNEL_DATA));
}

static uint32_t run_64(uint64_t at)
{
    return probe_call(jump_64, (void *)at).vector;
}

/* trap_last has the registers. */
static uint32_t run_32(uint16_t selector, uint32_t at)
{
    struct place place = {at, selector};
    flat_segments();
    const uint32_t vector = probe_call(jump_32, &place).vector;
    flat_segments();
    return vector;
}

static uint32_t run_user(uint64_t at)
{
    struct code code = {.rsi = at, .length = 2, .bytes = {0xff, 0xe6}}; /* JMP RSI */
    return user_probe(&code, 0x200).vector;
}

/* --- ends --- */

static void flush(void)
{
    write_cr3(read_cr3());
}

/* pages[0] is the last page of both halves of the addresses, and of 4 GiB. */
static void map_ends(void)
{
    tables[0][511] = (uint64_t)tables[1] | P | W | U;
    tables[1][511] = (uint64_t)tables[2] | P | W | U;
    tables[2][511] = (uint64_t)pages[0] | P | W | U;
    page_tables[255] = page_tables[511] = (uint64_t)tables[0] | P | W | U;
    uint64_t *const last = &page_tables[6 * 512 - 1]; /* the last 2 MiB of 4 GiB */
    last_table[511] = (uint64_t)pages[0] | P | W | U;
    *last = (uint64_t)last_table | P | W | U;
    flush();
}

/* What 32-bit code does with a segment; its selector goes to EAX before. */
struct row {
    uint16_t selector;
    uint8_t length;
    uint8_t bytes[9];
    uint8_t vector;
};
static const struct row rows[] = {
    /* MOV FS, AX; MOV EAX, FS:[...] */
    {SMALL, 8, {0x8e, 0xe0, 0x64, 0xa1, 0xfc, 0x0f, 0, 0}, VECTOR_UD},
    {SMALL, 8, {0x8e, 0xe0, 0x64, 0xa1, 0xfd, 0x0f, 0, 0}, VECTOR_GP},
    {SMALL, 8, {0x8e, 0xe0, 0x64, 0xa3, 0xfd, 0x0f, 0, 0}, VECTOR_GP},
    {SMALL, 8, {0x8e, 0xe0, 0x64, 0xa1, 0xff, 0xff, 0xff, 0xff}, VECTOR_GP},
    {DOWN, 8, {0x8e, 0xe0, 0x64, 0xa1, 0x00, 0x10, 0, 0}, VECTOR_UD},
    {DOWN, 8, {0x8e, 0xe0, 0x64, 0xa3, 0xff, 0x0f, 0, 0}, VECTOR_GP},
    {WRAPS, 8, {0x8e, 0xe0, 0x64, 0xa1, 0x00, 0x10, 0, 0}, VECTOR_UD},
    /* MOV SS, AX; MOV EAX, SS:[...]; and so DS, ES */
    {SMALL, 8, {0x8e, 0xd0, 0x36, 0xa1, 0xfd, 0x0f, 0, 0}, VECTOR_SS},
    {DOWN, 8, {0x8e, 0xd0, 0x36, 0xa3, 0xfc, 0x0f, 0, 0}, VECTOR_SS},
    {SMALL, 7, {0x8e, 0xd8, 0xa1, 0xfd, 0x0f, 0, 0}, VECTOR_GP},
    {SMALL, 8, {0x8e, 0xc0, 0x26, 0xa3, 0xff, 0x0f, 0, 0}, VECTOR_GP},
    /* MOV CS:[...], EAX: no code segment can be written to */
    {SMALL, 7, {0x90, 0x2e, 0xa3, 0xfd, 0x0f, 0, 0}, VECTOR_GP},
};

static unsigned wrong_rows(void)
{
    unsigned wrong = 0;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t *code = pages[2];
        *code++ = 0xb8; /* MOV EAX, imm32 */
        memcpy(code, &(uint32_t){rows[i].selector}, 4);
        memcpy(code + 4, rows[i].bytes, rows[i].length);
        memcpy(code + 4 + rows[i].length, "\x0f\x0b", 2);
        wrong += run_32(CODE32, (uint32_t)(uint64_t)pages[2]) != rows[i].vector;
    }
    return wrong;
}

/* At the end of everything what is behind is at 0; CPUs differ about 4 GiB. At the end of what is
 * canonical, and of a limit, there is nothing. User code runs as it is, and QEMU's emulation, not
 * the guest's, ends at code that begins with the last byte of all: so none does. */
static unsigned wrong_ends(unsigned from, bool across)
{
    unsigned wrong = 0;
    wrong += run_64(UPPER_END + from) != VECTOR_UD;
    wrong += run_64(LOWER_END + from) != VECTOR_GP;
    wrong += run_user(LOWER_END + from) != VECTOR_GP;
    wrong += !across && run_user(UPPER_END + from - 1) != VECTOR_UD;
    wrong += run_32(CODE_SMALL, from) != VECTOR_GP;
    const uint32_t at_4g = run_32(CODE32, (uint32_t)END_32 + from);
    wrong += at_4g != VECTOR_UD && at_4g != VECTOR_GP;
    return wrong;
}

static void load(void *at)
{
    (void)*(volatile uint64_t *)at;
}

static void store(void *at)
{
    *(volatile uint64_t *)at = 0x9090909090909090;
}

static void write_at_0(uint16_t word)
{
    __asm__ volatile("movw %0, 0" : : "r"(word) : "memory");
}

unsigned edges_of_segments(void)
{
    unsigned wrong = 0;
    user_init();
    load_gdt();
    map_ends();
    for (unsigned round = 0; round < 3; round++) {
        memset(pages[0], NOP, PAGE);
        write_at_0(0x0b0f); /* UD2 */
        wrong += wrong_ends(PAGE - 1 - 40 * round, false);
        wrong += wrong_rows();
        pages[0][PAGE - 1] = 0x0f; /* it goes on behind the end */
        write_at_0(0x0b);
        wrong += wrong_ends(PAGE - 1 - 40 * round, true);
        wrong += probe_call(load, (void *)(LOWER_END + PAGE - 7)).vector != VECTOR_GP;
        wrong += probe_call(store, (void *)(LOWER_END + PAGE - 1)).vector != VECTOR_GP;
        wrong += probe_call(load, (void *)(UPPER_END + PAGE - 7)).vector != PROBE_NONE;
        wrong += probe_call(store, (void *)(UPPER_END + PAGE - 4)).vector != PROBE_NONE;
    }
    return wrong;
}

/* --- code across pages --- */

/* MOV EAX, imm32; UD2: lies so that that many of its bytes are in the first page. */
static uint8_t *place_move(unsigned before, uint32_t value)
{
    uint8_t *const at = pages[1] - before;
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    memcpy(at + 5, "\x0f\x0b", 2);
    return at;
}

/* What it leaves in EAX, by 64-bit or 32-bit code. */
static uint32_t moved(uint64_t at, bool is_64)
{
    const uint32_t vector = is_64 ? run_64(at) : run_32(CODE32, (uint32_t)at);
    return vector == VECTOR_UD ? (uint32_t)trap_last.rax : 0;
}

/* It is changed byte by byte, by one store across the border, and by REP MOVSB. */
static unsigned change_from_outside(unsigned before, bool is_64)
{
    unsigned wrong = 0;
    for (uint32_t n = 1; n < 10; n++) {
        uint8_t *at = place_move(before, n * 0x01010101);
        wrong += moved((uint64_t)at, is_64) != n * 0x01010101;
        for (unsigned i = 1; i < 5; i++) {
            *(volatile uint8_t *)(at + i) = 0x5a;
            const uint32_t kept = i < 4 ? n * 0x01010101 & ~0u << 8 * i : 0;
            wrong += moved((uint64_t)at, is_64) != (kept | 0x5a5a5a5au >> 8 * (4 - i));
        }
        *(volatile uint32_t *)(at + 1) = n;
        wrong += moved((uint64_t)at, is_64) != n;
        const uint8_t bytes[5] = {0xb8, (uint8_t)n, 1, 2, 3};
        const void *from = bytes;
        void *to = at;
        uint64_t count = sizeof(bytes);
        __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
        wrong += moved((uint64_t)at, is_64) != (0x03020100 | n);
    }
    return wrong;
}

/* MOV dword [its own immediate], n, right before it: the one block that has both. */
static unsigned change_ahead(unsigned before, bool is_64)
{
    unsigned wrong = 0;
    for (uint32_t n = 1; n < 10; n++) {
        uint8_t *at = place_move(before, 0x77777777), *p = at - (is_64 ? 11 : 10);
        const uint32_t target = (uint32_t)(uint64_t)(at + 1);
        const uint64_t start = (uint64_t)p;
        memcpy(p, is_64 ? "\xc7\x04\x25" : "\xc7\x05", is_64 ? 3 : 2);
        p += is_64 ? 3 : 2;
        memcpy(p, &target, 4);
        memcpy(p + 4, &n, 4);
        wrong += moved(start, is_64) != n;
    }
    return wrong;
}

/* The second page becomes another one. */
static unsigned remap_second(unsigned before)
{
    const uint64_t second = UPPER_END, at = second - before;
    unsigned wrong = 0;
    for (uint32_t n = 1; n < 10; n++) {
        const unsigned which = 1 + n % 2;
        (void)place_move(before, 0x11111111 * (n % 2));
        memset(pages[2], 0x33, 4);
        memcpy(pages[2] + 5 - before, "\x0f\x0b", 2);
        tables[2][510] = (uint64_t)pages[0] | P | W | U;
        tables[2][511] = (uint64_t)pages[which] | P | W | U;
        __asm__ volatile("invlpg (%0)" : : "r"(second) : "memory");
        uint8_t wanted[4];
        memcpy(wanted, pages[0] + PAGE - before + 1, before - 1);
        memcpy(wanted + before - 1, pages[which], 5 - before);
        const uint32_t got = moved(at, true);
        wrong += memcmp(&got, wanted, 4) != 0;
    }
    return wrong;
}

unsigned edges_of_pages(void)
{
    unsigned wrong = 0;
    user_init();
    load_gdt();
    map_ends();
    for (unsigned before = 1; before < 5; before++) {
        for (unsigned mode = 0; mode < 2; mode++) {
            wrong += change_from_outside(before, mode == 0);
            wrong += change_ahead(before, mode == 0);
        }
        wrong += remap_second(before);
    }
    return wrong;
}
