// link: mm/host_paging.c mm/page_alloc.c mm/mtrr.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's own page tables, walked in software: who may be written, run, or not touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/log.h"
#include "arch/panic.h"
#include "arch/x86.h"
#include "mm/host_paging.h"

#define RAM_PAGES 256
#define RAM_BASE  0x100000ull
#define GIB       (1ull << 30)
#define P         1ull
#define W         2ull
#define NX        (1ull << 63)
#define IMAGE     0x7c00000ull /* host-physical */

static uint8_t *ram;
static const struct host_runtime runtime[] = {{0x7e00000, 16, false}, {0xffc00000, 0x400, true}};

void panic(const char *format, ...)
{
    fail_msg("panic: %s", format);
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

static struct host_map_request typical(void)
{
    return (struct host_map_request){
        .physmap_end = 6 * GIB + 0x800000,
        .image_base = IMAGE,
        .text_start = HOST_IMAGE_BASE,
        .text_end = HOST_IMAGE_BASE + 0x9000,
        .rodata_start = HOST_IMAGE_BASE + 0x9000,
        .rodata_end = HOST_IMAGE_BASE + 0xc000,
        .data_start = HOST_IMAGE_BASE + 0xc000,
        .data_end = HOST_IMAGE_BASE + 0x20000,
        .guard = HOST_IMAGE_BASE + 0x11000,
        .trampoline = 0x8000,
        .nx = true,
        .pages_1g = true,
        .runtime = runtime,
        .runtime_count = 2,
    };
}

static int setup(void **s)
{
    (void)s;
    ram = aligned_alloc(PAGE_SIZE, RAM_PAGES * PAGE_SIZE);
    physmap_base = (uint64_t)(uintptr_t)ram - RAM_BASE;
    struct page_range range = {RAM_BASE, RAM_PAGES};
    return page_alloc_init(&range, 1) == OK ? 0 : -1;
}

static int teardown(void **s)
{
    (void)s;
    free(ram);
    return 0;
}

/* The effective P, W and NX of an address, the physical address it means, and its page's size. */
static uint64_t walk(hpa_t root, uint64_t virt, uint64_t *phys, uint64_t *size)
{
    uint64_t *table = hpa_to_ptr(root), w = W, nx = 0;
    for (unsigned level = 4;; level--) {
        uint64_t bytes = PAGE_SIZE << (9 * (level - 1));
        uint64_t e = table[virt / bytes % 512];
        if ((e & P) == 0)
            return 0;
        w &= e;
        nx |= e & NX;
        if (level == 1 || (level < 4 && (e & 0x80))) {
            *phys = (e & 0x000ffffffffff000ull & ~(bytes - 1)) + virt % bytes;
            *size = bytes;
            return P | w | nx;
        }
        table = hpa_to_ptr(hpa(e & 0x000ffffffffff000ull));
    }
}

static void expect(hpa_t root, uint64_t virt, uint64_t flags, uint64_t phys)
{
    uint64_t p = 0, size;
    assert_int_equal(walk(root, virt, &p, &size), flags);
    if (flags != 0)
        assert_int_equal(p, phys);
}

/* The entry that maps a page that is there. */
static uint64_t leaf(hpa_t root, uint64_t virt)
{
    uint64_t *table = hpa_to_ptr(root);
    for (unsigned level = 4;; level--) {
        const uint64_t e = table[virt / (PAGE_SIZE << (9 * (level - 1))) % 512];
        if (level == 1 || (level < 4 && (e & 0x80)))
            return e;
        table = hpa_to_ptr(hpa(e & 0x000ffffffffff000ull));
    }
}

static uint64_t size_at(uint64_t virt)
{
    uint64_t phys, size = 0;
    (void)walk(host_paging_root(), virt, &phys, &size);
    return size;
}

static void test_layout(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    assert_int_equal(host_paging_init(&r), OK);
    hpa_t root = host_paging_root(), efi = host_paging_efi_root();
    for (int i = 0; i < 2; i++, root = efi) { /* the high half is in both */
        expect(root, HOST_IMAGE_BASE, P, IMAGE);
        expect(root, HOST_IMAGE_BASE + 0x8fff, P, IMAGE + 0x8fff);
        expect(root, HOST_IMAGE_BASE + 0x9000, P | NX, IMAGE + 0x9000);
        expect(root, HOST_IMAGE_BASE + 0xc000, P | W | NX, IMAGE + 0xc000);
        expect(root, HOST_IMAGE_BASE + 0x1ffff, P | W | NX, IMAGE + 0x1ffff);
        expect(root, HOST_IMAGE_BASE + 0x10fff, P | W | NX, IMAGE + 0x10fff);
        expect(root, HOST_IMAGE_BASE + 0x11000, 0, 0); /* the guard page */
        expect(root, HOST_IMAGE_BASE + 0x12000, P | W | NX, IMAGE + 0x12000);
        expect(root, HOST_IMAGE_BASE + 0x20000, 0, 0);
        expect(root, HOST_IMAGE_BASE - 1, 0, 0);
        expect(root, HOST_PHYSMAP_BASE, P | W | NX, 0);
        expect(root, HOST_PHYSMAP_BASE + IMAGE - 1, P | W | NX, IMAGE - 1);
        expect(root, HOST_PHYSMAP_BASE + IMAGE, P | NX, IMAGE);
        expect(root, HOST_PHYSMAP_BASE + IMAGE + 0xbfff, P | NX, IMAGE + 0xbfff);
        expect(root, HOST_PHYSMAP_BASE + IMAGE + 0xc000, P | W | NX, IMAGE + 0xc000);
        expect(root, HOST_PHYSMAP_BASE + 0xfee00020, P | W | NX, 0xfee00020);
        expect(root, HOST_PHYSMAP_BASE + 6 * GIB + 0x7fffff, P | W | NX, 6 * GIB + 0x7fffff);
        expect(root, HOST_PHYSMAP_BASE + 6 * GIB + 0x800000, 0, 0);
        expect(root, 0, 0, 0);
        expect(root, 0x7fff, 0, 0);
        expect(root, HOST_STACKS_BASE, 0, 0);
    }
    root = host_paging_root();
    expect(root, 0x8000, P, 0x8000);
    expect(root, 0x9000, 0, 0);
    expect(root, 0x7e00000, 0, 0);
    expect(efi, 0x8000, 0, 0);
    expect(efi, 0x7e00000, P | W, 0x7e00000);
    expect(efi, 0x7e10000, 0, 0);
    expect(efi, 0xfffffff0, P | W, 0xfffffff0);
    assert_int_equal(leaf(efi, 0x7e00000) & 0x18, 0);
    assert_int_equal(leaf(efi, 0xfffffff0) & 0x18, 0x18); /* a device's are not cached */
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + GIB), PAGE_SIZE_2M);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + 6 * GIB), PAGE_SIZE_2M);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + IMAGE), PAGE_SIZE);
    assert_int_equal(host_paging_check_wx(), 0);
    host_unmap_low();
    expect(root, 0x8000, 0, 0);
}

