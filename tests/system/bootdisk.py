# SPDX-License-Identifier: BSD-2-Clause
"""Makes a disk that a BIOS boots: an MBR, one FAT partition, SYSLINUX and what it is to load."""

import os
import struct
import subprocess
import sys

from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian  # noqa: E402

PATH = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1"}
FIRST = 2048  # sector of the partition
MODULES = ("menu.c32", "libutil.c32", "libcom32.c32", "ldlinux.c32", "mboot.c32")


def run(*command):
    subprocess.run(command, check=True, env=PATH, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def partition_entry(first, count):
    """Active, FAT16 by LBA; with the addresses by cylinder that say "see the LBA"."""
    return struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x0e, b"\xfe\xff\xff", first, count)


def make(path, config, files, mib=24):
    """Writes the image: `config` is syslinux.cfg, `files` maps names to bytes or paths. A name may have
    one folder before it."""
    common = debian.fetch_package("syslinux-common") / "usr/lib/syslinux"
    image, sectors = str(path), mib * 2048
    mbr = (common / "mbr/mbr.bin").read_bytes().ljust(440, b"\0") + bytes(6)
    mbr += partition_entry(FIRST, sectors - FIRST) + bytes(48) + b"\x55\xaa"
    path.write_bytes(mbr)
    os.truncate(path, 512 * sectors)
    run("mkfs.fat", "-F", "16", "--offset", str(FIRST), "-h", str(FIRST), image,
        str((sectors - FIRST) // 2))
    volume = f"{image}@@{FIRST * 512}"
    everything = {name: common / "modules/bios" / name for name in MODULES}
    for name, content in {**everything, **files, "syslinux.cfg": config.encode()}.items():
        folder, _, file = name.rpartition("/")
        if folder:
            run("mmd", "-D", "s", "-i", volume, f"::/{folder}")
        source = path.with_name(f"{path.name}.{file}") if isinstance(content, bytes) else content
        if isinstance(content, bytes):
            source.write_bytes(content)
        run("mcopy", "-i", volume, str(source), f"::/{name}")
    run(str(debian.fetch_package("syslinux") / "usr/bin/syslinux"), "--install",
        "--offset", str(FIRST * 512), image)
