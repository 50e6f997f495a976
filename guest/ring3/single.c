/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One instruction at CPL 3. Behind it stands the way out: RCX and R11, which SYSCALL is about to
 * take, are stored, and no flag has changed. Nothing else is there to be executed, and interrupts
 * are off, so it comes back at once, whatever it does.
 */
#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/ring3/window.h"

/* What an instruction that computes may change. */
#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

enum { RCX = 1, R11 = 11, LINE = 64 };

/* The instruction and the way out, at the address where it is executed. */
static void put_code(uint8_t *to, uint64_t at, const struct ring3_code *code, uint64_t spill)
{
    static const uint8_t store_rcx[] = {0x48, 0x89, 0x0d}, store_r11[] = {0x4c, 0x89, 0x1d};
    static const uint8_t syscall[] = {0x0f, 0x05};
    unsigned n = code->length;
    memcpy(to, code->bytes, n);
    memcpy(to + n, store_rcx, 3);
    put_le(to + n + 3, 4, (uint32_t)(spill - (at + n + 7)));
    n += 7;
    memcpy(to + n, store_r11, 3);
    put_le(to + n + 3, 4, (uint32_t)(spill + 8 - (at + n + 7)));
    n += 7;
    memcpy(to + n, syscall, 2);
}
_Static_assert(INSN_MAX_BYTES + 7 + 7 + 2 <= RING3_SLOT_BYTES, "both fit into a slot");

static uint64_t slot_at(const struct ring3_window *window, unsigned slot)
{
    return window->code_at + slot * RING3_SLOT_BYTES;
}

bool ring3_place(struct ring3_window *window, const uint8_t *bytes, unsigned length,
                 enum insn_mode mode, unsigned at, unsigned *slot)
{
    struct ring3_key key = {{0, 0}};
    struct ring3_code code;
    uint8_t *raw = (uint8_t *)key.half;
    for (unsigned i = 0; i < length; i++)
        raw[i] = bytes[i];
    raw[INSN_MAX_BYTES] = (uint8_t)(at < LINE ? 1 + mode + 4 * at : 4 * (at / LINE));
    *slot = 1 + ring3_hash(key.half) % (RING3_SLOTS - 1); /* x87.c knows no address that is 0 */
    struct ring3_key *held = &window->own->key[*slot];
    if (held->half[0] == key.half[0] && held->half[1] == key.half[1])
        return true;
    if (!ring3_encode(&code, bytes, length, mode, slot_at(window, *slot), window->data_at + at))
        return false;
    put_code(window->code + *slot * RING3_SLOT_BYTES, slot_at(window, *slot), &code,
             window->data_at + RING3_SPILL);
    *held = key;
    return true;
}

unsigned ring3_single(struct ring3_window *window, unsigned slot, uint64_t gpr[16],
                      uint64_t *rflags)
{
    struct ring3_frame *frame = &window->frame;
    const uint8_t *spill = window->data + RING3_SPILL;
    unsigned vector;
    for (unsigned i = 0; i < 16; i++)
        frame->gpr[i] = gpr[i];
    frame->rip = slot_at(window, slot);
    frame->cs = DESC_USER_CODE64;
    frame->ss = DESC_USER_DATA;
    frame->rflags = ring3_flags(*rflags & STATUS_FLAGS) & ~RFLAGS_IF;
    do { /* a guest's breakpoint on the window is none */
        vector = ring3_enter(frame);
        frame->rflags |= RFLAGS_RF;
    } while (vector == VECTOR_DEBUG);
    if (vector != RING3_SYSCALL)
        return vector;
    frame->gpr[RCX] = get_le64(spill);
    frame->gpr[R11] = get_le64(spill + 8);
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = frame->gpr[i];
    *rflags = (*rflags & ~STATUS_FLAGS) | (frame->rflags & STATUS_FLAGS);
    return RING3_SYSCALL;
}

unsigned ring3_helper(struct ring3_window *window, const uint8_t *bytes, unsigned length,
                      unsigned at)
{
    uint64_t gpr[16] = {0}, flags = 0;
    unsigned slot;
    return ring3_place(window, bytes, length, INSN_64, at, &slot)
               ? ring3_single(window, slot, gpr, &flags)
               : VECTOR_INVALID_OPCODE;
}
_Static_assert(RING3_SCRATCH / 64 < 64, "ring3_place() has a byte for it");
