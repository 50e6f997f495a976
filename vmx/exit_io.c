/* SPDX-License-Identifier: BSD-2-Clause */
/* Port accesses: IN and OUT at once, INS and OUTS in bounded pieces through the guest's page
 * tables. */
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/linear.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vmx.h"

/* Exit qualification for I/O instructions. */
#define IO_IN     (1u << 3)
#define IO_STRING (1u << 4)
#define IO_REP    (1u << 5)

#define RFLAGS_DF (1ull << 10)

#define BASIC_INSN_INFO (1ull << 54) /* IA32_VMX_BASIC: the exit tells of INS and OUTS */

#define MAX_REPEATS 512 /* per exit: a guest cannot hold the hypervisor with one instruction */
#define CHUNK_BYTES 512

/* One INS or OUTS. */
struct string_io {
    struct emulate_env env;
    struct linear linear;
    uint16_t port;
    uint8_t bytes; /* of an element */
    bool in, down;
    uint8_t segment, addr_bytes;
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

/* Segment and address size. False: the instruction is another by now, or cannot be fetched; the
 * CPU shall look for itself. */
static bool find_operands(struct string_io *io, uint32_t qualification)
{
    if ((vmx_caps()->basic & BASIC_INSN_INFO) != 0) {
        /* SDM, "VM-Exit Instruction-Information Field as Used for INS and OUTS". */
        uint32_t info = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_INFO);
        io->addr_bytes = (uint8_t)(2u << (info >> 7 & 3));
        io->segment = io->in ? SEG_ES : info >> 15 & 7;
        return io->addr_bytes <= 8 && io->segment <= SEG_GS;
    }
    uint8_t code[INSN_MAX_BYTES];
    uint32_t fault;
    gva_t fault_at;
    struct insn insn;
    unsigned count = linear_fetch(&io->linear, io->env.mode, code, &fault, &fault_at);
    if (insn_decode(&insn, code, count, io->env.mode) != INSN_OK ||
        insn.op != (io->in ? INSN_INS : INSN_OUTS) || insn.mem_bytes != io->bytes ||
        (insn.rep != 0) != ((qualification & IO_REP) != 0))
        return false;
    io->addr_bytes = insn.addr_bytes;
    io->segment = insn.segment;
    return true;
}

/* How many of the next elements lie in one page, in RAM and where the segment allows it; then
 * *place is all of them. 1 where that is in doubt; 0: an exception has been raised. */
static unsigned find_piece(struct string_io *io, uint64_t offset, unsigned most,
                           struct emulate_place *place)
{
    uint64_t linear;
    unsigned fault = emulate_linear(&io->env, io->segment, offset, io->bytes, io->in, &linear);
    if (fault != 0) {
        io->env.raise(&io->linear, fault);
        return 0;
    }
    uint64_t in_page = linear % PAGE_SIZE, last = mask_of(io->addr_bytes);
    uint64_t count = (io->down ? in_page + io->bytes : PAGE_SIZE - in_page) / io->bytes;
    uint64_t wrap = (io->down ? offset + io->bytes : last - offset + 1) / io->bytes;
    if (io->addr_bytes < 8 && wrap < count)
        count = wrap;
    if (count > most)
        count = most;
    if (in_page + io->bytes <= PAGE_SIZE && count > 1) {
        unsigned bytes = (unsigned)count * io->bytes;
        uint64_t low = io->down ? offset - (bytes - io->bytes) : offset;
        if (emulate_linear(&io->env, io->segment, low, bytes, io->in, &linear) == 0) {
            if (!linear_translate(&io->linear, linear, bytes, io->in, place))
                return 0;
            if (guestmem_window(&io->linear.vcpu->vm->mem, place->at[0], bytes) != NULL)
                return (unsigned)count;
        }
        (void)emulate_linear(&io->env, io->segment, offset, io->bytes, io->in, &linear);
    }
    return linear_translate(&io->linear, linear, io->bytes, io->in, place) ? 1 : 0;
}

/* All elements of one place by the port's own way, if it has one; upwards only. */
static bool move_string(struct string_io *io, const struct emulate_place *place, unsigned count)
{
    const struct port_string *string = bus_port_string(&io->linear.vcpu->vm->bus, io->port);
    uint8_t chunk[CHUNK_BYTES];
    if (string == NULL || io->down)
        return false;
    if (io->in) {
        string->read(string->dev, io->bytes, chunk, count);
        linear_write(&io->linear, place, chunk);
    } else {
        linear_read(&io->linear, place, chunk);
        string->write(string->dev, io->bytes, chunk, count);
    }
    return true;
}

