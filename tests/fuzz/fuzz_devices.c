// link: drivers/virt/vuart.c drivers/virt/vpic.c drivers/virt/vpit.c drivers/virt/vrtc.c
// link: drivers/virt/vi8042.c drivers/virt/vps2kbd.c drivers/virt/vpm.c drivers/virt/vpci.c
// link: drivers/virt/vferr.c drivers/virt/vtestdev.c drivers/virt/vdebug.c drivers/virt/vchipset.c drivers/virt/vvga.c guest/pc/screen.c
// link: guest/monitor/ansi.c arch/format.c
// link: drivers/virt/vfwcfg.c mm/guestmem.c drivers/bus/bus.c drivers/bus/timers.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that does anything to any port of the old devices, in any order, with jumps in time. */
#include "drivers/virt/vchipset.h"
#include "drivers/virt/vdebug.h"
#include "drivers/virt/vferr.h"
#include "drivers/virt/vfwcfg.h"
#include "drivers/virt/vi8042.h"
#include "drivers/virt/vpci.h"
#include "drivers/virt/vpic.h"
#include "drivers/virt/vpit.h"
#include "drivers/virt/vpm.h"
#include "drivers/virt/vrtc.h"
#include "drivers/virt/vtestdev.h"
#include "drivers/virt/vuart.h"
#include "drivers/virt/vvga.h"
#include "guest/monitor/ansi.h"

#include <stdlib.h>
#include <string.h>

static struct bus bus;
static struct timers timers;
static struct vuart uart;
static struct vpic pic;
static struct vpit pit;
static struct vrtc rtc;
static struct vi8042 kbc;
static struct vpm pm;
static struct vpci pci;
static struct vchipset chipset;
static struct vdebug debug;
static struct vferr ferr;
static struct vtestdev testdev;
static struct vfwcfg fwcfg;
static struct guestmem mem; /* the VGA's, at 0 */
static struct vvga vga;
static uint8_t vga_memory[VVGA_MEMORY_BYTES];
static struct screen screen;
static struct ansi ansi;
static uint64_t clock_now;

static const uint16_t ports[] = {
    0x20,   0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,   0x41,  0x42,  0x43,  0x61,  0x70,
    0x71,   0x60,  0x64,  0x92,  0x3f8, 0x3f9, 0x3fa,  0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff,
    0x600,  0x601, 0x602, 0x603, 0x604, 0x605, 0x608,  0x60a, 0xcf8, 0xcf9, 0xcfb, 0xcfc,
    0x3b4,  0x3b5, 0x3ba, 0x3c0, 0x3c1, 0x3c2, 0x3c4,  0x3c5, 0x3c7, 0x3c8, 0x3c9, 0x3ce,
    0x3cf,  0x3d4, 0x3d5, 0x3da, 0xcfe, 0xcff, 0xe9,   0xf4,  0xf5,  0x402, 0xf0,  0x2000,
    0x2017, 0xe0,  0x1f,  0x3f7, 0x5ff, 0xcf7, 0xffff, 0x510, 0x511, 0x514, 0x518,
};

static uint64_t read_clock(void)
{
    return clock_now;
}

static void drop_byte(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)byte;
}

static void drop_text(void *ctx, const char *text, size_t length)
{
    (void)ctx;
    (void)text;
    (void)length;
}

static struct irq_line line(unsigned pin)
{
    return (struct irq_line){.set = vpic_set, .chip = &pic, .pin = pin};
}

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void fwcfg_works(void *dev, bool busy)
{
    (void)dev;
    require(busy == vfwcfg_is_busy(&fwcfg));
}

