// link: guest/bt/translate.c guest/bt/translate_64.c guest/bt/translate_32.c
// link: guest/bt/translate_32_stack.c guest/ring3/encode.c guest/bt/translate_system.c
// link: guest/bt/translate_lookup.c guest/cpu/system_decode.c guest/cpu/decode.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/alu.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes through the translator, of both modes: offsets are in order, and all fits. The code is
 * decoded by the software CPU's decoders, instruction by instruction: at CPL 3 none of it is more
 * than the guest may have but HLT, and it leaves the block by slots, the look-up and HLT alone. */
#include "guest/bt/translate.h"
#include "guest/cpu/operands.h"
#include "guest/cpu/system.h"

#include <stdlib.h>
#include <string.h>

struct input {
    uint64_t pc;
    uint8_t mode, max_insns, page_bytes, options;
};

#define AT     0x40000000ull
#define SHARED 0x41000000ull
#define SLOTS  0x42000000ull
#define LOOKUP 0x3f000000ull

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_start(const bool *starts, uint64_t offset)
{
    return offset < TRANSLATE_MAX_CODE && starts[offset];
}

/* What of system_decode()'s may be in the code: its own templates, and HLT. */
static bool is_allowed(unsigned op, const struct translate_input *in)
{
    return op == SYSTEM_HLT || op == SYSTEM_RDTSC ||
           (in->has_fsgsbase && in->mode == INSN_64 &&
            (op == SYSTEM_RDGSBASE || op == SYSTEM_WRGSBASE));
}

/* An operand relative to RIP is the block's own: bt_shared, or a slot to jump through. */
static void check_relative(const struct translation *t, const struct insn *insn, uint64_t next)
{
    const uint64_t to = next + (uint64_t)insn->disp;
    if (insn->op == INSN_JMP)
        require(to % 8 == 0 && to - SLOTS < 8 * t->slots);
    else
        require(to - SHARED <= sizeof(struct bt_shared));
}

/* Returns the instruction's bytes; what jumps within the block is noted in to. */
static unsigned check_insn(const struct translation *t, const struct translate_input *in,
                           unsigned at, uint64_t *to)
{
    struct insn insn;
    struct compute compute;
    const uint8_t *code = t->code + at;
    const unsigned count = t->code_bytes - at;
    *to = UINT64_MAX;
    enum insn_result result = insn_decode(&insn, code, count, INSN_64);
    if (result == INSN_UNKNOWN) {
        result = system_decode(&insn, code, count, INSN_64);
        if (result == INSN_OK)
            require(is_allowed(insn.op, in));
    }
    if (result == INSN_UNKNOWN) {
        struct insn_operands operands;
        require(compute_decode(&compute, code, count, INSN_64) == INSN_OK);
        if (insn_decode_operands(&operands, code, count, INSN_64) == INSN_OK)
            require(operands.insn.base != INSN_RIP);
        return compute.length;
    }
    require(result == INSN_OK && insn.op != INSN_INS && insn.op != INSN_OUTS);
    const uint64_t next = AT + at + insn.length;
    if (insn.base == INSN_RIP)
        check_relative(t, &insn, next);
    if (insn.op < INSN_JCC || insn.op >= INSN_OPS)
        return insn.length;
    require(insn.op != INSN_RET && insn.op != INSN_CALL);
    require(insn.form == INSN_IMM || insn.base == INSN_RIP);
    if (insn.form == INSN_IMM && next + insn.imm != LOOKUP)
        *to = next + insn.imm - AT;
    return insn.length;
}

static void check(const struct translation *t, const struct translate_input *in)
{
    static uint64_t jumps[TRANSLATE_MAX_CODE];
    bool starts[TRANSLATE_MAX_CODE] = {false};
    unsigned jump_count = 0, last = 0;
    require(t->insns >= 1 && t->insns <= in->max_insns && t->slots <= TRANSLATE_MAX_SLOTS);
    require(t->code_bytes >= 1 && t->code_bytes <= TRANSLATE_MAX_CODE);
    require(t->guest_bytes >= 1 && t->guest_bytes <= in->count);
    require(t->insns == 1 || t->guest_bytes <= in->page_bytes);
    for (unsigned at = 0; at < t->code_bytes;) {
        starts[at] = true;
        last = at;
        at += check_insn(t, in, at, &jumps[jump_count]);
        jump_count += jumps[jump_count] != UINT64_MAX;
        require(at <= t->code_bytes);
    }
    for (unsigned i = 0; i < jump_count; i++)
        require(is_start(starts, jumps[i]));
    require(t->insn[0].at == 0 && t->insn[0].guest == 0 && !t->insn[0].shadow);
    for (unsigned i = 0; i < t->insns; i++) {
        require(is_start(starts, t->insn[i].at) && t->insn[i].guest < t->guest_bytes);
        require(i == 0 ||
                (t->insn[i].at > t->insn[i - 1].at && t->insn[i].guest > t->insn[i - 1].guest));
    }
    for (unsigned i = 0; i < t->slots; i++)
        require(is_start(starts, t->slot[i].stub) && t->code[t->slot[i].stub] == 0xf4);
    require(t->code[last] == 0xf4 || t->code[last] == 0xe9); /* nothing falls out of it */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct translation t;
    struct input header;
    if (size < sizeof(header) + 1)
        return 0;
    memcpy(&header, data, sizeof(header));
    size -= sizeof(header);
    uint8_t *bytes = malloc(size); /* its end is seen to */
    memcpy(bytes, data + sizeof(header), size);
    struct translate_input in = {.pc = header.pc,
                                 .bytes = bytes,
                                 .count = (unsigned)size,
                                 .max_insns = 1 + header.max_insns % TRANSLATE_MAX_INSNS,
                                 .mode = header.mode & 1 ? INSN_32 : INSN_64,
                                 .has_fsgsbase = header.options & 1,
                                 .at = AT,
                                 .shared = SHARED,
                                 .slots = SLOTS,
                                 .lookup = LOOKUP};
    if (in.mode == INSN_32)
        in.pc = (uint32_t)in.pc;
    in.page_bytes = 1 + header.page_bytes % in.count;
    if (translate(&t, &in))
        check(&t, &in);
    free(bytes);
    return 0;
}
