# SPDX-License-Identifier: BSD-2-Clause
"""A disk that Bochs boots into Linux with KVM and QEMU, for what is to run in a virtual machine of KVM's:
the nearest thing to a developer's machine that can be had without VT-x."""

import re
import subprocess
from pathlib import Path

from . import debian, image, initramfs, machine

QEMU_DATA = Path("/usr/share/qemu")
QEMU_ROMS = ("kvmvapic.bin", "linuxboot_dma.bin", "efi-e1000e.rom")
MEMORY = 2048  # MiB, of the machine that Bochs plays

# Bochs demands more of a posted-interrupt descriptor than the SDM does, hence no APICv.
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
insmod /irqbypass.ko && insmod /kvm.ko && insmod /kvm-intel.ko nested=1 enable_apicv=0
echo "nested: KVM is ready: $(ls /dev/kvm)"
echo "nested: Linux $(uname -r), QEMU $(/qemu --version | sed -n 's/.*version \\([0-9.]*\\).*/\\1/p')"
/qemu -L /share -nodefaults -display none -no-reboot -serial stdio {arguments}
echo "nested: QEMU ended with status $?"
stty sane
poweroff -f
"""


def _add_program(archive, program):
    """A program with the libraries that it is linked to, each where the program looks for it."""
    archive.add_file("qemu", Path(program).read_bytes())
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for name in sorted(set(re.findall(r"(/\S+) \(0x", listing))):
        archive.add_file(name.lstrip("/"), Path(name).read_bytes())


def make_disk(path, arguments, files):
    """Writes the disk: its Linux starts QEMU with more arguments, which name `files` ({name: bytes}) as
    /name, and powers off behind it."""
    kernel = debian.fetch_kernel("linux-image-cloud-amd64")
    archive = initramfs.with_busybox(INIT.format(arguments=arguments))
    _add_program(archive, f"/usr/bin/{machine.QEMU}")
    for rom in QEMU_ROMS:
        if (QEMU_DATA / rom).exists():
            archive.add_file(f"share/{rom}", (QEMU_DATA / rom).read_bytes())
    for name, content in files.items():
        archive.add_file(name, content)
    for module in debian.KVM_MODULES:
        archive.add_file(f"{module}.ko", (kernel / f"{module}.ko").read_bytes())
    # The firmware's shell starts the kernel, as a removable disk has no place for a command line.
    script = b"fs0:\r\nlinux.efi initrd=\\initrd console=ttyS0 quiet tsc=reliable\r\n"
    image.make_disk(path, {"linux.efi": kernel / "vmlinuz", "startup.nsh": script,
                           "initrd": archive.compressed()})


def set_machine(options):
    """The options of machine.bochs() for such a disk, set in an argparse namespace."""
    options.cpus, options.memory, options.model = 1, MEMORY, "corei7_skylake_x"
    options.boot, options.model_given, options.why = "firmware", False, ""
    options.bochs = machine.find_bochs()
    options.gdb = options.strict = options.real_time = False
