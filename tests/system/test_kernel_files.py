# SPDX-License-Identifier: BSD-2-Clause
"""What tools/nadir says of a kernel's file before a machine starts; and that files keep their names."""

import gzip
import lzma
import struct
import subprocess
import sys
import time

import pytest
from conftest import PAYLOADS, TOOL

HANDOVER = PAYLOADS / "handover.elf"


def multiboot(image, offset, magic=0x1badb002, flags=0, wrong=0):
    """With a multiboot header at the offset."""
    header = struct.pack("<III", magic, flags, -(magic + flags) + wrong & 0xffffffff)
    return image[:offset] + header + image[offset + len(header):]


def elf(bits, offset=None, kind=2, machine=None, part=1, at=0x400000, memory=0x1000, **header):
    """An ELF file of one part with 16 KiB of nothing, and a multiboot header in it if that is asked for."""
    machine = machine or (62 if bits == 64 else 3)
    if bits == 64:
        image = (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, at, 64, 0, 0, 64, 56, 1, 64, 0, 0)
                 + struct.pack("<IIQQQQQQ", part, 7, 0x1000, at, at, 0x1000, memory, 0x1000))
    else:
        image = (b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, at, 52, 0, 0, 52, 32, 1, 40, 0, 0)
                 + struct.pack("<IIIIIIII", part, 0x1000, at, at, 0x1000, memory, 7, 0x1000))
    image = image.ljust(0x4000, b"\0")
    return image if offset is None else multiboot(image, offset, **header)


def compiled(tmp_path, *options):
    """What gcc makes of a program that is no kernel."""
    subprocess.run(["gcc", "-x", "c", "-", "-o", tmp_path / "made", *options], check=True,
                   input=b"int main(void) { return 0; }")
    return (tmp_path / "made").read_bytes()


