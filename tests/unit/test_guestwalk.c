// link: guest/cpu/guestwalk.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's page walk: each mode, each access right, reserved bits, accessed and dirty flags. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86.h"
#include "guest/cpu/guestwalk.h"

#define MEM_BYTES 0x40000
#define P         1ull
#define W         2ull
#define U         4ull
#define A         0x20ull
#define D         0x40ull
#define PS        0x80ull
#define NX        (1ull << 63)
#define AC        (1ull << 18)

static uint8_t *ram;
static struct guestmem mem;
static struct guest_paging paging;
static uint32_t error;
static gpa_t result;

static int setup(void **s)
{
    (void)s;
    ram = aligned_alloc(4096, MEM_BYTES);
    memset(ram, 0, MEM_BYTES);
    memset(&mem, 0, sizeof(mem));
    return guestmem_add(&mem, gpa(0), MEM_BYTES, ram) == OK ? 0 : -1;
}

static int teardown(void **s)
{
    (void)s;
    free(ram);
    return 0;
}

static uint64_t *q(uint64_t at)
{
    return (uint64_t *)(void *)(ram + at);
}

static uint32_t *d(uint64_t at)
{
    return (uint32_t *)(void *)(ram + at);
}

static bool walk(uint64_t linear, enum walk_access access)
{
    error = 0xdead;
    return guestwalk_translate(&mem, &paging, gva(linear), access, &result, &error);
}

static void assert_ok(uint64_t linear, enum walk_access access, uint64_t expected)
{
    assert_true(walk(linear, access));
    assert_int_equal(result.v, expected);
}

static void assert_fault(uint64_t linear, enum walk_access access, uint32_t code)
{
    assert_false(walk(linear, access));
    assert_int_equal(error, code);
}

/* 4 levels: 0x0000123456789000 by tables at 0x1000, 0x2000, 0x3000, 0x4000 to the page 0x5000. */
#define LINEAR 0x0000123456789000ull
#define I4     (LINEAR >> 39 & 511)
#define I3     (LINEAR >> 30 & 511)
#define I2     (LINEAR >> 21 & 511)
#define I1     (LINEAR >> 12 & 511)

static void long_mode(void)
{
    paging = (struct guest_paging){.cr0 = CR0_PG | CR0_PE | CR0_WP,
                                   .cr3 = 0x1000 | 0x18,
                                   .cr4 = CR4_PAE,
                                   .efer = EFER_LMA | EFER_LME | EFER_NXE,
                                   .phys_bits = 36};
    q(0x1000)[I4] = 0x2000 | P | W | U;
    q(0x2000)[I3] = 0x3000 | P | W | U;
    q(0x3000)[I2] = 0x4000 | P | W | U;
    q(0x4000)[I1] = 0x5000 | P | W | U;
}

static void test_no_paging(void **s)
{
    (void)s;
    paging = (struct guest_paging){.cr0 = CR0_PE};
    assert_ok(0x1fffff123ull, WALK_WRITE, 0xfffff123);
}

static void test_long_mode(void **s)
{
    (void)s;
    long_mode();
    assert_ok(LINEAR + 0xabc, WALK_READ, 0x5abc);
    assert_int_equal(q(0x1000)[I4], 0x2000 | P | W | U | A);
    assert_int_equal(q(0x2000)[I3], 0x3000 | P | W | U | A);
    assert_int_equal(q(0x3000)[I2], 0x4000 | P | W | U | A);
    assert_int_equal(q(0x4000)[I1], 0x5000 | P | W | U | A);
    assert_ok(LINEAR, WALK_WRITE, 0x5000);
    assert_int_equal(q(0x3000)[I2], 0x4000 | P | W | U | A);
    assert_int_equal(q(0x4000)[I1], 0x5000 | P | W | U | A | D);
    assert_fault(LINEAR + 0x1000, WALK_READ, 0);
    assert_fault(LINEAR + 0x1000, WALK_WRITE, PF_WRITE);
    assert_fault(LINEAR + 0x1000, WALK_FETCH, PF_FETCH);
    paging.efer &= ~EFER_NXE;
    assert_fault(LINEAR + 0x1000, WALK_FETCH, 0); /* the bit exists with NXE or SMEP only */
    paging.cr4 |= CR4_SMEP;
    assert_fault(LINEAR + 0x1000, WALK_FETCH, PF_FETCH);
    paging.cpl = 3;
    assert_fault(0, WALK_WRITE, PF_WRITE | PF_USER);
    paging.implicit = true;
    assert_fault(0, WALK_WRITE, PF_WRITE);
}

