/* SPDX-License-Identifier: BSD-2-Clause */
/* Any instruction on device memory: each row runs on a copy of what the device says, in RAM, and on
 * the device, here an IO-APIC. Registers, flags, x87 and vector state have to be the same after
 * both; and the device what it is when the bytes that the row has written to RAM are moved to it.
 */
#include "rows.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"
#include "guest/lib/user.h"

#include <stddef.h>

#define BYTES       64u  /* of the device that are looked at */
#define AREA        4096 /* of XSAVE */
#define CPUID_XSAVE (1u << 26)
#define X87_POINTERS \
    8 /* where the image has the last operand's address, 16 bytes with the code's */

static uint8_t ram[4096] __attribute__((aligned(4096)));
static uint8_t start[AREA] __attribute__((aligned(64))), area[2][AREA] __attribute__((aligned(64)));
static bool has_xsave, wide;
static unsigned executed;

static volatile uint32_t *index_register(void)
{
    return (volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS;
}

static volatile uint32_t *window(void)
{
    return (volatile uint32_t *)(uintptr_t)(IOAPIC_ADDRESS + 0x10);
}

/* Entry 10 is masked, and its low half selected. */
static void reset_device(void)
{
    for (uint32_t i = 0x10; i < 0x40; i++) {
        *index_register() = i;
        *window() = i & 1 ? 0x55000000 : 0x103a5;
    }
    *index_register() = 0x24;
}

static void save_state(uint8_t *to)
{
    memset(to, 0, AREA);
    if (has_xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(to), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(to) : "memory");
    memset(to + X87_POINTERS, 0, 16);
}

static void load_state(const uint8_t *from)
{
    if (has_xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(from), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(from) : "memory");
}

/* Registers with something in each, in the initial configuration else. */
static void make_start(void)
{
    uint64_t xcr0 = 3;
    write_cr4(read_cr4() | CR4_OSFXSR | 1u << 10);
    has_xsave = (cpuid(1, 0).ecx & CPUID_XSAVE) != 0;
    if (has_xsave) {
        const struct cpuid supported = cpuid(0xd, 0);
        write_cr4(read_cr4() | CR4_OSXSAVE);
        xcr0 = supported.eax & 0xe7;
        __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)xcr0), "d"(0));
    }
    __asm__ volatile("fninit; fldpi; fld1");
    save_state(start);
    for (unsigned i = 0; i < 256; i++) /* XMM: numbers near one */
        start[160 + i] = i % 4 == 3 ? 0x3f : (uint8_t)(0x80 + 7 * i);
    if (!has_xsave)
        return;
    memset(start + 512, 0, AREA - 512);
    start[512] = (uint8_t)xcr0;
    for (unsigned bit = 2; bit < 8; bit++) { /* YMM, opmasks, ZMM */
        const struct cpuid part = cpuid(0xd, bit);
        for (unsigned i = 0; (xcr0 >> bit & 1) != 0 && i < part.eax; i++)
            start[part.ebx + i] = bit == 5 ? (uint8_t)(0x35 + 11 * i) : (uint8_t)(0x3f - 5 * i);
    }
}

struct result {
    struct code code;
    struct probe probe;
};

static struct result run(const struct row *row, uint64_t at, uint8_t *state)
{
    struct result r = {.code = {.rax = 0x1122334400000105,
                                .rbx = 0,
                                .rcx = 0x305,
                                .rdx = 7,
                                .rsi = at,
                                .rdi = at,
                                .length = row->length}};
    memcpy(r.code.bytes, row->bytes, row->length);
    if (r.code.length + 2u <= sizeof(r.code.bytes)) { /* PUSHF; POP RBX */
        r.code.bytes[r.code.length++] = 0x9c;
        r.code.bytes[r.code.length++] = 0x5b;
    }
    load_state(start);
    const uint64_t cr0 = read_cr0();
    r.probe = code_probe(&r.code);
    write_cr0(cr0);
    save_state(state);
    r.code.rsi -= at;
    r.code.rdi -= at;
    return r;
}

