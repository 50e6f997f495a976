/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of one virtual CPU. Its registers live in the virtual-APIC page only, because the
 * CPU may change them there; SDM, chapter "Advanced Programmable Interrupt Controller (APIC)". */
#include "guest/vm/vcpu.h"

#include "arch/nospec.h"
#include "mm/page_alloc.h"

#define VERSION_VALUE 0x00050014u /* integrated APIC, last LVT entry 5, no EOI suppression */

#define BASE_MODE (APIC_BASE_ENABLE | APIC_BASE_X2APIC)

enum { ERROR_SEND_VECTOR = 1 << 5, ERROR_RECEIVE_VECTOR = 1 << 6, ERROR_REGISTER = 1 << 7 };

/* Sets of registers, one bit per 16 bytes. */
#define REG(offset) (1ull << ((offset) >> 4))
#define ALL_VECTORS (0xffffffull << (APIC_ISR >> 4))
#define ALL_LVT     (0x3full << (APIC_LVT_TIMER >> 4))
#define ALWAYS_WRITE                                                                           \
    (REG(APIC_TPR) | REG(APIC_EOI) | REG(APIC_SVR) | REG(APIC_ESR) | REG(APIC_ICR) | ALL_LVT | \
     REG(APIC_INITIAL_COUNT) | REG(APIC_DIVIDE))
#define ALWAYS_READ                                                                    \
    (ALWAYS_WRITE - REG(APIC_EOI) + REG(APIC_ID) + REG(APIC_VERSION) + REG(APIC_PPR) + \
     REG(APIC_LDR) + ALL_VECTORS + REG(APIC_CURRENT_COUNT))
#define XAPIC_READ \
    (ALWAYS_READ | REG(APIC_APR) | REG(APIC_RRD) | REG(APIC_DFR) | REG(APIC_ICR_HIGH))
#define XAPIC_WRITE \
    (ALWAYS_WRITE | REG(APIC_ID) | REG(APIC_LDR) | REG(APIC_DFR) | REG(APIC_ICR_HIGH))
#define X2APIC_WRITE (ALWAYS_WRITE | REG(APIC_SELF_IPI))

/* Bits that a write may change. */
static const uint64_t writable_bits[64] = {
    [APIC_TPR >> 4] = 0xff,
    [APIC_LDR >> 4] = 0xff000000,
    [APIC_DFR >> 4] = 0xf0000000,
    [APIC_SVR >> 4] = 0x3ff,
    [APIC_ICR >> 4] = 0xffffffff000ccfff,
    [APIC_ICR_HIGH >> 4] = 0xff000000,
    [APIC_LVT_TIMER >> 4] = 0x700ff,
    [APIC_LVT_THERMAL >> 4] = 0x107ff,
    [APIC_LVT_PERF >> 4] = 0x107ff,
    [APIC_LVT_LINT0 >> 4] = 0x1a7ff,
    [APIC_LVT_LINT1 >> 4] = 0x1a7ff,
    [APIC_LVT_ERROR >> 4] = 0x100ff,
    [APIC_INITIAL_COUNT >> 4] = 0xffffffff,
    [APIC_DIVIDE >> 4] = 0xb,
    [APIC_SELF_IPI >> 4] = 0xff,
};

static uint32_t *reg(const struct vlapic *apic, unsigned offset)
{
    return &apic->page[offset / 4 % (PAGE_SIZE / 4)]; /* the modulo binds guesses, too: nospec.h */
}

static bool is_x2apic(const struct vlapic *apic)
{
    return (apic->base & APIC_BASE_X2APIC) != 0;
}

static void changed(struct vlapic *apic)
{
    vcpu_interrupts_changed(vlapic_vcpu(apic));
}

/* The highest vector set in the 256 bits at offset, or -1. words: where to look at all. */
static int highest_vector(const struct vlapic *apic, unsigned offset, unsigned words)
{
    if (vlapic_vcpu(apic)->assisted)
        words = 0xff; /* the CPU changes the page, and does not keep our hint */
    while (words != 0) {
        unsigned word = 31u - (unsigned)__builtin_clz(words);
        uint32_t bits = *reg(apic, offset + word * 16);
        if (bits != 0)
            return (int)(word * 32 + 31) - __builtin_clz(bits);
        words &= ~(1u << word);
    }
    return -1;
}

