# SPDX-License-Identifier: BSD-2-Clause
"""The kernel in a Linux bzImage. On a PC the bzImage unpacks itself; a kernel that starts without a PC is
needed as it is, and Nadir has no unpacker (Linux's "The Linux/x86 Boot Protocol")."""

import gzip
import lzma
import struct
import subprocess
import zlib

from . import ToolError

SETUP_SECTORS, SECTOR = 0x1f1, 512
MAGIC, VERSION, OLDEST = 0x202, 0x206, 0x208  # the fields below came with protocol 2.08
PAYLOAD = 0x248  # offset from the protected-mode code on, and length
SIZE_BYTES = 4  # of what is unpacked; Linux's build puts it behind the payload, but for gzip, which has it itself


def by_program(*command):
    """An unpacker that is a program."""
    def unpack(data):
        try:
            done = subprocess.run(command, input=data, capture_output=True)
        except FileNotFoundError:
            raise ToolError(f"there is no {command[0]}, which unpacks it; run make deps")
        if done.returncode:
            raise ValueError(done.stderr.decode(errors="replace").strip())
        return done.stdout
    return unpack


# By the first bytes. None: known, and not unpacked.
FORMATS = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"\xfd7zXZ\0": ("xz", lambda data: lzma.decompress(data, lzma.FORMAT_XZ)),
    b"\x02\x21\x4c\x18": ("LZ4", by_program("lz4", "-dc")),
    b"\x28\xb5\x2f\xfd": ("zstd", by_program("zstd", "-dcq")),
    b"BZh": ("bzip2", None),
    b"\x89LZO": ("LZO", None),
    b"\x5d\0\0": ("LZMA", None),
}


def find_payload(image):
    """The compressed kernel, with what stands behind it."""
    if len(image) < PAYLOAD + 8 or image[MAGIC:MAGIC + 4] != b"HdrS":
        raise ToolError("no bzImage")
    version, = struct.unpack_from("<H", image, VERSION)
    if version < OLDEST:
        raise ToolError(f"its boot protocol is {version >> 8}.{version & 255:02}, and from 2.08 on a bzImage says "
                        "where its kernel is")
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    start = ((image[SETUP_SECTORS] or 4) + 1) * SECTOR + offset
    if length < 16:
        raise ToolError("it says that there is no kernel in it")
    if start + length > len(image):
        raise ToolError("the kernel in it is cut short")
    return image[start:start + length]


def unpack(image):
    """The ELF file in a bzImage."""
    payload = find_payload(image)
    name, unpacker = next((FORMATS[magic] for magic in FORMATS if payload.startswith(magic)), (None, None))
    if unpacker is None:
        raise ToolError(f"the kernel in it is compressed by {name or 'something unknown'}; gzip, xz, LZ4 and zstd are "
                        "unpacked")
    data = payload if name == "gzip" else payload[:-SIZE_BYTES]
    try:
        kernel = unpacker(data)
    except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise ToolError(f"the kernel in it is no whole {name} file: {error}")
    if len(kernel) != struct.unpack("<I", payload[-SIZE_BYTES:])[0]:
        raise ToolError(f"the kernel in it is no whole {name} file: {len(kernel)} bytes came of it, and it names "
                        "another number")
    return kernel