/* A real IO-APIC takes 4 bytes at its two registers, and nothing else. */
static void snapshot(uint64_t to[BYTES / 8])
{
    memset(to, 0, BYTES);
    to[0] = *index_register();
    to[2] = *window();
    for (unsigned i = 0; i < BYTES / 8 && wide; i++)
        to[i] = *(volatile uint64_t *)(uintptr_t)(IOAPIC_ADDRESS + 8 * i);
}

/* What a row has written to RAM, to the device, in the pieces that the CPU would make of it. */
static void move_to_device(const struct row *row, const uint8_t *before)
{
    const unsigned most = row->masked != 0 ? row->masked : 8;
    for (unsigned i = 0, n; i < row->writes; i += n) {
        volatile uint8_t *to = (volatile uint8_t *)(uintptr_t)(IOAPIC_ADDRESS + i);
        for (n = most; n > row->writes - i; n /= 2) {}
        if (row->masked != 0 && memcmp(ram + i, before + i, n) == 0)
            continue;
        if (n == 8)
            *(volatile uint64_t *)to = *(uint64_t *)(ram + i);
        else if (n == 4)
            *(volatile uint32_t *)to = *(uint32_t *)(ram + i);
        else if (n == 2)
            *(volatile uint16_t *)to = *(uint16_t *)(ram + i);
        else
            *to = ram[i];
    }
}

static bool same_registers(const struct row *row, const struct result *a, const struct result *b)
{
    return a->probe.vector == b->probe.vector && a->probe.error == b->probe.error &&
           a->code.rax == b->code.rax &&
           ((a->code.rbx ^ b->code.rbx) & ~(uint64_t)row->loose) == 0 &&
           a->code.rcx == b->code.rcx && a->code.rdx == b->code.rdx && a->code.rsi == b->code.rsi &&
           a->code.rdi == b->code.rdi;
}

static void compare(const struct row *row, const struct result *on_ram,
                    const struct result *on_device, bool device, const char *where)
{
    const bool registers = same_registers(row, on_ram, on_device);
    const bool state = memcmp(area[0], area[1], AREA) == 0;
    if (!test_check(registers && state && device, row->what, where))
        print("  vector %u rax %lx flags %lx, not %u %lx %lx; %s%s\n", on_device->probe.vector,
              on_device->code.rax, on_device->code.rbx, on_ram->probe.vector, on_ram->code.rax,
              on_ram->code.rbx, state ? "" : "vector state ", device ? "" : "device");
}

static void check_row(const struct row *row)
{
    uint64_t before[BYTES / 8], want[BYTES / 8], got[BYTES / 8];
    reset_device();
    snapshot(before);
    memset(ram, 0, sizeof(ram));
    memcpy(ram, before, BYTES);
    const struct result on_ram = run(row, (uint64_t)ram, area[0]);
    move_to_device(row, (const uint8_t *)before);
    snapshot(want);
    reset_device();
    const struct result on_device = run(row, IOAPIC_ADDRESS, area[1]);
    snapshot(got);
    executed += on_ram.probe.vector == PROBE_NONE;
    compare(row, &on_ram, &on_device, memcmp(want, got, BYTES) == 0, "as on RAM");
}

/* The local APIC, of which the CPU may virtualize some accesses, and not these: the high half of
 * the command register keeps its upper 8 bits. Rows that write less than all of it are left out. */
static void check_row_on_apic(const struct row *row)
{
    const uint32_t value = 0x25000000;
    if (row->writes != 0 && row->writes != 4)
        return;
    memset(ram, 0, BYTES);
    memcpy(ram, &value, 4);
    const struct result on_ram = run(row, (uint64_t)ram, area[0]);
    apic_write(APIC_ICR_HIGH, value);
    const struct result on_device = run(row, APIC_BASE_ADDRESS + APIC_ICR_HIGH, area[1]);
    const uint32_t left = apic_read(APIC_ICR_HIGH);
    compare(row, &on_ram, &on_device, left == (*(uint32_t *)ram & 0xff000000),
            "on the local APIC as on RAM");
}

/* Many operands: the indices at RAX into register 2, and the gather or scatter. Of YMM all elements
 * are chosen, by YMM1; of ZMM by opmask 1. */
