# SPDX-License-Identifier: BSD-2-Clause
"""A kernel as courses have them (guest/payloads/tests/course32): 32 bits, multiboot, two CPUs, processes, IDE disks and
interrupts by the IO-APIC. It prints the same under each engine, and on QEMU's own PC with its BIOS."""

import re
import subprocess
import sys

import pytest
from conftest import PAYLOADS, TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import machine  # noqa: E402

KERNEL = PAYLOADS / "course32.elf"
SECTOR, SECTORS = 512, 64
DISK = bytes((number * 31 + at * 7 + (at >> 8)) & 0xff for number in range(SECTORS) for at in range(SECTOR))
CONFIG = ("[vm course]\nkernel = kernel\nmemory = 32\nvcpus = {vcpus}\ndisk = a.img\ndisk = b.img\nengine = {engine}\n"
          "on_reboot = destroy\n")
FILES = {"kernel": KERNEL, "a.img": DISK, "b.img": bytes(len(DISK))}
SUMMARY = re.compile(r"test course32: [1-9]\d* passed, (\d+) failed")


def lines_of(console):
    lines = [line for line in console.replace("\r", "").split("\n") if re.match("(ok|FAIL|test) |course32: |  ", line)]
    assert lines and SUMMARY.fullmatch(lines[-1]), console
    return lines


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """What it says there."""
    folder = tmp_path_factory.mktemp("course")
    disks = []
    for name in ("a.img", "b.img"):
        (folder / name).write_bytes(FILES[name])
        disks += ["-drive", f"file={folder / name},format=raw,if=ide"]
    done = subprocess.run([machine.QEMU, "-accel", "tcg", "-m", "32", "-smp", "2,sockets=2", "-nodefaults",
                           "-display", "none", "-serial", "stdio", "-no-reboot", "-device",
                           "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", KERNEL, *disks],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done  # QEMU's way to say 0
    return lines_of(done.stdout)


@pytest.mark.parametrize("engine,cpus,where", [
    ("vtx", 2, {}), ("vtx", 1, {"model": "corei5_arrandale_m520"}),
    ("bt", 2, {"on": "qemu", "env": {"NADIR_KVM": "0"}}), ("bt", 1, {"model": "ryzen"}),
], ids=("vtx", "vtx-one", "bt", "bt-one"))
def test_as_bare(nadir, bare, engine, cpus, where):
    result = nadir(CONFIG.format(vcpus=2, engine=engine), FILES, cpus=cpus, timeout=300, **where)
    assert lines_of(result.console) == bare, result
    assert [(vm["engine"], vm["end"], vm["code"]) for vm in result.stats] == [(engine, "debug-exit", 0)], result
    assert bare[0] == "course32: CPUs are up: 2" and SUMMARY.fullmatch(bare[-1])[1] == "0", bare
