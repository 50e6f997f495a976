/* SPDX-License-Identifier: BSD-2-Clause */
/* How a virtual PC's devices stand, in words, for a user whose kernel hangs or has died: which
 * interrupt is where, and what the guest waits for in vain. */
#include "arch/format.h"
#include "arch/log.h"
#include "guest/pc/pc.h"

#define MANY_READS   1000 /* of one address: the guest polls it */
#define MANY_WATCHED 100  /* likewise, while it is watched, among VMs that have turns, too */

static unsigned lowest(unsigned bits)
{
    return (unsigned)__builtin_ctz(bits);
}

/* In service: the guest's handler has it, or has forgotten the EOI. */
static void print_in_service(const struct pc *pc, unsigned irq, uint64_t now)
{
    const uint64_t ms = scale_u64(now - pc->pic_taken[irq], 1000, pc->vm.timers.hz);
    log_line_of(pc->vm.log, "%s: IRQ %u is in service at the 8259, with no EOI for %lu.%03lu s",
                pc->vm.name, irq, ms / 1000, ms % 1000);
}

static void print_waiting(const struct pc *pc, unsigned irq)
{
    const struct vpic_chip *c = &pc->pic.chip[irq / 8], *master = &pc->pic.chip[0];
    const unsigned bit = 1u << irq % 8;
    const char *why = "until the CPU takes it";
    if (c->init_step != 0)
        why = "for the rest of the 8259's initialisation";
    else if ((c->imr & bit) != 0)
        why = "masked at the 8259";
    else if (irq >= 8 && (master->imr & 4) != 0)
        why = "masked at the 8259's cascade, IRQ 2";
    else if (c->isr != 0 && lowest(c->isr) <= irq % 8)
        why = "for the EOI of one that comes before it";
    log_line_of(pc->vm.log, "%s: IRQ %u waits %s", pc->vm.name, irq, why);
}

/* A line that the guest lets through, or has let through, to a vector that protected mode has an
 * exception at. */
static void print_vectors(const struct pc *pc, const struct cpu_state *state)
{
    const struct vpic_chip *c = &pc->pic.chip[0];
    const unsigned open = ~(unsigned)c->imr & 0xff;
    const bool arrives = (state->rflags & RFLAGS_IF) != 0 || c->isr != 0;
    if (c->base >= 32 || open == 0 || (state->cr0 & CR0_PE) == 0 || !arrives)
        return;
    log_line_of(pc->vm.log, "%s: IRQ %u arrives as vector %u: the 8259 was not remapped",
                pc->vm.name, lowest(open), c->base + lowest(open));
}

static void print_misses(const struct pc *pc)
{
    const struct bus *bus = &pc->vm.bus;
    for (const struct bus_miss *m = bus->miss; m < bus->miss + BUS_MISSES; m++)
        if (m->count >= MANY_READS)
            log_line_of(pc->vm.log, "%s: %s 0x%lx was read %lu times, and no device answers there",
                        pc->vm.name, m->memory ? "address" : "port", m->at, m->count);
}

/* With the answer, or with what was in all of the answers. */
static void print_read(const struct pc *pc, const struct bus_read *r)
{
    char answer[80];
    if (r->all_of == r->any_of)
        format_text(answer, sizeof(answer), "it answers 0x%lx each time", r->all_of);
    else
        format_text(answer, sizeof(answer), "it answers 0x%lx, while bits 0x%lx change", r->all_of,
                    r->all_of ^ r->any_of);
    log_line_of(pc->vm.log, "%s: %s 0x%lx was read %lu times within %u ms, and %s", pc->vm.name,
                r->memory ? "address" : "port", r->at, r->count, 1000 / PC_WATCHES_PER_SECOND,
                answer);
}

static void print_polled(struct pc *pc)
{
    const struct bus_read *read = bus_watch_end(&pc->vm.bus);
    for (unsigned i = 0; read != NULL && i < BUS_MISSES; i++)
        if (read[i].count >= MANY_WATCHED)
            print_read(pc, &read[i]);
}

static void print_pic(const struct pc *pc, const struct cpu_state *state)
{
    const uint64_t now = pc->vm.timers.read();
    for (unsigned irq = 0; irq < 16; irq++) {
        const struct vpic_chip *c = &pc->pic.chip[irq / 8];
        const unsigned bit = 1u << irq % 8;
        if ((c->isr & bit) != 0)
            print_in_service(pc, irq, now);
        if ((c->irr & bit) != 0 && irq != 2)
            print_waiting(pc, irq);
    }
    print_vectors(pc, state);
}

void pc_dump(struct vm *vm, const struct cpu_state *state)
{
    struct pc *pc = pc_of(vm);
    if (!pc->paravirtual)
        print_pic(pc, state);
    else if (pc->domain.print != NULL) /* its engine has begun */
        pc->domain.print(vm);
    print_misses(pc);
    print_polled(pc);
}
