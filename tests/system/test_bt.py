# SPDX-License-Identifier: BSD-2-Clause
"""Guests on machines without VT-x: engine = bt, in QEMU's own emulation."""

import re
from pathlib import Path

import pytest
from kernels import lines_of, section

# Test kernels that find in QEMU's emulation what they find on the CPUs that they were made for, whatever the
# time that QEMU takes. Of the others some measure time, or look for an Intel CPU's leaves of CPUID.
KERNELS = ("a20", "borders", "cr", "debug", "events", "hostile", "mmio", "modes", "msr", "paging", "paging32",
           "privilege", "segments", "steps", "stepsmp", "syscall", "task", "uart", "vm86", "walks", "xsave")


def on_qemu(nadir, cfg, files, **options):
    options.setdefault("on", "qemu")
    return nadir(cfg, files, env={"NADIR_KVM": "0"}, timeout=400, **options)


@pytest.fixture(scope="module")
def booted():
    return []


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(nadir, payload, booted, name):
    """All of them in one machine, under the engine that it asks for."""
    if not booted:
        cfg = "".join(section(each) + "engine = bt\n" for each in KERNELS)
        booted.append(on_qemu(nadir, cfg, {f"{each}.bin": payload(each) for each in KERNELS}, cpus=2))
    console = lines_of(booted[0], name)
    failures = [line for line in console if line.startswith(f"FAIL {name}:")]
    assert not failures, "\n".join(failures)
    assert any(re.fullmatch(rf"test {name}: [1-9]\d* passed, 0 failed", line) for line in console), booted[0]
    ended = [vm for vm in booted[0].stats if vm["vm"] == name]
    assert [(vm["engine"], vm["end"], vm["code"]) for vm in ended] == [("bt", "debug-exit", 0)]


def test_auto_without_vtx(nadir, payload):
    """Where nobody asks for VT-x, a machine without it is as good, and the tool says which it takes."""
    result = on_qemu(nadir, "[vm a]\nkernel = hello.bin\nmemory = 32\n", {"hello.bin": payload("hello")}, on="auto")
    assert result.status == 0, result
    assert ("[starting QEMU with its own emulation (no VT-x): 1 CPU, 1024 MiB; no KVM here can nest VT-x, and no VM "
            "asks for engine = vtx]") in result.messages.splitlines(), result
    assert "nadir: engine = auto: bt, for want of VT-x" in lines_of(result, "a"), result
    assert "hello: from long mode, in a virtual machine" in result.console
    assert result.stats[0]["engine"] == "bt" and result.stats[0]["exits"]["cpuid"]["count"] >= 2


def test_firmware(nadir, payload):
    """SeaBIOS from the reset vector: its copy in shadow RAM, and a boot sector of a disk."""
    result = on_qemu(nadir, "[vm a]\nfirmware = bios.bin\ndisk = disk.img\nmemory = 32\nengine = bt\n", {
        "bios.bin": Path("/usr/share/seabios/bios.bin"), "disk.img": payload("hello")})
    assert result.status == 0, result
    assert "Booting from Hard Disk" in result.console, result
    assert "hello: from long mode, in a virtual machine" in result.console


def test_cpu_without_vmx(nadir, payload):
    result = nadir("[vm a]\nkernel = hello.bin\nmemory = 32\n", {"hello.bin": payload("hello")}, model="ryzen")
    assert result.status == 0, result
    assert [vm["engine"] for vm in result.stats] == ["bt"]


def test_engines_side_by_side(nadir, payload):
    """On one CPU, in turn: each finds the registers that it has left, those of vectors, too."""
    kernels = ("cr", "ferr", "mmio", "syscall", "xsave")
    result = nadir("".join(f"[vm {name}-{engine}]\nkernel = {name}.bin\nmemory = 32\nengine = {engine}\n"
                           for engine in ("vtx", "bt") for name in kernels),
                   {f"{name}.bin": payload(name) for name in kernels})
    assert result.status == 0, result
    assert "FAIL" not in result.console, result
    for name in kernels:
        assert len(re.findall(rf"test {name}: [1-9]\d* passed, 0 failed", result.console)) == 2, result
    assert sorted(vm["engine"] for vm in result.stats) == ["bt"] * len(kernels) + ["vtx"] * len(kernels)
    assert sum(vm["switches_from_vm"]["count"] for vm in result.stats) > 2 * len(result.stats)
