/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's kernel that turns against the engine bt: it finds the window with its own translated
 * code, and fills what it can write to there with what harms it, while it goes on. What becomes of
 * its VM does not matter: that the hypervisor and other VMs go on is what the test looks at. One
 * attack a VM: by hand its number is written into the image, behind the mark. */
#include "edges.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/user.h"

#define WINDOW  0xffff860000000000ull   /* mm/host_paging.h */
#define CACHE   (WINDOW + (1ull << 30)) /* guest/bt/cache_memory.c: the first vCPU's */
#define PAGE    4096ull
#define REACH   (4ull << 20) /* a small VM's cache ends before that */
#define LOOKUPS 65536ull     /* entries of two words, by a target's low 16 bits */
#define ROUNDS  40u
#define SLOT    (WINDOW >> 39 & 511)
#define P       1ull
#define W       2ull

static volatile struct {
    char mark[16];
    uint32_t attack;
} wanted = {"INTRUDER-WANTED", 0};

enum attack {
    LOOK,
    LOOKUP,
    SLOTS,
    SHARED,
    JUMPS,
    FROM_BESIDE,
    OWN_TABLES,
    RACING_TABLES,
    ENDS,
    CROSSING
};

extern uint64_t page_tables[];
static uint64_t table[3][512] __attribute__((aligned(4096)));
static uint8_t code_page[2][4096] __attribute__((aligned(4096)));

/* What is found of the window. */
static uint64_t code_end, data_end; /* behind CACHE */

static uint64_t random_state = 88172645463325252ull;
static uint64_t any(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* --- reaching memory that may not be there --- */

struct access {
    uint64_t at, value;
};

static void load(void *access)
{
    struct access *a = access;
    a->value = *(volatile uint64_t *)a->at;
}

static void store(void *access)
{
    struct access *a = access;
    *(volatile uint64_t *)a->at = a->value;
}

static bool can_read(uint64_t at)
{
    struct access a = {.at = at};
    return probe_call(load, &a).vector == PROBE_NONE;
}

/* Writes what is there. */
static bool can_write(uint64_t at)
{
    struct access a = {.at = at};
    return probe_call(load, &a).vector == PROBE_NONE && probe_call(store, &a).vector == PROBE_NONE;
}

static void find_window(void)
{
    for (code_end = CACHE; code_end < CACHE + REACH && can_read(code_end); code_end += PAGE)
        if (can_write(code_end))
            break;
    for (data_end = code_end; data_end < CACHE + REACH && can_write(data_end);)
        data_end += PAGE;
}

/* --- work that translated code has templates, slots and the look-up for --- */

static volatile uint64_t sum;

static __attribute__((noinline)) uint64_t first(uint64_t n)
{
    return n < 2 ? n : first(n - 1) + 1;
}

static __attribute__((noinline)) uint64_t second(uint64_t n)
{
    uint64_t flags;
    __asm__ volatile("pushfq; cli; popq %0; pushq %0; popfq" : "=r"(flags) : : "memory", "cc");
    return n + (flags & 1);
}

static __attribute__((noinline)) uint64_t third(uint64_t n)
{
    uint64_t selector;
    __asm__ volatile("swapgs; mov %%ss, %0; swapgs; rdtsc" : "=b"(selector) : : "rax", "rdx");
    return n + selector;
}

static __attribute__((noinline)) uint64_t fourth(uint64_t n)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
    return n;
}

static uint64_t (*volatile functions[])(uint64_t) = {first, second, third, fourth};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static void work(void *nothing)
{
    (void)nothing;
    for (unsigned i = 0; i < 64; i++)
        sum += functions[i % FUNCTIONS](i);
}

/* --- what is written --- */

/* An address where something is, but not what is expected there. */
static uint64_t bad_address(void)
{
    const uint64_t random = any();
    switch (random >> 60 & 7) {
    case 0: return 0xffff878000200000ull + (random & 0x3ffff);  /* the hypervisor's code and data */
    case 1: return 0xffff800000000000ull + (random & 0xffffff); /* all memory */
    case 2: return 0xffff870000000000ull + (random & 0xfffff);  /* stacks */
    case 3: return 0x8000000000000000ull | random;              /* no address */
    case 4: return code_end + (random & 0xffff);                /* data */
    case 5: return WINDOW + (random & 0x1fff);                  /* single instructions */
    default: return CACHE + (random & 0x1ffff);                 /* the middle of blocks */
    }
}

static void fill(uint64_t from, uint64_t end, bool addresses)
{
    for (; from < end; from += 8)
        *(volatile uint64_t *)from = addresses ? bad_address() : any();
}

static uint64_t shared_at(void)
{
    return data_end - PAGE;
}

static uint64_t lookup_at(void)
{
    return data_end - PAGE - LOOKUPS * 16;
}

/* Entries that the work's own jumps find: calls, and returns to anywhere in this image. */
static void fill_lookup(bool found)
{
    for (uint64_t pc = 0x7c00; pc < 0x7c00 + LOOKUPS; pc++) {
        volatile uint64_t *entry = (volatile uint64_t *)(lookup_at() + pc % LOOKUPS * 16);
        entry[0] = found ? -pc : any();
        entry[1] = bad_address();
    }
}