static void test_large_pages(void **s)
{
    (void)s;
    long_mode();
    q(0x3000)[I2] = 0x7ff200000 | P | W | PS | 0x1000; /* PAT */
    assert_ok(LINEAR, WALK_WRITE, 0x7ff200000 + LINEAR % 0x200000);
    assert_int_equal(q(0x3000)[I2], 0x7ff200000 | P | W | PS | 0x1000 | A | D);
    assert_int_equal(q(0x2000)[I3] & D, 0);
    q(0x2000)[I3] = 0x440000000 | P | W | PS;
    assert_ok(LINEAR, WALK_READ, 0x440000000 + LINEAR % (1 << 30));
    q(0x1000)[I4] |= PS;
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
}

static void test_five_levels(void **s)
{
    (void)s;
    long_mode();
    q(0x6000)[5] = 0x1000 | P | W | U;
    paging.cr3 = 0x6000;
    paging.cr4 |= CR4_LA57;
    assert_ok(5ull << 48 | LINEAR, WALK_FETCH, 0x5000);
    assert_int_equal(q(0x6000)[5], 0x1000 | P | W | U | A);
    /* All flags are set now; whoever took the root for that of 4 levels would find this. */
    q(0x6000)[I4] = 0x7000 | P | W | U | A;
    q(0x7000)[I3] = 0x40000000 | P | W | U | PS | A | D;
    assert_ok(5ull << 48 | LINEAR, WALK_FETCH, 0x5000);
    q(0x6000)[I4] = 0;
    assert_fault(LINEAR, WALK_READ, 0);
}

/* Every combination of page permissions, CPL and control bits against the rules written anew. */
static void test_access_rights(void **s)
{
    (void)s;
    for (unsigned bits = 0; bits < 1u << 13; bits++) {
        long_mode();
        bool w = bits & 1, u = bits & 2, nx = bits & 4, user = bits & 8, wp = bits & 16;
        bool smep = bits & 32, smap = bits & 64, ac = bits & 128;
        unsigned level = 1 + (bits >> 8 & 3);
        bool implicit = bits & 1024, nxe = bits & 2048;
        uint64_t *e = level == 1   ? &q(0x4000)[I1]
                      : level == 2 ? &q(0x3000)[I2]
                      : level == 3 ? &q(0x2000)[I3]
                                   : &q(0x1000)[I4];
        if (!nxe && nx)
            continue;
        *e = (*e & ~(W | U)) | (w ? W : 0) | (u ? U : 0) | (nx ? NX : 0);
        if (bits & 4096) { /* accessed already: another way through the code */
            q(0x1000)[I4] |= A;
            q(0x2000)[I3] |= A;
            q(0x3000)[I2] |= A;
            q(0x4000)[I1] |= A;
        }
        uint64_t before = q(0x4000)[I1];
        paging.cr0 = CR0_PG | CR0_PE | (wp ? CR0_WP : 0);
        paging.cr4 = CR4_PAE | (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0);
        paging.efer = EFER_LMA | EFER_LME | (nxe ? EFER_NXE : 0);
        paging.cpl = user ? 3 : 0;
        paging.implicit = implicit;
        paging.rflags = ac ? AC : 0;
        bool as_user = user && !implicit;
        bool data = as_user ? u : !(u && smap && (implicit || !ac));
        bool write = data && (w || (!as_user && !wp));
        bool fetch = !nx && (as_user ? u : !(u && smep));
        uint32_t code = PF_PRESENT | (as_user ? PF_USER : 0);
        assert_int_equal(walk(LINEAR, WALK_READ), data);
        assert_true(data || error == code);
        assert_int_equal(walk(LINEAR, WALK_FETCH), fetch);
        assert_true(fetch || error == (code | (nxe || smep ? PF_FETCH : 0)));
        if (!data && !fetch)
            assert_int_equal(q(0x4000)[I1], before);
        assert_int_equal(walk(LINEAR, WALK_WRITE), write);
        assert_true(write || error == (code | PF_WRITE));
        assert_int_equal((q(0x4000)[I1] & D) != 0, write);
    }
}

/* A walk that finds all accessed flags set has a shorter way through the code than one that has to
 * set the first: both come to the same, whichever bit of whichever entry is another one. */
