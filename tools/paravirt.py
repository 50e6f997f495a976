#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What KVM's paravirtual interface is worth where vCPUs share host CPUs: stress-ng in a Linux of 4 vCPUs on 2 CPUs
of Bochs, with `paravirt = kvm` and with `none`, in operations per second of the guest's time. A minute each."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nadirlib import TOP, ToolError, debian, initramfs

# The first is the figure: threads of one process on all vCPUs give memory back, so each of them is to forget
# translations, though two of the four have no CPU at that time. The others send fewer interrupts, or wait for else.
WORK = {"shoot-downs": "--malloc 1 --malloc-pthreads 4 --malloc-bytes 256k --malloc-max 64",
        "of 4 processes": "--malloc 4 --malloc-pthreads 4 --malloc-bytes 256k --malloc-max 64",
        "futex": "--futex 4", "sem": "--sem 4", "switch": "--switch 4", "membarrier": "--membarrier 4",
        "tlb-shootdown": "--tlb-shootdown 2"}
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for what in WORK; do
    echo "paravirt: $what"
    /usr/bin/stress-ng $what --timeout SECONDS --metrics-brief --temp-path /tmp 2>&1
done
stty sane
poweroff -f
"""
CONFIG = """\
[vm stress]
kernel = vmlinuz
ramdisk = initramfs.gz
cmdline = console=ttyS0 panic=-1 quiet
memory = 384
vcpus = 4
paravirt = {paravirt}
"""
# Operations, seconds, of users, of the system, operations per second
RESULT = re.compile(r"^paravirt: (.*?)\r?$(?s:.*?)metrc: \[\d+\] \S+ +(\d+) +\S+ +\S+ +\S+ +(\d+\.\d+) ", re.M)


def measure(paravirt, work, seconds, timeout=1200):
    """{options of stress-ng: operations per second} of one boot."""
    init = INIT.replace("WORK", " ".join(f'"{what}"' for what in work)).replace("SECONDS", str(seconds))
    archive = initramfs.with_busybox(init)
    archive.add_program("stress-ng")
    with tempfile.TemporaryDirectory(prefix="nadir-paravirt-") as folder:
        shutil.copyfile(debian.fetch_kernel("linux-image-cloud-amd64") / "vmlinuz", Path(folder) / "vmlinuz")
        (Path(folder) / "initramfs.gz").write_bytes(archive.compressed())
        cfg = Path(folder) / "nadir.cfg"
        cfg.write_text(CONFIG.format(paravirt=paravirt))
        done = subprocess.run([TOP / "tools" / "nadir", "run", cfg, "--on", "bochs", "--cpus", "2", "--timeout",
                               str(timeout)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              errors="replace")
    if done.returncode:
        print(done.stdout)
        raise ToolError(f"the run ended with status {done.returncode}")
    return {what: float(rate) for what, _, rate in RESULT.findall(done.stdout)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of the guest's time, for each (2)")
    parser.add_argument("--all", action="store_true", help="not the first alone: " + ", ".join(WORK))
    options = parser.parse_args()
    names = list(WORK) if options.all else list(WORK)[:1]
    work = [WORK[name] for name in names]
    try:
        none, kvm = (measure(paravirt, work, options.seconds) for paravirt in ("none", "kvm"))
    except ToolError as error:
        sys.exit(f"paravirt: {error}")
    print(f"{'operations per second':<24}{'none':>10}{'kvm':>10}{'times':>8}")
    for name, what in zip(names, work):
        print(f"{name:<24}{none[what]:>10.0f}{kvm[what]:>10.0f}{kvm[what] / none[what]:>8.2f}  stress-ng {what}")


if __name__ == "__main__":
    main()