/* SDM, "Task and Processor Priorities". */
static uint32_t processor_priority(const struct vlapic *apic)
{
    uint32_t tpr = *reg(apic, APIC_TPR) & 0xff;
    int isr = highest_vector(apic, APIC_ISR, apic->isr_words);
    if (isr < 0 || tpr >> 4 >= (uint32_t)isr >> 4)
        return tpr;
    return (uint32_t)isr & 0xf0;
}

static bool post(struct vlapic *apic, unsigned vector, bool level, uint64_t *later);

/* One error interrupt for all errors until ESR is written; that also ends the recursion when the
 * error LVT itself holds an illegal vector. */
static void set_error(struct vlapic *apic, uint32_t error)
{
    bool first = apic->errors == 0;
    apic->errors |= error;
    uint32_t lvt = *reg(apic, APIC_LVT_ERROR);
    if (first && (lvt & APIC_LVT_MASKED) == 0)
        post(apic, lvt & 0xff, false, NULL);
}

/* Whether a vector can come in at all; else notes the error. */
static bool takes_vector(struct vlapic *apic, unsigned vector)
{
    if ((*reg(apic, APIC_SVR) & APIC_SVR_ENABLE) == 0)
        return false;
    if (vector >= 16)
        return true;
    set_error(apic, ERROR_RECEIVE_VECTOR);
    return false;
}

/* Sets a vector's trigger mode; true where it was another. */
static bool set_trigger_mode(struct vlapic *apic, unsigned vector, bool level)
{
    uint32_t *tmr = reg(apic, APIC_TMR + (vector >> 5) * 16), bit = 1u << (vector & 31);
    if (((*tmr & bit) != 0) == level)
        return false;
    *tmr ^= bit;
    return true;
}

/* An interrupt from elsewhere: the page's IRR belongs to the CPU that runs the vCPU. */
static bool post(struct vlapic *apic, unsigned vector, bool level, uint64_t *later)
{
    if (!takes_vector(apic, vector))
        return false;
    struct posted *posted = apic->posted;
    bool silent = !set_trigger_mode(apic, vector, level) && !level;
    uint64_t *set = silent ? posted->requests : posted->held;
    uint32_t flag = silent ? POSTED_REQUESTS : POSTED_HELD;
    __atomic_fetch_or(&set[vector >> 6], 1ull << (vector & 63), __ATOMIC_SEQ_CST);
    if ((__atomic_fetch_or(&posted->outstanding, flag, __ATOMIC_SEQ_CST) & flag) == 0 || !silent)
        vcpu_posted(vlapic_vcpu(apic), silent, later);
    return true;
}

static uint64_t take_bits(uint64_t *bits)
{
    return __atomic_load_n(bits, __ATOMIC_RELAXED) != 0
               ? __atomic_exchange_n(bits, 0, __ATOMIC_SEQ_CST)
               : 0;
}

void vlapic_collect_posted(struct vlapic *apic)
{
    struct posted *posted = apic->posted;
    /* First: what comes behind it is announced anew (SDM, "Posted-Interrupt Processing"). */
    __atomic_store_n(&posted->outstanding, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bits = take_bits(&posted->requests[i]) | take_bits(&posted->held[i]);
        if (bits == 0)
            continue;
        *reg(apic, APIC_IRR + 32 * i) |= (uint32_t)bits;
        *reg(apic, APIC_IRR + 32 * i + 16) |= (uint32_t)(bits >> 32);
        apic->irr_words |= (uint8_t)(3u << 2 * i);
    }
}

/* An interrupt from the vCPU itself or its timer. */
static void set_irr(struct vlapic *apic, unsigned vector)
{
    if (!takes_vector(apic, vector))
        return;
    set_trigger_mode(apic, vector, false);
    *reg(apic, APIC_IRR + (vector >> 5) * 16) |= 1u << (vector & 31);
    apic->irr_words |= (uint8_t)(1u << (vector >> 5));
    changed(apic);
}

static void clear_vector(struct vlapic *apic, unsigned offset, uint8_t *words, unsigned vector)
{
    unsigned word = vector >> 5 & 7;
    uint32_t *bits = reg(apic, offset + word * 16);
    *bits &= ~(1u << (vector & 31));
    if (*bits == 0)
        *words &= (uint8_t) ~(1u << word);
}

