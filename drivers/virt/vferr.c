/* SPDX-License-Identifier: BSD-2-Clause */
/* As Intel's ICH data sheets have it ("Coprocessor Error Register"): FERR# latches IRQ 13; a write
 * of port 0xf0 lets the interrupt go and, while FERR# is asserted, asserts IGNNE#, which goes when
 * FERR# does. The port cannot be read. */
#include "drivers/virt/vferr.h"

enum { PORT_ERROR = 0xf0 };

bool vferr_set(void *ferr, bool asserted)
{
    struct vferr *f = ferr;
    if (asserted && !f->asserted)
        irq_line_set(&f->irq, true);
    f->asserted = asserted;
    f->ignored = f->ignored && asserted;
    return f->ignored;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vferr *f = dev;
    (void)port;
    (void)bytes;
    (void)value;
    irq_line_set(&f->irq, false);
    f->ignored = f->asserted;
}

enum status vferr_init(struct vferr *ferr, struct bus *bus, struct irq_line irq)
{
    *ferr = (struct vferr){.irq = irq};
    return bus_add_ports(bus,
                         &(struct port_range){PORT_ERROR, PORT_ERROR, 1, ferr, NULL, write_port});
}
