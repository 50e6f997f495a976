/* SPDX-License-Identifier: BSD-2-Clause */
/* INS and OUTS, in bounded pieces through the guest's page tables. */
#include "arch/bytes.h"
#include "arch/cpu.h"
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/exits.h"

#define CHUNK_BYTES 512

/* One INS or OUTS. */
struct string_io {
    const struct string_access *a;
    struct emulate_env env;
    struct emulate_context *ctx;
    bool down;
    uint64_t start; /* host TSC */
};

static uint64_t mask_of(unsigned bytes)
{
    return UINT64_MAX >> (64 - 8 * bytes);
}

static void write_register(uint64_t *reg, uint64_t value, unsigned bytes)
{
    /* SDM, "Address Size": 32-bit results are zero-extended, 16-bit ones leave the rest alone. */
    *reg = bytes == 2 ? (*reg & ~0xffffull) | (value & 0xffff) : value & mask_of(bytes);
}

/* How many of the next elements lie in one page, in RAM and where the segment allows it; then
 * *operand is all of them. 1 where that is in doubt; 0: an exception has been raised. */
static unsigned find_piece(struct string_io *io, uint64_t offset, unsigned most,
                           struct emulate_operand *operand)
{
    gva_t linear;
    unsigned fault =
        emulate_linear(&io->env, io->a->segment, offset, io->a->bytes, io->a->in, &linear);
    if (fault != 0) {
        io->env.raise(io->ctx, fault);
        return 0;
    }
    uint64_t in_page = linear.v % PAGE_SIZE, last = mask_of(io->a->addr_bytes);
    uint64_t count = (io->down ? in_page + io->a->bytes : PAGE_SIZE - in_page) / io->a->bytes;
    uint64_t wrap = (io->down ? offset + io->a->bytes : last - offset + 1) / io->a->bytes;
    if (io->a->addr_bytes < 8 && wrap < count)
        count = wrap;
    if (count > most)
        count = most;
    if (in_page + io->a->bytes <= PAGE_SIZE && count > 1) {
        unsigned bytes = (unsigned)count * io->a->bytes;
        uint64_t low = io->down ? offset - (bytes - io->a->bytes) : offset;
        if (emulate_linear(&io->env, io->a->segment, low, bytes, io->a->in, &linear) == 0) {
            if (!linear_translate(io->ctx, linear, bytes, io->a->in, operand))
                return 0;
            if (guestmem_window(&io->ctx->vcpu->vm->mem, operand->at[0], bytes) != NULL)
                return (unsigned)count;
        }
        (void)emulate_linear(&io->env, io->a->segment, offset, io->a->bytes, io->a->in, &linear);
    }
    return linear_translate(io->ctx, linear, io->a->bytes, io->a->in, operand) ? 1 : 0;
}

/* All elements of one operand by the port's own way, if it has one; upwards only. */
static bool move_string(struct string_io *io, const struct emulate_operand *operand, unsigned count)
{
    const struct port_string *string = bus_port_string(&io->ctx->vcpu->vm->bus, io->a->port);
    uint8_t chunk[CHUNK_BYTES];
    if (string == NULL || io->down)
        return false;
    if (io->a->in) {
        string->read(string->dev, io->a->bytes, chunk, count);
        linear_write(io->ctx, operand, chunk);
    } else {
        linear_read(io->ctx, operand, chunk);
        string->write(string->dev, io->a->bytes, chunk, count);
    }
    return true;
}

/* An OUT may end the VM, or have the vCPU wait until the device takes more; and a guest cannot hold
 * the hypervisor with one instruction. */
static bool goes_on(const struct string_io *io)
{
    const struct vcpu *vcpu = io->ctx->vcpu;
    return !vm_has_ended(vcpu->vm) && vcpu->activity == ACTIVITY_ACTIVE &&
           cpu_rdtsc() - io->start <= WORK_TICKS;
}

/* Moves the elements of one operand, in their order. Returns how many: at least one, and fewer than
 * there are where that is the last for now. */
static unsigned move_piece(struct string_io *io, struct emulate_operand *operand, unsigned count)
{
    struct vm *vm = io->ctx->vcpu->vm;
    uint8_t chunk[CHUNK_BYTES];
    unsigned done = 0;
    if (!io->a->in)
        linear_read(io->ctx, operand, chunk);
    while (done < count && (done == 0 || goes_on(io))) {
        uint8_t *element = chunk + (io->down ? count - 1 - done : done) * io->a->bytes;
        if (io->a->in)
            put_le(element, io->a->bytes, bus_port_read(&vm->bus, io->a->port, io->a->bytes));
        else
            bus_port_write(&vm->bus, io->a->port, io->a->bytes,
                           (uint32_t)get_le(element, io->a->bytes));
        done++;
    }
    if (io->a->in) { /* of several, which lie in one page, those that have come */
        const unsigned skipped = io->down ? (count - done) * io->a->bytes : 0;
        operand->at[0].v += skipped;
        if (done < count)
            operand->first = operand->bytes = done * io->a->bytes;
        linear_write(io->ctx, operand, chunk + skipped);
    }
    return done;
}

static void __attribute__((noinline, cold))
note_breakpoints(struct emulate_context *ctx, uint16_t port, unsigned bytes)
{
    struct cpu_state state;
    ctx->vcpu->engine->get_state(ctx->vcpu, STATE_IP, &state);
    ctx->debug_hits |= breakpoint_match(ctx, BREAKPOINT_IO, port, bytes);
    ctx->rsp = state.rsp;
    ctx->changed = ctx->debug_hits != 0;
}

enum exit_action exit_string_io(struct emulate_context *ctx, const struct string_access *access)
{
    struct vcpu *vcpu = ctx->vcpu;
    const uint64_t rflags = ctx->paging.rflags;
    struct string_io io = {.a = access,
                           .env = linear_environment(ctx),
                           .ctx = ctx,
                           .down = (rflags & RFLAGS_DF) != 0,
                           .start = cpu_rdtsc()};
    const unsigned bytes = access->bytes, addr_bytes = access->addr_bytes;
    uint64_t *gpr = vcpu->regs.gpr, *index = &gpr[access->in ? RDI : RSI];
    uint64_t count = access->rep ? gpr[RCX] & mask_of(addr_bytes) : 1;
    const bool one = (rflags & RFLAGS_TF) != 0 || io.env.one_step; /* traps come in between */
    const unsigned most = one ? 1 : CHUNK_BYTES / bytes;
    if (count == 0) /* nothing is checked of an operand that is not there */
        return EXIT_NEXT;
    do {
        struct emulate_operand operand;
        unsigned n = find_piece(&io, *index & mask_of(addr_bytes),
                                count < most ? (unsigned)count : most, &operand);
        if (n == 0)
            return EXIT_SAME;
        if (breakpoints_on(ctx))
            note_breakpoints(ctx, access->port, bytes);
        vm_lock(vcpu->vm);
        if (!move_string(&io, &operand, n))
            n = move_piece(&io, &operand, n);
        vm_unlock(vcpu->vm);
        const uint64_t step = (uint64_t)n * bytes;
        write_register(index, io.down ? *index - step : *index + step, addr_bytes);
        count -= n;
        if (access->rep)
            write_register(&gpr[RCX], count, addr_bytes);
    } while (count > 0 && !one && goes_on(&io));
    return count > 0 ? EXIT_ITERATION : EXIT_NEXT;
}
