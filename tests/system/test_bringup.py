# SPDX-License-Identifier: BSD-2-Clause
"""A kernel as others write them, guest/payloads/tests/bringup: multiboot 1 at 4 MiB, settings from a module,
fw_cfg, ACPI, all CPUs from page 0, x2APIC, and every way out."""

import re
import subprocess

import pytest
from conftest import PAYLOADS
from kernels import lines_of

KERNEL = PAYLOADS / "bringup.elf"
MEMORY = 64
MODELS = ("corei7_skylake_x", "corei5_arrandale_m520")
CASES = ((1, 1), (4, 1), (4, 4))  # vCPUs, host CPUs

# How it is to leave, and what Nadir says of that.
EXITS = {"long": ("EXIT=4\nCODE=0", "debug-exit", 0), "byte": ("EXIT=1\nCODE=3", "debug-exit", 3),
         "word": ("EXIT=2\nCODE=513", "debug-exit", 513), "shutdown": ("EXIT=0", "poweroff", 0)}


def section(name, kernel, vcpus):
    return (f"[vm {name}]\nkernel = {kernel}\ntype = multiboot\nramdisk = {name}.env\ncmdline = first second\n"
            f"memory = {MEMORY}\nvcpus = {vcpus}\n")


def settings(vcpus, more):
    return f"CPUS={vcpus}\nMEMORY={MEMORY}\n{more}\n"


def check(result, name):
    lines = lines_of(result, name)
    assert not [line for line in lines if line.startswith("FAIL")], result
    assert any(re.fullmatch(r"test bringup: [1-9]\d* passed, 0 failed", line) for line in lines), result


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("vcpus,cpus", CASES)
def test_kernel(nadir, model, vcpus, cpus):
    result = nadir(section("a", "kernel", vcpus),
                   {"kernel": KERNEL, "a.env": settings(vcpus, "EXIT=4")}, model=model, cpus=cpus,
                   timeout=240)
    check(result, "a")
    assert result.status == 0, result
    assert result.stats[0]["vcpus"] == vcpus


def test_exits(nadir, tmp_path):
    """Every way out, in a kernel that is a 32-bit ELF file."""
    subprocess.run(["objcopy", "-O", "elf32-i386", KERNEL, tmp_path / "kernel32"], check=True)
    files = {f"{name}.env": settings(1, more) for name, (more, _, _) in EXITS.items()}
    result = nadir("".join(section(name, "kernel32", 1) for name in EXITS),
                   {"kernel32": (tmp_path / "kernel32").read_bytes(), **files}, timeout=240)
    ends = {vm["vm"]: (vm["end"], vm["code"]) for vm in result.stats}
    assert ends == {name: (end, code) for name, (_, end, code) in EXITS.items()}, result
    for name in EXITS:
        check(result, name)
    assert "nadir: word: ended: debug-exit port, code 513" in result.console, result
    assert result.status == 1, result  # codes that are not 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("vcpus", (1, 4))
def test_kernel_of_32_bits(nadir, tmp_path, model, vcpus):
    """The code of the end is the step that went wrong (guest/payloads/tests/bringup32)."""
    subprocess.run(["objcopy", "-O", "elf32-i386", PAYLOADS / "bringup32.elf", tmp_path / "made"],
                   check=True)
    result = nadir(f"[vm a]\nkernel = kernel\nmemory = 32\nvcpus = {vcpus}\n",
                   {"kernel": (tmp_path / "made").read_bytes()}, model=model, cpus=min(vcpus, 2),
                   timeout=240)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)], result
