// link: guest/vm/exit_memory.c guest/vm/linear.c guest/vm/step.c guest/vm/breakpoint.c
// link: guest/vm/vcpu_inject.c guest/cpu/decode.c guest/cpu/alu.c guest/cpu/emulate.c
// link: guest/cpu/integer.c guest/cpu/event.c
// link: guest/cpu/guestwalk.c drivers/bus/bus.c mm/guestmem.c mm/page_alloc.c
// link: tests/unit/fake_engine.c
// link: guest/vm/step_device.c guest/vm/step_work.c guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions on device memory, from the exit to the device's registers: operands that lie in two
 * pages, of which either may be RAM, read-only, a device, nothing, or not present. */
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/x86.h"
#include "guest/vm/exits.h"
#include "guest/vm/step.h"
#include "guest/vm/step_parts.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Guest-physical: RAM up to 64 KiB, the last page of it read-only; a device behind it; nothing. */
#define RAM      0x10000u
#define ROM      0xf000u
#define CODE     0x5000u
#define TABLES   0x1000u /* four pages of page tables */
#define BUFFER   0x6000u /* RAM */
#define DEVICE   0x10000u
#define DEVICE_2 0x13000u
#define NOTHING  0x20000u
/* Linear: pages in pairs at WINDOW, as pair() has made them. */
#define WINDOW 0x100000u
#define BORDER (WINDOW + PAGE_SIZE)

enum { MAX_ACCESSES = 128 };

static uint8_t ram[RAM] __attribute__((aligned(PAGE_SIZE)));
static struct vm vm;
static struct fake_vcpu vcpus[2];
static struct vcpu *const vcpu = &vcpus[0].vcpu;
static struct {
    unsigned count;
    struct access {
        uint64_t at;
        unsigned bytes;
        bool write;
        uint64_t value;
    } access[MAX_ACCESSES];
} device;
static uint8_t *arena;

/* What else would be there. */

void panic(const char *format, ...)
{
    fail_msg("panic: %s", format);
    abort();
}

hpa_t fake_space_root(void)
{
    return hpa(0);
}

void log_line(const char *format, ...)
{
    (void)format;
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    (void)format;
}

void vm_end_format(struct vm *v, enum vm_end end, uint32_t code, const char *format, ...)
{
    va_list args;
    v->end = end;
    v->end_code = code;
    va_start(args, format);
    (void)vsnprintf(v->end_why, sizeof(v->end_why), format, args);
    va_end(args);
}

void vm_end_request(void *v, enum vm_end end, uint32_t code, const char *why)
{
    vm_end_format(v, end, code, "%s", why);
}

void vm_memory_changed(struct vm *v)
{
    v->memory_changes++;
}

void vm_arm_alarm(struct vm *v)
{
    v->alarm_armed = v->timers.next;
}

void vm_lock_shared(struct vm *v)
{
    (void)v;
}

void vm_unlock_shared(struct vm *v)
{
    (void)v;
}

uint64_t vlapic_mmio_read(struct vlapic *apic, gpa_t at, unsigned bytes)
{
    (void)apic;
    (void)at;
    (void)bytes;
    return 0xa41c;
}

void vlapic_mmio_write(struct vlapic *apic, gpa_t at, unsigned bytes, uint64_t value)
{
    (void)apic;
    device.access[device.count++] = (struct access){at.v, bytes, true, value};
}

int vlapic_pending(struct vlapic *apic)
{
    (void)apic;
    return -1;
}

void vlapic_accept(struct vlapic *apic, unsigned vector)
{
    (void)apic;
    (void)vector;
}

enum vcpu_prepared vcpu_prepare(struct vcpu *v)
{
    (void)v;
    return PREPARED_LEAVE;
}

uint64_t cpu_rdtsc(void)
{
    return 0;
}

static uint64_t vector_register[4];

void vector_move(void *memory, unsigned which) /* one register, of any name, and 32 bytes of it */
{
    enum { MMX_READ, MMX_WRITE, XMM_READ, XMM_WRITE, YMM_READ, YMM_WRITE };
    const unsigned kind = which / 16;
    const size_t bytes = kind <= MMX_WRITE ? 8 : kind <= XMM_WRITE ? 16 : 32;
    if (kind % 2 == 0)
        memcpy(memory, vector_register, bytes);
    else
        memcpy(vector_register, memory, bytes);
}

/* The device answers each byte by the low byte of its address, plus 1. */
static uint64_t read_device(void *dev, gpa_t at, unsigned bytes)
{
    uint64_t value = 0;
    (void)dev;
    assert_true(device.count < MAX_ACCESSES);
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)(uint8_t)(at.v + i + 1) << 8 * i;
    device.access[device.count++] = (struct access){at.v, bytes, false, value};
    return value;
}

static void write_device(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    (void)dev;
    assert_true(device.count < MAX_ACCESSES);
    device.access[device.count++] = (struct access){at.v, bytes, true, value};
}

static void add_device(uint64_t at)
{
    const struct mmio_range range = {.first = gpa(at),
                                     .last = gpa(at + PAGE_SIZE - 1),
                                     .read = read_device,
                                     .write = write_device};
    assert_int_equal(bus_add_mmio(&vm.bus, &range), OK);
}