static void test_both_ways_agree(void **s)
{
    (void)s;
    static const uint64_t leaf[] = {0x5000, 0x200000 | PS, 0x40000000 | PS};
    uint64_t *const entry[] = {&q(0x4000)[I1], &q(0x3000)[I2], &q(0x2000)[I3], &q(0x1000)[I4]};
    for (unsigned bits = 0; bits < 3 * 4 * 64 * 64; bits++) {
        unsigned size = bits / 64 / 64 / 4, level = bits / 64 / 64 % 4, mode = bits % 64;
        uint64_t good[4];
        long_mode();
        paging.efer &= mode & 1 ? ~0ull : ~(uint64_t)EFER_NXE;
        paging.cr4 |= mode & 2 ? CR4_SMEP | CR4_SMAP : 0;
        paging.cpl = mode & 4 ? 3 : 0;
        paging.cr0 &= mode & 8 ? ~0ull : ~(uint64_t)CR0_WP;
        paging.pkru = mode & 16 ? 0xfffffff4 : 0; /* key 0 allows all, no other reads */
        *entry[size] = leaf[size] | P | W | U | (mode & 32 ? D : 0);
        for (unsigned i = 0; i < 4; i++)
            *entry[i] |= A;
        *entry[level] ^= 1ull << (bits / 64 % 64);
        for (unsigned i = 0; i < 4; i++)
            good[i] = *entry[i];
        for (enum walk_access access = WALK_READ; access <= WALK_FETCH; access++) {
            bool quick = walk(LINEAR + 0x123, access);
            gpa_t address = result;
            uint32_t code = error;
            for (unsigned i = 0; i < 4; i++)
                *entry[i] = good[i];
            *entry[3] &= ~A;
            assert_int_equal(walk(LINEAR + 0x123, access), quick);
            assert_true(quick ? result.v == address.v : error == code);
            for (unsigned i = 0; i < 4; i++)
                *entry[i] = good[i];
        }
    }
}

static void test_reserved_bits(void **s)
{
    (void)s;
    static const struct {
        uint64_t at, value;
        bool bad;
    } cases[] = {
        {0x1000 + I4 * 8, 0x2000 | P | 1ull << 36, true},
        {0x1000 + I4 * 8, 0x2000 | P | 1ull << 51, true},
        {0x1000 + I4 * 8, 0x2000 | P | 1ull << 52 | 0xe00, false}, /* ignored bits */
        {0x1000 + I4 * 8, 0x2000 | P | PS, true},
        {0x2000 + I3 * 8, 0x40000000 | P | PS | 1 << 13, true},
        {0x2000 + I3 * 8, 0x40000000 | P | PS | 1 << 29, true},
        {0x2000 + I3 * 8, 0x40000000 | P | PS | 1 << 12, false},
        {0x3000 + I2 * 8, 0x40000000 | P | PS | 1 << 20, true},
        {0x3000 + I2 * 8, 0x40000000 | P | PS | 1 << 21, false},
        {0x4000 + I1 * 8, 0x5000 | P | PS, false}, /* PAT in a PTE */
        {0x4000 + I1 * 8, 0x5000 | P | 1ull << 40, true},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        long_mode();
        *q(cases[i].at) = cases[i].value;
        assert_int_equal(walk(LINEAR, WALK_READ), !cases[i].bad);
        assert_true(!cases[i].bad || error == (PF_PRESENT | PF_RESERVED));
        /* With all flags set already, which is another way through the code. */
        long_mode();
        *q(cases[i].at) = cases[i].value;
        q(0x1000)[I4] |= A;
        q(0x2000)[I3] |= A | D;
        q(0x3000)[I2] |= A | D;
        q(0x4000)[I1] |= A | D;
        assert_int_equal(walk(LINEAR, WALK_READ), !cases[i].bad);
        assert_true(!cases[i].bad || error == (PF_PRESENT | PF_RESERVED));
    }
    long_mode();
    paging.efer &= ~EFER_NXE;
    q(0x4000)[I1] |= NX;
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
    q(0x4000)[I1] = 0x5000 | P | 1ull << 36; /* beyond phys_bits, without NXE as with it */
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
}

static void test_tables_outside_ram(void **s)
{
    (void)s;
    long_mode();
    paging.cr3 = 0x10000000;
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED); /* all ones */
    paging.cr3 = ~0ull;
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
    long_mode();
    q(0x3000)[I2] = (MEM_BYTES) | P;
    assert_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
    paging = (struct guest_paging){.cr0 = CR0_PG | CR0_PE, .cr3 = 0xfffff000, .phys_bits = 36};
    assert_ok(0x1234, WALK_READ, 0xfffff234); /* entries without reserved bits */
}

