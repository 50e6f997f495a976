# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of kernel: a program that checks what it was handed over, and other people's kernels."""

import gzip
import re
import struct
import subprocess
import sys

import pexpect
import pytest
from conftest import NO_SELF_TESTS, PAYLOADS, TOOL, TOP
from kernels import group_of, lines_of

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian as packages  # noqa: E402
from nadirlib import initramfs  # noqa: E402

HANDOVER = PAYLOADS / "handover.elf"
FILES = {"first": "first".ljust(64, "."), "second": "second".ljust(64, ".")}
GIVEN = "ramdisk = first\nmodule = second a=1 b\ncmdline = check=1\n"


def elf32(path):
    """The same program as a 32-bit ELF file."""
    subprocess.run(["objcopy", "-O", "elf32-i386", HANDOVER, path], check=True)
    return path.read_bytes()


def with_addresses(image):
    """Sets bit 16 of a multiboot header's flags: its address fields count."""
    at = image.index(struct.pack("<I", 0x1badb002))
    magic, flags = struct.unpack_from("<II", image, at)
    flags |= 1 << 16
    return (image[:at] + struct.pack("<III", magic, flags, -(magic + flags) & 0xffffffff)
            + image[at + 12:])


# Kernel file, more lines for its section, what Nadir says of it, and what the program says.
STARTS = {
    "auto": ("elf64", GIVEN, "multiboot 2", "multiboot 2"),
    "auto32": ("elf32", GIVEN, "multiboot 2", "multiboot 2"),
    "mb64": ("elf64", GIVEN + "type = multiboot\n", "multiboot", "multiboot"),
    "mb32": ("elf32", GIVEN + "type = multiboot\nvcpus = 3\n", "multiboot", "multiboot"),
    # Address fields alone, and before an ELF header that has become nonsense.
    "fields": ("raw", GIVEN + "type = multiboot\n", "multiboot", "multiboot"),
    "grub1": ("elf32", GIVEN + "type = multiboot\nloader = grub2\n", "multiboot", "multiboot"),
    "grub2": ("elf64", GIVEN + "loader = grub2\n", "multiboot 2", "multiboot 2"),
    "pvh64": ("elf64", GIVEN + "type = pvh\n", "PVH", "PVH"),
    "pvh32": ("elf32", GIVEN + "type = pvh\n", "PVH", "PVH"),
    "flat": ("flat", "type = flat\nload = 0x400000\nentry = {entry:#x}\nmode = 32\n", "flat",
             "a flat program"),
}


def all_starts(folder, engine="auto"):
    """The configuration of STARTS, and its files."""
    image = HANDOVER.with_suffix(".bin").read_bytes()
    entry = struct.unpack_from("<Q", HANDOVER.read_bytes(), 24)[0]
    files = {"elf64": HANDOVER, "elf32": elf32(folder / "made"), "flat": image,
             "raw": with_addresses(image), **FILES}
    return "".join(f"[vm {name}]\nkernel = {file}\nmemory = 32\nengine = {engine}\n{more.format(entry=entry)}"
                   for name, (file, more, _, _) in STARTS.items()), files


@pytest.fixture
def handover(nadir, booted, tmp_path):
    """All of STARTS in one boot."""
    if "handover" not in booted:
        booted["handover"] = nadir(*all_starts(tmp_path), timeout=240)
    return booted["handover"]


@group_of(["handover"])
@pytest.mark.parametrize("name", STARTS)
def test_handed_over(handover, name):
    was_handed_over(handover, name)


def was_handed_over(handover, name):
    file, _, kind, started_by = STARTS[name]
    lines = lines_of(handover, name)
    assert not [line for line in lines if line.startswith("FAIL")], lines
    assert f"handover: started by {started_by}" in lines or (
        f"handover: started as {started_by}" in lines), handover
    assert any(re.fullmatch(r"test handover: [1-9]\d* passed, 0 failed", line)
               for line in lines), handover
    assert f"nadir: {name}: {file}: {kind}, entry 0x400" in handover.console, handover
    ends = [(vm["end"], vm["code"]) for vm in handover.stats if vm["vm"] == name]
    assert ends == [("debug-exit", 0)], handover