static void set_entry(uint64_t at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

/* Page tables: the first 2 MiB by pages of 4 KiB, identity-mapped but for the window. */
static void make_tables(void)
{
    for (unsigned i = 0; i < 3; i++)
        set_entry(TABLES + i * PAGE_SIZE, (TABLES + (i + 1) * PAGE_SIZE) | 7);
    for (uint64_t i = 0; i < 512; i++)
        set_entry(TABLES + 3 * PAGE_SIZE + 8 * i, i * PAGE_SIZE | 7);
}

#define NOT_PRESENT UINT64_MAX

/* Makes the window's two pages these guest-physical ones. */
static void pair(uint64_t first, uint64_t second)
{
    const uint64_t entry = TABLES + 3 * PAGE_SIZE + 8 * (WINDOW / PAGE_SIZE);
    set_entry(entry, first == NOT_PRESENT ? 0 : first | 7);
    set_entry(entry + 8, second == NOT_PRESENT ? 0 : second | 7);
}

static void make_vcpu(unsigned i)
{
    static struct cpuid_table cpuid;
    vm.cpuid = cpuid;
    vcpus[i] = (struct fake_vcpu){.state = cpu_state_long_mode(CODE, TABLES)};
    struct vcpu *v = &vcpus[i].vcpu;
    v->vm = &vm;
    v->engine = &fake_engine;
    v->index = i;
    v->phys_bits = 39;
    v->apic_frame = VM_APIC_PAGE_GPA / PAGE_SIZE;
    v->timers.hz = 1000;
    vm.vcpu[i] = v;
}

static int setup(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    memset(&device, 0, sizeof(device));
    memset(vector_register, 0, sizeof(vector_register));
    vm = (struct vm){.name = "test", .engine = &fake_engine, .vcpu_count = 1};
    assert_int_equal(guestmem_add(&vm.mem, gpa(0), ROM, ram), OK);
    assert_int_equal(guestmem_add(&vm.mem, gpa(ROM), RAM - ROM, ram + ROM), OK);
    guestmem_replace(&vm.mem, gpa(ROM), ram + ROM, true);
    assert_int_equal(fake_engine.vm_create(&vm), OK);
    add_device(DEVICE);
    add_device(DEVICE_2);
    make_tables();
    make_vcpu(0);
    make_vcpu(1);
    arena = aligned_alloc(PAGE_SIZE_2M, PAGE_SIZE_2M);
    const struct page_range range = {(uint64_t)(uintptr_t)arena, PAGE_SIZE_2M / PAGE_SIZE};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_engine.vm_destroy(&vm);
    free(arena);
    return 0;
}

/* An exit at an instruction, for a guest-physical address. */
static enum exit_action take(const char *bytes, unsigned count, uint64_t linear, uint64_t address,
                             bool write)
{
    struct emulate_context ctx;
    memset(ram + CODE, 0x90, 32);
    memcpy(ram + CODE, bytes, count);
    device.count = 0;
    fake_engine.view(vcpu, &ctx);
    const struct memory_access access = {.address = gpa(address),
                                         .read = !write,
                                         .write = write,
                                         .linear = gva(linear),
                                         .has_linear = vm.vcpu_count > 1};
    return exit_memory_access(&ctx, &access);
}

#define TAKE(bytes, linear, address, write) take(bytes, sizeof(bytes) - 1, linear, address, write)

#define EXPECT_ACCESS(i, address, size, is_write, what)     \
    do {                                                    \
        assert_true((i) < device.count);                    \
        assert_int_equal(device.access[i].at, address);     \
        assert_int_equal(device.access[i].bytes, size);     \
        assert_int_equal(device.access[i].write, is_write); \
        assert_int_equal(device.access[i].value, what);     \
    } while (0)

#define MOV_LOAD_8    "\x48\x8b\x06" /* MOV RAX, [RSI] */
#define MOV_STORE_8   "\x48\x89\x06"
#define MOV_LOAD_4    "\x8b\x06"
#define MOV_LOAD_DISP "\x48\x8b\x46\xfc" /* MOV RAX, [RSI - 4] */
#define MOV_FS_LOAD_8 "\x64\x48\x8b\x06"
#define MOV_STORE_IMM "\x48\xc7\x06\x44\x33\x22\x11"
#define LOCK_OR_8     "\xf0\x48\x09\x06"
#define MOVSQ         "\x48\xa5"
#define STOSQ         "\x48\xab"
#define MOVUPS_LOAD   "\x0f\x10\x0e"
#define VMOVUPS_STORE "\xc5\xfc\x11\x0e"

static const uint8_t below[4] = {0x55, 0x66, 0x77, 0x88};

static void set_below(uint64_t page)
{
    memcpy(ram + page + PAGE_SIZE - 4, below, 4);
}

/*
 * RAM, then a device: the CPU tells of the second page's beginning, wherever the operand begins.
 */

static void test_load_from_ram_into_device(void **state)
{
    (void)state;
    pair(BUFFER, DEVICE);
    set_below(BUFFER);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0403020188776655);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE, 4, false, 0x04030201);
    vcpu->regs.gpr[RSI] = BORDER - 2;
    assert_int_equal(TAKE(MOV_LOAD_4, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x02018877);
    EXPECT_ACCESS(0, DEVICE, 2, false, 0x0201);
    vcpu->regs.gpr[RSI] = BORDER;
    assert_int_equal(TAKE(MOV_LOAD_DISP, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0403020188776655);
    vcpus[0].state.fs.base = BORDER - 4;
    vcpu->regs.gpr[RSI] = 0;
    assert_int_equal(TAKE(MOV_FS_LOAD_8, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0403020188776655);
}

/* What begins with the page is all the device's. */
static void test_load_from_the_first_byte(void **state)
{
    (void)state;
    pair(BUFFER, DEVICE);
    vcpu->regs.gpr[RSI] = BORDER;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0807060504030201);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE, 8, false, 0x0807060504030201);
}