static void test_pae(void **s)
{
    (void)s;
    paging = (struct guest_paging){.cr0 = CR0_PG | CR0_PE | CR0_WP,
                                   .cr3 = 0x1fe0, /* not looked at: the registers count */
                                   .cr4 = CR4_PAE,
                                   .efer = EFER_NXE,
                                   .phys_bits = 36};
    uint64_t pdpte[4] = {0, 0, 0, 0x2000 | P}; /* no permissions there */
    paging.pdpte = pdpte;
    q(0x2000)[2] = 0x3000 | P | W | U;
    q(0x3000)[1] = 0x812345000 | P | W | U | NX;
    uint64_t linear = 3u << 30 | 2 << 21 | 1 << 12 | 0x77;
    assert_ok(linear, WALK_WRITE, 0x812345077);
    assert_ok(linear | 1ull << 32, WALK_READ, 0x812345077); /* linear addresses have 32 bits */
    assert_int_equal(pdpte[3], 0x2000 | P);                 /* no accessed flag */
    assert_int_equal(q(0x2000)[2], 0x3000 | P | W | U | A);
    assert_int_equal(q(0x3000)[1], 0x812345000 | P | W | U | NX | A | D);
    assert_fault(linear, WALK_FETCH, PF_PRESENT | PF_FETCH);
    paging.pkru = ~0u; /* keys are of 4 and 5 levels */
    assert_ok(linear, WALK_READ, 0x812345077);
    q(0x2000)[2] = 0x800200000 | P | PS;
    assert_ok(linear, WALK_READ, 0x800201077);
    q(0x2000)[2] = 0x800200000 | P | PS | 1ull << 52; /* not ignored in this mode */
    assert_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
    q(0x2000)[2] = 0x800200000 | P | PS;
    pdpte[3] = 0x2000;
    assert_fault(linear, WALK_READ, 0);
}

/* SDM, "Protection Keys": of user pages, for data, whatever the privilege. */
static void test_keys(void **s)
{
    (void)s;
    paging = (struct guest_paging){.cr0 = CR0_PG | CR0_PE | CR0_WP,
                                   .cr3 = 0x1000,
                                   .cr4 = CR4_PAE | CR4_PKE,
                                   .efer = EFER_LMA | EFER_LME,
                                   .phys_bits = 36};
    q(0x1000)[0] = 0x2000 | P | W | U | A;
    q(0x2000)[0] = 0x3000 | P | W | U | A;
    q(0x3000)[0] = 0x4000 | P | W | U | A;
    q(0x4000)[5] = 0x9000 | P | W | U | A | D | 3ull << 59; /* key 3 */
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        uint32_t user = cpl == 3 ? PF_USER : 0;
        paging.cpl = (uint8_t)cpl;
        paging.pkru = ~(3u << 6);
        assert_ok(0x5123, WALK_WRITE, 0x9123);
        paging.pkru = 2u << 6;
        assert_ok(0x5123, WALK_READ, 0x9123);
        assert_fault(0x5123, WALK_WRITE, PF_PRESENT | PF_WRITE | PF_KEY | user);
        paging.pkru = 1u << 6;
        assert_fault(0x5123, WALK_READ, PF_PRESENT | PF_KEY | user);
        assert_ok(0x5123, WALK_FETCH, 0x9123);
    }
    paging.cpl = 0;
    paging.cr0 &= ~CR0_WP;
    paging.pkru = 2u << 6;
    assert_ok(0x5123, WALK_WRITE, 0x9123);
    q(0x4000)[5] &= ~U; /* keys are not for supervisor pages */
    paging.pkru = ~0u;
    assert_ok(0x5123, WALK_READ, 0x9123);
    q(0x1000)[0] &= ~A; /* nor on the longer way */
    assert_ok(0x5123, WALK_READ, 0x9123);
}

