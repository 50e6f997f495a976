// link: mm/guestmem.c
// libs: -lpthread
/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest RAM by slots: bounds, overflow, holes, slots that touch. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/guestmem.h"

static uint8_t *low, *mid, *top;
static struct guestmem mem;

static int setup(void **s)
{
    (void)s;
    low = calloc(1, 0x1000); /* exact heap blocks: ASan sees a byte too far */
    mid = calloc(1, 0x1000);
    top = calloc(1, 0x1000);
    memset(&mem, 0, sizeof(mem));
    assert_int_equal(guestmem_add(&mem, gpa(0x5000), 0x1000, top), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0), 0x1000, low), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0x1000), 0x1000, mid), OK);
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    free(low);
    free(mid);
    free(top);
    return 0;
}

static void test_copies(void **s)
{
    (void)s;
    uint8_t data[0x2000], back[0x2000];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    assert_true(guestmem_write(&mem, gpa(0), data, 0x2000)); /* crosses two that touch */
    assert_memory_equal(low, data, 0x1000);
    assert_memory_equal(mid, data + 0x1000, 0x1000);
    assert_true(guestmem_read(&mem, gpa(0), back, 0x2000));
    assert_memory_equal(back, data, 0x2000);
    assert_true(guestmem_read(&mem, gpa(0xfff), back, 2));
    assert_int_equal(back[0], data[0xfff]);
    assert_int_equal(back[1], data[0x1000]);
    assert_true(guestmem_read(&mem, gpa(0x5fff), back, 1));

    /* A few bytes across the edge of two slots that touch, and not one more. */
    memset(back, 0xee, sizeof(back));
    assert_true(guestmem_read(&mem, gpa(0xff8), back, 16));
    assert_memory_equal(back, data + 0xff8, 16);
    for (unsigned i = 16; i < sizeof(back); i++)
        assert_int_equal(back[i], 0xee);
    assert_true(guestmem_write(&mem, gpa(0xff8), back + 16, 16));
    assert_memory_equal(low, data, 0xff8);
    assert_memory_equal(low + 0xff8, back + 16, 8);
    assert_memory_equal(mid, back + 16, 8);
    assert_memory_equal(mid + 8, data + 0x1008, 0x1000 - 8);
    assert_true(guestmem_read(&mem, gpa(0x9999), back, 0));
}

