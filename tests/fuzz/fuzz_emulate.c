// link: guest/cpu/alu.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/decode.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as an instruction on device memory, in any mode, with any registers and segments: what
 * faults has changed nothing, and what does not has touched only what was translated. */
#include "arch/x86.h"
#include "guest/cpu/operands.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY 4096u /* linear memory repeats every so many bytes */

/* The input: this, then the instruction. */
struct input {
    uint8_t mode, cpl, faults, flags;
    uint32_t rflags, cr;
    uint64_t gpr[16];
    struct {
        uint32_t base, limit, access;
    } segment[6];
};

static struct world {
    const struct input *in;
    uint8_t memory[MEMORY];
    uint64_t vectors[16][4];
    unsigned translations, writes, raised;
} world;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool translate(void *ctx, gva_t linear, unsigned bytes, bool write,
                      struct emulate_operand *out)
{
    struct world *w = ctx;
    (void)write;
    require(bytes >= 1 && bytes <= 32);
    if (w->in->mode % 3 != INSN_64)
        require(linear.v <= UINT32_MAX);
    w->raised = 0;
    if (w->in->faults >> w->translations++ % 8 & 1) {
        w->raised = VECTOR_PAGE_FAULT;
        return false;
    }
    unsigned room = MEMORY - linear.v % MEMORY;
    *out = (struct emulate_operand){
        .at = {gpa(linear.v), gpa(linear.v + room)},
        .first = bytes < room ? bytes : room,
        .bytes = bytes,
    };
    return true;
}

static void read_place(void *ctx, const struct emulate_operand *operand, void *to)
{
    struct world *w = ctx;
    for (unsigned i = 0; i < operand->bytes; i++)
        ((uint8_t *)to)[i] = w->memory[(operand->at[0].v + i) % MEMORY];
}

static void write_place(void *ctx, const struct emulate_operand *operand, const void *from)
{
    struct world *w = ctx;
    w->writes++;
    for (unsigned i = 0; i < operand->bytes; i++)
        w->memory[(operand->at[0].v + i) % MEMORY] = ((const uint8_t *)from)[i];
}

static void segment(void *ctx, enum insn_segment which, struct emulate_segment *out)
{
    struct world *w = ctx;
    require((unsigned)which < 6);
    *out = (struct emulate_segment){w->in->segment[which].base, w->in->segment[which].limit,
                                    w->in->segment[which].access};
}

static void raise(void *ctx, unsigned vector)
{
    require(vector < 32);
    ((struct world *)ctx)->raised = vector;
}

static void vector_read(void *ctx, const struct insn *insn, unsigned reg, uint64_t value[4])
{
    require(reg < 16 && (insn->reg_bytes > 8 || reg < 8));
    memcpy(value, ((struct world *)ctx)->vectors[reg], 32);
}

static void zmm_read(void *ctx, unsigned reg, uint64_t value[8])
{
    require(reg < 32);
    for (unsigned i = 0; i < 2; i++)
        memcpy(value + 4 * i, ((struct world *)ctx)->vectors[(reg + i) % 16], 32);
}

static void vector_write(void *ctx, const struct insn *insn, const uint64_t value[4])
{
    require(insn->reg < 16 && (insn->reg_bytes > 8 || insn->reg < 8));
    memcpy(((struct world *)ctx)->vectors[insn->reg], value, 32);
}

static bool x87_pending(void *ctx)
{
    return (((struct world *)ctx)->in->flags & 1) != 0;
}

static uint64_t mask_read(void *ctx, unsigned reg, unsigned element)
{
    require(reg >= 1 && reg < 8 && (element & (element - 1)) == 0 && element <= 8);
    require((((struct world *)ctx)->in->flags >> 1 & XCR0_AVX512) != 0);
    return ((struct world *)ctx)->vectors[reg][0];
}