static void spoil(enum attack attack, unsigned round)
{
    if (attack == LOOKUP)
        fill_lookup(round % 2 != 0);
    else if (attack == SLOTS)
        fill(code_end, lookup_at(), round % 4 != 3);
    else if (attack == SHARED)
        fill(shared_at(), data_end, round % 2 != 0);
    else
        fill(code_end, data_end, round % 2 != 0);
}

/* --- jumps, and tables of the guest's own --- */

static void jump(void *to)
{
    ((void (*)(void))to)();
}

/* In translated code and in user code; each has to be a page fault of the guest's. */
static void check_jumps(void)
{
    unsigned wrong = 0;
    user_init();
    for (unsigned i = 0; i < 200; i++) {
        const uint64_t to = i % 4 != 0 ? CACHE + any() % (code_end - CACHE) : bad_address();
        struct code user = {.rsi = to, .length = 2, .bytes = {0xff, 0xe6}}; /* JMP RSI */
        struct code user_load = {.rsi = to, .length = 3, .bytes = {0x48, 0x8b, 0x06}};
        const uint32_t kernel = probe_call(jump, (void *)to).vector;
        wrong += kernel != VECTOR_PF && kernel != VECTOR_GP;
        const uint32_t own = user_probe(&user, 0x200).vector;
        wrong += own != VECTOR_PF && own != VECTOR_GP;
        const uint32_t read = user_probe(&user_load, 0x200).vector;
        wrong += read != VECTOR_PF && read != VECTOR_GP;
    }
    print("intruder: jumps that were none: %u\n", wrong);
}

/* The guest has a page of its own where the window is, and does not; its code runs there. */
static void map_there(unsigned which)
{
    table[0][WINDOW >> 30 & 511] = (uint64_t)table[1] | P | W;
    table[1][WINDOW >> 21 & 511] = (uint64_t)table[2] | P | W;
    for (unsigned i = 0; i < 512; i++)
        table[2][i] = (uint64_t)code_page[which] | P | W;
    page_tables[SLOT] = (uint64_t)table[0] | P | W;
}

static void use_own_tables(unsigned round)
{
    map_there(round % 2);
    if (round % 3 != 0)
        write_cr3(read_cr3());
    (void)probe_call(jump, (void *)WINDOW);
    (void)probe_call(work, NULL);
    page_tables[SLOT] = 0;
    if (round % 5 != 0)
        write_cr3(read_cr3());
    (void)probe_call(jump, (void *)WINDOW);
}

/* --- the other CPU --- */

static volatile bool over;

/* It races for what the first one runs by: its cache, or its page tables and code. */
static void other(unsigned index)
{
    (void)index;
    for (unsigned i = 0;; i++) {
        if (over)
            __asm__ volatile("cli; hlt");
        if (wanted.attack == FROM_BESIDE) {
            *(volatile uint64_t *)(code_end + any() % (data_end - code_end) / 8 * 8) =
                bad_address();
            continue;
        }
        map_there(i % 2);
        const uint64_t frame = bad_address() & 0x000ffffffffff000ull;
        table[2][any() % 512] = any() % 3 == 0 ? 0 : frame | P | W;
        code_page[any() % 2][any() % 16] = (uint8_t)any();
        if (any() % 4 == 0)
            page_tables[SLOT + 4] = page_tables[SLOT];
    }
}

static void race_tables(unsigned round)
{
    const uint64_t at = WINDOW + (4ull << 39); /* another slot, as the window's stays empty here */
    (void)probe_call(jump, (void *)(at + any() % 512 * PAGE + any() % 16));
    (void)probe_call(work, NULL);
    if (round % 4 == 0)
        write_cr3(read_cr3());
    else
        __asm__ volatile("invlpg (%0)" : : "r"(at + any() % 512 * PAGE) : "memory");
}

int main(void)
{
    const enum attack attack = (enum attack)wanted.attack;
    memset(code_page, 0xc3, sizeof(code_page)); /* RET */
    port_out8(0x21, 0xff);                      /* no interrupt is to come */
    port_out8(0xa1, 0xff);
    find_window();
    print("intruder: attack %u; the window has code %u, data %u\n", (unsigned)attack,
          code_end > CACHE, data_end > code_end);
    if (attack == FROM_BESIDE || attack == RACING_TABLES) {
        apic_enable(false);
        (void)smp_start_at_least(other, 2);
    }
    if (attack == JUMPS)
        check_jumps();
    if (attack == ENDS)
        print("intruder: ends that were none: %u\n", edges_of_segments());
    if (attack == CROSSING)
        print("intruder: old code that was run: %u\n", edges_of_pages());
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (attack == OWN_TABLES)
            use_own_tables(i);
        else if (attack == RACING_TABLES)
            race_tables(i);
        else if (attack == LOOKUP || attack == SLOTS || attack == SHARED)
            spoil(attack, i);
        (void)probe_call(work, NULL);
    }
    over = true;
    print("intruder: attack %u is over\n", (unsigned)attack);
    return 0;
}
