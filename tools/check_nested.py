#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs Nadir and small guests under QEMU with real KVM, on a Linux that runs in Bochs: the
nearest thing to a developer's nested KVM that can be had without VT-x. Takes some ten minutes."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from nadirlib import TOP, ToolError, config, console, debian, image, initramfs, machine, say

GUESTS = ("hello", "apic", "mmio", "modes", "steps")  # what bears on how strict the machine is
CONFIG = "[nadir]\n" + "".join(f"[vm {n}]\nkernel = {n}.bin\nmemory = 32\n" for n in GUESTS)
QEMU_DATA = Path("/usr/share/qemu")
QEMU_ROMS = ("kvmvapic.bin", "linuxboot_dma.bin", "efi-e1000e.rom")

# Bochs demands more of a posted-interrupt descriptor than the SDM does, hence no APICv.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
insmod /irqbypass.ko && insmod /kvm.ko && insmod /kvm-intel.ko nested=1 enable_apicv=0
echo "nested: KVM is ready: $(ls /dev/kvm)"
/qemu -M q35,accel=kvm -cpu host -m 512 -bios /OVMF.fd -L /share -nodefaults -display none \\
    -no-reboot -serial stdio -serial /dev/ttyS2 -drive if=none,id=boot,format=raw,file=/nadir.img \\
    -device ide-hd,drive=boot,bootindex=0
echo "nested: QEMU ended with status $?"
stty sane
poweroff -f
"""


def add_program(archive, program):
    """A program with the libraries that it is linked to, each where the program looks for it."""
    archive.add_file("qemu", Path(program).read_bytes())
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for name in sorted(set(re.findall(r"(/\S+) \(0x", listing))):
        archive.add_file(name.lstrip("/"), Path(name).read_bytes())


def make_outer_image(work, kernel):
    """The disk that Bochs boots: Linux with an initramfs that holds QEMU and Nadir's own image."""
    inner = work / "inner"
    inner.mkdir()
    for name in GUESTS:
        (inner / f"{name}.bin").symlink_to(TOP / "build" / "payloads" / f"{name}.bin")
    loader = Path(os.environ.get("NADIR_EFI") or TOP / "build" / "nadir.efi")
    image.make(config.Config("nadir.cfg", inner, CONFIG.encode()), loader, work / "inner.img",
               report=0x2f8)

    archive = initramfs.with_busybox(INIT)
    add_program(archive, f"/usr/bin/{machine.QEMU}")
    for rom in QEMU_ROMS:
        if (QEMU_DATA / rom).exists():
            archive.add_file(f"share/{rom}", (QEMU_DATA / rom).read_bytes())
    archive.add_file("OVMF.fd", machine.find_rom(work).read_bytes())
    archive.add_file("nadir.img", (work / "inner.img").read_bytes())
    for module in debian.KVM_MODULES:
        archive.add_file(f"{module}.ko", (kernel / f"{module}.ko").read_bytes())
    # The firmware's shell starts the kernel, as a removable disk has no place for a command line.
    script = b"fs0:\r\nlinux.efi initrd=\\initrd console=ttyS0 quiet tsc=reliable\r\n"
    image.make_disk(work / "outer.img", {"linux.efi": kernel / "vmlinuz", "startup.nsh": script,
                                         "initrd": archive.compressed()})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=int, default=2400, metavar="S")
    parser.add_argument("--log", metavar="FILE", help="save Bochs's log")
    options = parser.parse_args()
    options.cpus, options.memory, options.model = 1, 2048, "corei7_skylake_x"
    options.boot, options.model_given = "firmware", False
    options.gdb = options.strict = options.real_time = False
    try:
        kernel = debian.fetch_kernel("linux-image-cloud-amd64")
        with tempfile.TemporaryDirectory(prefix="nadir-") as folder:
            work = Path(folder)
            make_outer_image(work, kernel)
            master, slave, name = console.open_pty()
            reports, reports_slave, reports_name = console.open_pty()
            process, log = machine.bochs(work / "outer.img", name, reports_name, work, options)
            try:
                watch = console.Watch(process, log, master, reports, options.timeout)
                how = watch.run()
            finally:
                machine.stop(process)
                os.close(slave)
                os.close(reports_slave)
    except ToolError as error:
        sys.exit(f"check-nested: {error}")
    if watch.end != "ok":
        print("\n".join(log.telling), file=sys.stderr)
    say(f"nested: {how}, nadir-end: {watch.end}")
    return watch.end != "ok"


if __name__ == "__main__":
    sys.exit(main())