static void test_store_from_ram_into_device(void **state)
{
    (void)state;
    const uint8_t expected[4] = {0x04, 0x03, 0x02, 0x01}, immediate[4] = {0x44, 0x33, 0x22, 0x11};
    pair(BUFFER, DEVICE);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    vcpu->regs.gpr[RAX] = 0xaabbccdd01020304;
    assert_int_equal(TAKE(MOV_STORE_8, BORDER, DEVICE, true), EXIT_NEXT_DECODED);
    assert_memory_equal(ram + BUFFER + PAGE_SIZE - 4, expected, 4);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE, 4, true, 0xaabbccdd);
    assert_int_equal(TAKE(MOV_STORE_IMM, BORDER, DEVICE, true), EXIT_NEXT_DECODED);
    assert_memory_equal(ram + BUFFER + PAGE_SIZE - 4, immediate, 4);
    EXPECT_ACCESS(0, DEVICE, 4, true, 0);
}

static void test_more_than_moves(void **state)
{
    (void)state;
    const uint8_t ored[4] = {0x75, 0x66, 0x77, 0x88};
    pair(BUFFER, DEVICE);
    set_below(BUFFER);
    vcpu->regs.gpr[RSI] = vcpu->regs.gpr[RDI] = BORDER - 4;
    vcpu->regs.gpr[RAX] = 0x1000000020;
    assert_int_equal(TAKE(LOCK_OR_8, BORDER, DEVICE, true), EXIT_NEXT_DECODED);
    assert_memory_equal(ram + BUFFER + PAGE_SIZE - 4, ored, 4);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(0, DEVICE, 4, false, 0x04030201);
    EXPECT_ACCESS(1, DEVICE, 4, true, 0x04030211);
    vcpu->regs.gpr[RDI] = BUFFER;
    assert_int_equal(TAKE(MOVSQ, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_memory_equal(ram + BUFFER, "\x75\x66\x77\x88\1\2\3\4", 8);
    vcpu->regs.gpr[RDI] = BORDER - 4;
    assert_int_equal(TAKE(STOSQ, BORDER, DEVICE, true), EXIT_NEXT_DECODED);
    EXPECT_ACCESS(0, DEVICE, 4, true, 0x10);
    vcpus[0].state.cr4 |= CR4_OSFXSR;
    set_below(BUFFER);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(MOVUPS_LOAD, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_memory_equal(vector_register, "\x55\x66\x77\x88\1\2\3\4\5\6\7\10\11\12\13\14", 16);
    assert_int_equal(device.count, 2);
}

/*
 * Other pairs of pages.
 */

static void test_device_then_ram(void **state)
{
    (void)state;
    pair(DEVICE, BUFFER);
    memcpy(ram + BUFFER, below, 4);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER - 4, DEVICE + 0xffc, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x8877665500fffefd);
    assert_int_equal(device.count, 1);
    assert_int_equal(TAKE(MOV_STORE_8, BORDER - 4, DEVICE + 0xffc, true), EXIT_NEXT_DECODED);
    EXPECT_ACCESS(0, DEVICE + 0xffc, 4, true, 0x00fffefd);
    assert_memory_equal(ram + BUFFER, below, 4);
}

static void test_two_devices(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = BORDER - 2;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER - 2, DEVICE + 0xffe, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x06050403020100ff);
    assert_int_equal(device.count, 3); /* 2, then 4 and 2 */
    EXPECT_ACCESS(1, DEVICE_2, 4, false, 0x04030201);
    EXPECT_ACCESS(2, DEVICE_2 + 4, 2, false, 0x0605);
}

static void test_nothing_and_apic(void **state)
{
    (void)state;
    pair(BUFFER, NOTHING);
    set_below(BUFFER);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER, NOTHING, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0xffffffff88776655);
    pair(BUFFER, VM_APIC_PAGE_GPA);
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER, VM_APIC_PAGE_GPA, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0xa41c88776655);
}

static void test_read_only_then_device(void **state)
{
    (void)state;
    pair(ROM, DEVICE);
    set_below(RAM - PAGE_SIZE);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    vcpu->regs.gpr[RAX] = 0;
    assert_int_equal(TAKE(MOV_STORE_8, BORDER, DEVICE, true), EXIT_NEXT_DECODED);
    assert_memory_equal(ram + RAM - 4, below, 4);
    EXPECT_ACCESS(0, DEVICE, 4, true, 0);
}

/* The page fault comes first: no byte is read or written of the page that is there. */
static void test_second_page_not_present(void **state)
{
    (void)state;
    const uint64_t first[] = {BUFFER, DEVICE};
    for (unsigned i = 0; i < 2; i++) {
        pair(first[i], NOT_PRESENT);
        set_below(BUFFER);
        vcpu->regs.gpr[RSI] = BORDER - 4;
        vcpu->regs.gpr[RAX] = 0x1122334455667788;
        assert_int_equal(TAKE(MOV_STORE_8, BORDER - 4, DEVICE + 0xffc, true), EXIT_SAME);
        assert_int_equal(vcpu->event.info & 0xff, VECTOR_PAGE_FAULT);
        assert_int_equal(vcpu->event.error, 2);
        assert_int_equal(vcpus[0].state.cr2, BORDER);
        assert_int_equal(device.count, 0);
        assert_memory_equal(ram + BUFFER + PAGE_SIZE - 4, below, 4);
        vcpu->event.info = 0;
    }
    pair(NOT_PRESENT, DEVICE);
    assert_int_equal(TAKE(LOCK_OR_8, BORDER, DEVICE, true), EXIT_SAME);
    assert_int_equal(vcpus[0].state.cr2, BORDER - 4);
    assert_int_equal(device.count, 0);
    assert_int_equal(vm.end, VM_RUNS);
}