def bzimage(version, code32_start, flags=1):
    header = bytearray(0x2000)
    header[0x1f1], header[0x201], header[0x211] = 5, 0x65, flags
    struct.pack_into("<I", header, 0x1f4, (len(header) - 6 * 512) // 16)
    struct.pack_into("<H4sH", header, 0x1fe, 0xaa55, b"\xeb\x65Hd", version)
    struct.pack_into("<4sH", header, 0x202, b"HdrS", version)
    struct.pack_into("<I", header, 0x214, code32_start)
    struct.pack_into("<I", header, 0x238, 2047)
    return bytes(header)


ISO = (bytes(510) + b"\x55\xaa").ljust(0x8001, b"\0") + b"CD001".ljust(0x8000, b"\0")

MBR = bytes(446) + struct.pack("<8B2I", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 2048, 2048) + bytes(48) + b"\x55\xaa"

# The file, more lines for its section, and what is said.
FILES = {
    "empty": (b"", "", "k is empty"),
    "gzip": (gzip.compress(b"kernel" * 100), "", "compressed by gzip"),
    "xz": (lzma.compress(b"kernel" * 100), "", "compressed by xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), "", "compressed by zstd"),
    "iso": (ISO, "", "an ISO image"),
    "disk": (MBR.ljust(4096 * 512, b"\0"), "", "a disk image with partitions; wants a BIOS"),
    "qcow2": (b"QFI\xfb" + bytes(600), "", "qcow2"),
    "pe": (b"MZ".ljust(0x3c, b"\0") + struct.pack("<I", 0x80) + bytes(0x40) + b"PE\0\0" + bytes(600), "",
           "a UEFI program"),
    "text": (b"#!/bin/sh\nexit 0\n", "", "a script"),
    "lkrn": (bzimage(0x207, 0), "", "starts in 16-bit mode"),
    "old": (bzimage(0x203, 0x100000), "", "boot protocol is 2.03"),
    "zimage": (bzimage(0x207, 0x1000, 0), "", "a zImage"),
    "object": (elf(64, kind=1), "", "an object file"),
    "object32": (elf(32, 0x1000, kind=1), "", "an object file"),
    "core": (elf(64, kind=4), "", "a core file"),
    "arm": (elf(64, machine=183), "", "another processor: AArch64"),
    "hosted": (elf(64, part=3), "", "runs in an operating system"),
    "plain": (elf(32), "", "an ELF file, without multiboot header and PVH note"),
    "pvh": (elf(32), "type = pvh\n", "no PVH entry"),
    "late": (elf(32, 0x2004), "", "0x2004, and only the first 8192 bytes"),
    "late typed": (elf(32, 0x2004), "type = multiboot\n", "0x2004, and only the first 8192 bytes"),
    "misaligned": (elf(32, 0x1002), "", "0x1002, which is no multiple of 4"),
    "checksum": (elf(32, 0x1000, wrong=1), "", "checksum is wrong: it is 0xe4524fff"),
    "flags": (elf(32, 0x1000, flags=0x40), "", "unknown features: flags 0x40"),
    "64 bits": (elf(64, 0x1000), "", "64-bit ELF file, which multiboot starts in 32-bit mode"),
    "large": (elf(32, 0x1000, memory=0x4000000), "", "does not fit into 64 MiB"),
    "far": (elf(32, 0x1000, at=0xc0100000), "", "does not fit into 64 MiB"),
    "over": (elf(32, 0x1000, at=0x9f000), "", "lies over the extended BIOS data area"),
    "cut": (elf(32, 0x1000)[:0x1800], "", "is it cut short"),
    "files": (bytes(510) + b"\x55\xaa", "ramdisk = k\n", "takes neither ramdisk nor modules"),
}


def refused(folder, kernel, more, *words):
    """By the tool, in a moment, with the line and the user's name for the file."""
    (folder / "k").write_bytes(kernel)
    (folder / "my.cfg").write_text(f"[vm a]\nkernel = k\nmemory = 64\n{more}")
    before = time.monotonic()
    done = subprocess.run([sys.executable, TOOL, "run", "my.cfg"], cwd=folder, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert time.monotonic() - before < 5
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith("nadir: my.cfg:2: k") and len(done.stderr.splitlines()) == 1, done
    for word in words:
        assert word in done.stderr, done


@pytest.mark.parametrize("name", FILES)
def test_refused_beforehand(tmp_path, name):
    refused(tmp_path, *FILES[name])


@pytest.mark.parametrize("options, said", [((), "runs in an operating system"),
                                           (("-static",), "runs in an operating system"),
                                           (("-c",), "an object file")])
def test_what_gcc_makes(tmp_path, options, said):
    refused(tmp_path, compiled(tmp_path, *options), "", said)


def xen_elf():
    """An ELF file with the entry (note Xen, 1) and the base (note Xen, 3) of a Xen PV kernel, at 4 MiB."""
    base = 0xffffffff80000000
    notes = b"".join(struct.pack("<III4sQ", 4, 8, kind, b"Xen", value) for kind, value in ((1, base + 0x400000), (3, base)))
    image = bytearray(elf(64))
    struct.pack_into("<H", image, 56, 2)
    struct.pack_into("<IIQQQQQQ", image, 64 + 56, 4, 4, 0x2000, 0, 0, len(notes), len(notes), 4)
    image[0x2000:0x2000 + len(notes)] = notes
    return bytes(image)


def packed(payload, size):
    """A bzImage with a kernel in it, and the size behind that."""
    image = bytearray(bzimage(0x20c, 0x100000)[:6 * 512])
    struct.pack_into("<II", image, 0x248, 0, len(payload) + 4)
    return bytes(image) + payload + struct.pack("<I", size)


def by_program(*command):
    return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout


PACKERS = {"gzip": lambda data: gzip.compress(data)[:-4], "xz": lzma.compress, "LZ4": by_program("lz4", "-lc"),
           "zstd": by_program("zstd", "-c")}


@pytest.mark.parametrize("name", PACKERS)
def test_unpacked_for_pv(tmp_path, name):
    """A bzImage is what the user names, and the ELF file in it is what engine = pv gets."""
    kernel = xen_elf()
    (tmp_path / "k").write_bytes(packed(PACKERS[name](kernel), len(kernel)))
    (tmp_path / "my.cfg").write_text("[vm a]\nkernel = k\nmemory = 64\nengine = pv\n")
    done = subprocess.run([sys.executable, TOOL, "check", "my.cfg"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("k: Xen PV, entry 0xffffffff80400000\n"), done


@pytest.mark.parametrize("image, said", [
    (packed(lzma.compress(xen_elf()), 0x4000)[:-8], "the kernel in it is cut short"),
    (packed(lzma.compress(xen_elf())[:-8], 0x4000), "the kernel in it is no whole xz file"),
    (packed(lzma.compress(xen_elf()), 0x4001), "16384 bytes came of it"),
    (packed(b"BZh9" + bytes(60), 0x4000), "compressed by bzip2; gzip, xz, LZ4 and zstd are unpacked"),
    (packed(bytes(64), 0x4000), "compressed by something unknown"),
    (bzimage(0x207, 0x100000), "its boot protocol is 2.07"),
    (packed(lzma.compress(elf(64)), 0x4000), "no Xen PV entry")],
    ids=["cut", "damaged", "size", "bzip2", "unknown", "old", "no entry"])
def test_not_unpacked_for_pv(tmp_path, image, said):
    refused(tmp_path, image, "engine = pv\n", said)


def test_a_directory(tmp_path):
    (tmp_path / "k").mkdir()
    (tmp_path / "my.cfg").write_text("[vm a]\nkernel = k\n")
    done = subprocess.run([sys.executable, TOOL, "run", "my.cfg"], cwd=tmp_path, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr == "nadir: my.cfg:2: k is a directory\n", done


def with_code(code):
    image = elf(32, 0x1100)
    return image[:0x1000] + code + image[0x1000 + len(code):]


@pytest.mark.parametrize("engine", ["vtx", "bt"])
def test_wrong_selectors(nadir, engine):
    """A kernel made for the other boot loader: its stack segment is no data segment here. One that dies of something
    else is not told of loaders."""
    for loader, selector, advice in (("qemu", 0x18, "loader = grub2"), ("grub2", 0x10, "loader = qemu")):
        code = b"\x66\xb8" + struct.pack("<H", selector) + b"\x8e\xd0\xf4"  # mov ax; mov ss, ax; hlt
        image = with_code(code)
        section = f"[vm a]\nkernel = k\nmemory = 16\nengine = {engine}\nloader = {{}}\n"
        result = nadir(section.format(loader), {"k": image}, timeout=60)
        line = next(line for line in result.console.splitlines() if "nadir: a: ended: " in line)
        assert "triple fault" in line and advice in line, result
        result = nadir(section.format("grub2" if loader == "qemu" else "qemu"), {"k": image}, timeout=60)
        line = next(line for line in result.console.splitlines() if "nadir: a: ended: " in line)
        assert "halted" in line and "loader" not in line, result
    result = nadir(section.format("qemu"), {"k": with_code(b"\x0f\x0b")}, timeout=60)  # ud2
    line = next(line for line in result.console.splitlines() if "nadir: a: ended: " in line)
    assert "triple fault" in line and "loader" not in line, result


@pytest.mark.parametrize("boot", ["warm", "firmware"])
def test_memory_that_the_machine_has_not(nadir, payload, boot):
    """Of several VMs the one is named with which it is too much; one that does not start takes none."""
    cfg = "".join(f"[vm {name}]\nkernel = k\nmemory = 100\nstart = {start}\n"
                  for name, start in (("a", "yes"), ("off", "no"), ("b", "yes"), ("c", "yes")))
    result = nadir(cfg, {"k": payload("hello")}, memory=256, boot=boot)
    assert result.status == 2 and not result.console, result
    assert "nadir.cfg:13: [vm c] has memory = 100 (MiB)" in result.messages, result
    assert "306, and the machine has 256 (--memory)" in result.messages, result
    result = nadir(cfg[:cfg.index("[vm c]")], {"k": payload("hello")}, memory=256, boot=boot)
    assert result.status == 0, result


@pytest.mark.parametrize("boot", ["warm", "firmware"])
def test_names_stay(nadir, write_config, tmp_path, boot):
    """Outside the configuration's folder, and such as FAT does not take."""
    outside = tmp_path / "outside \u00e4?"
    outside.mkdir()
    for name in ("kernel", "first"):
        content = HANDOVER.read_bytes() if name == "kernel" else b"first".ljust(64, b".")
        (outside / name).write_bytes(content)
    for name in ("second", "a third"):
        (tmp_path / name).write_bytes(name.encode().ljust(64, b"."))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "nadir.cfg").write_text(
        "[vm a]\nkernel = ../outside \u00e4?/kernel\nmemory = 32\n"
        f'ramdisk = "{outside}/first"\nmodule = ../second a=1 b\nmodule = "../a third" c d\n'
        'cmdline = check=1\n')
    done = subprocess.run([sys.executable, TOOL, "run", folder / "nadir.cfg", "--on", "bochs", "--boot", boot,
                           "--timeout", "100"],
                          stdin=subprocess.DEVNULL, capture_output=True)
    console = done.stdout.decode()
    assert "nadir: a: ../outside \u00e4?/kernel: multiboot 2, entry 0x400" in console, console
    for line in ("the command line is ../outside \u00e4?/kernel check=1", f"module 0 is {outside}/first",
                 "module 1 is ../second a=1 b", "module 2 is ../a third c d"):
        assert f"handover: {line}" in console.replace("\r", "").splitlines(), console