static void test_legacy(void **s)
{
    (void)s;
    paging = (struct guest_paging){
        .cr0 = CR0_PG | CR0_PE | CR0_WP, .cr3 = 0x1018, .cr4 = CR4_PSE, .phys_bits = 36};
    d(0x1000)[0x3ff] = 0x2000 | P | W | U;
    d(0x2000)[0x155] = 0xabcde000 | P | U;
    uint64_t linear = 0x3ffu << 22 | 0x155 << 12 | 0x123;
    assert_ok(linear, WALK_READ, 0xabcde123);
    assert_int_equal(d(0x1000)[0x3ff], 0x2000 | P | W | U | A);
    assert_int_equal(d(0x2000)[0x155], 0xabcde000 | P | U | A);
    assert_int_equal(d(0x2000)[0x156], 0);
    assert_ok(linear, WALK_FETCH, 0xabcde123);
    assert_fault(linear, WALK_WRITE, PF_PRESENT | PF_WRITE);
    d(0x1000)[0x3ff] = 0x00c00000 | 0x1e000 | P | W | PS; /* PSE-36: bits 35:32 = 15 */
    assert_ok(linear, WALK_WRITE, 0xf00c00000 + (linear & 0x3fffff));
    assert_int_equal(d(0x1000)[0x3ff], 0x00c00000 | 0x1e000 | P | W | PS | A | D);
    d(0x1000)[0x3ff] = 0x00c20000 | P | W | PS; /* bit 17: address bit 36 */
    assert_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
    paging.phys_bits = 46;
    assert_ok(linear, WALK_READ, 0x1000c00000 + (linear & 0x3fffff));
    d(0x1000)[0x3ff] = 0x00e00000 | P | W | PS; /* bit 21 */
    assert_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
    paging.cr4 = 0; /* without PSE bit 7 means nothing */
    d(0x1000)[0x3ff] = 0x2000 | P | W | PS;
    assert_ok(linear, WALK_READ, 0xabcde123);
}

static void test_read(void **s)
{
    (void)s;
    uint8_t out[64];
    gva_t at;
    long_mode();
    q(0x4000)[I1 + 1] = 0x9000 | P;
    q(0x4000)[I1 + 3] = 0x800000 | P; /* present, but not RAM */
    for (unsigned i = 0; i < 16; i++) {
        ram[0x5ff0 + i] = (uint8_t)i;
        ram[0x9000 + i] = (uint8_t)(16 + i);
    }
    assert_int_equal(
        guestwalk_read(&mem, &paging, gva(LINEAR + 0xff0), WALK_FETCH, out, 32, &error, &at), 32);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(out[i], i);
    for (unsigned n = 1; n <= 64; n++) { /* each length, and nothing behind it */
        for (unsigned i = 0; i < 64; i++)
            ram[0x5100 + i] = (uint8_t)(n + i);
        memset(out, 0xee, sizeof(out));
        assert_int_equal(
            guestwalk_read(&mem, &paging, gva(LINEAR + 0x100), WALK_READ, out, n, &error, &at), n);
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(out[i], i < n ? (uint8_t)(n + i) : 0xee);
    }
    assert_int_equal(
        guestwalk_read(&mem, &paging, gva(LINEAR + 0x1ff8), WALK_READ, out, 15, &error, &at), 8);
    assert_int_equal(error, 0);
    assert_int_equal(at.v, LINEAR + 0x2000);
    assert_int_equal(
        guestwalk_read(&mem, &paging, gva(LINEAR + 0x3000), WALK_READ, out, 4, &error, &at), 0);
    assert_int_equal(error, 0);
    paging.cpl = 3;
    assert_int_equal(
        guestwalk_read(&mem, &paging, gva(LINEAR + 0xffe), WALK_READ, out, 4, &error, &at), 2);
    assert_int_equal(error, PF_PRESENT | PF_USER);
    assert_int_equal(at.v, LINEAR + 0x1000);
}

/* The short way to an instruction: what it brings is right, and it is taken only where the CPU
 * would fetch without a fault or a change of the tables. */