/* What was offered is edge-triggered, so the IO-APIC hears nothing of it. */
void __attribute__((noinline)) vlapic_take_offer(struct vlapic *apic)
{
    struct vcpu *vcpu = vlapic_vcpu(apic);
    if (!vcpu->pv.eoi_offered || !vcpu_pv_take_eoi(vcpu))
        return;
    const int vector = highest_vector(apic, APIC_ISR, apic->isr_words);
    if (vector >= 0)
        clear_vector(apic, APIC_ISR, &apic->isr_words, (unsigned)vector);
}

/* Before ISR is looked at. */
static inline void settle(struct vlapic *apic)
{
    if (__builtin_expect(vlapic_vcpu(apic)->pv.eoi_offered, 0))
        vlapic_take_offer(apic);
}

int vlapic_pending(struct vlapic *apic)
{
    vlapic_collect(apic);
    if (apic->irr_words == 0)
        return -1;
    int irr = highest_vector(apic, APIC_IRR, apic->irr_words);
    if (irr < 0) /* nothing waits for an EOI, so an offer of one stands */
        return -1;
    settle(apic);
    return (uint32_t)irr >> 4 > processor_priority(apic) >> 4 ? irr : -1;
}

/* An EOI has an effect where the IO-APIC waits for it, or another interrupt does. */
static void __attribute__((noinline)) offer_eoi(struct vlapic *apic, unsigned vector)
{
    const uint32_t tmr = *reg(apic, APIC_TMR + (vector >> 5) * 16);
    if ((tmr & 1u << (vector & 31)) == 0 && highest_vector(apic, APIC_IRR, apic->irr_words) < 0)
        vcpu_pv_offer_eoi(vlapic_vcpu(apic));
}

void vlapic_accept(struct vlapic *apic, unsigned vector)
{
    unsigned word = vector >> 5 & 7;
    clear_vector(apic, APIC_IRR, &apic->irr_words, vector);
    *reg(apic, APIC_ISR + word * 16) |= 1u << (vector & 31);
    apic->isr_words |= (uint8_t)(1u << word);
    if (vlapic_vcpu(apic)->pv.eoi != 0)
        offer_eoi(apic, vector);
}

void vlapic_eoi(struct vlapic *apic, unsigned vector)
{
    const struct msi_source *ioapic = &vlapic_vcpu(apic)->vm->ioapic;
    if (ioapic->eoi != NULL)
        ioapic->eoi(ioapic->chip, vector);
}

static void end_of_interrupt(struct vlapic *apic)
{
    settle(apic); /* of an inner interrupt */
    int vector = highest_vector(apic, APIC_ISR, apic->isr_words);
    if (vector < 0)
        return;
    clear_vector(apic, APIC_ISR, &apic->isr_words, (unsigned)vector);
    if ((*reg(apic, APIC_TMR + (unsigned)vector / 32 * 16) & 1u << (vector & 31)) != 0)
        vlapic_eoi(apic, (unsigned)vector);
    /* Where no other is in IRR, none can come now: what is posted has been told by itself. */
    if (apic->irr_words != 0 || vlapic_vcpu(apic)->assisted)
        changed(apic);
}

void vlapic_timer_expired(struct vlapic_timer *timer)
{
    struct vlapic *apic = (struct vlapic *)((uintptr_t)timer - offsetof(struct vlapic, timer));
    uint32_t lvt = *reg(apic, APIC_LVT_TIMER);
    if ((lvt & APIC_LVT_MASKED) == 0)
        set_irr(apic, lvt & 0xff);
}

bool vlapic_take(struct vlapic *apic, const struct vlapic_message *message, uint64_t *later)
{
    struct vcpu *vcpu = vlapic_vcpu(apic);
    if ((apic->base & APIC_BASE_ENABLE) == 0)
        return false;
    switch ((enum delivery_mode)message->mode) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST: return post(apic, message->vector, message->level, later);
    case DELIVERY_NMI: vcpu_request_nmi(vcpu, later); return true;
    case DELIVERY_INIT: vcpu_request_init(vcpu, later); return true;
    case DELIVERY_SIPI: vcpu_request_sipi(vcpu, message->vector, later); return true;
    case DELIVERY_EXTINT:
        apic->extint = true;
        vcpu_posted(vcpu, false, later);
        return true;
    case DELIVERY_SMI: /* there is no SMM in these machines */
    case DELIVERY_RESERVED: break;
    }
    return false;
}

