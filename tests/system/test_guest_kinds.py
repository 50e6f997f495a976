# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of kernel: a program that checks what it was handed over, and other people's kernels."""

import re
import struct
import subprocess

import pytest
from conftest import PAYLOADS
from kernels import lines_of

HANDOVER = PAYLOADS / "handover.elf"
FILES = {"first": "first".ljust(64, "."), "second": "second".ljust(64, ".")}
GIVEN = "ramdisk = first\nmodule = second a=1 b\ncmdline = check=1\n"


def elf32(path):
    """The same program as a 32-bit ELF file."""
    subprocess.run(["objcopy", "-O", "elf32-i386", HANDOVER, path], check=True)
    return path.read_bytes()


def with_addresses(image):
    """Sets bit 16 of a multiboot header's flags: its address fields count."""
    at = image.index(struct.pack("<I", 0x1badb002))
    magic, flags = struct.unpack_from("<II", image, at)
    flags |= 1 << 16
    return (image[:at] + struct.pack("<III", magic, flags, -(magic + flags) & 0xffffffff)
            + image[at + 12:])


# Kernel file, more lines for its section, what Nadir says of it, and what the program says.
STARTS = {
    "auto": ("elf64", GIVEN, "multiboot 2", "multiboot 2"),
    "auto32": ("elf32", GIVEN, "multiboot 2", "multiboot 2"),
    "mb64": ("elf64", GIVEN + "type = multiboot\n", "multiboot", "multiboot"),
    "mb32": ("elf32", GIVEN + "type = multiboot\n", "multiboot", "multiboot"),
    # Address fields alone, and before an ELF header that has become nonsense.
    "fields": ("raw", GIVEN + "type = multiboot\n", "multiboot", "multiboot"),
    "pvh64": ("elf64", GIVEN + "type = pvh\n", "PVH", "PVH"),
    "pvh32": ("elf32", GIVEN + "type = pvh\n", "PVH", "PVH"),
    "flat": ("flat", "type = flat\nload = 0x400000\nentry = {entry:#x}\nmode = 32\n", "flat",
             "a flat program"),
}


@pytest.fixture(scope="module")
def booted():
    return []


@pytest.fixture
def handover(nadir, booted, tmp_path):
    """All of STARTS in one boot."""
    if not booted:
        image = HANDOVER.with_suffix(".bin").read_bytes()
        entry = struct.unpack_from("<Q", HANDOVER.read_bytes(), 24)[0]
        files = {"elf64": HANDOVER, "elf32": elf32(tmp_path / "made"), "flat": image,
                 "raw": with_addresses(image), **FILES}
        cfg = "".join(f"[vm {name}]\nkernel = {file}\nmemory = 32\n{more.format(entry=entry)}"
                      for name, (file, more, _, _) in STARTS.items())
        booted.append(nadir(cfg, files, timeout=240))
    return booted[0]


@pytest.mark.parametrize("name", STARTS)
def test_handed_over(handover, name):
    file, _, kind, started_by = STARTS[name]
    lines = lines_of(handover, name)
    assert not [line for line in lines if line.startswith("FAIL")], lines
    assert f"handover: started by {started_by}" in lines or (
        f"handover: started as {started_by}" in lines), handover
    assert any(re.fullmatch(r"test handover: [1-9]\d* passed, 0 failed", line)
               for line in lines), handover
    assert f"nadir: {name}: {file}: {kind}, entry 0x400" in handover.console, handover
    ends = [(vm["end"], vm["code"]) for vm in handover.stats if vm["vm"] == name]
    assert ends == [("debug-exit", 0)], handover