static void test_fetch(void **s)
{
    (void)s;
    uint8_t out[GUESTWALK_FETCH_BYTES];
    const gva_t at = gva(LINEAR + 0xff1);
    long_mode();
    for (unsigned i = 0; i < sizeof(out); i++)
        ram[0x5ff1 + i] = ram[0x3fff1 + i] = (uint8_t)(0x80 + i);
    assert_false(guestwalk_fetch(&mem, &paging, at, out)); /* accessed flags are to be set */
    assert_true(walk(at.v, WALK_FETCH));
    assert_true(guestwalk_fetch(&mem, &paging, at, out));
    assert_memory_equal(out, ram + 0x5ff1, sizeof(out));
    assert_false(guestwalk_fetch(&mem, &paging, gva(at.v + 1), out)); /* crosses the page */
    uint64_t *const entry[] = {&q(0x4000)[I1], &q(0x3000)[I2], &q(0x2000)[I3], &q(0x1000)[I4]};
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t bad[] = {*entry[i] ^ P, *entry[i] ^ A, *entry[i] | 1ull << 40};
        const uint64_t good = *entry[i];
        for (unsigned j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
            *entry[i] = bad[j];
            assert_false(guestwalk_fetch(&mem, &paging, at, out));
        }
        *entry[i] = good;
        paging.cpl = 3;
        assert_true(guestwalk_fetch(&mem, &paging, at, out));
        *entry[i] = good ^ U;
        assert_false(guestwalk_fetch(&mem, &paging, at, out));
        paging.cpl = 0;
        assert_true(guestwalk_fetch(&mem, &paging, at, out));
        *entry[i] = good;
    }
    *entry[0] |= NX;
    assert_false(guestwalk_fetch(&mem, &paging, at, out));
    *entry[0] ^= NX;
    paging.cr4 |= CR4_SMEP;
    assert_false(guestwalk_fetch(&mem, &paging, at, out)); /* a user page, at CPL 0 */
    paging.cr4 ^= CR4_SMEP | CR4_LA57;
    assert_false(guestwalk_fetch(&mem, &paging, at, out));
    paging.cr4 ^= CR4_LA57;
    *entry[0] |= PS; /* its PAT bit */
    assert_true(guestwalk_fetch(&mem, &paging, at, out));
    const uint64_t top = *entry[3];
    *entry[3] = P | A | PS; /* reserved there */
    assert_false(guestwalk_fetch(&mem, &paging, gva((I4 << 39) + 0x5ff1), out));
    *entry[3] = top;
    *entry[1] = P | A | PS; /* 2 MiB at 0, of which there are 256 KiB */
    const gva_t large = gva((LINEAR & ~0x1fffffull) + 0x3fff1);
    assert_true(guestwalk_fetch(&mem, &paging, large, out));
    assert_memory_equal(out, ram + 0x3fff1, sizeof(out));
    assert_false(guestwalk_fetch(&mem, &paging, gva(large.v + 15), out));
    *entry[1] |= 0x2000; /* reserved in a large page's address */
    assert_false(guestwalk_fetch(&mem, &paging, large, out));
}

static struct guest_translation found;

static bool examine(uint64_t linear, enum walk_access access)
{
    error = 0xdead;
    memset(&found, 0xa5, sizeof(found));
    return guestwalk_examine(&mem, &paging, gva(linear), access, &found, &error);
}

static void assert_found(uint64_t at, uint64_t bytes, uint64_t perms, uint64_t top)
{
    assert_int_equal(found.at.v, at);
    assert_int_equal(found.bytes, bytes);
    assert_int_equal(found.perms, perms);
    assert_int_equal(found.top, top);
}

#define G (1ull << 8)

