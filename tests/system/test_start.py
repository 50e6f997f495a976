# SPDX-License-Identifier: BSD-2-Clause
"""How the machine starts: by firmware and loader, as a PC does, and warm, as nearly all other tests do. What the
hypervisor and its guests are given is the same."""

import os
import re
import sys
from argparse import Namespace

import pytest
from conftest import PAYLOADS, TOP
from kernels import lines_of

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import console, machine  # noqa: E402

SECTION = "[vm {0}]\nkernel = {0}.bin\nmemory = 32\n"
LARGE = 9 << 20  # bytes of a file; the loader reads 8 MiB at once


def files_of(payload, *names):
    return {f"{name}.bin": payload(name) for name in names}


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("boot", ["firmware", "warm"])
def test_files_and_cpus(nadir, payload, tmp_path, boot, cpus):
    """Whatever a configuration names arrives, in its order; CPUs start; strict as on a real CPU."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "some settings").write_text("CPUS=4\nMEMORY=64\nEXIT=4\n")
    cfg = (SECTION.format("hello") + "disk = sub/large.img\n[vm kernel]\nkernel = bringup.elf\ntype = multiboot\nmemory = 64\n"
           + f"vcpus = 4\nramdisk = '{tmp_path}/elsewhere/some settings'\ncmdline = first second\n")
    files = {**files_of(payload, "hello"), "sub/large.img": bytes(LARGE),
             "bringup.elf": PAYLOADS / "bringup.elf"}
    result = nadir(cfg, files, boot=boot, cpus=cpus, strict=True)
    assert result.status == 0, result
    assert f"nadir: {cpus} CPU" in result.console, result
    assert re.search(r"test bringup: \d+ passed, 0 failed", result.console), result
    assert ("leaving the firmware" in result.console) == (boot == "firmware"), result


def test_guests_see_no_difference(nadir, payload):
    """The same exits, to the last one: warm is a way to start the host, not another machine."""
    runs = {boot: nadir(SECTION.format("hello"), files_of(payload, "hello"), boot=boot)
            for boot in ("firmware", "warm")}
    texts = {boot: [line for line in run.console.splitlines() if line.startswith("hello:")]
             for boot, run in runs.items()}
    exits = {boot: {name: exit["count"] for name, exit in run.stats[0]["exits"].items()}
             for boot, run in runs.items()}
    assert texts["warm"] == texts["firmware"] and texts["warm"], texts
    assert exits["warm"] == exits["firmware"], exits
    assert runs["warm"].stats[0]["tsc_first_entry"] < 20_000_000 < runs["firmware"].stats[0]["tsc_first_entry"]


def test_native_by_firmware(nadir, payload):
    result = nadir(SECTION.format("pit"), files_of(payload, "pit"), boot="firmware", native=True)
    assert any(line.startswith("ok pit: ") for line in lines_of(result, "")), result


def test_native_is_for_boot_sectors(nadir):
    """The machine says so, too, where the tool has not looked: here it takes the loader for Nadir's."""
    result = nadir(SECTION.format("handover"), {"handover.bin": PAYLOADS / "handover.elf"},
                   env={"NADIR_EFI": str(TOP / "build" / "native.efi")}, timeout=60)
    assert result.status == 2, result
    assert re.search("^nadir: error: nadir.cfg: the first kernel is not a boot-sector image", result.console, re.M), result


@pytest.mark.parametrize("end", ["hello", "haltcli"])
def test_reset_ends_a_warm_machine(nadir, payload, end):
    """There is no firmware that could boot it again."""
    result = nadir("[nadir]\nat_end = reset\n\n" + SECTION.format(end), files_of(payload, end), timeout=60)
    assert result.status == (0 if end == "hello" else 1), result
    assert result.console.count("the hypervisor runs") == 1, result


@pytest.mark.parametrize("memory", [64, 2048])
def test_memory(nadir, payload, memory):
    """As much as Bochs has; a guest gets nearly all of little."""
    result = nadir(SECTION.format("hello"), files_of(payload, "hello"), memory=memory)
    assert result.status == 0, result


def test_files_larger_than_the_machine(nadir, payload):
    cfg = SECTION.format("hello") + "ramdisk = large\n"
    result = nadir(cfg, {**files_of(payload, "hello"), "large": bytes(64 << 20)}, memory=64)
    assert result.status == 2 and "memory" in result.messages, result
    assert not result.console, result  # before the machine starts


@pytest.mark.parametrize("how, what", [
    ({"usb": True}, "--usb"), ({"on": "qemu", "memory": 2049}, "more memory than 2048 MiB"),
    ({"on": "qemu", "env": {"NADIR_EFI": "/nowhere"}}, "NADIR_EFI")])
def test_what_does_not_start_warm(nadir, payload, how, what):
    result = nadir(SECTION.format("hello"), files_of(payload, "hello"), boot="warm", **how)
    assert result.status == 2 and f"{what} starts by firmware" in result.messages, result


@pytest.mark.parametrize("end", ["reset", "poweroff"])
@pytest.mark.parametrize("boot", ["warm", "firmware"])
def test_qemu(nadir, payload, boot, end):
    """Its clocks are found in either case, and the machine ends by itself."""
    cfg = f"[nadir]\nat_end = {end}\n" + SECTION.format("hello")
    result = nadir(cfg, files_of(payload, "hello"), boot=boot, on="qemu", cpus=3, env={"NADIR_KVM": "0"}, timeout=100)
    assert result.status == 0 and "nadir: 3 CPUs" in result.console, result
    assert "by the ACPI PM timer, and the HPET agrees" in result.console, result
    assert ("leaving the firmware" in result.console) == (boot == "firmware"), result


def test_wrong_memory_is_told(tmp_path):
    """The ROM of the warm start finds another file than tools/warm/ram.c writes."""
    (tmp_path / "other").write_bytes(b"\xff" * 8192)
    master, slave, name = console.open_pty()
    reports, reports_slave, reports_name = console.open_pty()
    options = Namespace(memory=64, cpus=1, gdb=False, strict=False, real_time=False, boot="warm", log=None, why="",
                        model="corei7_skylake_x", model_given=False, bochs=machine.find_bochs())
    process, log = machine.bochs(tmp_path / "other", name, reports_name, tmp_path, options)
    try:
        watch = console.Watch(process, log, master, reports, 60)
        assert watch.run() == "end" and watch.end == "refused"
    finally:
        machine.stop(process)
        for port in (master, slave, reports, reports_slave):
            os.close(port)
