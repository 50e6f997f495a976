/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of a PC's chips as firmware leaves them. */
#include "guest/pc/pc_set_up.h"

#include "guest/pc/isa_lines.h"

#define IDE_BASE 0xc000 /* where the disks' bus master does its work */

/* How firmware leaves the PCI functions, for a guest that is started without: RAM from 0xc0000 on,
 * PIRQA and PIRQB to IRQ 10, C and D to 11, and the ports of power management. */
static void set_up_pci(struct pc *pc)
{
    static const struct {
        uint8_t devfn, offset, bytes;
        uint32_t value;
    } writes[] = {
        {VCHIPSET_HOST, VCHIPSET_PAM0, 1, 0x30},
        {VCHIPSET_HOST, VCHIPSET_PAM0 + 1, 2, 0x3333},
        {VCHIPSET_HOST, VCHIPSET_PAM0 + 3, 4, 0x33333333},
        {VCHIPSET_ISA, VCHIPSET_PIRQA, 4, ISA_PCI_FIRST * 0x101 + ISA_PCI_SECOND * 0x1010000},
        {VIDE_DEVFN, VIDE_BMIBA, 4, IDE_BASE},
        {VIDE_DEVFN, VPCI_COMMAND, 1, VPCI_COMMAND_IO | VPCI_COMMAND_MASTER},
        {VPM_DEVFN, VPM_PMBASE, 4, PC_PM_BASE},
        {VPM_DEVFN, VPM_PMREGMISC, 1, 1},
        {VPM_DEVFN, VPCI_COMMAND, 1, VPCI_COMMAND_IO},
        {VPM_DEVFN, VPCI_INTERRUPT_LINE, 1, ISA_SCI},
    };
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        vpci_write(&pc->pci, writes[i].devfn, writes[i].offset, writes[i].bytes, writes[i].value);
}

/* How SeaBIOS leaves the other chips (and vi8042_init() and vrtc_init() theirs): interrupts of
 * timer, keyboard, cascade, clock, mouse, x87 and disk reach the vectors from 08h and 70h on, PCI's
 * and the SCI by level; the timer ticks 18.2 times a second. */
static void set_up_chips(struct pc *pc)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {
        {0x43, 0x34},
        {0x40, 0},
        {0x40, 0}, /* mode 2, by 65536; its first edge is forgotten: */
        {0x20, 0x11},
        {0x21, 0x08},
        {0x21, 4},
        {0x21, 1},
        {0x21, 0xf8},
        {0xa0, 0x11},
        {0xa1, 0x70},
        {0xa1, 2},
        {0xa1, 1},
        {0xa1, 0x8e},
        {VPIC_ELCR, ISA_LEVEL_LINES & 0xff},
        {VPIC_ELCR + 1, ISA_LEVEL_LINES >> 8},
    };
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        bus_port_write(&pc->vm.bus, writes[i].port, 1, writes[i].value);
    vlapic_set_virtual_wire(&pc->vm.vcpu[0]->apic);
}

void pc_set_up(struct pc *pc)
{
    set_up_pci(pc);
    set_up_chips(pc);
}
