# SPDX-License-Identifier: BSD-2-Clause
"""SeaBIOS boots disks, and a person picks what SYSLINUX or GRUB is to start: on the serial port, or
on screen and keyboard of the PC."""

import sys

import bootdisk
import pexpect
import pytest
from conftest import TOOL
from nadirlib import debian, initramfs

pytestmark = pytest.mark.slow

INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
echo "boot-test: a kernel from the disk, $(grep -c tboot /proc/cmdline) by tboot"
stty sane # which waits until the serial port has sent everything
poweroff -f
"""

SYSLINUX = """\
UI menu.c32
MENU TITLE Nadir's disk
LABEL linux
  LINUX vmlinuz
  INITRD initrd.gz
  APPEND console=ttyS0 quiet panic=-1
LABEL memtest
  LINUX memtest
LABEL ipxe
  LINUX ipxe.krn
LABEL tboot
  KERNEL mboot.c32
  APPEND tboot.gz logging=serial --- vmlinuz console=ttyS0 quiet panic=-1 tboot --- initrd.gz
"""

CONFIG = "[vm boot]\nfirmware = bios.bin\ndisk = disk.img\nmemory = 256\n"
DOWN = "\x1b[B"
TIMEOUT = 400  # seconds; the longest takes 50 on a machine of its own


@pytest.fixture
def machine(write_config):
    """Starts SeaBIOS with a disk; the emulator's console can be read and typed at."""
    children = []

    def start(disk, more=""):
        roms = debian.fetch_package("seabios") / "usr/share/seabios"
        cfg = write_config(CONFIG + more, {"bios.bin": roms / "bios-256k.bin", "disk.img": disk,
                                           "vga.bin": roms / "vgabios-isavga.bin"})
        child = pexpect.spawn(sys.executable, [str(TOOL), "run", str(cfg), "--timeout", str(TIMEOUT),
                                               "--on", "bochs", "--no-real-time"],
                              timeout=TIMEOUT, encoding="utf-8", codec_errors="replace")
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    bootdisk.make(path, SYSLINUX, {
        "vmlinuz": debian.fetch_kernel("linux-image-cloud-amd64") / "vmlinuz",
        "initrd.gz": initramfs.with_busybox(INIT).compressed(),
        "memtest": debian.fetch_package("memtest86+") / "boot/memtest86+x64.bin",
        "ipxe.krn": debian.fetch_package("ipxe") / "boot/ipxe.lkrn",
        "tboot.gz": debian.fetch_package("tboot") / "boot/tboot.gz"})
    return path


def pick(child, entry):
    """Takes an entry of the menu, counted from 0."""
    child.expect("Press .Tab. to edit options")
    child.send(DOWN * entry + "\r")


def ends_well(child):
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def test_linux(machine, disk):
    child = machine(disk)
    pick(child, 0)
    child.expect("boot-test: a kernel from the disk, 0 by tboot")
    ends_well(child)


def test_screen_and_keyboard(machine, disk):
    child = machine(disk, "console = vga\nvga_rom = vga.bin\n")
    pick(child, 1)
    child.expect("Memtest86")
    child.expect("Testing")


def test_ipxe(machine, disk):
    child = machine(disk)
    pick(child, 2)
    child.expect("Open Source Network Boot Firmware")


def test_tboot(machine, disk):
    """Without TXT, it says so and starts its kernel all the same."""
    child = machine(disk)
    pick(child, 3)
    child.expect("TBOOT: ERR: CPU does not support SMX")
    child.expect("TBOOT: transfering control to kernel")
    child.expect("boot-test: a kernel from the disk, 1 by tboot")
    ends_well(child)


def test_grub(machine):
    """GRUB's rescue image as a disk: from its menu to its prompt, and off by ACPI."""
    rescue = debian.fetch_package("grub-rescue-pc") / "usr/lib/grub-rescue/grub-rescue-cdrom.iso"
    child = machine(rescue)
    child.expect("GNU GRUB +version")
    child.expect("The highlighted entry")
    child.send("c")
    child.expect("grub>")
    child.send("ls\r")
    child.expect(r"\(hd0\)")
    child.expect("grub>")
    child.send("halt\r")
    ends_well(child)