# --- other people's kernels, from Debian ---

# An ELF file of 32 bits whose code prints a line and powers off by system calls of Linux/i386.
INIT_TEXT = b"nadir-init: 32-bit user space reached\n"


def init32():
    base, header = 0x10000, 52 + 32
    code = (b"\xb8\x04\0\0\0\xbb\x01\0\0\0\xb9" + struct.pack("<I", 0)  # write(1, text, length)
            + b"\xba" + struct.pack("<I", len(INIT_TEXT)) + b"\xcd\x80"
            + b"\xb8\x58\0\0\0\xbb\xad\xde\xe1\xfe\xb9\x69\x19\x12\x28\xba\xdc\xfe\x21\x43"
            + b"\xcd\x80")  # reboot(magic, magic, power off)
    text = base + header + len(code)
    code = code.replace(b"\xb9" + bytes(4), b"\xb9" + struct.pack("<I", text), 1)
    size = header + len(code) + len(INIT_TEXT)
    return (b"\x7fELF\1\1\1" + bytes(9)
            + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + header, 52, 0, 0, 52, 32, 1, 40, 0, 0)
            + struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000) + code + INIT_TEXT)


def initramfs32():
    archive = initramfs.Archive()
    archive.add_folder("dev")
    archive.add_device("dev/console", 5, 1)
    archive.add_file("init", init32())
    return archive.compressed()