/* A CPU that tells the operand's beginning as the linear address, and the second page as the
 * guest-physical one. */
static void test_of_several_vcpus(void **state)
{
    (void)state;
    vm.vcpu_count = 2;
    pair(BUFFER, DEVICE);
    set_below(BUFFER);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER - 4, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0403020188776655);
    assert_int_equal(TAKE(MOV_LOAD_8, BORDER, DEVICE, false), EXIT_NEXT_DECODED);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x0403020188776655);
}

/*
 * What the emulator leaves to the CPU, on pages that this vCPU alone sees.
 */

#define IMUL_LOAD "\x6b\x06\x03" /* IMUL EAX, [RSI], 3 */
#define PLAIN     0x12000u

static void expect_shown(unsigned i, uint64_t page, const void *content)
{
    const struct fake_vcpu *fake = &vcpus[0];
    assert_true(fake->stepping);
    assert_true(i < fake->shown_count);
    assert_int_equal(fake->shown[i].page.v, page);
    assert_int_equal(fake->shown[i].perms, MAP_RWX);
    assert_memory_equal(hpa_to_ptr(fake->shown[i].host), content, PAGE_SIZE);
}

static void end_step(void)
{
    assert_true(fake_engine.step(vcpu, false));
    step_done(vcpu);
}

static void test_step_where_nothing_is(void **state)
{
    (void)state;
    static uint8_t ones[PAGE_SIZE], memory[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
    const struct mmio_range plain = {
        .first = gpa(PLAIN), .last = gpa(PLAIN + PAGE_SIZE - 1), .memory = memory};
    assert_int_equal(bus_add_mmio(&vm.bus, &plain), OK);
    memset(ones, 0xff, sizeof(ones));
    memset(memory, 0x5a, sizeof(memory));
    vm.vcpu_count = 2;
    vcpus[1].vcpu.apic_frame = NOTHING / PAGE_SIZE; /* another vCPU's APIC is not in the way */
    pair(NOTHING, PLAIN);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    assert_int_equal(TAKE(IMUL_LOAD, BORDER - 4, NOTHING + 0xffc, false), EXIT_SAME);
    expect_shown(0, NOTHING, ones);
    assert_int_equal(TAKE(IMUL_LOAD, BORDER, PLAIN, false), EXIT_SAME); /* more in the same step */
    expect_shown(1, PLAIN, memory);
    assert_ptr_equal(hpa_to_ptr(vcpus[0].shown[1].host), memory); /* itself */
    end_step();
    memset(hpa_to_ptr(vcpu->step.parts->copy[0]), 0, PAGE_SIZE); /* what the guest has written */
    assert_int_equal(TAKE(IMUL_LOAD, BORDER - 4, NOTHING + 0xffc, false), EXIT_SAME);
    expect_shown(0, NOTHING, ones);
    assert_int_equal(vm.memory_changes, 0); /* nobody else has to look */
    assert_int_equal(vm.end, VM_RUNS);
}

static void test_step_that_cannot_be(void **state)
{
    (void)state;
    pair(NOTHING, PLAIN);
    vcpu->regs.gpr[RSI] = BORDER - 4;
    vcpus[0].cannot_step = true;
    assert_int_equal(TAKE(IMUL_LOAD, BORDER - 4, NOTHING + 0xffc, false), EXIT_SAME);
    assert_int_equal(vm.end, VM_CRASH);
    assert_non_null(strstr(vm.end_why, "this CPU has no monitor trap flag"));
    vcpus[0].cannot_step = false;
    vm.end = VM_RUNS;
    end_step();
}

static void test_step_on_read_only_memory(void **state)
{
    (void)state;
    memset(ram + ROM, 0x77, PAGE_SIZE);
    assert_true(step_begin(vcpu, gpa(ROM + 8)));
    expect_shown(0, ROM, ram + ROM);
    end_step();
    /* By PAM it can be written since the CPU has met it: nothing is to be done. */
    guestmem_replace(&vm.mem, gpa(ROM), ram + ROM, false);
    assert_true(step_begin(vcpu, gpa(ROM + 8)));
    assert_int_equal(vcpus[0].shown_count, 0);
    assert_false(vcpus[0].stepping);
}

/* Where a guess has been wrong, nothing has happened. */
static void test_step_on_a_device(void **state)
{
    (void)state;
    assert_false(step_begin(vcpu, gpa(DEVICE)));
    assert_false(step_begin(vcpu, gpa(VM_APIC_PAGE_GPA)));
    assert_false(vcpus[0].stepping);
    assert_int_equal(device.count, 0);
    assert_int_equal(vm.end, VM_RUNS);
}

/* A gather's elements, say: the last of them is met alone, for the others are there by then. */
static void test_step_of_many_pages(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STEP_PAGES; i++)
        assert_true(step_begin(vcpu, gpa(NOTHING + i * PAGE_SIZE)));
    assert_int_equal(vm.end, VM_RUNS);
    assert_int_equal(vcpus[0].shown_count, STEP_PAGES);
    assert_true(step_begin(vcpu, gpa(NOTHING + STEP_PAGES * PAGE_SIZE)));
    assert_int_equal(vcpus[0].shown_count, 1);
    assert_int_equal(vcpus[0].shown[0].page.v, NOTHING + STEP_PAGES * PAGE_SIZE);
    assert_true(vcpus[0].stepping);
    assert_int_equal(vm.end, VM_RUNS);
}

/*
 * What the CPU executes on what a device's registers have answered.
 */