/* The framebuffer is mapped apart, write-combining, wherever it is; RAM does not reach there. */
static void test_screen(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    r.screen = 0x380000000000 + 0x800;
    r.screen_bytes = 3 * PAGE_SIZE_2M;
    assert_int_equal(host_paging_init(&r), OK);
    const uint64_t pixels = (uint64_t)(uintptr_t)host_screen(r.screen);
    uint64_t phys = 0, size = 0;
    expect(host_paging_root(), pixels, P | W | NX, r.screen);
    expect(host_paging_root(), pixels + 3 * PAGE_SIZE_2M - 4, P | W | NX,
           r.screen + 3 * PAGE_SIZE_2M - 4);
    expect(host_paging_root(), pixels + 3 * PAGE_SIZE_2M + PAGE_SIZE, 0, 0);
    expect(host_paging_root(), HOST_PHYSMAP_BASE + r.screen, 0, 0);
    (void)walk(host_paging_root(), pixels, &phys, &size);
    assert_int_equal(size, PAGE_SIZE_2M);
    assert_int_equal(leaf(host_paging_root(), pixels) & 0x18, 0x08); /* entry 1 of the PAT, */
    assert_int_equal(PAT_HOST_VALUE >> 8 & 0xff, MEMORY_WC);
    r.screen_bytes = 0;
    assert_int_equal(host_paging_init(&r), OK);
    expect(host_paging_root(), HOST_SCREEN_BASE, 0, 0);
}

/* SDM, "Shadow-Stack Access Control": a page of one is dirty and not writable, and what else cannot
 * be written is not dirty. */
static void test_shadow_stacks(void **s)
{
    (void)s;
    const uint64_t dirty = 1ull << 6;
    struct host_map_request r = typical();
    assert_int_equal(host_paging_init(&r), OK);
    hpa_t page[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(page_alloc(1, 1, &page[i]), OK);
        const uint64_t token = host_map_shadow_stack(page[i]), base = token & ~0xfffull;
        assert_int_equal(token & 0xfff, 0xff8);
        assert_int_equal(((uint64_t *)hpa_to_ptr(page[i]))[511], token);
        expect(host_paging_root(), base, P | NX, page[i].v);
        assert_int_equal(leaf(host_paging_root(), base) & dirty, dirty);
        expect(host_paging_root(), HOST_PHYSMAP_BASE + page[i].v, P | NX, page[i].v);
        assert_int_equal(leaf(host_paging_root(), HOST_PHYSMAP_BASE + page[i].v) & dirty, 0);
        expect(host_paging_root(), HOST_PHYSMAP_BASE + page[i].v + 16 * PAGE_SIZE, P | W | NX,
               page[i].v + 16 * PAGE_SIZE);
        expect(host_paging_root(), base - PAGE_SIZE, 0, 0);
        expect(host_paging_root(), base + PAGE_SIZE, 0, 0);
    }
    assert_int_equal(leaf(host_paging_root(), HOST_IMAGE_BASE) & dirty, 0);
    assert_int_equal(leaf(host_paging_root(), HOST_IMAGE_BASE + 0x9000) & dirty, 0);
    assert_int_equal(leaf(host_paging_root(), HOST_PHYSMAP_BASE + IMAGE) & dirty, 0);
    assert_int_equal(leaf(host_paging_root(), 0x8000) & dirty, 0);
    assert_int_equal(leaf(host_paging_root(), HOST_IMAGE_BASE + 0xc000) & dirty, dirty);
}