def vmlinux(bzimage):
    """The ELF file in a bzImage, which names the place of its LZ4-compressed payload."""
    setup = ((bzimage[0x1f1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    packed = bzimage[setup + offset:setup + offset + length - 4]  # then follows the size
    return subprocess.run(["lz4", "-dc"], input=packed, check=True, stdout=subprocess.PIPE).stdout


def boot(nadir, files, more, **options):
    names = ("kernel", "ramdisk")
    cfg = "[vm guest]\non_reboot = destroy\n" + "".join(
        f"{name} = {name}\n" for name in names if name in files)
    return nadir(cfg + more, files, timeout=600, **options)


def says(result, *lines):
    """These lines, in this order."""
    at = 0
    for line in lines:
        found = re.compile(line).search(result.console, at)
        assert found, f"not there: {line}\n{result}"
        at = found.end()


@pytest.fixture
def runs_until(write_config):
    """Boots guests that do not end by themselves, up to these lines in this order."""

    def run(cfg, files, *lines, timeout=240, cpus=1):
        command = [str(TOOL), "run", str(write_config(cfg, files)), "--timeout", str(timeout), "--on", "bochs",
                   "--cpus", str(cpus)]
        child = pexpect.spawn(sys.executable, command, timeout=timeout, encoding="utf-8",
                              codec_errors="replace")
        for line in lines:
            child.expect(line)
        child.send("\x01x")
        child.expect(pexpect.EOF)
        child.close()

    return run


def file_of(package, pattern):
    """The one file of a Debian package that fits the pattern, unpacked if gzip has packed it."""
    path = next(packages.fetch_package(package).glob(pattern))
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path


def installer(architecture):
    """The kernel of Debian's installer."""
    return file_of(f"debian-installer-12-netboot-{architecture}",
                   f"usr/lib/debian-installer/images/12/{architecture}/text/debian-installer/*/linux")


@pytest.mark.slow
def test_gnumach(runs_until):
    """Multiboot 1: it is told its memory and command line, and finds no module to start."""
    kernel = file_of("gnumach-image-1.8-486", "boot/gnumach-*.gz")
    runs_until("[vm guest]\nkernel = kernel\ntype = multiboot\nmemory = 64\ncmdline = console=com0\n",
               {"kernel": kernel}, "guest: kernel: multiboot, entry 0x1000000", r"GNU Mach 1\.8",
               r"biosmem: 0+100000:0+4000000, available", "bootstrap_create: No bootstrap code")


@pytest.mark.slow
def test_xen(nadir):
    """Multiboot 2, moved to the end of memory; it wants a dom0 kernel, and then resets."""
    kernel = file_of("xen-hypervisor-4.17-amd64", "boot/xen-*.gz")
    result = boot(nadir, {"kernel": kernel}, "cmdline = com1=115200,8n1 console=com1\n")
    says(result, "guest: kernel: multiboot 2, entry 0xf[0-9a-f]{6}\n", r"\(XEN\) Xen version 4\.17",
         r"\(XEN\) Bootloader: Nadir", r"\(XEN\) Command line: com1=115200,8n1 console=com1",
         r"\(XEN\) Xen image load base address: 0xf", r"\(XEN\) dom0 kernel not specified")
    assert [vm["end"] for vm in result.stats] == ["reset"], result


@pytest.mark.slow
def test_xen_starts_linux(nadir, debian):
    """With modules it starts Linux as its dom0, which gets to user space, and powers off by ACPI."""
    kernel = file_of("xen-hypervisor-4.17-amd64", "boot/xen-*.gz")
    result = boot(nadir, {"kernel": kernel, "dom0": installer("amd64"), "initramfs": debian() / "initramfs.gz"},
                  f"module = dom0 console=hvc0 quiet {NO_SELF_TESTS}\nmodule = initramfs\nmemory = 512\n"
                  "cmdline = com1=115200,8n1 console=com1 loglvl=error dom0_mem=200M\n")
    says(result, "nadir-demo: kernel 6", "nadir-demo: user space reached", r"\(XEN\) Entering ACPI S5 state")
    assert [vm["end"] for vm in result.stats] == ["poweroff"], result


@pytest.mark.slow
@pytest.mark.parametrize("bits, entry, cpus", [("x64", "0x100200", 1), ("ia32", "0x100000", 2)])
def test_memtest(runs_until, bits, entry, cpus):
    """The Linux boot protocol without being Linux, with a 64-bit entry and without. It finds two CPUs by
    ACPI, starts the other, and passes tests 0 to 3, the last on both at once."""
    kernel = file_of("memtest86+", f"boot/memtest86+{bits}.bin")
    runs_until("[vm guest]\nkernel = kernel\nmemory = 64\nvcpus = 2\n"
               "cmdline = console=ttyS0,115200\n",
               {"kernel": kernel}, f"guest: kernel: Linux, entry {entry}", r"Memtest86\+ v6",
               r"#3 +\[Moving inversions", r"SMP: 2T \(PAR\)", "Using: All Cores",
               r"#4 +\[Moving inversions", "Errors: 0 ", timeout=480, cpus=cpus)


@pytest.mark.slow
def test_installer_kernel_64(nadir, debian):
    result = boot(nadir, {"kernel": installer("amd64"), "ramdisk": debian() / "initramfs.gz"},
                  f"cmdline = console=ttyS0 quiet {NO_SELF_TESTS}\n")
    says(result, "guest: kernel: Linux, entry 0x1000200\n", "nadir-demo: user space reached")
    assert [vm["end"] for vm in result.stats] == ["poweroff"], result


@pytest.mark.slow
def test_installer_kernel_32(nadir):
    """32-bit PAE, which has the 32-bit entry only; from there to a program in user space."""
    result = boot(nadir, {"kernel": installer("i386"), "ramdisk": initramfs32()},
                  f"cmdline = console=ttyS0 {NO_SELF_TESTS}\n")
    says(result, "guest: kernel: Linux, entry 0x1000000\n", "Linux version 6.*686",
         INIT_TEXT.decode().strip())
    assert [vm["end"] for vm in result.stats] == ["poweroff"], result


@pytest.mark.slow
def test_vmlinux(nadir, debian):
    """Linux by its PVH entry."""
    bzimage = packages.fetch_kernel("linux-image-cloud-amd64") / "vmlinuz"
    result = boot(nadir, {"kernel": vmlinux(bzimage.read_bytes()), "ramdisk": debian() / "initramfs.gz"},
                  "cmdline = console=ttyS0 quiet\n")
    says(result, "guest: kernel: PVH, entry 0x1000850\n", "nadir-demo: user space reached")
    assert [vm["end"] for vm in result.stats] == ["poweroff"], result
