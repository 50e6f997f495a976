/* SPDX-License-Identifier: BSD-2-Clause */
/* How late a timer's interrupt comes while one instruction asks for much work: a hypervisor that
 * does all of it at once keeps its CPU from everybody, and the interrupt tells. Reads and writes
 * strings at ports of all kinds, and has devices move much memory. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"
#include "guest/lib/trap.h"

#define VECTOR   0x61
#define SOON     1000u  /* ticks, in which the instruction has begun */
#define MOST     20000u /* and the interrupt may be so late */
#define COUNT    4096u  /* elements */
#define FAR      0xa00000ul
#define SHORT    0x10000u /* a CPU waits for what it has asked of a device, and others do not */
#define PATIENCE 100000000u
#define RULE     "a budget of time"

enum { FWCFG_READ = 2, FWCFG_SELECT = 8, FWCFG_DMA_LOW = 0x518 };

struct fwcfg_request {
    uint32_t control, length; /* all big-endian */
    uint64_t address;
};

static uint32_t area[COUNT] __attribute__((aligned(4096)));
static struct fwcfg_request requests[COUNT] __attribute__((aligned(16)));
static volatile uint64_t due, late;

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    late = rdtsc() - due;
    apic_eoi();
}

static void arm(void)
{
    late = 0;
    due = rdtsc() + SOON;
    wrmsr(MSR_TSC_DEADLINE, due);
    interrupts_on();
}

static void judge(const char *what)
{
    const uint64_t start = rdtsc();
    while (late == 0 && rdtsc() - start < PATIENCE)
        ;
    interrupts_off();
    test_check(late != 0 && late <= MOST, what, RULE);
    if (late > MOST)
        print("budget: %s: %lu ticks late\n", what, late);
}

static void outs(unsigned bytes, uint16_t port, const char *what)
{
    const void *from = area;
    uint64_t count = COUNT;
    arm();
    if (bytes == 1)
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    else if (bytes == 2)
        __asm__ volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    else
        __asm__ volatile("rep outsl" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    judge(what);
}

static void ins(uint16_t port, bool down, const char *what)
{
    uint8_t *to = (uint8_t *)area + (down ? COUNT - 1 : 0);
    uint64_t count = COUNT;
    arm();
    if (down)
        __asm__ volatile("std; rep insb; cld" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    else
        __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    judge(what);
}

static void fill(uint32_t value)
{
    for (unsigned i = 0; i < COUNT; i++)
        area[i] = value;
}

/* As many transfers of zeros (there is no such item) as there are requests, by one instruction. */
static void fwcfg_dma(uint32_t length, unsigned count, const char *what)
{
    for (unsigned i = 0; i < count; i++) {
        requests[i].control = __builtin_bswap32(0x4444u << 16 | FWCFG_SELECT | FWCFG_READ);
        requests[i].length = __builtin_bswap32(length);
        requests[i].address = __builtin_bswap64(FAR);
        area[i] = __builtin_bswap32((uint32_t)(uint64_t)&requests[i]);
    }
    *(volatile uint8_t *)(FAR + (uint64_t)length - 1) = 1;
    const void *from = area;
    uint64_t left = count;
    arm();
    __asm__ volatile("rep outsl"
                     : "+S"(from), "+c"(left)
                     : "d"((uint16_t)FWCFG_DMA_LOW)
                     : "memory");
    if (length <= SHORT)
        judge(what);
    interrupts_off();
    bool done = true;
    for (unsigned i = 0; i < count; i++)
        done = done && ((volatile struct fwcfg_request *)requests)[i].control == 0;
    test_check(done, "each transfer is done when its OUT is", what);
    test_equal(*(volatile uint8_t *)(FAR + (uint64_t)length - 1), 0, "to its last byte", what);
}

/* What a string of INs brings is all there, in its order, however it was cut. */
static void check_ins(bool down)
{
    bool good = true;
    fill(0x55555555);
    port_out16(0x510, 0);
    ins(0x511, down, down ? "REP INSB of fw_cfg, downwards" : "REP INSB of fw_cfg");
    const uint8_t *bytes = (const uint8_t *)area;
    for (unsigned i = 0; i < COUNT; i++)
        good = good && bytes[down ? COUNT - 1 - i : i] == (i < 4 ? (uint8_t) "QEMU"[i] : 0);
    test_check(good && bytes[COUNT] == 0x55, "all of it has come", "INS");
}

static void check_fwcfg(void)
{
    fwcfg_dma(0x10000, 1, "64 KiB by fw_cfg's DMA");
    fwcfg_dma(0x400000, 1, "4 MiB by fw_cfg's DMA");
    fwcfg_dma(0x4000, 64, "64 times 16 KiB by fw_cfg's DMA");
    check_ins(false);
    check_ins(true);
    fill(0x00200020);
    outs(2, 0x510, "REP OUTSW to fw_cfg's selector");
}

static void check_more_ports(void)
{
    fill(0);
    outs(1, 0x43, "REP OUTSB to the PIT");
    port_out32(0xcf8, 0x80000000);
    outs(4, 0xcfc, "REP OUTSD to a PCI function");
    fill(0xffffffff);
    outs(1, 0x21, "REP OUTSB to the 8259");
    fill(0x01000100);
    outs(1, 0x2004, "REP OUTSB to interrupt lines");
}

int main(void)
{
    test_begin("budget", "work in root mode takes little time at once");
    apic_enable(false);
    trap_set_handler(VECTOR, on_timer);
    apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
    fill(0x00ff00ff);
    outs(1, 0x80, "REP OUTSB to a port for nothing");
    ins(0x71, false, "REP INSB of the CMOS");
    ins(0x3da, true, "REP INSB of the VGA, downwards");
    if (test_only(TEST_VM)) {
        check_fwcfg();
        check_more_ports();
    }
    test_both();
    return test_end();
}