/* SDM, "Issuing Interprocessor Interrupts". An IPI is edge-triggered, whatever its trigger bit. */
static void send_ipi(struct vlapic *apic, uint32_t icr, uint32_t destination)
{
    enum { NOBODY, SELF, ALL, OTHERS };
    struct vm *vm = vlapic_vcpu(apic)->vm;
    unsigned shorthand = icr >> 18 & 3;
    struct vlapic_message message = {.destination = destination,
                                     .vector = (uint8_t)icr,
                                     .mode = icr >> 8 & 7,
                                     .logical = (icr & 1u << 11) != 0};
    bool ordinary = message.mode == DELIVERY_FIXED || message.mode == DELIVERY_LOWEST;
    if (ordinary && message.vector < 16) {
        set_error(apic, ERROR_SEND_VECTOR);
        return;
    }
    bool init_deassert = message.mode == DELIVERY_INIT && (icr & 0xc000) == 0x8000;
    if (message.mode == DELIVERY_EXTINT || init_deassert)
        return;
    if (shorthand == SELF) {
        if (ordinary) /* no other mode is valid */
            set_irr(apic, message.vector);
        return;
    }
    if (shorthand == NOBODY) {
        vlapic_deliver(vm, &message);
        return;
    }
    uint64_t woken = 0;
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        if (shorthand == ALL || &vm->vcpu[i]->apic != apic)
            vlapic_take(&vm->vcpu[i]->apic, &message, &woken);
    vcpu_kick_all(vm, woken);
}

static void write_icr(struct vlapic *apic, uint64_t value)
{
    *reg(apic, APIC_ICR) = (uint32_t)value;
    if (is_x2apic(apic)) { /* the CPU reads MSR 830H as eight bytes at ICR */
        *reg(apic, APIC_ICR + 4) = (uint32_t)(value >> 32);
        send_ipi(apic, (uint32_t)value, (uint32_t)(value >> 32));
        return;
    }
    uint32_t to = *reg(apic, APIC_ICR_HIGH) >> 24;
    bool physical = (value & 1u << 11) == 0;
    send_ipi(apic, (uint32_t)value, physical && to == 0xff ? VLAPIC_BROADCAST : to);
}

static void write_svr(struct vlapic *apic, uint32_t value)
{
    *reg(apic, APIC_SVR) = value;
    /* SDM, "Local APIC State After It Has Been Software Disabled" */
    if ((value & APIC_SVR_ENABLE) == 0)
        for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 0x10)
            *reg(apic, lvt) |= APIC_LVT_MASKED;
    changed(apic);
}

static void write_lvt(struct vlapic *apic, unsigned offset, uint32_t value)
{
    if ((*reg(apic, APIC_SVR) & APIC_SVR_ENABLE) == 0)
        value |= APIC_LVT_MASKED;
    *reg(apic, offset) = value;
    if (offset == APIC_LVT_TIMER)
        vlapic_timer_set_mode(&apic->timer, value >> 17 & 3);
    else
        changed(apic); /* the 8259's INTR may have become visible at LINT0 */
}

/* A write of checked bits to a register that takes writes in this mode. */
static void write_register(struct vlapic *apic, unsigned offset, uint64_t wide)
{
    uint32_t value = (uint32_t)wide;
    switch (offset) {
    case APIC_ID:
        *reg(apic, APIC_ID) = vlapic_vcpu(apic)->apic_id << 24;
        break; /* read-only, as on CPUs of today */
    case APIC_TPR:
        *reg(apic, APIC_TPR) = value;
        changed(apic);
        break;
    case APIC_EOI: end_of_interrupt(apic); break;
    case APIC_LDR:
    case APIC_ICR_HIGH: *reg(apic, offset) = value; break;
    case APIC_DFR: *reg(apic, APIC_DFR) = value | 0x0fffffff; break;
    case APIC_SVR: write_svr(apic, value); break;
    case APIC_ESR:
        *reg(apic, APIC_ESR) = apic->errors;
        apic->errors = 0;
        break;
    case APIC_ICR: write_icr(apic, wide); break;
    case APIC_INITIAL_COUNT: /* no effect in TSC-deadline mode */
        vlapic_timer_set_count(&apic->timer, value);
        *reg(apic, APIC_INITIAL_COUNT) = apic->timer.initial;
        break;
    case APIC_DIVIDE:
        *reg(apic, APIC_DIVIDE) = value;
        vlapic_timer_set_divide(&apic->timer, value);
        break;
    case APIC_SELF_IPI: send_ipi(apic, 1u << 18 | value, 0); break;
    default: write_lvt(apic, offset, value); break;
    }
}

