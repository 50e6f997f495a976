# SPDX-License-Identifier: BSD-2-Clause
"""A CD in its drive: SeaBIOS boots it by El Torito. Linux's drive is in test_disk.py."""

import random
import re

import iso
from conftest import assemble
from test_firmware import PRINT, SECTION, TIMEOUT, seabios

# What a BIOS loads from the CD: it reads 48 sectors from number 30 on by INT 13h, to 1000:0000, and prints the
# sum of their words.
BOOT = """
bits 16
org 0x7c00
        xor     ax, ax
        mov     ds, ax
        mov     si, packet
.more:  mov     ah, 0x42
        int     0x13
        jc      .end
        mov     ax, [packet + 6]
        mov     es, ax
        xor     di, di
        mov     cx, 16 * 1024
.sum:   mov     ax, [es:di]
        add     [sum], ax
        scasw
        loop    .sum
        add     dword [packet + 8], 16
        dec     byte [times_left]
        jnz     .more
        mov     dx, [sum]
        call    print
.end:   mov     dx, 0xf4
        xor     eax, eax
        out     dx, eax
packet  db      16, 0
        dw      16, 0, 0x1000
        dq      30
sum     dw      0
times_left db   3
""" + PRINT


def test_el_torito(nadir, tmp_path):
    """Behind a disk that boots nothing, which comes first: its boot image runs, and the CD's sectors are read."""
    data = random.Random(3).randbytes(100 * iso.SECTOR)
    image = iso.make({"DATA.BIN;1": data}, assemble(BOOT, tmp_path))
    words = image[30 * iso.SECTOR:78 * iso.SECTOR]
    total = sum(int.from_bytes(words[i:i + 2], "little") for i in range(0, len(words), 2))
    cfg = SECTION.format("bios", 64) + "disk = empty\ncdrom = cd.iso\n"
    result = nadir(cfg, {"bios": seabios("bios-256k.bin"), "empty": bytes(1 << 20), "cd.iso": image},
                   timeout=TIMEOUT)
    assert re.search(r"Booting from Hard Disk(?s:.*)Booting from DVD/CD\.\.\.\s+" + f"{total & 0xffff:04X}",
                     result.console), result
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)], result
