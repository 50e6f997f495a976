/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8259A by its data sheet, in 8086 mode, with the chip set's ELCR in place of the LTIM bit. */
#include "drivers/virt/vpic.h"

enum { MASTER = 0x20, SLAVE = 0xa0, ELCR = VPIC_ELCR };
enum { CASCADE = 2 }; /* the master's input that the slave drives */
enum { ICW1 = 0x10, ICW1_ICW4 = 1, ICW1_SINGLE = 2 };
enum { ICW4_AUTO_EOI = 2, ICW4_NESTED = 0x10 }; /* special fully nested mode */
enum { OCW2_EOI = 0x20, OCW2_SPECIFIC = 0x40, OCW2_ROTATE = 0x80 };
enum { OCW3 = 8, OCW3_READ_ISR = 1, OCW3_READ = 2, OCW3_POLL = 4 };
enum { OCW3_MASK = 0x20, OCW3_SET_MASK = 0x40 };

/* The bit of highest priority in bits, as its distance from the top one; 8: none. */
static unsigned first_of(const struct vpic_chip *c, uint8_t bits)
{
    unsigned rotated = ((unsigned)bits | (unsigned)bits << 8) >> c->top;
    return (unsigned)__builtin_ctz(rotated | 0x100);
}

/* The input that the chip interrupts for now; 8: none. */
static unsigned requested_input(const struct vpic *pic, const struct vpic_chip *c)
{
    unsigned wanted = first_of(c, c->irr & (uint8_t)~c->imr);
    if (wanted == 8 || c->init_step != 0)
        return 8;
    uint8_t blocking = c->isr;
    if (c->special_mask)
        blocking &= (uint8_t)~c->imr;
    const unsigned input = (wanted + c->top) & 7;
    if (c == &pic->chip[0] && (c->icw4 & ICW4_NESTED) && input == CASCADE)
        blocking &= (uint8_t) ~(1 << CASCADE); /* the slave sorts out its own inputs */
    return wanted < first_of(c, blocking) ? input : 8;
}

static void set_input(struct vpic_chip *c, unsigned input, bool high)
{
    uint8_t bit = (uint8_t)(1 << input);
    if (!high) {
        c->lines &= (uint8_t)~bit;
        c->irr &= (uint8_t)~bit; /* "IR must remain high until the first INTA" */
    } else if (!(c->lines & bit)) {
        c->lines |= bit;
        c->irr |= bit;
    }
}

static void update_intr(struct vpic *pic)
{
    /* The cascade follows the slave's output, whichever way it is triggered. */
    struct vpic_chip *master = &pic->chip[0];
    if (requested_input(pic, &pic->chip[1]) < 8)
        master->irr |= 1 << CASCADE;
    else
        master->irr &= (uint8_t) ~(1 << CASCADE);
    bool high = requested_input(pic, master) < 8;
    if (high != pic->intr_high) {
        pic->intr_high = high;
        irq_line_set(&pic->intr, high);
    }
}

/* One chip's acknowledge cycle: the input, or 7 with nothing in service when it was spurious. */
static unsigned acknowledge_chip(struct vpic *pic, struct vpic_chip *c)
{
    unsigned input = requested_input(pic, c);
    if (input == 8)
        return 7;
    uint8_t bit = (uint8_t)(1 << input);
    if (!(c->elcr & bit))
        c->irr &= (uint8_t)~bit;
    if (!(c->icw4 & ICW4_AUTO_EOI))
        c->isr |= bit;
    else if (c->rotate_on_auto_eoi)
        c->top = (input + 1) & 7;
    return input;
}

unsigned vpic_acknowledge(struct vpic *pic)
{
    struct vpic_chip *c = &pic->chip[0];
    bool slave = requested_input(pic, c) == CASCADE;
    unsigned input = acknowledge_chip(pic, c);
    if (slave) {
        c = &pic->chip[1];
        input = acknowledge_chip(pic, c);
    }
    update_intr(pic);
    pic->acknowledged = (uint8_t)(slave ? 8 + input : input);
    return c->base + input;
}

