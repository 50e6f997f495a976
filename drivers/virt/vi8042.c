/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller's command set (IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device
 * Controller"). A byte sent to a device that is not there is answered with a time-out at once. */
#include "drivers/virt/vi8042.h"

enum { PORT_DATA = 0x60, PORT_COMMAND = 0x64, PORT_A = 0x92 };
enum { STATUS_FULL = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10 };
enum { STATUS_MOUSE = 0x20, STATUS_TIMEOUT = 0x40, REPLY_RESEND = 0xfe };
enum { CONFIG_KEYBOARD_IRQ = 0x01, CONFIG_MOUSE_IRQ = 0x02, CONFIG_SYSTEM = 0x04 };
enum { CONFIG_KEYBOARD_OFF = 0x10, CONFIG_MOUSE_OFF = 0x20 };
enum { OUTPUT_RUN = 1, OUTPUT_A20 = 2, OUTPUT_KEYBOARD_FULL = 0x10, OUTPUT_MOUSE_FULL = 0x20 };

static void update_irqs(const struct vi8042 *k)
{
    bool full = k->status & STATUS_FULL, mouse = k->status & STATUS_MOUSE;
    irq_line_set(&k->keyboard, full && !mouse && (k->ram[0] & CONFIG_KEYBOARD_IRQ));
    irq_line_set(&k->mouse, full && mouse && (k->ram[0] & CONFIG_MOUSE_IRQ));
}

/* flags: STATUS_MOUSE, STATUS_TIMEOUT or none. */
static void reply(struct vi8042 *k, uint8_t value, uint8_t flags)
{
    k->data = value;
    k->status &= (uint8_t) ~(STATUS_MOUSE | STATUS_TIMEOUT);
    k->status |= STATUS_FULL | flags;
    update_irqs(k);
}

static void set_config(struct vi8042 *k, uint8_t value)
{
    k->ram[0] = value;
    k->status &= (uint8_t)~STATUS_SYSTEM;
    k->status |= value & CONFIG_SYSTEM;
    update_irqs(k);
}

static uint8_t output_port(const struct vi8042 *k)
{
    uint8_t value = OUTPUT_RUN | (k->a20 ? OUTPUT_A20 : 0);
    if (k->status & STATUS_FULL)
        value |= k->status & STATUS_MOUSE ? OUTPUT_MOUSE_FULL : OUTPUT_KEYBOARD_FULL;
    return value;
}

static void reset_guest(const struct vi8042 *k, const char *why)
{
    power_line_request(&k->power, VM_RESET, 0, why);
}

static void write_command(struct vi8042 *k, uint8_t command)
{
    k->command = 0;
    k->status |= STATUS_COMMAND;
    switch (command) {
    case 0xa7: set_config(k, k->ram[0] | CONFIG_MOUSE_OFF); break;
    case 0xa8: set_config(k, k->ram[0] & (uint8_t)~CONFIG_MOUSE_OFF); break;
    case 0xaa:
        set_config(k, k->ram[0] | CONFIG_SYSTEM); /* a passed self-test sets the system flag */
        reply(k, 0x55, 0);
        break;
    case 0xa9:
    case 0xab: reply(k, 0, 0); break; /* the lines of either port are not stuck */
    case 0xad: set_config(k, k->ram[0] | CONFIG_KEYBOARD_OFF); break;
    case 0xae: set_config(k, k->ram[0] & (uint8_t)~CONFIG_KEYBOARD_OFF); break;
    case 0xc0: reply(k, 0x80, 0); break; /* input port: not locked */
    case 0xd0: reply(k, output_port(k), 0); break;
    case 0xd1: /* output port, keyboard and mouse buffers, mouse: an argument follows */
    case 0xd2:
    case 0xd3:
    case 0xd4: k->command = command; break;
    default:
        if (command >= 0x20 && command < 0x40) {
            reply(k, k->ram[command & 0x1f], 0);
        } else if (command >= 0x60 && command < 0x80) {
            k->command = command;
        } else if (command >= 0xf0) {
            if (!(command & OUTPUT_RUN))
                reset_guest(k, "keyboard controller");
        }
        break;
    }
}

static void write_data(struct vi8042 *k, uint8_t value)
{
    uint8_t command = k->command;
    k->command = 0;
    k->status &= (uint8_t)~STATUS_COMMAND;
    switch (command) {
    case 0:
        set_config(k, k->ram[0] & (uint8_t)~CONFIG_KEYBOARD_OFF); /* sending enables the port */
        reply(k, REPLY_RESEND, STATUS_TIMEOUT);
        break;
    case 0x60: set_config(k, value); break;
    case 0xd1:
        k->a20 = value & OUTPUT_A20;
        if (!(value & OUTPUT_RUN))
            reset_guest(k, "keyboard controller");
        break;
    case 0xd2: reply(k, value, 0); break;
    case 0xd3: reply(k, value, STATUS_MOUSE); break;
    case 0xd4: reply(k, REPLY_RESEND, STATUS_MOUSE | STATUS_TIMEOUT); break;
    default: k->ram[command & 0x1f] = value; break; /* 0x61-0x7f */
    }
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    struct vi8042 *k = dev;
    (void)bytes;
    if (port == PORT_A)
        return k->a20 ? 2 : 0;
    if (port == PORT_COMMAND)
        return k->status;
    if (k->status & STATUS_FULL) {
        k->status &= (uint8_t) ~(STATUS_FULL | STATUS_MOUSE | STATUS_TIMEOUT);
        update_irqs(k);
    }
    return k->data;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vi8042 *k = dev;
    (void)bytes;
    if (port == PORT_DATA) {
        write_data(k, (uint8_t)value);
    } else if (port == PORT_COMMAND) {
        write_command(k, (uint8_t)value);
    } else {
        k->a20 = value & 2;
        if (value & 1) /* it always reads as 0, so each 1 is a rising edge */
            reset_guest(k, "port 0x92");
    }
}

void vi8042_reset(struct vi8042 *kbc)
{
    *kbc = (struct vi8042){.ram = {CONFIG_KEYBOARD_IRQ | CONFIG_SYSTEM},
                           .status = STATUS_SYSTEM | STATUS_UNLOCKED,
                           .a20 = true,
                           .keyboard = kbc->keyboard,
                           .mouse = kbc->mouse,
                           .power = kbc->power};
    update_irqs(kbc);
}

enum status vi8042_init(struct vi8042 *kbc, struct bus *bus, struct irq_line keyboard,
                        struct irq_line mouse, struct power_line power)
{
    static const uint16_t ports[] = {PORT_DATA, PORT_COMMAND, PORT_A};
    *kbc = (struct vi8042){.keyboard = keyboard, .mouse = mouse, .power = power};
    vi8042_reset(kbc);
    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        enum status s = bus_add_ports(
            bus, &(struct port_range){ports[i], ports[i], 1, kbc, read_port, write_port});
        if (s != OK)
            return s;
    }
    return OK;
}