/* Whether a register of this offset is in the set; in xAPIC mode a reserved one is an error. */
static bool check_offset(struct vlapic *apic, unsigned offset, uint64_t xapic, uint64_t x2apic)
{
    if ((apic->base & APIC_BASE_ENABLE) == 0)
        return false;
    const uint64_t bit = offset < 0x400 && (offset & 15) == 0 ? REG(offset) : 0;
    if (((is_x2apic(apic) ? x2apic : xapic) & bit) != 0)
        return true;
    if (!is_x2apic(apic) && ((XAPIC_READ | XAPIC_WRITE) & bit) == 0)
        set_error(apic, ERROR_REGISTER);
    return false;
}

bool vlapic_read(struct vlapic *apic, unsigned offset, uint64_t *value)
{
    *value = 0;
    if (!check_offset(apic, offset, XAPIC_READ, ALWAYS_READ))
        return false;
    if (offset >= APIC_IRR && offset < APIC_ESR) {
        vlapic_collect(apic);
        changed(apic); /* the CPU's own notification finds nothing any more */
    }
    if (offset == APIC_PPR || (offset >= APIC_ISR && offset < APIC_TMR))
        settle(apic);
    if (offset == APIC_CURRENT_COUNT)
        *value = vlapic_timer_count(&apic->timer);
    else if (offset == APIC_PPR && !vlapic_vcpu(apic)->assisted)
        *value = processor_priority(apic);
    else
        *value = *reg(apic, offset);
    if (offset == APIC_ICR && is_x2apic(apic))
        *value |= (uint64_t)*reg(apic, APIC_ICR + 4) << 32;
    return true;
}

bool vlapic_write(struct vlapic *apic, unsigned offset, uint64_t value)
{
    if (!check_offset(apic, offset, XAPIC_WRITE, X2APIC_WRITE))
        return false;
    uint64_t writable =
        writable_bits[index_nospec(offset >> 4, sizeof(writable_bits) / sizeof(writable_bits[0]))];
    uint64_t read_only = (ALL_LVT & REG(offset)) != 0 ? APIC_LVT_PENDING : 0;
    if (offset == APIC_LVT_LINT0 || offset == APIC_LVT_LINT1)
        read_only |= APIC_LVT_REMOTE_IRR;
    if (is_x2apic(apic) && (value & ~(writable | read_only)) != 0)
        return false;
    write_register(apic, offset, value & writable);
    return true;
}

void vlapic_written(struct vlapic *apic, unsigned offset)
{
    vlapic_write(apic, offset, *reg(apic, offset & 0xffc));
}

uint64_t __attribute__((noinline)) vlapic_mmio_read(struct vlapic *apic, gpa_t at, unsigned bytes)
{
    uint64_t value, all = UINT64_MAX >> (64 - 8 * bytes);
    if ((apic->base & BASE_MODE) != APIC_BASE_ENABLE)
        return all;
    vlapic_read(apic, at.v & 0xffc, &value);
    return value >> (at.v & 3) * 8 & all;
}

void __attribute__((noinline))
vlapic_mmio_write(struct vlapic *apic, gpa_t at, unsigned bytes, uint64_t value)
{
    if ((apic->base & BASE_MODE) == APIC_BASE_ENABLE && bytes >= 4 && (at.v & 3) == 0)
        vlapic_write(apic, at.v & 0xffc, (uint32_t)value);
}

/* The ID and what follows from it, in the format of the mode. */
static void write_id(struct vlapic *apic)
{
    uint32_t id = vlapic_vcpu(apic)->apic_id;
    *reg(apic, APIC_ID) = is_x2apic(apic) ? id : id << 24;
    *reg(apic, APIC_LDR) = is_x2apic(apic) ? (id >> 4) << 16 | 1u << (id & 15) : 0;
    *reg(apic, APIC_ICR + 4) = 0;
}