struct many {
    struct row row;
    bool wide; /* indices of 8 bytes */
};
#define YMM_ALL(code) \
    "\xc5\xfe\x6f\x10\xc5\xf5\x76\xc9" code       /* VMOVDQU; VPCMPEQD YMM1, YMM1, YMM1 */
#define ZMM(code) "\x62\xf1\x7e\x48\x6f\x10" code /* VMOVDQU32 */

static const uint32_t offsets[16] = {0x10, 0, 0x24, 4, 0x30, 8, 0x10, 0x14, 1, 0x3c, 0x28, 2};
static const uint64_t wide_offsets[8] = {0x10, 8, 0x20, 0, 0x18, 1, 0x38, 0x30};

static struct result run_many(const struct many *row, uint64_t at, uint8_t *state)
{
    struct result r = {.code = {.rax = row->wide ? (uint64_t)wide_offsets : (uint64_t)offsets,
                                .rsi = at,
                                .length = row->row.length}};
    memcpy(r.code.bytes, row->row.bytes, row->row.length);
    load_state(start);
    r.probe = code_probe(&r.code);
    save_state(state);
    r.code.rsi -= at;
    return r;
}

/* What a scatter has written, element by element. */
static void scatter_to_device(const struct many *row, const uint8_t *before)
{
    const unsigned bytes = row->wide ? 8 : 4;
    for (unsigned i = 0; i < (row->wide ? 8u : 16u) && row->row.writes != 0; i++) {
        const uint64_t at = row->wide ? wide_offsets[i] : offsets[i];
        if (memcmp(ram + at, before + at, bytes) == 0)
            continue;
        if (bytes == 8)
            *(volatile uint64_t *)(uintptr_t)(IOAPIC_ADDRESS + at) = *(uint64_t *)(ram + at);
        else
            *(volatile uint32_t *)(uintptr_t)(IOAPIC_ADDRESS + at) = *(uint32_t *)(ram + at);
    }
}

static void check_many(void)
{
    static const struct many rows[] = {
        {READS("VPGATHERDD YMM0", YMM_ALL("\xc4\xe2\x75\x90\x04\x16")), false},
        {READS("VGATHERDPD YMM0", YMM_ALL("\xc4\xe2\xf5\x92\x04\x16")), false},
        {READS("VPGATHERQD XMM0", YMM_ALL("\xc4\xe2\x71\x91\x04\x16")), true},
        {READS("VPGATHERQQ YMM0", YMM_ALL("\xc4\xe2\xf5\x91\x04\x16")), true},
        {READS("VPGATHERDD ZMM3{K1}", ZMM("\x62\xf2\x7d\x49\x90\x1c\x16")), false},
        {READS("VPGATHERQQ ZMM3{K1}", ZMM("\x62\xf2\xfd\x49\x91\x1c\x16")), true},
        {WRITES(64, "VPSCATTERDD ZMM3{K1}", ZMM("\x62\xf2\x7d\x49\xa0\x1c\x16")), false},
        {WRITES(64, "VPSCATTERQQ ZMM3{K1}", ZMM("\x62\xf2\xfd\x49\xa1\x1c\x16")), true},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before[BYTES / 8], want[BYTES / 8], got[BYTES / 8];
        reset_device();
        snapshot(before);
        memcpy(ram, before, BYTES);
        const struct result on_ram = run_many(&rows[i], (uint64_t)ram, area[0]);
        scatter_to_device(&rows[i], (const uint8_t *)before);
        snapshot(want);
        reset_device();
        const struct result on_device = run_many(&rows[i], IOAPIC_ADDRESS, area[1]);
        executed += on_ram.probe.vector == PROBE_NONE;
        snapshot(got);
        compare(&rows[i].row, &on_ram, &on_device, memcmp(want, got, BYTES) == 0, "as on RAM");
    }
}

/* Elements in as many pages as there are elements, of nothing and of devices. VMOVDQU YMM2, [RAX];
 * VPCMPEQD YMM1, YMM1, YMM1; VPGATHERDD YMM0, [RSI + YMM2], YMM1 */
static const uint32_t pages_of_nothing[8] = {0,         0x1000000, 0x2000000, 0x3000000,
                                             0x4000000, 0x5000000, 0x6000000, 0x7000000};
