/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug consoles and exits as test kernels and firmware know them from Bochs and QEMU. */
#include "drivers/virt/vdebug.h"

enum { PORT_CONSOLE = 0xe9, PORT_EXIT = 0xf4, PORT_LOG = 0x402, PORT_SHUTDOWN = 0x8900 };

static uint32_t read_console(void *dev, uint16_t port, unsigned bytes)
{
    (void)dev;
    (void)port;
    (void)bytes;
    return PORT_CONSOLE; /* reading this number tells that the console is there, at either port */
}

static void write_console(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vdebug *debug = dev;
    (void)port;
    (void)bytes;
    debug->out(debug->ctx, (uint8_t)value);
}

static void write_exit(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    struct vdebug *debug = dev;
    (void)bytes;
    if (port == PORT_EXIT)
        power_line_request(&debug->power, VM_DEBUG_EXIT, value, "debug-exit port");
}

/* A wrong letter begins the word anew. */
static void write_shutdown(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    static const char word[] = "Shutdown";
    struct vdebug *debug = dev;
    (void)port;
    (void)bytes;
    if (value != (uint8_t)word[debug->letters])
        debug->letters = 0;
    if (value == (uint8_t)word[debug->letters])
        debug->letters++;
    if (debug->letters < sizeof(word) - 1)
        return;
    debug->letters = 0;
    power_line_request(&debug->power, VM_POWEROFF, 0, "Shutdown to port 0x8900");
}

enum status vdebug_init(struct vdebug *debug, void (*out)(void *ctx, uint8_t byte), void *ctx,
                        bool console, bool firmware_log, struct bus *bus, struct power_line power)
{
    *debug = (struct vdebug){.out = out, .ctx = ctx, .power = power};
    const struct {
        bool wanted;
        struct port_range range;
    } ports[] = {
        {true, {PORT_SHUTDOWN, PORT_SHUTDOWN, 1, debug, NULL, write_shutdown}},
        {true, {PORT_EXIT, PORT_EXIT + 3, 4, debug, NULL, write_exit}},
        {console, {PORT_CONSOLE, PORT_CONSOLE, 1, debug, read_console, write_console}},
        {firmware_log, {PORT_LOG, PORT_LOG, 1, debug, read_console, write_console}},
    };
    enum status s = OK;
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]) && s == OK; i++)
        if (ports[i].wanted)
            s = bus_add_ports(bus, &ports[i].range);
    return s;
}