#define SETNZ      "\x0f\x95\x06"
#define ROL_4      "\xc1\x06\x03"
#define CLFLUSH    "\x0f\xae\x3e"
#define CALL_RAM   "\xff\x17" /* CALL [RDI] */
#define ENTER      "\xc8\x08\x00\x02"
#define VPGATHERQQ "\xc4\xe2\xf5\x91\x04\x16" /* YMM0, [RSI + YMM2], YMM1 */
#define VMASKMOVPS "\xc4\xe2\x6d\x2e\x0e"     /* VMASKMOVPS [RSI], YMM2, YMM1 */

static uint8_t *shown(unsigned i, uint64_t page)
{
    const struct fake_vcpu *fake = &vcpus[0];
    assert_true(fake->stepping);
    assert_true(i < fake->shown_count);
    assert_int_equal(fake->shown[i].page.v, page);
    return hpa_to_ptr(fake->shown[i].host);
}

/* What is not done at once, is before the next entry. Returns how many portions there were. */
static unsigned finish_work(void)
{
    unsigned portions = 1;
    while (vcpu->step.unfinished) {
        const unsigned before = device.count;
        assert_true(vcpu->attention && (vcpu->requests & REQUEST_STEP) != 0);
        vcpu->attention = false;
        const bool more = step_continue(vcpu);
        assert_int_equal(more, vcpu->step.unfinished);
        assert_true(device.count - before <= 512 / 4);
        portions++;
    }
    return portions;
}

/* The CPU is done, with RIP so far behind CODE; then what it has read and written is counted. */
static void executed(uint64_t length)
{
    vcpus[0].state.rip = CODE + length;
    device.count = 0;
    end_step();
    finish_work();
    vcpus[0].state.rip = CODE;
}

static void test_step_reads_once(void **state)
{
    (void)state;
    const uint8_t answer[6] = {0xff, 0x11, 0x12, 0x13, 0x14, 0xff};
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW + 0x10;
    assert_int_equal(TAKE(IMUL_LOAD, WINDOW + 0x10, DEVICE + 0x10, false), EXIT_SAME);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x10, 4, false, 0x14131211);
    assert_int_equal(vcpus[0].shown_count, 1);
    assert_memory_equal(shown(0, DEVICE) + 0xf, answer, 6);
    executed(3);
    assert_int_equal(device.count, 0);
    assert_int_equal(vcpus[0].shown_count, 0);
}

static void test_step_writes(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW + 0x10;
    assert_int_equal(TAKE(SETNZ, WINDOW + 0x10, DEVICE + 0x10, true), EXIT_SAME);
    assert_int_equal(device.count, 0); /* what is only written is not read */
    shown(0, DEVICE)[0x10] = 0xff;     /* which it was before */
    executed(3);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x10, 1, true, 0xff);
    assert_int_equal(TAKE(ROL_4, WINDOW + 0x10, DEVICE + 0x10, true), EXIT_SAME);
    EXPECT_ACCESS(0, DEVICE + 0x10, 4, false, 0x14131211);
    shown(0, DEVICE)[0x13] = 0x77;
    shown(0, DEVICE)[0x14] = 0x99; /* not the operand's */
    executed(3);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x10, 4, true, 0x77131211);
    /* A fault, or an instruction that shall begin anew: nothing has been written. */
    assert_int_equal(TAKE(ROL_4, WINDOW + 0x10, DEVICE + 0x10, true), EXIT_SAME);
    executed(0);
    assert_int_equal(device.count, 0);
    assert_int_equal(vm.end, VM_RUNS);
}

static void test_step_on_two_devices(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = BORDER - 2;
    assert_int_equal(TAKE(ROL_4, BORDER - 2, DEVICE + 0xffe, true), EXIT_SAME);
    assert_int_equal(device.count, 1); /* the other one, when the CPU comes there */
    EXPECT_ACCESS(0, DEVICE + 0xffe, 2, false, 0x00ff);
    assert_int_equal(TAKE(ROL_4, BORDER, DEVICE_2, true), EXIT_SAME);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE_2, 2, false, 0x0201);
    shown(1, DEVICE_2)[1] = 0x66;
    executed(3);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(0, DEVICE + 0xffe, 2, true, 0x00ff);
    EXPECT_ACCESS(1, DEVICE_2, 2, true, 0x6601);
    pair(BUFFER, DEVICE); /* RAM's part is the CPU's own affair */
    assert_int_equal(TAKE(ROL_4, BORDER, DEVICE, true), EXIT_SAME);
    assert_int_equal(vcpus[0].shown_count, 1);
    executed(3);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE, 2, true, 0x0201);
}

/* A CALL that pushes there jumps: what it has written shows that it has been executed. */
static void test_step_of_a_call(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpus[0].state.rsp = WINDOW + 0x108;
    vcpu->regs.gpr[RDI] = BUFFER;
    assert_int_equal(TAKE(CALL_RAM, WINDOW + 0x100, DEVICE + 0x100, true), EXIT_SAME);
    assert_int_equal(device.count, 0);
    memcpy(shown(0, DEVICE) + 0x100, "\2\x50\0\0\0\0\0\0", 8);
    executed(0x123);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x100, 8, true, CODE + 2);
}

static void test_step_of_masked_store(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpus[0].state.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    vcpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    vector_register[0] = 1ull << 63; /* of eight elements the second, the third and the last */
    vector_register[1] = 1ull << 31;
    vector_register[3] = 1ull << 63;
    vcpu->regs.gpr[RSI] = WINDOW;
    assert_int_equal(TAKE(VMASKMOVPS, WINDOW, DEVICE, true), EXIT_SAME);
    memset(shown(0, DEVICE), 0x11, 32);
    executed(5);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(0, DEVICE + 4, 8, true, 0x1111111111111111);
    EXPECT_ACCESS(1, DEVICE + 28, 4, true, 0x11111111);
}

