# SPDX-License-Identifier: BSD-2-Clause
"""guest/payloads/three: the same work natively and by hypercalls, on the bare machine and under each engine. What it
prints is the same but for the ticks, and for the columns that there are."""

import re

import pytest

PARTS = 9
LINE = re.compile(r"three: (native|hypercall): (\d+ .*): \d+ ticks each")


def section(engine):
    return f"[vm three]\nkernel = three.bin\nmemory = 32\nvcpus = 2\non_reboot = destroy\n{engine}"


def columns_of(result):
    """The lines of each column without ticks, in their order."""
    lines = [line.strip() for line in result.console.splitlines() if line.startswith("three: ")]
    assert lines and lines[-1] == "three: all is right", result
    columns = {}
    for line in lines[:-1]:
        match = LINE.fullmatch(line)
        if match:
            columns.setdefault(match[1], []).append(match[2])
        else:
            assert line.startswith("three: a line of text"), result
    return columns


@pytest.fixture
def bare(nadir, payload):
    result = nadir(section(""), {"three.bin": payload("three")}, native=True, cpus=2)
    assert result.status == 0, result
    columns = columns_of(result)
    assert list(columns) == ["native"] and len(columns["native"]) == PARTS, result
    return columns["native"]


@pytest.mark.parametrize("engine", ["vtx", "bt"])
def test_both_columns(nadir, payload, bare, engine):
    result = nadir(section(f"engine = {engine}\n"), {"three.bin": payload("three")}, cpus=2)
    stats, = result.stats
    assert result.status == 0 and (stats["engine"], stats["end"], stats["code"]) == (engine, "debug-exit", 0), result
    assert columns_of(result) == {"native": bare, "hypercall": bare}, result
    assert stats["classes"]["syscall"]["count"] > 300 and stats["tsc_wait_sleep"] > 0, result
    each = {what: int(ticks) for what, ticks in
            re.findall(r"three: hypercall: 64 pages mapped (.*): (\d+) ticks each", result.console)}
    assert each["together"] < each["one by one"], result


def test_paravirtual(nadir, payload, bare):
    """The ELF file of the same program: its kernel runs at CPL 3, and there is the one column."""
    cfg = section("engine = pv\n").replace("three.bin", "three.elf")
    result = nadir(cfg, {"three.elf": payload("three").with_suffix(".elf")}, cpus=2)
    stats, = result.stats
    assert result.status == 0 and (stats["engine"], stats["end"], stats["code"]) == ("pv", "debug-exit", 0), result
    assert columns_of(result) == {"hypercall": bare}, result
    assert stats["counters"]["nadir_calls"] > 300, result


def test_own_writes_count(nadir, payload):
    """What a paravirtual kernel writes to its tables without a call is there behind the next flush."""
    kernel = payload("pvtables").with_suffix(".elf")
    result = nadir("[vm t]\nkernel = pvtables.elf\nmemory = 16\nengine = pv\n", {"pvtables.elf": kernel})
    assert result.status == 0 and "pvtables: done" in result.console, result


def test_ends_of_a_domain(nadir, payload):
    """SCHEDOP_shutdown for a reboot, by on_reboot, and a domain whose last vCPU goes down."""
    kernel = payload("pvlives").with_suffix(".elf")
    section = "[vm {}]\nkernel = pvlives.elf\nmemory = 16\nvcpus = 2\nlimit = 60\n{}\n"
    cfg = (section.format("again", "") + section.format("once", "on_reboot = destroy") +
           section.format("down", "cmdline = down"))
    result = nadir(cfg, {"pvlives.elf": kernel}, on="qemu", env={"NADIR_KVM": "0"})
    ends = {name: [vm["end"] for vm in result.stats if vm["vm"] == name] for name in ("again", "once", "down")}
    assert ends == {"again": ["reset", "reset", "poweroff"], "once": ["reset"], "down": ["poweroff"]}, result
    assert result.status == 0 and "[again] pvlives: done" in result.console, result
    assert {vm["engine"] for vm in result.stats} == {"pv"}, result