static struct emulate_env environment(const struct input *in, enum insn_mode mode, uint64_t gpr[16],
                                      uint64_t *rflags)
{
    memcpy(gpr, in->gpr, sizeof(in->gpr));
    *rflags = in->rflags;
    return (struct emulate_env){
        .gpr = gpr,
        .rflags = rflags,
        .rip = 0x1000,
        .cr0 = in->cr,
        .cr4 = in->cr >> 1,
        .xcr0 = in->flags >> 1,
        .mode = mode,
        .cpl = in->cpl & 3,
        .ctx = &world,
        .translate = translate,
        .read = read_place,
        .write = write_place,
        .segment = segment,
        .raise = raise,
        .vector_read = vector_read,
        .zmm_read = zmm_read,
        .vector_write = vector_write,
        .x87_pending = x87_pending,
    };
}

/* Which memory it touches: never more than an image of FXSAVE, and all of it within the address
 * space of the mode. */
static void find_operands(const uint8_t *code, unsigned count, const struct input *in,
                          enum insn_mode mode)
{
    struct insn_operands operands;
    struct insn_range range[INSN_MAX_RANGES];
    uint64_t gpr[16], rflags;
    const struct emulate_env env = environment(in, mode, gpr, &rflags);
    world = (struct world){.in = in};
    memset(world.vectors, in->flags, sizeof(world.vectors));
    if (insn_decode_operands(&operands, code, count, mode) != INSN_OK)
        return;
    require(operands.insn.length >= 1 && operands.insn.length <= count);
    require(operands.insn.length <= INSN_MAX_BYTES && operands.bytes <= 512);
    const unsigned ranges = insn_find_ranges(&operands, &env, mask_read, range);
    require(ranges <= INSN_MAX_RANGES);
    require(operands.elements != 0 || ranges <= (operands.stack == STACK_ENTER ? 3 : 2));
    for (unsigned i = 0; i < ranges; i++) {
        require(range[i].bytes >= 1 && range[i].bytes <= 512);
        require(mode == INSN_64 || range[i].linear.v <= UINT32_MAX);
        require(range[i].element == 0 || range[i].bytes / range[i].element <= 64);
    }
}

/* access: one that guests make to devices, of which memory too is as it was where it faults. Of
 * the others, ENTER has written up to 33 parts by then. */
static void emulate(const struct insn *insn, const struct input *in, enum insn_mode mode,
                    bool access)
{
    uint64_t gpr[16], rflags, target;
    struct emulate_env env = environment(in, mode, gpr, &rflags);
    env.target = &target;
    static struct world before;
    world = (struct world){.in = in};
    for (unsigned i = 0; i < MEMORY; i++)
        world.memory[i] = (uint8_t)(i * 7);
    before = world;
    enum emulate_result result = insn_emulate(insn, &env);
    require(result != EMULATE_REPEAT || (insn->form == INSN_STRING && insn->rep));
    require(result == EMULATE_FAULT || world.writes <= EMULATE_MAX_REPEATS);
    if (insn->form == INSN_STRING)
        return;
    if (result == EMULATE_FAULT)
        require(memcmp(gpr, in->gpr, sizeof(gpr)) == 0 && rflags == in->rflags &&
                memcmp(before.vectors, world.vectors, sizeof(before.vectors)) == 0);
    require(world.translations <= 67 && world.writes <= 33);
    if (!access)
        return;
    require((result == EMULATE_FAULT) == (world.raised != 0));
    require(world.translations <= 2 && world.writes <= 1);
    if (result == EMULATE_FAULT)
        require(memcmp(before.memory, world.memory, MEMORY) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in;
    struct insn insn;
    if (size <= sizeof(in) || size > sizeof(in) + 32)
        return 0;
    memcpy(&in, data, sizeof(in));
    unsigned count = (unsigned)(size - sizeof(in));
    uint8_t *code = malloc(count); /* of its exact size, so that ASan sees a byte too far */
    require(code != NULL);
    memcpy(code, data + sizeof(in), count);
    enum insn_mode mode = (enum insn_mode)(in.mode % 3);
    find_operands(code, count, &in, mode);
    if (insn_decode(&insn, code, count, mode) == INSN_OK) {
        require(insn.length >= 1 && insn.length <= INSN_MAX_BYTES && insn.length <= count);
        require(insn.op < INSN_OPS && insn.segment <= SEG_GS && insn.scale <= 3);
        emulate(&insn, &in, mode, insn_decode_access(&insn, code, count, mode) == INSN_OK);
    }
    free(code);
    return 0;
}
