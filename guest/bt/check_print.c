/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints a block whose translation has done something else than the guest's code: check.h. */
#include "arch/log.h"
#include "guest/bt/bt.h"
#include "guest/bt/check.h"
#include "guest/bt/code.h"

#define ROW 48u /* bytes in a line */

struct hex {
    char text[3 * ROW + 1];
};

static void make_hex(struct hex *to, const uint8_t *bytes, unsigned count)
{
    static const char digits[] = "0123456789abcdef";
    unsigned at = 0;
    for (unsigned i = 0; i < count && i < ROW; i++) {
        to->text[at++] = ' ';
        to->text[at++] = digits[bytes[i] >> 4];
        to->text[at++] = digits[bytes[i] & 15];
    }
    to->text[at] = '\0';
}

/* The guest's bytes of an instruction, as they are now. */
static void print_guest(struct bt_vcpu *v, unsigned number, uint64_t at, unsigned bytes)
{
    const struct guest_paging paging = bt_paging(v, false);
    uint8_t byte[INSN_MAX_BYTES] = {0};
    struct hex hex;
    uint32_t error;
    gva_t fault;
    if (bytes > sizeof(byte))
        bytes = sizeof(byte);
    const size_t read =
        guestwalk_read(&v->vcpu.vm->mem, &paging, gva(at), WALK_FETCH, byte, bytes, &error, &fault);
    make_hex(&hex, byte, (unsigned)read);
    log_line_of(v->vcpu.vm->log, "  %2u 0x%llx:%s", number, (unsigned long long)at, hex.text);
}

static void print_block(struct bt_vcpu *v, const struct bt_block *block)
{
    const struct bt_cache *cache = &v->code->cache;
    const struct translate_insn *insn = &cache->insn[block->first_insn];
    for (unsigned i = 0; i < block->insns; i++) {
        const bool last = i + 1u == block->insns;
        const unsigned guest_end = last ? block->guest_bytes : insn[i + 1].guest;
        const unsigned end = last ? block->code_bytes : insn[i + 1].at;
        print_guest(v, i, block->pc + insn[i].guest, guest_end - insn[i].guest);
        for (unsigned at = insn[i].at; at < end; at += ROW) {
            struct hex hex;
            make_hex(&hex, cache->code + block->code + at, end - at);
            log_line_of(v->vcpu.vm->log, "     as%s", hex.text);
        }
    }
}

static void print_value(const struct bt_vcpu *v, const char *name, uint64_t before, uint64_t wanted,
                        uint64_t got, uint64_t counts)
{
    log_line_of(v->vcpu.vm->log, "  %s was 0x%llx, wanted 0x%llx, got 0x%llx%s", name,
                (unsigned long long)before, (unsigned long long)wanted, (unsigned long long)got,
                ((wanted ^ got) & counts) != 0 ? "  <--" : "");
}

static void print_registers(const struct bt_vcpu *v, unsigned done)
{
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct bt_check_state *before = &v->check->after[0], *wanted = &v->check->after[done];
    const struct cpu_state *s = &v->state;
    const uint64_t mask = bt_check_mask(v);
    for (unsigned i = 0; i < (mask == UINT64_MAX ? 16 : 8); i++)
        print_value(v, names[i], before->gpr[i], wanted->gpr[i], s->gpr[i], mask);
    print_value(v, "rip", before->rip, wanted->rip, s->rip, mask);
    print_value(v, "rflags", before->rflags, wanted->rflags, s->rflags,
                bt_check_flags(v->check, done));
    print_value(v, "gs base", before->gs_base, wanted->gs_base, s->gs.base, UINT64_MAX);
    print_value(v, "kernel gs base", before->kernel_gs_base, wanted->kernel_gs_base,
                v->env.extra.kernel_gs_base, UINT64_MAX);
    print_value(v, "blocked", before->interruptibility, wanted->interruptibility,
                s->interruptibility, UINT64_MAX);
}

#define MOST_STORES 16u /* of those that differ */

static void print_memory(const struct bt_vcpu *v, unsigned done)
{
    const struct bt_check *c = v->check;
    unsigned printed = 0;
    for (unsigned i = 0; i < c->stores && printed < MOST_STORES; i++) {
        const struct bt_check_store *store = &c->store[i];
        uint8_t is[sizeof(store->data)];
        struct hex wanted, got;
        if (!bt_check_store_differs(v, i, done, is))
            continue;
        make_hex(&wanted, store->data, store->bytes);
        make_hex(&got, is, store->bytes);
        log_line_of(v->vcpu.vm->log, "  guest memory 0x%llx, instruction %u: wanted%s, got%s",
                    (unsigned long long)store->at.v, store->insn, wanted.text, got.text);
        printed++;
    }
}

void bt_check_print(struct bt_vcpu *v, const struct bt_block *block, unsigned done,
                    const char *what)
{
    static const char *const stops[] = {
        [BT_CHECK_GOES_ON] = "nowhere",        [BT_CHECK_CUT] = "where nothing can be compared",
        [BT_CHECK_DEVICE] = "at a device",     [BT_CHECK_UNMAPPED] = "where nothing is mapped",
        [BT_CHECK_RAISED] = "at an exception", [BT_CHECK_POLICY] = "at what is not a CPU's alone",
    };
    const struct bt_check *c = v->check;
    log_line_of(v->vcpu.vm->log,
                "vm %s: the block at 0x%llx, %u instructions, left %s; %u compared; the software "
                "CPU has done %u, stopped %s",
                v->vcpu.vm->name, (unsigned long long)block->pc, block->insns,
                c->behind ? "behind its end" : "before an instruction", done, c->known,
                stops[c->stop]);
    print_block(v, block);
    print_registers(v, done);
    print_memory(v, done);
    vm_end_format(v->vcpu.vm, VM_CRASH, 0,
                  "its translated code at 0x%llx does not do what the software CPU does: %s",
                  (unsigned long long)block->pc, what);
}
