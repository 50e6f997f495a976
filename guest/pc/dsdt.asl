/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest cannot find by itself in the virtual PC. Ports as in drivers/virt/vpm.h and guest/pc/pc.c. */
DefinitionBlock ("", "DSDT", 2, "NADIR ", "NADIRPC ", 1)
{
    /* Soft off: SLP_TYP as VPM_SLP_TYP_S5. */
    Name (_S5, Package () { 0, 0, 0, 0 })

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
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0x000a0000, 0x000bffff, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
            })
            /* The interrupt router in the ISA bridge: which ISA interrupt each PIRQ drives. */
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (ROUT, PCI_Config, 0x60, 4)
                Field (ROUT, ByteAcc, NoLock, Preserve) { RTA, 8, RTB, 8, RTC, 8, RTD, 8 }
            }
            Method (LSTA, 1) /* of a link: enabled or not */
            {
                If (Arg0 & 0x80) { Return (0x09) }
                Return (0x0b)
            }
            Method (LCRS, 1, Serialized)
            {
                Name (BUF, ResourceTemplate ()
                {
                    Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, ,, IRQ) { 0 }
                })
                CreateDWordField (BUF, IRQ._INT, NUM)
                If (!(Arg0 & 0x80)) { NUM = Arg0 }
                Return (BUF)
            }
            Name (LPRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 10, 11 } /* as guest/pc/isa_lines.h has them */
            })
            Device (LNKA)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 0)
                Method (_STA) { Return (LSTA (^^ISA.RTA)) }
                Method (_PRS) { Return (LPRS) }
                Method (_CRS) { Return (LCRS (^^ISA.RTA)) }
                Method (_DIS) { ^^ISA.RTA |= 0x80 }
                Method (_SRS, 1)
                {
                    CreateDWordField (Arg0, 5, NUM)
                    ^^ISA.RTA = NUM
                }
            }
            Device (LNKB)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 1)
                Method (_STA) { Return (LSTA (^^ISA.RTB)) }
                Method (_PRS) { Return (LPRS) }
                Method (_CRS) { Return (LCRS (^^ISA.RTB)) }
                Method (_DIS) { ^^ISA.RTB |= 0x80 }
                Method (_SRS, 1)
                {
                    CreateDWordField (Arg0, 5, NUM)
                    ^^ISA.RTB = NUM
                }
            }
            Device (LNKC)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 2)
                Method (_STA) { Return (LSTA (^^ISA.RTC)) }
                Method (_PRS) { Return (LPRS) }
                Method (_CRS) { Return (LCRS (^^ISA.RTC)) }
                Method (_DIS) { ^^ISA.RTC |= 0x80 }
                Method (_SRS, 1)
                {
                    CreateDWordField (Arg0, 5, NUM)
                    ^^ISA.RTC = NUM
                }
            }
            Device (LNKD)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 3)
                Method (_STA) { Return (LSTA (^^ISA.RTD)) }
                Method (_PRS) { Return (LPRS) }
                Method (_CRS) { Return (LCRS (^^ISA.RTD)) }
                Method (_DIS) { ^^ISA.RTD |= 0x80 }
                Method (_SRS, 1)
                {
                    CreateDWordField (Arg0, 5, NUM)
                    ^^ISA.RTD = NUM
                }
            }
            /* INTA of device 1 is PIRQA, and each further pin or device one on. Device 1's INTA is the SCI. */
            Name (_PRT, Package ()
            {
                Package () { 0x0001ffff, 1, LNKB, 0 },
                Package () { 0x0001ffff, 2, LNKC, 0 },
                Package () { 0x0001ffff, 3, LNKD, 0 },
                Package () { 0x0002ffff, 0, LNKB, 0 },
                Package () { 0x0002ffff, 1, LNKC, 0 },
                Package () { 0x0002ffff, 2, LNKD, 0 },
                Package () { 0x0002ffff, 3, LNKA, 0 },
                Package () { 0x0003ffff, 0, LNKC, 0 },
                Package () { 0x0003ffff, 1, LNKD, 0 },
                Package () { 0x0003ffff, 2, LNKA, 0 },
                Package () { 0x0003ffff, 3, LNKB, 0 },
                Package () { 0x0004ffff, 0, LNKD, 0 },
                Package () { 0x0004ffff, 1, LNKA, 0 },
                Package () { 0x0004ffff, 2, LNKB, 0 },
                Package () { 0x0004ffff, 3, LNKC, 0 },
                Package () { 0x0005ffff, 0, LNKA, 0 },
                Package () { 0x0005ffff, 1, LNKB, 0 },
                Package () { 0x0005ffff, 2, LNKC, 0 },
                Package () { 0x0005ffff, 3, LNKD, 0 },
                Package () { 0x0006ffff, 0, LNKB, 0 },
                Package () { 0x0006ffff, 1, LNKC, 0 },
                Package () { 0x0006ffff, 2, LNKD, 0 },
                Package () { 0x0006ffff, 3, LNKA, 0 },
                Package () { 0x0007ffff, 0, LNKC, 0 },
                Package () { 0x0007ffff, 1, LNKD, 0 },
                Package () { 0x0007ffff, 2, LNKA, 0 },
                Package () { 0x0007ffff, 3, LNKB, 0 }
            })

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
            Device (KBD)
            {
                Name (_HID, EisaId ("PNP0303"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0060, 0x0060, 1, 1)
                    IO (Decode16, 0x0064, 0x0064, 1, 1)
                    IRQNoFlags () { 1 }
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
            /* Ports that nobody else may take: port B, A20 gate, debug console and exit. */
            Device (SYS)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0061, 0x0061, 1, 1)
                    IO (Decode16, 0x0092, 0x0092, 1, 1)
                    IO (Decode16, 0x00e9, 0x00e9, 1, 1)
                    IO (Decode16, 0x00f4, 0x00f4, 1, 4)
                })
            }
        }
    }
}