/* One register is mask and indices here: those below zero are chosen. */
static void test_step_gathers(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    const uint64_t indices[4] = {0ull - 0x10, 8, 0ull - 0x20, 0x18};
    memcpy(vector_register, indices, sizeof(indices));
    vcpus[0].state.cr4 |= CR4_OSXSAVE;
    vcpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    vcpu->regs.gpr[RSI] = WINDOW + 0x40;
    assert_int_equal(TAKE(VPGATHERQQ, WINDOW + 0x30, DEVICE + 0x30, false), EXIT_SAME);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(0, DEVICE + 0x30, 8, false, 0x3837363534333231);
    EXPECT_ACCESS(1, DEVICE + 0x20, 8, false, 0x2827262524232221);
    assert_int_equal(vcpus[0].shown_count, 1);
    executed(6);
    assert_int_equal(device.count, 0);
}

static void test_step_without_data(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW;
    assert_int_equal(TAKE(CLFLUSH, WINDOW, DEVICE, false), EXIT_SAME);
    (void)shown(0, DEVICE);
    executed(3);
    assert_int_equal(device.count, 0);
}

/* The CPU has not come to the other page, as the instruction has faulted before: nothing is read
 * there, nor written. */
static void test_step_that_ends_early(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = BORDER - 2;
    assert_int_equal(TAKE(ROL_4, BORDER - 2, DEVICE + 0xffe, true), EXIT_SAME);
    executed(0);
    assert_int_equal(device.count, 0);
    assert_int_equal(vcpu->step.pieces, 0);
}

/* Two levels: RBP, the outer frame pointer, which is read, and the new one; eight bytes below. */
static void test_step_of_enter(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpus[0].state.rsp = WINDOW + 0x108;
    vcpu->regs.gpr[RBP] = BORDER + 0x48;
    assert_int_equal(TAKE(ENTER, WINDOW + 0x100, DEVICE + 0x100, true), EXIT_SAME);
    assert_int_equal(device.count, 0);
    memset(shown(0, DEVICE) + 0xf0, 0x11, 0x18);
    assert_int_equal(TAKE(ENTER, BORDER + 0x40, DEVICE_2 + 0x40, false), EXIT_SAME);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE_2 + 0x40, 8, false, 0x4847464544434241);
    executed(4);
    assert_int_equal(device.count, 3);
    for (unsigned i = 0; i < 3; i++)
        EXPECT_ACCESS(i, DEVICE + 0xf0 + 8 * i, 8, true, 0x1111111111111111);
    /* What it allocates ends in the other device's page: touched, no more. */
    vcpus[0].state.rsp = BORDER + 0x20;
    assert_int_equal(TAKE("\xc8\x40\0\0", BORDER + 0x18, DEVICE_2 + 0x18, true), EXIT_SAME);
    assert_int_equal(TAKE("\xc8\x40\0\0", BORDER - 0x28, DEVICE + 0xfd8, true), EXIT_SAME);
    assert_int_equal(device.count, 0);
    assert_int_equal(shown(1, DEVICE)[0xfd8], 0xff);
    executed(4);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE_2 + 0x18, 8, true, UINT64_MAX);
    assert_int_equal(vm.end, VM_RUNS);
}

#define XSAVE   "\x0f\xae\x26"
#define XSAVEC  "\x0f\xc7\x26"
#define XRSTOR  "\x0f\xae\x2e"
#define FXSAVE  "\x0f\xae\x06"
#define HEADER  512u
#define AVX_AT  0x240u
#define AVX_END 0x340u

/* x87, SSE, and AVX with its 256 bytes behind the header. */
static void show_avx(void)
{
    vm.cpuid.entry[1] = (struct cpuid_entry){.leaf = 0xd, .subleaf = 2, .eax = 256, .ebx = AVX_AT};
    vm.cpuid.count = 2;
    for (unsigned i = 0; i < sizeof(vm.cpuid.first); i++)
        vm.cpuid.first[i] = 1;
    vcpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    vcpu->regs.gpr[RAX] = 7;
    vcpu->tsc_exit = 12345;
}

/* Of the header XSAVE reads a part, and of the rest it writes what is asked for, here AVX. */
static void test_step_of_xsave(void **state)
{
    (void)state;
    show_avx();
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW;
    vcpu->regs.gpr[RAX] = 4;
    assert_int_equal(TAKE(XSAVE, WINDOW + HEADER, DEVICE + HEADER, true), EXIT_SAME);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + HEADER, 8, false, 0x0807060504030201);
    uint8_t *page = shown(0, DEVICE);
    page[HEADER] = 0x77;
    memset(page + 24, 0, 8); /* MXCSR and its mask */
    memset(page + AVX_AT, 0xff, 16);
    memset(page + AVX_END, 0x5a, 8); /* not of the area */
    executed(3);
    assert_int_equal(device.count, 4);
    EXPECT_ACCESS(0, DEVICE + 24, 8, true, 0);
    EXPECT_ACCESS(1, DEVICE + HEADER, 8, true, 0x0807060504030277);
    EXPECT_ACCESS(2, DEVICE + AVX_AT, 8, true, UINT64_MAX);
    EXPECT_ACCESS(3, DEVICE + AVX_AT + 8, 8, true, UINT64_MAX);
    /* XSAVEC reads nothing. */
    assert_int_equal(TAKE(XSAVEC, WINDOW, DEVICE, true), EXIT_SAME);
    memset(shown(0, DEVICE) + HEADER, 0, 16);
    executed(3);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(1, DEVICE + HEADER + 8, 8, true, 0);
    assert_int_equal(TAKE(FXSAVE, WINDOW, DEVICE, true), EXIT_SAME);
    memset(shown(0, DEVICE) + 160, 0, 4); /* and the software's 48 bytes are not written */
    executed(3);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 160, 4, true, 0);
}