/* An element of 1, 2 or 4 bytes: for so few a call of memcpy() would be the largest part. */
static inline uint32_t load_element(const uint8_t *at, unsigned bytes)
{
    uint32_t low = bytes == 1 ? at[0] : at[0] | (uint32_t)at[1] << 8;
    return bytes < 4 ? low : low | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void store_element(uint8_t *at, uint32_t value, unsigned bytes)
{
    at[0] = (uint8_t)value;
    if (bytes > 1)
        at[1] = (uint8_t)(value >> 8);
    if (bytes == 4) {
        at[2] = (uint8_t)(value >> 16);
        at[3] = (uint8_t)(value >> 24);
    }
}

/* An OUT may end the VM, or have the vCPU wait until the device takes more. */
static bool goes_on(const struct vcpu *vcpu)
{
    return !vm_has_ended(vcpu->vm) && vcpu->activity == VCPU_RUNS;
}

/* Moves the elements of one place, in their order. Returns how many: fewer where an OUT is the last
 * for now. */
static unsigned move_piece(struct string_io *io, const struct emulate_place *place, unsigned count)
{
    struct vm *vm = io->linear.vcpu->vm;
    uint8_t chunk[CHUNK_BYTES];
    unsigned done = 0;
    if (!io->in)
        linear_read(&io->linear, place, chunk);
    while (done < count && (io->in || goes_on(io->linear.vcpu))) {
        uint8_t *element = chunk + (io->down ? count - 1 - done : done) * io->bytes;
        if (io->in)
            store_element(element, bus_port_read(&vm->bus, io->port, io->bytes), io->bytes);
        else
            bus_port_write(&vm->bus, io->port, io->bytes, load_element(element, io->bytes));
        done++;
    }
    if (io->in)
        linear_write(&io->linear, place, chunk);
    return done;
}

static void __attribute__((noinline, cold)) note_port(uint32_t qualification)
{
    breakpoint_note(BREAKPOINT_IO, qualification >> 16, (qualification & 7) + 1);
}

static enum exit_action string_io(struct vcpu *vcpu, uint32_t qualification)
{
    struct string_io io = {
        .port = (uint16_t)(qualification >> 16),
        .bytes = (uint8_t)((qualification & 7) + 1),
        .in = (qualification & IO_IN) != 0,
    };
    linear_begin(&io.linear, vcpu);
    io.env = linear_environment(&io.linear, linear_code_mode(&io.linear));
    uint64_t rflags = io.linear.paging.rflags;
    io.down = (rflags & RFLAGS_DF) != 0;
    if (!find_operands(&io, qualification))
        return EXIT_SAME;

    uint64_t *gpr = vcpu->regs.gpr, *index = &gpr[io.in ? RDI : RSI];
    bool rep = (qualification & IO_REP) != 0;
    uint64_t count = rep ? gpr[RCX] & mask_of(io.addr_bytes) : 1;
    /* Traps come between iterations. */
    unsigned left = (rflags & RFLAGS_TF) != 0 || io.env.one_step ? 1 : MAX_REPEATS;
    while (left > 0 && count > 0 && goes_on(vcpu)) {
        struct emulate_place place;
        unsigned most = left < CHUNK_BYTES / io.bytes ? left : CHUNK_BYTES / io.bytes;
        unsigned n = find_piece(&io, *index & mask_of(io.addr_bytes),
                                count < most ? (unsigned)count : most, &place);
        if (n == 0)
            return EXIT_SAME;
        if (breakpoints_on())
            note_port(qualification);
        vm_lock(vcpu->vm);
        if (!move_string(&io, &place, n))
            n = move_piece(&io, &place, n);
        vm_unlock(vcpu->vm);
        uint64_t step = (uint64_t)n * io.bytes;
        write_register(index, io.down ? *index - step : *index + step, io.addr_bytes);
        count -= n;
        left -= n;
        if (rep)
            write_register(&gpr[RCX], count, io.addr_bytes);
    }
    if (count > 0)
        exit_iteration_done();
    return count == 0 ? EXIT_NEXT : EXIT_SAME;
}

enum exit_action exit_io(struct vcpu *vcpu)
{
    uint32_t qualification = (uint32_t)vmread(VMCS_EXIT_QUALIFICATION);
    if ((qualification & IO_STRING) != 0)
        return string_io(vcpu, qualification);
    if (breakpoints_on())
        note_port(qualification);

    unsigned bytes = (qualification & 7) + 1;
    uint16_t port = (uint16_t)(qualification >> 16);
    uint64_t *rax = &vcpu->regs.gpr[RAX];
    if ((qualification & IO_IN) == 0) {
        access_port_write(vcpu, port, bytes, (uint32_t)*rax & UINT32_MAX >> (32 - 8 * bytes));
        return EXIT_NEXT;
    }
    uint32_t value = access_port_read(vcpu, port, bytes);
    if (bytes == 4)
        *rax = value;
    else if (bytes == 2)
        *rax = (*rax & ~0xffffull) | (value & 0xffff);
    else
        *rax = (*rax & ~0xffull) | (value & 0xff);
    return EXIT_NEXT;
}