static void test_examine(void **s)
{
    (void)s;
    long_mode();
    q(0x4000)[I1] = 0x5000 | P | W | U | G;
    assert_true(guestwalk_look(&mem, &paging, gva(LINEAR), &found));
    assert_false(found.accessed || found.dirty || found.global); /* CR4.PGE is not set */
    assert_int_equal(q(0x1000)[I4] & A, 0);                      /* it leaves all as it was */
    paging.cr4 |= CR4_PGE;
    assert_true(examine(LINEAR + 0xabc, WALK_READ));
    assert_found(0x5abc, 0x1000, W | U, 0x2000 | P | W | U);
    assert_true(found.accessed && !found.dirty && found.global);
    assert_int_equal(found.pat, 0);
    assert_int_equal(q(0x4000)[I1], 0x5000 | P | W | U | G | A);
    assert_true(examine(LINEAR, WALK_WRITE));
    assert_true(found.accessed && found.dirty);
    assert_int_equal(q(0x4000)[I1], 0x5000 | P | W | U | G | A | D);
    assert_true(guestwalk_look(&mem, &paging, gva(LINEAR + 1), &found));
    assert_found(0x5001, 0x1000, W | U, 0x2000 | P | W | U | A);
    assert_true(found.accessed && found.dirty && found.global);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(LINEAR)), 0x2000 | P | W | U | A);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(0)), 0);
    for (unsigned level = 0; level < 4; level++) { /* A counts on each level */
        uint64_t *entry =
            (uint64_t *[]){&q(0x1000)[I4], &q(0x2000)[I3], &q(0x3000)[I2], &q(0x4000)[I1]}[level];
        *entry &= ~A;
        assert_true(guestwalk_look(&mem, &paging, gva(LINEAR), &found));
        assert_false(found.accessed);
        *entry |= A;
    }
    q(0x2000)[I3] &= ~W;
    q(0x3000)[I2] |= NX;
    paging.cpl = 3;
    assert_false(examine(LINEAR, WALK_WRITE));
    assert_int_equal(error, PF_PRESENT | PF_WRITE | PF_USER);
    assert_true(guestwalk_look(&mem, &paging, gva(LINEAR), &found)); /* whoever may */
    assert_found(0x5000, 0x1000, U | NX, 0x2000 | P | W | U | A);
    q(0x4000)[I1] = 0x5000 | P | U | 0x80 | 0x8;
    assert_true(examine(LINEAR, WALK_READ));
    assert_int_equal(found.pat, 5);
    q(0x3000)[I2] = 0x7ff200000 | P | U | PS | 0x1000 | 0x10;
    assert_true(examine(LINEAR, WALK_READ));
    assert_found(0x7ff200000 + LINEAR % 0x200000, 0x200000, U, 0x2000 | P | W | U | A);
    assert_int_equal(found.pat, 6);
    q(0x2000)[I3] = 0x440000000 | P | U | PS;
    assert_true(examine(LINEAR, WALK_READ));
    assert_found(0x440000000 + LINEAR % (1 << 30), 1 << 30, U, 0x2000 | P | W | U | A);
    q(0x2000)[I3] |= 0x2000; /* reserved */
    assert_false(guestwalk_look(&mem, &paging, gva(LINEAR), &found));
    assert_false(examine(LINEAR, WALK_READ));
    assert_int_equal(error, PF_PRESENT | PF_RESERVED | PF_USER);
    q(0x2000)[I3] = 0;
    assert_false(guestwalk_look(&mem, &paging, gva(LINEAR), &found));
    /* Who looks on finds the flags as they are. */
    long_mode();
    paging.peek = true;
    assert_true(examine(LINEAR, WALK_WRITE));
    assert_false(found.accessed || found.dirty);
}

static uint64_t some(void)
{
    static uint64_t random = 88172645463325252ull;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random >> 20;
}

/* A table's entry, mostly one that leads on. */
static uint64_t some_entry(uint64_t table)
{
    static const uint64_t bits[] = {P, W, U, A, D, PS, G, NX, 8, 0x1000, 1ull << 40, 1ull << 13};
    uint64_t entry = table | P | W | U | A | D;
    for (unsigned n = some() % 8 < 6 ? 0 : 1 + some() % 2; n != 0; n--)
        entry ^= bits[some() % (sizeof(bits) / sizeof(bits[0]))];
    return entry;
}

static void some_paging(void)
{
    const uint64_t r = some();
    long_mode();
    paging.cr0 &= r & 1 ? UINT64_MAX : ~CR0_WP;
    paging.cr4 |= (r & 2 ? CR4_PGE : 0) | (r & 4 ? CR4_SMEP : 0) | (r & 8 ? CR4_SMAP : 0);
    paging.efer = EFER_LMA | (r & 0x30 ? EFER_NXE : 0);
    paging.rflags = r & 0x40 ? AC : 0;
    paging.cpl = r & 0x80 ? 3 : 0;
    paging.implicit = (r & 0x300) == 0;
    paging.peek = (r & 0xc00) == 0;
    q(0x1000)[I4] = some_entry(0x2000);
    q(0x2000)[I3] = some_entry(0x3000);
    q(0x3000)[I2] = some_entry(0x4000);
    q(0x4000)[I1] = some_entry(0x5000);
}

