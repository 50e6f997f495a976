#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs Nadir and small guests under QEMU with real KVM, on a Linux that runs in Bochs: the
nearest thing to a developer's nested KVM that can be had without VT-x. Takes some ten minutes."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from nadirlib import TOP, ToolError, config, console, image, machine, nested, say

GUESTS = ("hello", "apic", "mmio", "modes", "steps")  # what bears on how strict the machine is
CONFIG = "[nadir]\n" + "".join(f"[vm {n}]\nkernel = {n}.bin\nmemory = 32\n" for n in GUESTS)
QEMU = ("-serial /dev/ttyS2 -M q35,accel=kvm -cpu host -m 512 -bios /OVMF.fd "
        "-drive if=none,id=boot,format=raw,file=/nadir.img -device ide-hd,drive=boot,bootindex=0")


def make_outer_image(work):
    """The disk that Bochs boots; Nadir's own image is the disk of its virtual machine."""
    inner = work / "inner"
    inner.mkdir()
    for name in GUESTS:
        (inner / f"{name}.bin").symlink_to(TOP / "build" / "payloads" / f"{name}.bin")
    loader = Path(os.environ.get("NADIR_EFI") or TOP / "build" / "nadir.efi")
    image.make(config.Config("nadir.cfg", inner, CONFIG.encode()), loader, work / "inner.img",
               report=0x2f8)
    nested.make_disk(work / "outer.img", QEMU,
                     {"OVMF.fd": machine.find_rom(work).read_bytes(),
                      "nadir.img": (work / "inner.img").read_bytes()})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=int, default=2400, metavar="S")
    parser.add_argument("--log", metavar="FILE", help="save Bochs's log")
    options = parser.parse_args()
    nested.set_machine(options)
    try:
        with tempfile.TemporaryDirectory(prefix="nadir-") as folder:
            work = Path(folder)
            make_outer_image(work)
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