/* Nothing is lost between two portions, nor comes twice. */
static void test_step_in_portions(void **state)
{
    (void)state;
    show_avx();
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW;
    assert_int_equal(TAKE(XSAVEC, WINDOW, DEVICE, true), EXIT_SAME);
    assert_false(vcpu->step.unfinished);
    uint8_t *page = shown(0, DEVICE);
    for (unsigned at = 500; at < AVX_END; at += 60)
        memset(page + at, 0, 4);
    device.count = 0;
    end_step();
    assert_true(vcpu->step.unfinished);
    assert_int_equal(vcpus[0].shown_count, 0); /* the page is kept for all that */
    assert_int_equal(finish_work(), 2);
    assert_int_equal(device.count, 6);
    for (unsigned i = 0; i < 6; i++)
        EXPECT_ACCESS(i, DEVICE + 500 + 60 * i, 4, true, 0);
    assert_int_equal(vcpu->step.pieces, 0);
    device.count = 0;
    assert_int_equal(TAKE(XRSTOR, WINDOW, DEVICE, false), EXIT_SAME);
    assert_true(vcpu->step.unfinished);
    device.count = 0;
    assert_int_equal(finish_work(), 2);
    assert_int_equal(device.count, 40);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(device.access[i].at, DEVICE + 512 + 8 * i);
    executed(3);
    assert_int_equal(device.count, 0);
    /* Given up in between: nothing more is written. */
    assert_int_equal(TAKE(XSAVEC, WINDOW, DEVICE, true), EXIT_SAME);
    memset(shown(0, DEVICE), 0, AVX_END);
    end_step();
    assert_true(vcpu->step.unfinished);
    step_give_up(vcpu);
    assert_false(vcpu->step.unfinished);
    assert_int_equal(vcpu->step.pieces, 0);
}

static void test_step_of_xrstor(void **state)
{
    (void)state;
    show_avx();
    pair(BUFFER, DEVICE);
    vcpu->regs.gpr[RSI] = BORDER - AVX_AT - 0xc0; /* the last 64 bytes are in the device */
    assert_int_equal(TAKE(XRSTOR, BORDER, DEVICE, false), EXIT_SAME);
    assert_int_equal(device.count, 8);
    EXPECT_ACCESS(7, DEVICE + 56, 8, false, 0x403f3e3d3c3b3a39);
    executed(3);
    assert_int_equal(device.count, 0);
    /* As far as is asked for: no component behind the header. Compacted it may have all. */
    vcpu->regs.gpr[RAX] = 3;
    vcpu->regs.gpr[RSI] = BORDER - AVX_AT + 8;
    vcpu->xcr0 = XCR0_X87 | XCR0_SSE;
    assert_int_equal(TAKE(XRSTOR, BORDER, DEVICE, false), EXIT_SAME);
    assert_int_equal(device.count, 1);
    executed(3);
}

/* A descriptor that no operand explains, where the device says "code": the CPU marks it. */
static void test_step_of_a_descriptor(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpus[0].state.ss.access |= 3 << 5; /* at any CPL */
    assert_int_equal(TAKE("\x8e\xd8", WINDOW + 0x18, DEVICE + 0x18, false), EXIT_SAME); /* MOV DS */
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(0, DEVICE + 0x18, 4, false, 0x1c1b1a19);
    EXPECT_ACCESS(1, DEVICE + 0x1c, 4, false, 0x201f1e1d);
    shown(0, DEVICE)[0x18 + 5] |= 1;
    executed(2);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x1c, 4, true, 0x201f1f1d);
    /* No S bit, in long mode: as long again. Nothing is written where nothing has changed. */
    assert_int_equal(TAKE("\x0f\x00\xd8", WINDOW + 0x8, DEVICE + 0x8, false), EXIT_SAME); /* LTR */
    assert_int_equal(device.count, 4);
    EXPECT_ACCESS(3, DEVICE + 0x14, 4, false, 0x18171615);
    executed(3);
    assert_int_equal(device.count, 0);
    vcpus[0].state.efer &= ~EFER_LMA;
    assert_int_equal(TAKE("\x0f\x00\xd8", WINDOW + 0x8, DEVICE + 0x8, false), EXIT_SAME);
    assert_int_equal(device.count, 2);
    executed(3);
    assert_int_equal(vm.end, VM_RUNS);
}

/* LAR of a selector that is in one device, and whose descriptor is in the other. */
static void test_step_of_operand_and_descriptor(void **state)
{
    (void)state;
    pair(DEVICE, DEVICE_2);
    vcpu->regs.gpr[RSI] = WINDOW + 8;
    assert_int_equal(TAKE("\x0f\x02\x06", WINDOW + 8, DEVICE + 8, false), EXIT_SAME);
    EXPECT_ACCESS(0, DEVICE + 8, 2, false, 0x0a09);
    assert_int_equal(TAKE("\x0f\x02\x06", BORDER + 8, DEVICE_2 + 0x10, false), EXIT_SAME);
    assert_int_equal(device.count, 2);
    EXPECT_ACCESS(1, DEVICE_2 + 0x14, 4, false, 0x18171615);
    executed(3);
    /* A far CALL comes to the descriptor first, and pushes then. */
    vcpus[0].state.rsp = WINDOW + 0x108;
    vcpu->regs.gpr[RDI] = BUFFER;
    assert_int_equal(TAKE("\xff\x1f", BORDER + 8, DEVICE_2 + 0x10, false), EXIT_SAME);
    assert_int_equal(device.count, 2);
    assert_int_equal(TAKE("\xff\x1f", WINDOW + 0x104, DEVICE + 0x104, true), EXIT_SAME);
    memset(shown(1, DEVICE) + 0x100, 0x22, 8);
    executed(0x100);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0x100, 8, true, 0x2222222222222222);
    assert_int_equal(vm.end, VM_RUNS);
}

