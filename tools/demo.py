#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes a guest of a Debian kernel: fetches the kernel, builds an initramfs of busybox, and writes
the nadir.cfg that boots them. Kernels are kept in the user's cache, so that it works offline then."""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nadirlib import CACHE, say

BUSYBOX = Path("/bin/busybox")

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
fact clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
fact uptime $(cut -d ' ' -f 1 /proc/uptime) s
fact kernel errors $(dmesg -r | grep -c '^<[0-3]>')
fact user space reached
if grep -q nadir.shell /proc/cmdline; then
    echo "A shell in the guest; 'exit' or 'poweroff -f' ends it."
    setsid cttyhack sh
fi
stty sane # which waits until the serial port has sent everything
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
cmdline = {cmdline}
"""

DIRECTORY, FILE, SYMLINK, CHARACTER_DEVICE = 0o040755, 0o100755, 0o120777, 0o020600


class Archive:
    """A cpio archive of the `newc` kind, which may hold device files without anyone being root."""

    def __init__(self):
        self.data = bytearray()
        self._inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self._inode += 1
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields)
        self.data += name.encode() + bytes(1)
        self._pad(4)
        self.data += content
        self._pad(4)

    def _pad(self, unit):
        self.data += bytes(-len(self.data) % unit)

    def finish(self):
        self.add("TRAILER!!!", 0)
        self._pad(512)
        return bytes(self.data)


def make_initramfs(init):
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "tmp"):
        archive.add(folder, DIRECTORY)
    archive.add("dev/console", CHARACTER_DEVICE, device=(5, 1))
    archive.add("bin/busybox", FILE, BUSYBOX.read_bytes())
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            archive.add(f"bin/{applet}", SYMLINK, b"busybox")
    archive.add("init", FILE, init.encode())
    return gzip.compress(archive.finish(), 6, mtime=0)


def output_of(*command, **where):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **where).stdout


def resolve(package):
    """The package that really holds the kernel, as the one that everybody names is empty."""
    depends = output_of("apt-cache", "depends", "--important", package)
    match = re.search(r"Depends: (linux-image-\d\S*)", depends)
    return match.group(1) if match else package


def update_lists():
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-q"], check=True, stdout=sys.stderr)


def download(package, folder):
    try:
        real = resolve(package)
        output_of("apt-get", "download", "-q", real, cwd=folder)
    except subprocess.CalledProcessError:
        update_lists()  # a fresh machine has no lists; old lists name files that are gone
        real = resolve(package)
        output_of("apt-get", "download", "-q", real, cwd=folder)


def fetch_kernel(package):
    """The kernel's bzImage, from the cache if it is there."""
    kernel = CACHE / "kernels" / package / "vmlinuz"
    if kernel.exists():
        return kernel
    say(f"fetching Debian's {package}")
    kernel.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kernel.parent) as folder:
        download(package, folder)
        deb = next(Path(folder).glob("*.deb"))
        subprocess.run(f"dpkg-deb --fsys-tarfile {deb.name} | tar -x --wildcards './boot/vmlinuz-*'",
                       shell=True, check=True, cwd=folder)
        image = next(Path(folder).glob("boot/vmlinuz-*"))
        os.replace(image, kernel)
    return kernel


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where nadir.cfg and its files go")
    parser.add_argument("--package", default="linux-image-cloud-amd64", metavar="NAME",
                        help="Debian's kernel package (linux-image-cloud-amd64)")
    parser.add_argument("--memory", default=256, type=int, metavar="MIB")
    parser.add_argument("--shell", choices=("auto", "yes", "no"), default="auto",
                        help="whether the guest starts a shell (auto: if stdin is a terminal)")
    parser.add_argument("--append", default="", metavar="TEXT", help="more for the command line")
    options = parser.parse_args()
    if not BUSYBOX.exists():
        sys.exit("demo: there is no /bin/busybox; run make deps")

    options.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(fetch_kernel(options.package), options.folder / "vmlinuz")
    (options.folder / "initramfs.gz").write_bytes(make_initramfs(INIT))
    wants_shell = options.shell == "yes" or options.shell == "auto" and os.isatty(0)
    cmdline = ["console=ttyS0", "panic=-1", *["nadir.shell"] * wants_shell, options.append]
    (options.folder / "nadir.cfg").write_text(CONFIG.format(
        package=options.package, kernel="vmlinuz", ramdisk="initramfs.gz", memory=options.memory,
        cmdline=" ".join(cmdline).strip()))


if __name__ == "__main__":
    main()