static void test_without_nx(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    r.nx = false;
    assert_int_equal(host_paging_init(&r), OK);
    expect(host_paging_root(), HOST_PHYSMAP_BASE, P | W, 0);
    expect(host_paging_root(), HOST_IMAGE_BASE + 0x9000, P, IMAGE + 0x9000);
    const uint64_t stack = (uint64_t)(uintptr_t)host_map_stack(hpa(0x200000), 1);
    expect(host_paging_root(), stack, P | W, 0x200000);
}

static void test_small_machine(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    r.physmap_end = 128 << 20;
    r.pages_1g = false;
    r.trampoline = 0;
    r.runtime_count = 0;
    assert_int_equal(host_paging_init(&r), OK);
    expect(host_paging_root(), HOST_PHYSMAP_BASE + 0xffffffff, P | W | NX, 0xffffffff);
    expect(host_paging_root(), HOST_PHYSMAP_BASE + (4 * GIB), 0, 0);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + GIB), PAGE_SIZE_2M);
    assert_int_equal(size_at(0x8000), 0);
}

static void test_mtrr_boundaries(void **s)
{
    (void)s;
    static struct mtrr_state m = {.capability = 0x100,
                                  .default_type = 3 << 10 | MEMORY_WB,
                                  .variable_count = 1,
                                  .phys_bits = 36};
    m.variable[0] = (struct mtrr_variable){0xc0000000, 0xfc0000800};
    m.fixed[0] = 0x0606060606060606; /* the rest below 1 MiB: UC */
    struct host_map_request r = typical();
    r.mtrr = &m;
    m.variable[0].base = 0xc0100000; /* makes one 2 MiB page mixed */
    m.variable[0].mask = 0xffff00800;
    assert_int_equal(host_paging_init(&r), OK);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + 0), PAGE_SIZE);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + PAGE_SIZE_2M), PAGE_SIZE_2M);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + 0xc0000000), PAGE_SIZE);
    assert_int_equal(size_at(HOST_PHYSMAP_BASE + 0xc0200000), PAGE_SIZE_2M);
    expect(host_paging_root(), HOST_PHYSMAP_BASE + 0xc01ff123, P | W | NX, 0xc01ff123);
}

static void test_stacks(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    assert_int_equal(host_paging_init(&r), OK);
    hpa_t root = host_paging_root();
    uint64_t a = (uint64_t)(uintptr_t)host_map_stack(hpa(0x200000), 512); /* aligned to 2 MiB */
    uint64_t b = (uint64_t)(uintptr_t)host_map_stack(hpa(0x9000), 2);
    expect(root, a - 1, 0, 0);
    expect(root, a, P | W | NX, 0x200000);
    expect(root, a + PAGE_SIZE_2M - 1, P | W | NX, 0x3fffff);
    expect(root, a + PAGE_SIZE_2M, 0, 0);
    assert_int_equal(b, a + PAGE_SIZE_2M + PAGE_SIZE);
    expect(root, b + 0x1fff, P | W | NX, 0xafff);
    expect(root, b + 0x2000, 0, 0);
    expect(host_paging_efi_root(), b, P | W | NX, 0x9000);
    assert_int_equal(host_paging_check_wx(), 0);
}

static void test_checker_sees_wx(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    assert_int_equal(host_paging_init(&r), OK);
    uint64_t *root = hpa_to_ptr(host_paging_root());
    uint64_t *pdpt = hpa_to_ptr(hpa(root[256] & 0x000ffffffffff000ull));
    uint64_t *pd = hpa_to_ptr(hpa(pdpt[1] & 0x000ffffffffff000ull));
    pd[7] &= ~NX;
    assert_int_equal(host_paging_check_wx(), 1);
    pd[7] &= ~W;
    assert_int_equal(host_paging_check_wx(), 0);
}

static void test_refusals(void **s)
{
    (void)s;
    struct host_map_request r = typical();
    r.text_end += 8;
    assert_int_equal(host_paging_init(&r), ERR_BAD_INPUT);
    r = typical();
    r.rodata_end = r.data_end + PAGE_SIZE;
    assert_int_equal(host_paging_init(&r), ERR_BAD_INPUT);
    r = typical();
    r.physmap_end = HOST_GUESTS_BASE - HOST_PHYSMAP_BASE + PAGE_SIZE; /* they would overlap */
    assert_int_equal(host_paging_init(&r), ERR_BAD_INPUT);
    r = typical();
    r.image_base = 1ull << 40;
    assert_int_equal(host_paging_init(&r), ERR_BAD_INPUT);
    hpa_t rest;
    r = typical();
    assert_int_equal(page_alloc(RAM_PAGES - 5, 1, &rest), OK);
    assert_int_equal(host_paging_init(&r), ERR_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_screen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shadow_stacks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_nx, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mtrr_boundaries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stacks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checker_sees_wx, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