/* SDM, "x2APIC State Transitions". */
bool vlapic_write_base(struct vlapic *apic, uint64_t value)
{
    uint64_t address = ((1ull << vlapic_vcpu(apic)->phys_bits) - 1) & ~0xfffull;
    uint64_t from = apic->base & BASE_MODE, to = value & BASE_MODE;
    if ((value & ~(address | APIC_BASE_BSP | BASE_MODE)) != 0 || to == APIC_BASE_X2APIC ||
        (from == BASE_MODE && to == APIC_BASE_ENABLE) || (from == 0 && to == BASE_MODE))
        return false;
    apic->base = value;
    if (to == 0 && from != 0)
        vlapic_reset(apic, true);
    if (to == BASE_MODE && from == APIC_BASE_ENABLE)
        write_id(apic);
    changed(apic);
    return true;
}

bool vlapic_lets_extint_through(const struct vlapic *apic)
{
    uint32_t wanted = (uint32_t)DELIVERY_EXTINT << 8;
    bool open = (apic->base & APIC_BASE_ENABLE) == 0 ||
                (*reg(apic, APIC_LVT_LINT0) & (APIC_LVT_MASKED | APIC_LVT_MODE)) == wanted;
    return apic->pic_acknowledge != NULL && (apic->extint || open);
}

unsigned vlapic_extint_acknowledge(struct vlapic *apic)
{
    apic->extint = false;
    return apic->pic_acknowledge(apic->pic);
}

void vlapic_set_lint0(void *chip, unsigned pin, bool high)
{
    struct vlapic *apic = chip;
    uint32_t lvt = *reg(apic, APIC_LVT_LINT0);
    bool rising = high && !apic->lint0;
    (void)pin;
    apic->lint0 = high;
    if (!rising)
        return;
    struct vlapic_message message = {.vector = (uint8_t)lvt, .mode = lvt >> 8 & 7};
    if ((apic->base & APIC_BASE_ENABLE) == 0 || message.mode == DELIVERY_EXTINT)
        vcpu_posted(vlapic_vcpu(apic), false, NULL); /* vlapic_extint_pending() looks at the pin */
    else if ((lvt & APIC_LVT_MASKED) == 0 && message.mode != DELIVERY_SIPI)
        vlapic_take(apic, &message, NULL);
}

void vlapic_reset(struct vlapic *apic, bool init)
{
    settle(apic);
    for (unsigned i = 0; i < 1024; i++)
        apic->page[i] = 0;
    if (!init)
        apic->base = VLAPIC_DEFAULT_BASE | APIC_BASE_ENABLE |
                     (vlapic_vcpu(apic)->index == 0 ? APIC_BASE_BSP : 0);
    write_id(apic);
    *reg(apic, APIC_VERSION) = VERSION_VALUE;
    *reg(apic, APIC_DFR) = 0xffffffff;
    *reg(apic, APIC_SVR) = 0xff;
    for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 0x10)
        *reg(apic, lvt) = APIC_LVT_MASKED;
    vlapic_timer_reset(&apic->timer);
    *apic->posted = (struct posted){.outstanding = 0};
    apic->irr_words = apic->isr_words = 0;
    apic->errors = 0;
    apic->extint = false;
}

void vlapic_set_virtual_wire(struct vlapic *apic)
{
    *reg(apic, APIC_SVR) = APIC_SVR_ENABLE | 0xf;
    *reg(apic, APIC_LVT_LINT0) = (uint32_t)DELIVERY_EXTINT << 8;
    *reg(apic, APIC_LVT_LINT1) = (uint32_t)DELIVERY_NMI << 8;
    changed(apic);
}

_Static_assert(VM_MAX_VCPUS < MSI_TO_EVERYBODY, "each vCPU has an ID of its own in xAPIC mode");

enum status vlapic_init(struct vlapic *apic, unsigned (*pic_acknowledge)(void *pic), void *pic)
{
    struct vcpu *vcpu = vlapic_vcpu(apic);
    hpa_t pages;
    *apic = (struct vlapic){.pic_acknowledge = pic_acknowledge, .pic = pic};
    if (vcpu->phys_bits < 32 || vcpu->phys_bits > 52)
        return ERR_BAD_INPUT;
    const enum status s = page_alloc(2, 1, &pages);
    if (s != OK)
        return s;
    apic->page = hpa_to_ptr(pages);
    apic->posted = hpa_to_ptr(hpa(pages.v + PAGE_SIZE));
    vlapic_timer_init(&apic->timer, &vcpu->timers, &vcpu->tsc_offset);
    vlapic_reset(apic, false);
    return OK;
}

void vlapic_destroy(struct vlapic *apic)
{
    if (apic->page != NULL)
        page_free(ptr_to_hpa(apic->page), 2);
    apic->page = NULL;
}