void vpic_set(void *chip, unsigned pin, bool high)
{
    struct vpic *pic = chip;
    if (pin >= 16 || pin == CASCADE)
        return;
    set_input(&pic->chip[pin / 8], pin & 7, high);
    update_intr(pic);
}

static void write_icw1(struct vpic_chip *c, uint8_t value)
{
    c->icw1 = value;
    c->icw4 = 0;
    c->init_step = 2;
    c->irr = c->lines & c->elcr; /* an edge has to come again */
    c->imr = c->isr = c->top = 0;
    c->special_mask = c->read_isr = c->poll = c->rotate_on_auto_eoi = false;
}

static void write_ocw2(struct vpic_chip *c, uint8_t value)
{
    unsigned input = value & 7;
    if (!(value & OCW2_SPECIFIC)) {
        if (!(value & OCW2_EOI)) {
            c->rotate_on_auto_eoi = value & OCW2_ROTATE;
            return;
        }
        /* In special mask mode, a masked input in service is not the non-specific EOI's. */
        input = first_of(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);
        if (input == 8)
            return;
        input = (input + c->top) & 7;
    }
    if (value & OCW2_EOI)
        c->isr &= (uint8_t) ~(1 << input);
    if (value & OCW2_ROTATE)
        c->top = (input + 1) & 7;
}

static void write_ocw3(struct vpic_chip *c, uint8_t value)
{
    if (value & OCW3_SET_MASK)
        c->special_mask = value & OCW3_MASK;
    if (value & OCW3_READ)
        c->read_isr = value & OCW3_READ_ISR;
    c->poll = value & OCW3_POLL;
}

static void write_data(struct vpic_chip *c, uint8_t value)
{
    switch (c->init_step) {
    case 0: c->imr = value; return;
    case 2:
        c->base = value & 0xf8;
        c->init_step = 3;
        if (c->icw1 & ICW1_SINGLE)
            break;
        return;
    case 3: break; /* how the chips are cascaded is wired here */
    default:
        c->icw4 = value;
        c->init_step = 0;
        return;
    }
    c->init_step = c->icw1 & ICW1_ICW4 ? 4 : 0;
}

static struct vpic_chip *chip_at(struct vpic *pic, uint16_t port)
{
    return &pic->chip[(port & 0xfffe) == SLAVE || port == ELCR + 1];
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vpic *pic = dev;
    struct vpic_chip *c = chip_at(pic, port);
    (void)bytes;
    if (port >= ELCR)
        return c->elcr;
    if (c->poll) {
        c->poll = false;
        bool wanted = requested_input(pic, c) < 8;
        unsigned input = acknowledge_chip(pic, c);
        update_intr(pic);
        return (wanted ? 0x80 : 0) | input;
    }
    if (port & 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t wide)
{
    struct vpic *pic = dev;
    struct vpic_chip *c = chip_at(pic, port);
    uint8_t value = (uint8_t)wide;
    (void)bytes;
    if (port >= ELCR) {
        /* Timer, keyboard, cascade; RTC, FPU: always edge-triggered. */
        c->elcr = value & (port == ELCR ? 0xf8 : 0xde);
        c->irr = (uint8_t)((c->irr & ~c->elcr) | (c->lines & c->elcr));
    } else if (port & 1) {
        write_data(c, value);
    } else if (value & ICW1) {
        write_icw1(c, value);
    } else if (value & OCW3) {
        write_ocw3(c, value);
    } else {
        write_ocw2(c, value);
    }
    update_intr(pic);
}

enum status vpic_init(struct vpic *pic, struct bus *bus, struct irq_line intr)
{
    static const struct port_range ports[] = {
        {MASTER, MASTER + 1, 1, NULL, read_port, write_port},
        {SLAVE, SLAVE + 1, 1, NULL, read_port, write_port},
        {ELCR, ELCR + 1, 1, NULL, read_port, write_port},
    };
    *pic = (struct vpic){.chip = {{.imr = 0xff}, {.imr = 0xff}}, .intr = intr};
    return bus_add_port_table(bus, pic, ports, sizeof(ports) / sizeof(ports[0]));
}
