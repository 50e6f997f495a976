# SPDX-License-Identifier: BSD-2-Clause
"""Makes initramfs archives: busybox, a few device files, and what a caller adds."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

from . import ToolError

BUSYBOX = Path("/bin/busybox")
DIRECTORY, FILE, SYMLINK, CHARACTER_DEVICE = 0o040755, 0o100755, 0o120777, 0o020600


class Archive:
    """A cpio archive of the `newc` kind, which may hold device files without anyone being root."""

    def __init__(self):
        self._data = bytearray()
        self._count = 0
        self._folders = set()

    def _entry(self, name, mode, content=b"", device=(0, 0)):
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (name.encode() + bytes(1), content):
            self._data += part
            self._data += bytes(-len(self._data) % 4)

    def add_folder(self, name):
        for folder in [*reversed(Path(name).parents), Path(name)]:
            if str(folder) not in (".", "/") and folder not in self._folders:
                self._folders.add(folder)
                self._entry(str(folder), DIRECTORY)

    def add_file(self, name, content):
        self.add_folder(Path(name).parent)
        self._entry(name, FILE, content)

    def add_link(self, name, target):
        self._entry(name, SYMLINK, target.encode())

    def add_program(self, name):
        """One of this machine's, with the libraries that it wants."""
        program = shutil.which(name)
        if program is None:
            raise ToolError(f"{name} is not installed; run make deps")
        listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        for path in [program, *sorted(set(re.findall(r"(/\S+) \(0x", listing)))]:
            self.add_file(path.lstrip("/"), Path(path).read_bytes())

    def add_device(self, name, major, minor):
        self._entry(name, CHARACTER_DEVICE, device=(major, minor))

    def compressed(self):
        self._entry("TRAILER!!!", 0)
        return gzip.compress(bytes(self._data), 6, mtime=0)


def with_busybox(init):
    """An archive with busybox, all its names, and a script as /init."""
    if not BUSYBOX.exists():
        raise ToolError(f"there is no {BUSYBOX}; run make deps")
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "tmp"):
        archive.add_folder(folder)
    archive.add_device("dev/console", 5, 1)
    archive.add_file("bin/busybox", BUSYBOX.read_bytes())
    names = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    for name in names.stdout.split():
        if name != "busybox":
            archive.add_link(f"bin/{name}", "busybox")
    archive.add_file("init", init.encode())
    return archive