static void start(uint64_t hz)
{
    memset(&bus, 0, sizeof(bus));
    clock_now = 0;
    timers = (struct timers){.read = read_clock, .hz = hz, .next = TIMER_NEVER};
    require(vpic_init(&pic, &bus, (struct irq_line){.set = NULL}) == OK);
    require(vuart_init(&uart, 0x3f8, drop_byte, NULL, &bus, line(4)) == OK);
    require(vpit_init(&pit, &bus, &timers, line(0)) == OK);
    require(vrtc_init(&rtc, 1800000000, 1u << 30, 0, &bus, &timers, line(8)) == OK);
    require(vi8042_init(&kbc, &bus, &timers, line(1), line(12), (struct power_line){NULL, NULL},
                        (struct a20_line){NULL, NULL}) == OK);
    require(vpci_init(&pci, &bus, (struct power_line){NULL, NULL}) == OK);
    require(vchipset_init(&chipset, &pci) == OK);
    require(vpm_init(&pm, &bus, &pci, &timers, line(9), (struct power_line){NULL, NULL}) == OK);
    vpci_write(&pci, VPM_DEVFN, VPM_PMBASE, 2, 0x600);
    vpci_write(&pci, VPM_DEVFN, VPM_PMREGMISC, 1, 1);
    require(vvga_init(&vga, vga_memory, &bus, &timers) == OK);
    mem.count = 0;
    require(guestmem_add(&mem, gpa(0), sizeof(vga_memory), vga_memory) == OK);
    require(vfwcfg_init(&fwcfg, &bus, &mem, &timers, (struct work_line){fwcfg_works, NULL}) == OK);
    vfwcfg_add_file(&fwcfg, "etc/corpus", ports, sizeof(ports));
    require(vferr_init(&ferr, &bus, line(13)) == OK);
    memset(&testdev, 0, sizeof(testdev));
    require(vtestdev_init(&testdev, &bus, line(0)) == OK);
    require(vdebug_init(&debug, drop_byte, NULL, true, true, &bus,
                        (struct power_line){NULL, NULL}) == OK);
}

/* Six bytes of input are one step: what, where, and a value. */
static void step(const uint8_t *data)
{
    uint16_t port = ports[data[1] % (sizeof(ports) / sizeof(ports[0]))];
    uint32_t value;
    memcpy(&value, data + 2, sizeof(value));
    unsigned bytes = 1u << (data[0] >> 4) % 3;
    switch (data[0] & 15) {
    case 0: clock_now += value; break;
    case 1: clock_now += (uint64_t)value << (data[1] & 31); break;
    case 2: timers_run(&timers, clock_now); break;
    case 3: /* as the run loop does: to the next deadline */
        if (timers.next != TIMER_NEVER && timers.next > clock_now)
            clock_now = timers.next;
        timers_run(&timers, clock_now);
        break;
    case 4: require(vpic_acknowledge(&pic) < 256); break;
    case 5: require(vuart_receive(&uart, data[2]) || vuart_room(&uart) == 0); break;
    case 6: vpic_set(&pic, data[2], data[3] & 1); break;
    case 7:
        if (data[1] == 0xff)
            (void)vferr_set(&ferr, (data[2] & 1) != 0);
        else if (data[2] < 2) /* each register of each function, and none */
            bus_port_write(&bus, 0xcf8, 4, 0x80000000 | (data[3] & 15u) << 8 | data[4]);
        else if (data[2] < 4)
            pm.status = 0x100; /* the power button */
        else if (data[2] < 16) {
            vga_memory[value >> 8 & (VVGA_MEMORY_BYTES - 1)] = data[2];
            (void)screen_take(&screen, &vga);
            (void)ansi_draw(&ansi, &screen, drop_text, NULL);
        } else
            require(vi8042_key(&kbc, value >> 8 & 0x1ff) || !vps2kbd_has_room(&kbc.kbd));
        break;
    case 8:
    case 9:
    case 10: {
        uint32_t got = bus_port_read(&bus, port, bytes);
        require(bytes == 4 || got >> (8 * bytes) == 0);
        break;
    }
    default: bus_port_write(&bus, port, bytes, value); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t rates[] = {1, 1000, 100000000, 3500000000};
    if (size == 0)
        return 0;
    start(rates[data[0] & 3]);
    for (size_t i = 1; i + 6 <= size && i < 6000; i += 6)
        step(data + i);
    return 0;
}
