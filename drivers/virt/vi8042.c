/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller's command set (IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device
 * Controller"). A byte sent to the mouse, which is not there, is answered with a time-out at once.
 */
#include "drivers/virt/vi8042.h"

enum { PORT_DATA = 0x60, PORT_COMMAND = 0x64, PORT_A = 0x92 };
enum { STATUS_FULL = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10 };
enum { STATUS_MOUSE = 0x20, STATUS_TIMEOUT = 0x40, REPLY_RESEND = 0xfe };
enum { CONFIG_KEYBOARD_IRQ = 0x01, CONFIG_MOUSE_IRQ = 0x02, CONFIG_SYSTEM = 0x04 };
enum { CONFIG_KEYBOARD_OFF = 0x10, CONFIG_MOUSE_OFF = 0x20, CONFIG_TRANSLATE = 0x40 };
enum { OUTPUT_RUN = 1, OUTPUT_A20 = 2, OUTPUT_KEYBOARD_FULL = 0x10, OUTPUT_MOUSE_FULL = 0x20 };

static void update_irqs(const struct vi8042 *k)
{
    bool full = k->status & STATUS_FULL, mouse = k->status & STATUS_MOUSE;
    irq_line_set(&k->keyboard, full && !mouse && (k->ram[0] & CONFIG_KEYBOARD_IRQ));
    irq_line_set(&k->mouse, full && mouse && (k->ram[0] & CONFIG_MOUSE_IRQ));
}

/* flags: STATUS_MOUSE, STATUS_TIMEOUT or none. */
static void put_data(struct vi8042 *k, uint8_t value, uint8_t flags, bool from_keyboard)
{
    k->data = value;
    k->from_keyboard = from_keyboard;
    k->status &= (uint8_t) ~(STATUS_MOUSE | STATUS_TIMEOUT);
    k->status |= STATUS_FULL | flags;
    update_irqs(k);
}

/* An answer of the controller's own, which its asker expects to be the next byte that he reads. */
static void reply(struct vi8042 *k, uint8_t value, uint8_t flags)
{
    if ((k->status & STATUS_FULL) && k->from_keyboard)
        k->held = k->data;
    put_data(k, value, flags, false);
}

/* The keyboard's next byte, or -1: none, or not now. */
static int keyboard_byte(struct vi8042 *k)
{
    int byte = vps2kbd_next_reply(&k->kbd);
    return byte < 0 && k->pause.deadline == TIMER_NEVER ? vps2kbd_next_key(&k->kbd) : byte;
}

/* Set 2 to set 1, for programs as old as the PC; answers pass through it too, mostly unchanged. */
static uint8_t translate(struct vi8042 *k, uint8_t byte)
{
    uint8_t code = byte;
    if (byte < sizeof(vps2kbd_set1_of))
        code = vps2kbd_set1_of[byte];
    else if (byte == 0x83 || byte == 0x84) /* F7 and Alt-SysRq */
        code = byte == 0x83 ? 0x41 : 0x54;
    if (k->breaking)
        code |= KEY_RELEASED;
    k->breaking = false;
    return code;
}

/* Lets the keyboard speak where it may and nobody has left a byte unread. */
static void listen(struct vi8042 *k)
{
    if ((k->status & STATUS_FULL) || (k->ram[0] & CONFIG_KEYBOARD_OFF))
        return;
    if (k->held >= 0) {
        put_data(k, (uint8_t)k->held, 0, true);
        k->held = -1;
        return;
    }
    int byte;
    while ((byte = keyboard_byte(k)) == 0xf0 && (k->ram[0] & CONFIG_TRANSLATE))
        k->breaking = true;
    if (byte < 0)
        return;
    put_data(k, k->ram[0] & CONFIG_TRANSLATE ? translate(k, (uint8_t)byte) : (uint8_t)byte, 0,
             true);
}

static void set_config(struct vi8042 *k, uint8_t value)
{
    k->ram[0] = value;
    k->status &= (uint8_t)~STATUS_SYSTEM;
    k->status |= value & CONFIG_SYSTEM;
    update_irqs(k);
    listen(k);
}

/* The byte has been read. Handlers that pass an interrupt on to the one before them read it twice:
 * a key's next byte takes its time on the wire, 11 bits at some 10 kHz. */
static void data_taken(struct vi8042 *k)
{
    if (!(k->status & STATUS_FULL))
        return;
    if (k->from_keyboard && k->kbd.key_count > 0)
        timers_arm(k->timers, &k->pause, timers_now(k->timers) + k->timers->hz / 1000);
    k->status &= (uint8_t) ~(STATUS_FULL | STATUS_MOUSE | STATUS_TIMEOUT);
    update_irqs(k);
    listen(k);
}

static void pause_over(void *dev, uint64_t now)
{
    (void)now;
    listen(dev);
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

static void set_a20(struct vi8042 *k, bool on)
{
    k->a20 = on;
    a20_line_set(&k->gate, on);
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
    case 0xdd: set_a20(k, false); break; /* the gate without an argument, as many clones have it */
    case 0xdf: set_a20(k, true); break;
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
        vps2kbd_write(&k->kbd, value);
        set_config(k, k->ram[0] & (uint8_t)~CONFIG_KEYBOARD_OFF); /* sending enables the port */
        break;
    case 0x60: set_config(k, value); break;
    case 0xd1:
        set_a20(k, (value & OUTPUT_A20) != 0);
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
    uint8_t value = k->data;
    data_taken(k);
    return value;
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
        set_a20(k, (value & 2) != 0);
        if (value & 1) /* it always reads as 0, so each 1 is a rising edge */
            reset_guest(k, "port 0x92");
    }
}

bool vi8042_key(struct vi8042 *kbc, unsigned key)
{
    bool taken = vps2kbd_key(&kbc->kbd, key);
    listen(kbc);
    return taken;
}

/* The configuration is what a BIOS leaves: scan codes of set 1, their interrupt on. */
enum status vi8042_init(struct vi8042 *kbc, struct bus *bus, struct timers *timers,
                        struct irq_line keyboard, struct irq_line mouse, struct power_line power,
                        struct a20_line gate)
{
    static const struct port_range ports[] = {
        {PORT_DATA, PORT_DATA, 1, NULL, read_port, write_port},
        {PORT_COMMAND, PORT_COMMAND, 1, NULL, read_port, write_port},
        {PORT_A, PORT_A, 1, NULL, read_port, write_port},
    };
    *kbc = (struct vi8042){
        .ram = {CONFIG_KEYBOARD_IRQ | CONFIG_SYSTEM | CONFIG_TRANSLATE},
        .status = STATUS_SYSTEM | STATUS_UNLOCKED,
        .held = -1,
        .timers = timers,
        .keyboard = keyboard,
        .mouse = mouse,
        .power = power,
        .gate = gate,
    };
    set_a20(kbc, true);
    kbc->pause = (struct timer){.fire = pause_over, .dev = kbc};
    timers_add(timers, &kbc->pause);
    vps2kbd_reset(&kbc->kbd);
    return bus_add_port_table(bus, kbc, ports, sizeof(ports) / sizeof(ports[0]));
}
