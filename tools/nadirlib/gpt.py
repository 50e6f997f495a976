# SPDX-License-Identifier: BSD-2-Clause
"""A GPT disk with one EFI system partition, as the UEFI specification has it ("GUID Partition Table
(GPT) Disk Layout"): what sgdisk would write, without the second for which it sleeps."""

import struct
import uuid
import zlib

SECTOR = 512
ENTRIES, ENTRY_BYTES = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_BYTES // SECTOR
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
NAME_BYTES = 72  # UTF-16


def protective_mbr(sectors):
    """One partition of type 0xee over the whole disk, so that old tools leave it alone."""
    size = min(sectors - 1, 0xffffffff)
    # Not active; the cylinders, heads and sectors of the first sector, and of the highest there is.
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xee, b"\xff\xff\xff", 1, size)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def header(table, sectors, disk, here, other, table_at):
    """The header for sector `here`; its copy is at `other`."""
    def pack(own_sum):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, own_sum, 0, here, other,
                           2 + TABLE_SECTORS, sectors - TABLE_SECTORS - 2, disk.bytes_le, table_at,
                           ENTRIES, ENTRY_BYTES, zlib.crc32(table))
    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def write(image, sectors, first, count, name, disk, partition):
    """Partitions the open file `image` of so many sectors: one partition of `count` sectors from
    `first` on. `disk` and `partition` are the UUIDs of both."""
    table = struct.pack(f"<16s16sQQQ{NAME_BYTES}s", EFI_SYSTEM.bytes_le, partition.bytes_le, first,
                        first + count - 1, 0, name.encode("utf-16-le"))
    table = table.ljust(ENTRIES * ENTRY_BYTES, b"\0")
    last = sectors - 1
    for at, data in ((0, protective_mbr(sectors)),
                     (1, header(table, sectors, disk, 1, last, 2)),
                     (2, table),
                     (last - TABLE_SECTORS, table),
                     (last, header(table, sectors, disk, last, 1, last - TABLE_SECTORS))):
        image.seek(at * SECTOR)
        image.write(data)
