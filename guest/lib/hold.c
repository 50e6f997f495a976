/* SPDX-License-Identifier: BSD-2-Clause */
/* Patterns for all registers, and what comes back of them. */
#include "guest/lib/hold.h"

#include "guest/lib/lib.h"

enum { X87 = 1, SSE = 2, AVX = 4, AVX512 = 0xe0 };
enum { AT_FCW = 0, AT_FSW = 2, AT_TAGS = 4, AT_POINTERS = 6, AT_MXCSR = 24, AT_MASK = 28 };
enum { AT_ST = 32, AT_XMM = 160, AT_REST = 416, AT_HEADER = 512, HEADER_BYTES = 64 };
enum { RAX = 0, RCX = 1, RDI = 7, R11 = 11 };

/* hold.asm */
extern struct hold_state hold_want, hold_got;
extern uint64_t hold_components;
void hold_save(void);
void hold_run(uint64_t rounds, uint64_t yields);

static uint32_t offset[HOLD_COMPONENTS], size[HOLD_COMPONENTS];

unsigned pattern_count(uint64_t pattern, const void *from, uint64_t words)
{
    const uint64_t *word = from;
    unsigned count = 0;
    for (uint64_t i = 0; i < words; i++)
        count += word[i] >> 16 == pattern;
    return count;
}

void pattern_fill(uint64_t pattern, void *to, uint64_t words)
{
    uint64_t *word = to;
    for (uint64_t i = 0; i < words; i++)
        word[i] = pattern_word(pattern, (unsigned)i);
}

void hold_begin(struct cpuid (*ask)(uint32_t leaf, uint32_t subleaf))
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE);
    hold_components = ask(0xd, 0).eax & (X87 | SSE | AVX | AVX512);
    __asm__ volatile("xsetbv" : : "a"((uint32_t)hold_components), "d"(0), "c"(0));
    for (unsigned i = 2; i < HOLD_COMPONENTS; i++)
        if ((hold_components >> i & 1) != 0) {
            const struct cpuid c = ask(0xd, i);
            offset[i] = c.ebx;
            size[i] = c.eax;
        }
}

const uint8_t *hold_look(void)
{
    memset(hold_got.extended, 0xff, HOLD_AREA);
    /* QEMU's emulation leaves out what is reserved behind each of x87's ten bytes. */
    memset(&hold_got.extended[AT_ST], 0, AT_XMM - AT_ST);
    memset(&hold_got.extended[AT_HEADER], 0, HEADER_BYTES);
    hold_save();
    return hold_got.extended;
}

const uint8_t *hold_component(unsigned number, uint32_t *words)
{
    *words = size[number] / 8;
    return size[number] != 0 ? &hold_got.extended[offset[number]] : NULL;
}

static void make(uint64_t pattern)
{
    const uint16_t fcw = pattern == PATTERN_POISON ? 0x0f7f : 0x0b7f, fsw = 0x1800;
    const uint32_t mxcsr = pattern == PATTERN_POISON ? 0x9f80 : 0x3f80;
    uint8_t *area = hold_want.extended;
    memset(area, 0, HOLD_AREA);
    pattern_fill(pattern, hold_want.gpr, 16);
    pattern_fill(pattern, &area[8], 2); /* the pointers to x87's last instruction and operand */
    memcpy(&area[AT_FCW], &fcw, 2);
    memcpy(&area[AT_FSW], &fsw, 2);
    area[AT_TAGS] = 0xff;
    memcpy(&area[AT_MXCSR], &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
        pattern_fill(pattern, &area[AT_ST + 16 * i], 1);
        area[AT_ST + 16 * i + 8] = (uint8_t)(pattern + i);
    }
    pattern_fill(pattern, &area[AT_XMM], (AT_REST - AT_XMM) / 8);
    memcpy(&area[AT_HEADER], &hold_components, 8);
    for (unsigned i = 2; i < HOLD_COMPONENTS; i++)
        pattern_fill(pattern, &area[offset[i]], size[i] / 8);
}

static unsigned differences(unsigned from, unsigned to)
{
    unsigned count = 0;
    for (unsigned i = from; i < to; i++)
        count += hold_want.extended[i] != hold_got.extended[i];
    return count;
}

/* What a call changes is not looked at; and a CPU need not keep x87's pointers, so only whether
 * they are another's. */
unsigned hold(uint64_t pattern, uint64_t rounds, bool yields)
{
    const uint64_t other = pattern == PATTERN_POISON ? PATTERN_OWN : PATTERN_POISON;
    unsigned bad = 0;
    make(pattern);
    memset(&hold_got, 0, sizeof(hold_got));
    hold_run(rounds, yields);
    for (unsigned i = 0; i < 16; i++)
        bad += hold_got.gpr[i] != hold_want.gpr[i] &&
               !(yields && (i == RAX || i == RCX || i == RDI || i == R11));
    bad += differences(AT_FCW, AT_POINTERS) + differences(AT_MXCSR, AT_MASK) +
           differences(AT_ST, AT_REST);
    for (unsigned i = 2; i < HOLD_COMPONENTS; i++)
        bad += differences(offset[i], offset[i] + size[i]);
    return bad + pattern_count(other, &hold_got, sizeof(hold_got) / 8);
}