static void test_bounds(void **s)
{
    (void)s;
    uint8_t b[0x3000] = {0};
    assert_false(guestmem_read(&mem, gpa(0x2000), b, 1));
    assert_false(guestmem_read(&mem, gpa(0x1fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(0x4fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(0x5fff), b, 2));
    assert_false(guestmem_write(&mem, gpa(0x5fff), b, 2));
    assert_false(guestmem_read(&mem, gpa(UINT64_MAX), b, 2)); /* wraps to 0 */
    assert_false(guestmem_read(&mem, gpa(0x5001), b, SIZE_MAX));
    struct guestmem none = {0};
    assert_false(guestmem_read(&none, gpa(0), b, 1));
}

static uint64_t told_at[3], told_bytes[3];
static unsigned told;

static void note(void *ctx, gpa_t at, uint64_t bytes)
{
    assert_ptr_equal(ctx, &told);
    told_at[told] = at.v;
    told_bytes[told++] = bytes;
}

static void test_writes_are_told(void **s)
{
    static uint8_t low[PAGE_SIZE], high[PAGE_SIZE];
    struct guestmem mem = {.written = note, .written_ctx = &told};
    uint8_t data[64];
    (void)s;
    assert_int_equal(guestmem_add(&mem, gpa(0), PAGE_SIZE, low), OK);
    assert_int_equal(guestmem_add(&mem, gpa(PAGE_SIZE), PAGE_SIZE, high), OK);
    memset(data, 1, sizeof(data));
    assert_true(guestmem_write(&mem, gpa(0xff0), data, 32));
    assert_true(guestmem_zero(&mem, gpa(0x20), 8));
    assert_true(guestmem_read(&mem, gpa(0x20), data, 8));
    assert_false(guestmem_write(&mem, gpa(2 * PAGE_SIZE), data, 8));
    assert_int_equal(told, 2);
    assert_int_equal(told_at[0], 0xff0);
    assert_int_equal(told_bytes[0], 32);
    assert_int_equal(told_at[1], 0x20);
    assert_int_equal(told_bytes[1], 8);
}

static void test_window(void **s)
{
    (void)s;
    assert_ptr_equal(guestmem_window(&mem, gpa(0x1000), 0x1000), mid);
    assert_ptr_equal(guestmem_window(&mem, gpa(0x5010), 0xff0), top + 0x10);
    assert_null(guestmem_window(&mem, gpa(0x5010), 0xff1));
    assert_null(guestmem_window(&mem, gpa(0xfff), 2)); /* two slots */
    assert_null(guestmem_window(&mem, gpa(0x2000), 0));
    assert_null(guestmem_window(&mem, gpa(0x5010), SIZE_MAX));
    assert_null(guestmem_window(&mem, gpa(UINT64_MAX), 1));
}

static void test_read_only(void **s)
{
    (void)s;
    const uint8_t data[0x1100] = {1, 2, 3, 4};
    uint8_t back[8];
    guestmem_replace(&mem, gpa(0x1000), mid, true);
    assert_true(guestmem_is_writable(&mem, gpa(0xfff)));
    assert_ptr_equal(guestmem_writable_window(&mem, gpa(0xff8), 8), low + 0xff8);
    assert_null(guestmem_writable_window(&mem, gpa(0xff8), 9));
    assert_null(guestmem_writable_window(&mem, gpa(0x1000), 8));
    assert_ptr_equal(guestmem_window(&mem, gpa(0x1000), 8), mid);
    assert_false(guestmem_is_writable(&mem, gpa(0x1000)));
    assert_false(guestmem_is_writable(&mem, gpa(0x1fff)));
    assert_false(guestmem_is_writable(&mem, gpa(0x9000)));
    assert_true(guestmem_write(&mem, gpa(0), data, 0x1000));
    assert_int_equal(low[1], 2);
    assert_false(guestmem_write(&mem, gpa(0x1000), data, 1));
    assert_false(guestmem_write(&mem, gpa(0x1fff), data, 1));
    assert_false(guestmem_write(&mem, gpa(0xff0), data, 0x11)); /* from another slot */
    assert_false(guestmem_zero(&mem, gpa(0x1800), 1));
    assert_int_equal(mid[0], 0);
    assert_true(guestmem_read(&mem, gpa(0x1040), back, 8));
    guestmem_replace(&mem, gpa(0x1000), mid, false);
    assert_true(guestmem_write(&mem, gpa(0x1000), data, 0x1000));
    assert_int_equal(mid[3], 4);
}

/* One slot is other memory from now on; those beside it are what they were. */
static void test_replace(void **s)
{
    (void)s;
    uint8_t *other = calloc(1, 0x1000), back[0x1000];
    memset(other, 7, 0x1000);
    memset(mid, 1, 0x1000);
    guestmem_replace(&mem, gpa(0x1000), other, true);
    assert_ptr_equal(guestmem_window(&mem, gpa(0x1ff8), 8), other + 0xff8);
    assert_null(guestmem_window(&mem, gpa(0x1ff9), 8));
    assert_true(guestmem_read(&mem, gpa(0x800), back, 0x1000)); /* across */
    assert_int_equal(back[0x7ff], 0);
    assert_int_equal(back[0x800], 7);
    assert_ptr_equal(guestmem_window(&mem, gpa(0), 0x1000), low);
    assert_ptr_equal(guestmem_window(&mem, gpa(0x5000), 0x1000), top);
    guestmem_replace(&mem, gpa(0x1000), mid, false);
    assert_true(guestmem_read(&mem, gpa(0x1000), back, 0x1000));
    assert_memory_equal(back, mid, 0x1000);
    free(other);
}

static bool stop;

/* PAM, on another CPU: RAM, then ROM in its place, and so on. */
static void *exchange_memory(void *rom)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        guestmem_replace(&mem, gpa(0x1000), rom, true);
        guestmem_replace(&mem, gpa(0x1000), mid, false);
    }
    return NULL;
}

/* A vCPU that writes without a lock writes into the RAM or nowhere, never into the ROM that takes
 * its place meanwhile: neither by a copy nor by a window. */
static void test_writes_while_replaced(void **s)
{
    (void)s;
    uint8_t *rom = calloc(1, 0x1000);
    const uint8_t byte = 0xa5;
    unsigned refused = 0, written = 0;
    pthread_t other;
    stop = false;
    assert_int_equal(pthread_create(&other, NULL, exchange_memory, rom), 0);
    for (unsigned i = 0; i < 20000000 && (i < 2000000 || refused == 0 || written == 0); i++) {
        uint8_t *at = guestmem_writable_window(&mem, gpa(0x1000), 8);
        if (at != NULL)
            *(volatile uint8_t *)at = byte;
        const bool done = guestmem_write(&mem, gpa(0x1001), &byte, 1);
        refused += !done;
        written += done;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_true(refused > 0 && written > 0); /* both have been met */
    for (unsigned i = 0; i < 0x1000; i++)
        assert_int_equal(rom[i], 0);
    assert_int_equal(mid[1], byte);
    free(rom);
}

static void test_add_rejects(void **s)
{
    (void)s;
    assert_int_equal(guestmem_add(&mem, gpa(0x1800), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x4800), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x5000), 0x1000, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), 0, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), 0x1000, NULL), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x8000), UINT64_MAX, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&mem, gpa(0x800), 0x100, top), ERR_BAD_INPUT); /* in the first */
    assert_int_equal(guestmem_add(&mem, gpa(0x1000), 0x100, top), ERR_BAD_INPUT);
    struct guestmem all = {0};
    assert_int_equal(guestmem_add(&all, gpa(0x8000), UINT64_MAX - 0x7fff, top), ERR_BAD_INPUT);
    assert_int_equal(guestmem_add(&all, gpa(0x8000), UINT64_MAX - 0x8000, top), OK);
    for (unsigned i = 3; i < GUESTMEM_MAX_SLOTS; i++)
        assert_int_equal(guestmem_add(&mem, gpa(0x10000 * i), 0x1000, top), OK);
    assert_int_equal(guestmem_add(&mem, gpa(0x7000000), 0x1000, top), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test(test_writes_are_told),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writes_while_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_rejects, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
