/* SPDX-License-Identifier: BSD-2-Clause */
/* The code that finds where an indirect jump leads to. It compares by adding the negated address:
 * JRCXZ sees a zero, and no flag has changed. */
#include "arch/bytes.h"
#include "guest/bt/translate.h"

#include <stddef.h>

enum { AX, CX, DX };

/* A displacement that is to be filled in, and of what. */
struct place {
    uint8_t at;
    enum { TABLE, SHARED } of;
    uint16_t offset;
};

#define SPILL(reg)  offsetof(struct bt_shared, spill[reg])
#define FIELD(name) offsetof(struct bt_shared, name)

static const uint8_t code_64[] = {
    0x0f, 0xb7, 0xc1,                   /*  0: MOVZX EAX, CX */
    0x48, 0x8d, 0x15, 0,    0,    0, 0, /*  3: LEA RDX, [table] */
    0x48, 0x8d, 0x04, 0x00,             /* 10: LEA RAX, [RAX+RAX] */
    0x48, 0x8d, 0x14, 0xc2,             /* 14: LEA RDX, [RDX+RAX*8] */
    0x48, 0x8b, 0x02,                   /* 18: MOV RAX, [RDX] */
    0x48, 0x8d, 0x0c, 0x01,             /* 21: LEA RCX, [RCX+RAX] */
    0xe3, 0x25,                         /* 25: JRCXZ to 64 */
    0x48, 0xf7, 0xd0,                   /* 27: NOT RAX */
    0x48, 0x8d, 0x4c, 0x01, 0x01,       /* 30: LEA RCX, [RCX+RAX+1]: the target again */
    0x48, 0x89, 0x0d, 0,    0,    0, 0, /* 35: MOV [target], RCX */
    0x48, 0x8b, 0x05, 0,    0,    0, 0, /* 42: RAX, RCX, RDX are the guest's */
    0x48, 0x8b, 0x0d, 0,    0,    0, 0, /* 49 */
    0x48, 0x8b, 0x15, 0,    0,    0, 0, /* 56 */
    0xf4,                               /* 63: HLT */
    0x48, 0x8b, 0x52, 0x08,             /* 64: MOV RDX, [RDX+8] */
    0x48, 0x89, 0x15, 0,    0,    0, 0, /* 68: MOV [jump], RDX */
    0x48, 0x8b, 0x05, 0,    0,    0, 0, /* 75 */
    0x48, 0x8b, 0x0d, 0,    0,    0, 0, /* 82 */
    0x48, 0x8b, 0x15, 0,    0,    0, 0, /* 89 */
    0xff, 0x25, 0,    0,    0,    0,    /* 96: JMP [jump] */
};
static const struct place places_64[] = {
    {6, TABLE, 0},           {38, SHARED, FIELD(target)},
    {45, SHARED, SPILL(AX)}, {52, SHARED, SPILL(CX)},
    {59, SHARED, SPILL(DX)}, {71, SHARED, FIELD(jump)},
    {78, SHARED, SPILL(AX)}, {85, SHARED, SPILL(CX)},
    {92, SHARED, SPILL(DX)}, {98, SHARED, FIELD(jump)},
};

/* The guest has no R8 to R11. */
static const uint8_t code_32[] = {
    0x45, 0x0f, 0xb7, 0xc8,          /*  0: MOVZX R9D, R8W */
    0x4c, 0x8d, 0x15, 0,    0, 0, 0, /*  4: LEA R10, [table] */
    0x4f, 0x8d, 0x0c, 0x09,          /* 11: LEA R9, [R9+R9] */
    0x4f, 0x8d, 0x14, 0xca,          /* 15: LEA R10, [R10+R9*8] */
    0x4d, 0x8b, 0x0a,                /* 19: MOV R9, [R10] */
    0x49, 0x89, 0xcb,                /* 22: MOV R11, RCX */
    0x43, 0x8d, 0x0c, 0x08,          /* 25: LEA ECX, [R8+R9] */
    0x67, 0xe3, 0x0e,                /* 29: JECXZ to 46 */
    0x4c, 0x89, 0xd9,                /* 32: MOV RCX, R11 */
    0x45, 0x89, 0xc0,                /* 35: MOV R8D, R8D */
    0x4c, 0x89, 0x05, 0,    0, 0, 0, /* 38: MOV [target], R8 */
    0xf4,                            /* 45: HLT */
    0x4c, 0x89, 0xd9,                /* 46: MOV RCX, R11 */
    0x41, 0xff, 0x62, 0x08,          /* 49: JMP [R10+8] */
};
static const struct place places_32[] = {{7, TABLE, 0}, {41, SHARED, FIELD(target)}};

_Static_assert(sizeof(code_64) <= TRANSLATE_LOOKUP_CODE, "as the header says");
_Static_assert(sizeof(struct bt_lookup) == 16 && offsetof(struct bt_lookup, code) == 8,
               "as the code has it");

unsigned translate_lookup(uint8_t *to, enum insn_mode mode, uint64_t at, uint64_t shared,
                          uint64_t table, unsigned *miss)
{
    const bool in_64 = mode == INSN_64;
    const uint8_t *code = in_64 ? code_64 : code_32;
    const struct place *places = in_64 ? places_64 : places_32;
    const unsigned bytes = in_64 ? sizeof(code_64) : sizeof(code_32);
    const unsigned count =
        in_64 ? sizeof(places_64) / sizeof(places_64[0]) : sizeof(places_32) / sizeof(places_32[0]);
    for (unsigned i = 0; i < bytes; i++)
        to[i] = code[i];
    for (unsigned i = 0; i < count; i++) {
        const uint64_t target = places[i].of == TABLE ? table : shared + places[i].offset;
        put_le(to + places[i].at, 4, (uint32_t)(target - (at + places[i].at + 4)));
    }
    *miss = in_64 ? 63 : 45;
    return bytes;
}
