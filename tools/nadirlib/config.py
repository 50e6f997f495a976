# SPDX-License-Identifier: BSD-2-Clause
"""The configuration of a run: a file, or what the command line says of a kernel."""

import re
from pathlib import Path

from . import ToolError
from .gpt import SECTOR

LONGEST_NAME = 31
VGA = re.compile(rb"""^\s*console\s*=\s*["']?vga""", re.M)
VTX = re.compile(rb"""^\s*engine\s*=\s*["']?vtx""", re.M)


class Config:
    """Its text as bytes, the folder that its file names are relative to, and its name for messages."""

    def __init__(self, name, folder, text, has_lines=True):
        self.name, self.folder, self.text = name, folder, text
        self._has_lines = has_lines  # which the user has written, and knows by number
        self.unpacked = {}  # kernels by name as bytes, taken out of their bzImages (image.plan)

    def where(self, line):
        """Where something is wrong, for a message; line 0 is the whole."""
        return f"{self.name}:{line}" if self._has_lines and int(line) else self.name

    def told(self, line, what):
        """A message about a line; a kernel without a configuration is not named twice."""
        where = self.where(line)
        return f"{where}: {what.removeprefix(f'{where}: ')}"


def has_vga(text):
    """Whether a VM's screen may be shown."""
    return VGA.search(text) is not None


def wants_vtx(text):
    """Whether a VM is to be executed by VT-x and nothing else."""
    return VTX.search(text) is not None


def quoted(what, text):
    """A value of nadir.cfg, which has two kinds of quotes and no way to write both."""
    mark = next((mark for mark in "\"'" if mark not in text), None)
    if mark is None or "\n" in text:
        raise ToolError(f"{what}: nadir.cfg cannot hold a text with both kinds of quotes, or with an end "
                        "of line")
    return mark + text + mark


def of_kernel(options):
    """What nadir.cfg would say."""
    stem = Path(options.cfg).name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", stem)[:LONGEST_NAME] or "kernel"
    lines = [f"[vm {name}]", f"kernel = {quoted(options.cfg, options.cfg)}"]
    if options.initrd:
        lines.append(f"ramdisk = {quoted('--initrd', options.initrd)}")
    if options.append:
        lines.append(f"cmdline = {quoted('--append', options.append)}")
    if options.guest_memory:
        lines.append(f"memory = {options.guest_memory}")
    if options.vcpus:
        lines.append(f"vcpus = {options.vcpus}")
    if options.engine:
        lines.append(f"engine = {options.engine}")
    if options.vga:
        lines.append("console = vga")
    return Config(options.cfg, Path(), ("\n".join(lines) + "\n").encode(), has_lines=False)


def is_text(data):
    if b"\0" in data:
        return False
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def is_bootable(image):
    """Whether it has a GPT, or is a FAT volume as a whole: else firmware would wait at its shell."""
    with open(image, "rb") as file:
        start = file.read(SECTOR + 8)
    return start[SECTOR:] == b"EFI PART" or b"FAT" in start[0x36:0x5a]


def read(options):
    """The configuration that FILE is, or that a kernel gets; None: it is an image, with its own."""
    path = Path(options.cfg)
    if not path.is_file():
        raise ToolError(f"{path}: " + ("not a file" if path.exists() else "there is no such file"))
    is_image = path.suffix == ".img" and options.command == "run"
    if not is_image and path.suffix != ".cfg" and not is_text(path.read_bytes()):
        if options.command == "image":
            raise ToolError(f"{path} is no configuration; an image is made of one")
        return of_kernel(options)
    said = [f"--{word}" for word in ("append", "initrd", "vcpus", "engine", "vga") if getattr(options, word, None)]
    if said or getattr(options, "guest_memory", None):
        raise ToolError(f"{path} says itself what {(said or ['-m'])[0]} would of a kernel")
    size = path.stat().st_size
    if is_image and (size == 0 or size % SECTOR):
        raise ToolError(f"{path} is no image of a disk: it has {size} bytes, not sectors of {SECTOR}")
    if is_image and not is_bootable(path):
        raise ToolError(f"{path} is no image that UEFI boots, as `nadir image` makes: a kernel needs another name, or "
                        f"a configuration with kernel = {path.name}; a VM's disk, disk = {path.name}")
    if size == 0:
        raise ToolError(f"{path} is empty")
    return None if is_image else Config(str(path), path.parent, path.read_bytes())
