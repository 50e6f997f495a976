/* SPDX-License-Identifier: BSD-2-Clause */
/* The same in real mode and in virtual-8086 mode, by real.asm and vm86.asm. */
#include "guest/lib/lib.h"
#include "guest/lib/test.h"
#include "segments.h"

#include <stddef.h>

/* What real.asm and vm86.asm leave, a record for each of their cases. */
struct record {
    uint32_t vector, eax, ecx, esi, edi;
};
extern struct record real_records[], vm86_records[];
extern uint16_t real_segment;
void real_trip(void);
void vm86_trip(void);

static const struct trip_case {
    const char *what, *rule;
    struct record after;
} real_cases[] = {
    {"real mode, MOV AX, [ESI]", SIZE, {0, 0x1234ffff, 4, HOLE, 0}},
    {"real mode, MOV EAX, [FS:moffs32]", SIZE, {0, 0xffffffff, 4, HOLE, 0}},
    {"real mode, PUSH word [ESI]", "SDM: PUSH", {0, 0x1234ffff, 4, HOLE, 0}},
    {"real mode, MOVSB to a segment", "SDM: Real-Address Mode", {0, 0x12345678, 4, HOLE + 1, 0x11}},
    {"real mode, MOVSW over 64 KiB", LIMIT, {13, 0x12345678, 4, HOLE, 0xffff}},
    {"real mode, REP MOVSB into the limit", REP, {13, 0x12345678, 2, HOLE + 2, 0x10000}},
    {"real mode, REP INSB wraps", SIZE, {0, 0x12345678, 0, HOLE + 2, 0x70002}},
    {"real mode, INSW over 64 KiB", LIMIT, {13, 0x12345678, 4, HOLE + 2, 0xffff}},
    {"real mode, REP INSB with 67 into the limit", REP, {13, 0x12345678, 2, HOLE + 2, 0x10000}},
    {"real mode, OUTSW ES over 64 KiB", LIMIT, {13, 0x12345678, 4, 0xffff, 0x10000}},
    {"real mode, REP OUTSB ES wraps", SIZE, {0, 0x12345678, 0, 0x70002, 0x10000}},
    {"real mode, REP MOVSB SS into the limit", "SDM: #SS", {12, 0x12345678, 2, 0x10000, HOLE + 2}},
    {"real mode, REP MOVSD from nowhere to nowhere",
     REP,
     {0, 0x12345678, 0, HOLE + 16, HOLE + 0x110}},
};

static const struct trip_case vm86_cases[] = {
    {"VM86, MOV AX, [SI]", SIZE, {0, 0x1234ffff, 4, 0, 0x10}},
    {"VM86, PUSH word [SI]", "SDM: PUSH", {0, 0x1234ffff, 4, 0, 0x10}},
    {"VM86, MOVSB", "SDM: MOVS", {0, 0x12345678, 4, 1, 0x11}},
    {"VM86, MOVSW over 64 KiB", LIMIT, {13, 0x12345678, 4, 1, 0xffff}},
    {"VM86, REP MOVSB wraps", SIZE, {0, 0x12345678, 0, 5, 0x70002}},
    {"VM86, REP MOVSB with 67 into the limit", REP, {13, 0x12345678, 2, 7, 0x10000}},
    {"VM86, REP INSB wraps", SIZE, {0, 0x12345678, 0, 7, 0x70002}},
    {"VM86, INSW over 64 KiB", LIMIT, {13, 0x12345678, 4, 7, 0xffff}},
    {"VM86, REP OUTSB ES with 67 into the limit", REP, {13, 0x12345678, 2, 0x10000, 0xffff}},
    {"VM86, REP MOVSB SS into the limit", "SDM: #SS", {12, 0x12345678, 2, 0x10000, 2}},
    {"VM86, LODSB behind the limit", LIMIT, {13, 0x12345678, 4, 0x10000, 2}},
};

static void check_records(const struct record *records, const struct trip_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &records[i];
        if (!test_check(memcmp(r, &cases[i].after, sizeof(*r)) == 0, cases[i].what, cases[i].rule))
            print("  vector %u eax %x ecx %x esi %x edi %x\n", r->vector, r->eax, r->ecx, r->esi,
                  r->edi);
    }
}

void check_modes(void)
{
    real_segment = (uint16_t)((uintptr_t)ram >> 4);
    real_trip();
    check_records(real_records, real_cases, sizeof(real_cases) / sizeof(real_cases[0]));
    vm86_trip();
    check_records(vm86_records, vm86_cases, sizeof(vm86_cases) / sizeof(vm86_cases[0]));
}
