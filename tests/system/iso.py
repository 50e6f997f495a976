# SPDX-License-Identifier: BSD-2-Clause
"""Makes an image of a CD: ISO 9660 (ECMA-119) with files in its root, and El Torito's boot catalogue."""

import struct

SECTOR = 2048
FIRST = 16  # sector of the volume descriptors
PATHS = (19, 20)  # of the path tables, with numbers of either order
ROOT, CATALOGUE, CONTENT = 21, 22, 23
DATE = bytes((126, 1, 1, 0, 0, 0, 0))  # 1 January 2026


def both(form, number):
    """A number in both orders."""
    return struct.pack("<" + form, number) + struct.pack(">" + form, number)


def entry(name, sector, size, is_folder=False):
    data = (bytes((0, 0)) + both("I", sector) + both("I", size) + DATE + bytes((2 if is_folder else 0, 0, 0)) +
            both("H", 1) + bytes((len(name),)) + name)
    data += bytes(len(data) % 2)
    return bytes((len(data),)) + data[1:]


def path_table(order):
    return struct.pack(order + "BBIH", 1, 0, ROOT, 1) + bytes(2)


def primary(sectors):
    """The primary volume descriptor."""
    data = b"\1CD001\1\0" + b" " * 32 + b"NADIR".ljust(32) + bytes(8) + both("I", sectors) + bytes(32)
    data += both("H", 1) + both("H", 1) + both("H", SECTOR) + both("I", len(path_table("<")))
    data += struct.pack("<II", PATHS[0], 0) + struct.pack(">II", PATHS[1], 0)
    data += entry(b"\0", ROOT, SECTOR, True) + b" " * (3 * 37 + 4 * 128)
    return data + (b"0" * 16 + b"\0") * 4 + b"\1"


def catalogue(sector, count):
    """One image, without emulation, for a PC: `count` sectors of 512 bytes go to 0x7c00."""
    head = struct.pack("<BBH24sHBB", 1, 0, 0, b"", 0, 0x55, 0xaa)
    total = -sum(struct.unpack("<16H", head)) & 0xffff
    head = head[:28] + struct.pack("<H", total) + head[30:]
    return head + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, count, sector)


def make(files, boot=b""):
    """The image as bytes. `files`: name to bytes; `boot`: what a BIOS starts, behind the catalogue."""
    content, folder = b"", entry(b"\0", ROOT, SECTOR, True) + entry(b"\1", ROOT, SECTOR, True)
    for name, data in sorted({"BOOT.BIN;1": boot, **files}.items()):
        at = CONTENT + len(content) // SECTOR
        boot_at = at if name == "BOOT.BIN;1" else 0
        folder += entry(name.encode(), at, len(data))
        content += data + bytes(-len(data) % SECTOR)
        if boot_at:
            table = catalogue(boot_at, -(-len(boot) // 512))
    sectors = CONTENT + len(content) // SECTOR
    parts = [primary(sectors), b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") +
             struct.pack("<I", CATALOGUE), b"\xffCD001\1", path_table("<"), path_table(">"), folder, table]
    return bytes(FIRST * SECTOR) + b"".join(part.ljust(SECTOR, b"\0") for part in parts) + content
