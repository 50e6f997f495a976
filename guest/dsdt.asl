/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest cannot find by itself in the virtual PC. Ports as in drivers/virt/vpm.h and guest/pc.c. */
DefinitionBlock ("", "DSDT", 2, "NADIR ", "NADIRPC ", 1)
{
    /* Soft off: SLP_TYP as VPM_SLP_TYP_S5. */
    Name (_S5, Package () { 5, 5, 0, 0 })

    Scope (_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0, 0, 1)
                IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0000, 0x0cf7, 0, 0x0cf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0d00, 0xffff, 0, 0xf300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
            })
            /* No _PRT: no slot has a device that raises INTA..INTD. */

            Device (PIC)
            {
                Name (_HID, EisaId ("PNP0000"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0020, 0x0020, 1, 2)
                    IO (Decode16, 0x00a0, 0x00a0, 1, 2)
                    IO (Decode16, 0x04d0, 0x04d0, 1, 2)
                    IRQNoFlags () { 2 }
                })
            }
            Device (TMR)
            {
                Name (_HID, EisaId ("PNP0100"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0040, 0x0040, 1, 4)
                    IRQNoFlags () { 0 }
                })
            }
            Device (RTC)
            {
                Name (_HID, EisaId ("PNP0B00"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0070, 0x0070, 1, 2)
                    IRQNoFlags () { 8 }
                })
            }
            Device (COM1)
            {
                Name (_HID, EisaId ("PNP0501"))
                Name (_UID, 1)
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x03f8, 0x03f8, 1, 8)
                    IRQNoFlags () { 4 }
                })
            }
            /* Ports that nobody else may take: power management, port B, debug console and exit. */
            Device (SYS)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0600, 0x0600, 1, 0x0c)
                    IO (Decode16, 0x0061, 0x0061, 1, 1)
                    IO (Decode16, 0x0092, 0x0092, 1, 1)
                    IO (Decode16, 0x00e9, 0x00e9, 1, 1)
                    IO (Decode16, 0x00f4, 0x00f4, 1, 4)
                })
            }
        }
    }
}
