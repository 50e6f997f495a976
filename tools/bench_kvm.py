#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the operations of `make bench` cost a guest of KVM: the same payload is the disk that SeaBIOS starts in
QEMU with KVM, on a Linux in the same emulator. Takes some minutes; --update writes the table that `make bench`
shows beside Nadir's."""

import argparse
import os
import re
import select
import sys
import tempfile
import time
from pathlib import Path

from nadirlib import TOP, ToolError, console, machine, nested

TABLE = TOP / "tests" / "bench_kvm.json"
BIOS = Path("/usr/share/seabios/bios-256k.bin")
QEMU = ("-M pc,accel=kvm -cpu host -m 64 -bios /bios.bin "
        "-drive if=ide,index=0,format=raw,file=/bench.img "
        "-device isa-debug-exit,iobase=0xf4,iosize=4")
DISK_BYTES = 1 << 20  # a program of any length, which loads itself; the rest is what the rows read
ROW = re.compile(r"^bench: (\S+) (\d+) (\d+) (\d+)\s*$", re.M)
OVER = b"nested: QEMU ended with status"
VERSIONS = re.compile(r"^nested: (Linux \S+, QEMU \S+)", re.M)


def run(work, options):
    """What the machine has printed until QEMU has ended."""
    program = (TOP / "build" / "payloads" / "bench.bin").read_bytes()
    nested.make_disk(work / "kvm.img", QEMU, {"bios.bin": BIOS.read_bytes(),
                                              "bench.img": program.ljust(DISK_BYTES, b"\0")})
    master, slave, name = console.open_pty()
    _, reports, reports_name = console.open_pty()
    process, _ = machine.bochs(work / "kvm.img", name, reports_name, work, options)
    text, end = b"", time.monotonic() + options.timeout
    try:
        while process.poll() is None and OVER not in text and time.monotonic() < end:
            if select.select([master], [], [], 1)[0]:
                data = os.read(master, 65536)
                text += data
                sys.stdout.write(data.decode(errors="replace").replace("\r", ""))
                sys.stdout.flush()
    finally:
        machine.stop(process)
        os.close(slave)
        os.close(reports)
    return text.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=int, default=2400, metavar="S")
    parser.add_argument("--log", metavar="FILE", help="save Bochs's log")
    parser.add_argument("--update", action="store_true", help=f"write {TABLE.relative_to(TOP)}")
    options = parser.parse_args()
    nested.set_machine(options)
    try:
        with tempfile.TemporaryDirectory(prefix="nadir-") as folder:
            text = run(Path(folder), options)
    except ToolError as error:
        sys.exit(f"bench-kvm: {error}")
    rows = {name: [int(n) for n in figures] for name, *figures in ROW.findall(text)}
    versions = VERSIONS.search(text)
    if not rows or not versions or "bench: done" not in text:
        sys.exit("bench-kvm: the payload did not run to its end")
    print(f"{'instructions':<16}{'minimum':>9}{'median':>9}{'maximum':>9}")
    for name, figures in rows.items():
        print(f"{name:<16}{figures[0]:>9}{figures[1]:>9}{figures[2]:>9}")
    if options.update:
        lines = [f' "versions": "{versions[1]}"',
                 *(f' "{name}": {figures}' for name, figures in rows.items())]
        TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
