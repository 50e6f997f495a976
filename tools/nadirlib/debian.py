# SPDX-License-Identifier: BSD-2-Clause
"""Fetches Debian's packages with apt, without installing them, and keeps them in the user's cache."""

import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import CACHE, ToolError, say

# What a kernel needs to be a KVM host, and to use an ATA disk and a CD, in loading order.
KVM_MODULES = ("irqbypass", "kvm", "kvm-intel")
DISK_MODULES = ("scsi_common", "scsi_mod", "libata", "ata_piix", "sd_mod")
CD_MODULES = ("cdrom", "sr_mod", "isofs")
MODULES = (*KVM_MODULES, *DISK_MODULES, *CD_MODULES)


def output_of(*command, **where):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **where).stdout


def resolve(package):
    """The package that really holds the kernel, as the one that everybody names is empty."""
    depends = output_of("apt-cache", "depends", "--important", package)
    match = re.search(r"Depends: (linux-image-\d\S*)", depends)
    return match.group(1) if match else package


def download(package, folder):
    """Puts the package's file into the folder, with fresh package lists if need be."""
    try:
        output_of("apt-get", "download", "-q", resolve(package), cwd=folder)
    except subprocess.CalledProcessError:
        # A fresh machine has no lists, and old lists name files that are gone.
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        subprocess.run([*sudo, "apt-get", "update", "-q"], check=True, stdout=sys.stderr)
        output_of("apt-get", "download", "-q", resolve(package), cwd=folder)
    return next(Path(folder).glob("*.deb"))


def unpack(deb, target):
    """Takes the kernel and MODULES out of the package's file."""
    with tempfile.TemporaryDirectory(dir=target) as folder:
        tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
        wanted = ["*/boot/vmlinuz-*", *(f"*/{name}.ko*" for name in MODULES)]
        # Not each kernel has each module, so tar's complaint about those is none.
        subprocess.run(["tar", "-x", "--wildcards", *wanted], cwd=folder, stdin=tar.stdout,
                       stderr=subprocess.DEVNULL)
        tar.stdout.close()
        if tar.wait():
            raise ToolError(f"{deb}: not a Debian package")
        for path in Path(folder).rglob("*.ko*"):
            data = path.read_bytes()
            name = path.name.partition(".")[0]
            (target / f"{name}.ko").write_bytes(
                lzma.decompress(data) if path.suffix == ".xz" else data)
        os.replace(next(Path(folder).rglob("vmlinuz-*")), target / "vmlinuz")
        # Last, as it says that all is there.
        (target / "modules").write_text(" ".join(MODULES))


def fetch_kernel(package):
    """The folder with `vmlinuz`, and those of MODULES as NAME.ko that the kernel has."""
    folder = CACHE / "kernels" / package
    known = folder / "modules"
    if not known.exists() or not set(MODULES) <= set(known.read_text().split()):
        say(f"fetching Debian's {package}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory() as spool:
                os.chmod(spool, 0o777)  # apt downloads as a user of its own
                unpack(download(package, spool), folder)
        except (subprocess.CalledProcessError, StopIteration) as error:
            raise ToolError(f"cannot fetch {package}: {error}")
    return folder


def fetch_package(package):
    """The folder with all files of a package, as they would be installed below /."""
    folder = CACHE / "packages" / package
    if not folder.exists():
        say(f"fetching Debian's {package}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory() as spool:
                os.chmod(spool, 0o777)  # apt downloads as a user of its own
                unpacked = tempfile.mkdtemp(dir=folder.parent)
                output_of("dpkg-deb", "-x", download(package, spool), unpacked)
            os.rename(unpacked, folder)
        except (subprocess.CalledProcessError, StopIteration) as error:
            raise ToolError(f"cannot fetch {package}: {error}")
        except OSError:
            shutil.rmtree(unpacked)
            if not folder.exists():  # then another process has not been faster
                raise
    return folder