/* An event's gate and frame, and an entry of page tables. */
static void test_step_of_the_cpu_itself(void **state)
{
    (void)state;
    device.count = 0;
    exit_memory_delivery(vcpu, gpa(DEVICE + 0x8), false);
    assert_int_equal(device.count, 4);
    EXPECT_ACCESS(0, DEVICE + 0x8, 4, false, 0x0c0b0a09);
    EXPECT_ACCESS(3, DEVICE + 0x14, 4, false, 0x18171615);
    exit_memory_delivery(vcpu, gpa(DEVICE_2 + 0x1f8), true); /* SS, the first of five */
    assert_int_equal(device.count, 4);
    memset(shown(1, DEVICE_2) + 0x1d8, 0xff, 40);
    executed(0x123);
    assert_int_equal(device.count, 5);
    for (unsigned i = 0; i < 5; i++)
        EXPECT_ACCESS(i, DEVICE_2 + 0x1d8 + 8 * i, 8, true, UINT64_MAX);
    exit_memory_delivery(vcpu, gpa(DEVICE + 6), true); /* at the page's beginning, and 16 bits */
    memset(shown(0, DEVICE) + 4, 0, 4);
    executed(0x123);
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 4, 4, true, 0);
    exit_memory_walk(vcpu, gpa(DEVICE + 0x7f8));
    assert_int_equal(device.count, 3);
    EXPECT_ACCESS(2, DEVICE + 0x7fc, 4, false, 0x00fffefd);
    shown(0, DEVICE)[0x7f8] |= 0x20; /* accessed: it was */
    executed(0);
    assert_int_equal(device.count, 0);
    vcpus[0].state.cr4 &= ~CR4_PAE;
    exit_memory_walk(vcpu, gpa(DEVICE + 0xffc));
    assert_int_equal(device.count, 1);
    EXPECT_ACCESS(0, DEVICE + 0xffc, 4, false, 0x00fffefd);
    assert_int_equal(vm.end, VM_RUNS);
}

/* The pages of one with many are given back. */
static void test_step_gives_memory_back(void **state)
{
    (void)state;
    assert_true(step_begin(vcpu, gpa(NOTHING)));
    end_step();
    const uint64_t used = page_alloc_used_by_hypervisor() / PAGE_SIZE;
    for (unsigned i = 0; i < STEP_PAGES; i++)
        assert_true(step_begin(vcpu, gpa(NOTHING + i * PAGE_SIZE)));
    assert_int_equal(page_alloc_used_by_hypervisor() / PAGE_SIZE, used + STEP_PAGES - 1);
    end_step();
    assert_int_equal(page_alloc_used_by_hypervisor() / PAGE_SIZE, used + STEP_KEPT - 1);
    step_destroy(vcpu);
    assert_int_equal(page_alloc_used_by_hypervisor(), 0);
}

/* Another vCPU has put an instruction there since, which is about another place, or is known. */
static void test_instruction_has_changed(void **state)
{
    (void)state;
    vm.vcpu_count = 2;
    pair(DEVICE, BUFFER);
    vcpu->regs.gpr[RSI] = BORDER;
    assert_int_equal(TAKE(ROL_4, WINDOW, DEVICE, true), EXIT_SAME);
    assert_false(vcpus[0].stepping);
    assert_int_equal(device.count, 0);
    vcpu->regs.gpr[RSI] = WINDOW;
    assert_int_equal(TAKE(ROL_4, WINDOW, DEVICE, true), EXIT_SAME);
    assert_true(vcpus[0].stepping);
    assert_int_equal(TAKE(MOV_STORE_8, WINDOW, DEVICE, true), EXIT_NEXT_DECODED);
    assert_false(vcpus[0].stepping);
    assert_int_equal(device.count, 1);
    assert_int_equal(vm.end, VM_RUNS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load_from_ram_into_device),
        TEST(test_load_from_the_first_byte),
        TEST(test_store_from_ram_into_device),
        TEST(test_more_than_moves),
        TEST(test_device_then_ram),
        TEST(test_two_devices),
        TEST(test_nothing_and_apic),
        TEST(test_read_only_then_device),
        TEST(test_second_page_not_present),
        TEST(test_of_several_vcpus),
        TEST(test_step_where_nothing_is),
        TEST(test_step_that_cannot_be),
        TEST(test_step_on_read_only_memory),
        TEST(test_step_on_a_device),
        TEST(test_step_of_many_pages),
        TEST(test_step_reads_once),
        TEST(test_step_writes),
        TEST(test_step_on_two_devices),
        TEST(test_step_of_a_call),
        TEST(test_step_of_masked_store),
        TEST(test_step_gathers),
        TEST(test_step_without_data),
        TEST(test_step_that_ends_early),
        TEST(test_step_of_enter),
        TEST(test_step_of_xsave),
        TEST(test_step_in_portions),
        TEST(test_step_of_xrstor),
        TEST(test_step_of_a_descriptor),
        TEST(test_step_of_operand_and_descriptor),
        TEST(test_step_of_the_cpu_itself),
        TEST(test_step_gives_memory_back),
        TEST(test_instruction_has_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
