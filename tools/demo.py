#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes a guest of a Debian kernel: fetches the kernel, builds an initramfs of busybox, and writes
the nadir.cfg that boots them. Kernels are kept in the user's cache, so that it works offline then."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from nadirlib import ToolError, debian, initramfs

INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
fact() { echo "nadir-demo: $*"; }
fact kernel $(uname -r) $(uname -v)
fact memory $(sed -n 's/^MemTotal: *//p' /proc/meminfo)
fact cpus $(grep -c ^processor /proc/cpuinfo), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
clocks=/sys/devices/system/clocksource/clocksource0
fact clocksource $(cat $clocks/current_clocksource) of $(cat $clocks/available_clocksource)
fact page-table levels $(grep -qw la57 /proc/cpuinfo && echo 5 || echo 4)
fact uptime $(cut -d ' ' -f 1 /proc/uptime) s
fact kernel errors $(dmesg -r | grep -c '^<[0-3]>')
fact user space reached
if grep -q nadir.shell /proc/cmdline; then
    # This script is init, which the commands would signal without -f.
    echo "alias poweroff='poweroff -f' reboot='reboot -f'" >/tmp/aliases
    echo "A shell in the guest; 'exit' or 'poweroff' ends it."
    export ENV=/tmp/aliases
    setsid cttyhack sh
fi
stty sane # which waits until the console has sent everything
poweroff -f
"""

CONFIG = """\
# One virtual machine: {package} of Debian, and an initramfs of busybox.
[nadir]

[vm debian]
kernel = {kernel}
ramdisk = {ramdisk}
memory = {memory}
vcpus = 1
engine = {engine}
cmdline = {cmdline}
"""

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where nadir.cfg and its files go")
    parser.add_argument("--package", default="linux-image-cloud-amd64", metavar="NAME",
                        help="Debian's kernel package (linux-image-cloud-amd64)")
    parser.add_argument("--memory", default=256, type=int, metavar="MIB")
    parser.add_argument("--engine", choices=("auto", "vtx", "bt", "pv"), default="auto",
                        help="what executes the VM (auto)")
    parser.add_argument("--shell", choices=("auto", "yes", "no"), default="auto",
                        help="whether the guest starts a shell (auto: if stdin is a terminal)")
    parser.add_argument("--append", default="", metavar="TEXT", help="more for the command line")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        kernel = debian.fetch_kernel(options.package) / "vmlinuz"
        archive = initramfs.with_busybox(INIT)
    except ToolError as error:
        sys.exit(f"demo: {error}")
    shutil.copyfile(kernel, options.folder / "vmlinuz")
    (options.folder / "initramfs.gz").write_bytes(archive.compressed())
    wants_shell = options.shell == "yes" or options.shell == "auto" and os.isatty(0)
    console = "hvc0" if options.engine == "pv" else "ttyS0"  # a domain has Xen's console, and no serial port
    cmdline = [f"console={console}", "panic=-1", *["nadir.shell"] * wants_shell, options.append]
    (options.folder / "nadir.cfg").write_text(CONFIG.format(
        package=options.package, kernel="vmlinuz", ramdisk="initramfs.gz", memory=options.memory,
        engine=options.engine, cmdline=" ".join(cmdline).strip()))


if __name__ == "__main__":
    main()