static const uint32_t pages_with_devices[8] = {
    0x10,   0x1000, 0x2000, APIC_BASE_ADDRESS + APIC_ICR_HIGH - IOAPIC_ADDRESS,
    0x3000, 0x4000, 0x5000, 0};
static const struct code gather = {
    .length = 14,
    .bytes = {0xc5, 0xfe, 0x6f, 0x10, 0xc5, 0xf5, 0x76, 0xc9, 0xc4, 0xe2, 0x75, 0x90, 0x04, 0x16}};

static void check_far_apart(void)
{
    uint32_t got[8] = {0};
    struct code code = gather;
    reset_device();
    apic_write(APIC_ICR_HIGH, 0x25000000);
    code.rax = (uint64_t)pages_with_devices;
    code.rsi = IOAPIC_ADDRESS;
    load_state(start);
    const struct probe p = code_probe(&code);
    if (p.vector == VECTOR_UD) /* a CPU without AVX2 */
        return;
    __asm__ volatile("vmovdqu %%ymm0, %0" : "=m"(got));
    test_check(p.vector == PROBE_NONE && got[0] == *window() && got[1] == UINT32_MAX &&
                   got[3] == 0x25000000 && got[6] == UINT32_MAX && got[7] == 0x24,
               "VPGATHERDD of eight pages, with two devices", "what each is alone");
}

/* What a program must not be able to do. */
static void check_programs(void)
{
    static const struct row rows[] = {
        READS("SETNZ", "\x0f\x95\x06"),
        READS("FLD m32", "\xd9\x06"),
        READS("VPGATHERDD", "\xc4\xe2\x75\x90\x14\x26"),
        READS("XSAVE", "\x0f\xae\x26"),
        READS("LSL of a selector there", "\x0f\x03\x06"),
        READS("ENTER on it as a stack", "\x48\x87\xe7\xc8\x08\x00\x02\x48\x87\xe7"),
        READS("PUSH on it as a stack", "\x48\x87\xe7\x50\x58\x48\x87\xe7"),
        READS("AND of nothing that there is", "\x0f\xff\x06"),
    };
    struct code code = gather;
    code.rax = (uint64_t)pages_of_nothing;
    code.rsi = 0xc0000000;
    user_init();
    load_state(start);
    const uint32_t vector = user_probe(&code, 0).vector;
    test_check(vector == PROBE_NONE || vector == VECTOR_UD, "VPGATHERDD of eight pages of nothing",
               "at CPL 3, and all goes on");
    code.rax = (uint64_t)pages_with_devices;
    code.rsi = IOAPIC_ADDRESS;
    load_state(start);
    const uint32_t mixed = user_probe(&code, 0).vector;
    test_check(mixed == vector, "VPGATHERDD of six, and two devices", "at CPL 3, and all goes on");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        code = (struct code){.rax = 0x41,
                             .rsi = IOAPIC_ADDRESS,
                             .rdi = IOAPIC_ADDRESS + 0x800,
                             .length = rows[i].length};
        memcpy(code.bytes, rows[i].bytes, rows[i].length);
        load_state(start);
        const struct probe p = user_probe(&code, 0);
        if (!test_check(p.vector == PROBE_NONE || p.vector == VECTOR_UD || p.vector == VECTOR_GP,
                        rows[i].what, "at CPL 3, and all goes on"))
            print("  vector %u\n", p.vector);
    }
}

int main(void)
{
    test_begin("anyinsn", "any instruction on device memory");
    apic_enable(false);
    make_start();
    for (const struct row *row = narrow_rows; row->what != NULL; row++)
        check_row(row);
    test_check(executed > 70, "most of them do not fault", "or nothing is said by this");
    if (test_only(TEST_VM)) {
        for (const struct row *row = narrow_rows; row->what != NULL; row++)
            check_row_on_apic(row);
        wide = true;
        for (const struct row *row = wide_rows; row->what != NULL; row++)
            check_row(row);
        check_many();
        check_far_apart();
        check_tables();
        test_check(executed > 100, "most of all of them do not fault",
                   "or nothing is said by this");
        check_programs();
    }
    test_both();
    return test_end();
}