/* The quick walk and the full one, which a bit that is missing from addresses asks for. */
static void test_quick_and_full(void **s)
{
    (void)s;
    static const enum walk_access accesses[] = {WALK_READ, WALK_WRITE, WALK_FETCH};
    static uint8_t before[0x5000], after[0x5000];
    unsigned good = 0;
    for (unsigned i = 0; i < 40000; i++) {
        const enum walk_access access = accesses[some() % 3];
        const uint64_t linear = LINEAR + some() % 4096;
        some_paging();
        memcpy(before, ram, sizeof(before));
        const bool looked = guestwalk_look(&mem, &paging, gva(linear), &found);
        const struct guest_translation seen = found;
        const bool done = examine(linear, access);
        const struct guest_translation quick = found;
        const uint32_t quick_error = error;
        const bool translated = walk(linear, access);
        const uint64_t quick_result = result.v;
        memcpy(after, ram, sizeof(after));
        memcpy(ram, before, sizeof(before));
        mem.absent = 1ull << 50;
        assert_int_equal(guestwalk_look(&mem, &paging, gva(linear), &found), looked);
        if (looked)
            assert_memory_equal(&found, &seen, sizeof(found));
        assert_int_equal(examine(linear, access), done);
        if (done)
            assert_memory_equal(&found, &quick, sizeof(found));
        else
            assert_int_equal(error, quick_error);
        assert_int_equal(walk(linear, access), translated);
        assert_true(!translated || result.v == quick_result);
        assert_memory_equal(ram, after, sizeof(after));
        mem.absent = 0;
        good += done;
    }
    assert_in_range(good, 4000, 36000);
}

static void test_examine_other_modes(void **s)
{
    (void)s;
    paging = (struct guest_paging){.cr0 = CR0_PE, .cr3 = 0x1000, .cr4 = CR4_PAE};
    mem.absent = 1 << 20;
    assert_true(examine(0x1fff12345ull, WALK_WRITE));
    assert_found(0xffe12345, 4ull << 30, W | U, 0);
    assert_true(found.global && found.accessed && found.dirty);
    assert_true(guestwalk_look(&mem, &paging, gva(0x12345), &found));
    assert_int_equal(found.at.v, 0x12345);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(0x12345)), 0);
    mem.absent = 0;
    uint64_t pdpte[4] = {0, 0, 0x2000 | P | 8, 0};
    paging = (struct guest_paging){.cr0 = CR0_PG | CR0_PE,
                                   .cr3 = 0x1000,
                                   .cr4 = CR4_PAE | CR4_PGE,
                                   .phys_bits = 36,
                                   .pdpte = pdpte};
    q(0x2000)[1] = 0x800200000 | P | W | PS | G;
    assert_true(examine(0x80200123, WALK_WRITE));
    assert_found(0x800200123, 0x200000, W, 0x2000 | P | 8);
    assert_true(found.global && found.accessed && found.dirty);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(0xbfffffff)), 0x2000 | P | 8);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(0x40000000)), 0);
    paging.cr4 = CR4_PSE;
    paging.cr3 = 0x3018;
    d(0x3000)[1] = 0x00c00000 | P | U | PS;
    assert_true(examine(0x400123, WALK_READ));
    assert_found(0x00c00123, 0x400000, U, 0x3000);
    d(0x3000)[2] = 0x4000 | P | W | U;
    d(0x4000)[3] = 0x9000 | P | W | U | A | D;
    assert_true(examine(0x803456, WALK_READ));
    assert_found(0x9456, 0x1000, W | U, 0x3000);
    assert_true(found.accessed && found.dirty);
    assert_int_equal(guestwalk_top(&mem, &paging, gva(0x803456)), 0x3000);
}

/* What another CPU of the guest does between a walk's look at an entry and its setting flags there:
 * the table cannot be written to until then. */
static uint64_t other_writes;

static void write_meanwhile(int signal)
{
    (void)signal;
    if (mprotect(ram, MEM_BYTES, PROT_READ | PROT_WRITE) != 0)
        _exit(1);
    q(0x4000)[I1] = other_writes;
}

static bool examine_meanwhile(uint64_t written)
{
    other_writes = written;
    long_mode();
    assert_int_equal(mprotect(ram, MEM_BYTES, PROT_READ), 0);
    return examine(LINEAR, WALK_WRITE);
}

/* Kernels take an entry away in one go, and look at its D once: what is walked for to be kept is
 * what is there with the flags. */
static void test_entry_changes_meanwhile(void **s)
{
    (void)s;
    struct sigaction before;
    const struct sigaction action = {.sa_handler = write_meanwhile};
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    assert_false(examine_meanwhile(0));
    assert_int_equal(error, PF_WRITE);
    assert_false(examine_meanwhile(0x5000 | P | U));
    assert_int_equal(error, PF_PRESENT | PF_WRITE);
    assert_true(examine_meanwhile(0x6000 | P | W));
    assert_found(0x6000, 0x1000, W, 0x2000 | P | W | U | A);
    assert_int_equal(q(0x4000)[I1], 0x6000 | P | W | A | D);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_paging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_five_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_access_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_ways_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables_outside_ram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pae, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_legacy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_examine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_and_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_examine_other_modes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_entry_changes_meanwhile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
