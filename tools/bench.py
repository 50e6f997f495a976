#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What operations cost a guest: runs guest/payloads/bench in Bochs, whose time-stamp counter counts
instructions, prints a table for each engine, and fails where a row has risen above the committed one.
An engine with no committed column fails nothing."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
TABLE = TOP / "tests" / "bench.json"
TOLERANCE = 1.02
# Under bt an interrupt of the guest's own is carried out where the host's next timer, or a look at the requests, comes
# in translated code: which moves with each build, and a round of such a row with it.
UNSTEADY = {"bt": dict.fromkeys(("tsc-deadline", "hlt-timer", "self-ipi", "self-ipi-hlt"), 1.25)}
# Seldom are both vCPUs looking at the clock there when one follows the other: too few for a median.
UNJUDGED = {"bt": {"switch-vm", "switch-vcpu"}}

ENGINES = ("vtx", "bt", "pv")
# A paravirtual kernel does the same in its own way, where it does it at all: guest/payloads/benchpv.
PV_CONFIG = """[vm bench]
kernel = benchpv.elf
memory = 64
engine = pv
"""
CONFIG = """[vm bench]
kernel = bench.bin
disk = disk.img
memory = 64
engine = {engine}
"""
ROW = re.compile(r"^bench: (\S+) (\d+) (\d+) (\d+)\s*$", re.M)

# Three vCPUs that all want the one CPU.
SWITCH_CONFIG = """[vm one]
kernel = switch.bin
memory = 16
vcpus = 2
engine = {engine}

[vm two]
kernel = switch.bin
memory = 16
weight = 50
engine = {engine}
"""
GAP = re.compile(r"^\[(\w+)\] switch: (\d+) (\d+) (\d+)\s*$", re.M)

# What the same payload costs a guest of KVM in the same emulator: `make bench-kvm`.
KVM_TABLE = TOP / "tests" / "bench_kvm.json"
# What Nadir has set itself.
GOAL = {"vtx": {"cpuid": 150, "vmcall": 140, "port-in": 250, "port-out": 250, "wrmsr": 220,
                "ioapic-read": 600, "tsc-deadline": 700, "self-ipi": 700, "switch-vm": 900,
                "switch-vcpu": 700},
        "bt": {"cpuid": 450, "port-in": 450, "mov-to-cr8": 450, "irq-save": 40, "ptemod": 1500,
               "pgfault": 4000, "divzero": 3500},
        "pv": {"hypercall": 150, "update-64": 64 * 40}}


def run(config, kernel):
    """The console of a run of a configuration with one payload."""
    with tempfile.TemporaryDirectory(prefix="nadir-bench-") as folder:
        (Path(folder) / kernel).symlink_to(TOP / "build" / "payloads" / kernel)
        (Path(folder) / "disk.img").write_bytes(bytes(1 << 20))
        cfg = Path(folder) / "nadir.cfg"
        cfg.write_text(config)
        # By firmware, as the committed table: elsewhere in memory, and at another time, Nadir's turns fall
        # a little otherwise.
        done = subprocess.run([TOP / "tools" / "nadir", "run", cfg, "--on", "bochs",
                               "--boot", "firmware", "--timeout", "900"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        print(done.stdout)
        sys.exit(f"bench: the run of {kernel} ended with status {done.returncode}")
    return done.stdout


def switches(console):
    """{row: [minimum, median, maximum]} of vCPU switches: from the last look at the clock of one
    vCPU to the first of the next (guest/payloads/switch), as long as all still look. A row for which
    the vCPUs did not run in turn meanwhile, as one was still being translated, is left out."""
    gaps = {}
    for vm, vcpu, last, first in GAP.findall(console):
        gaps.setdefault((vm, vcpu), []).append((int(last), int(first)))
    start = max(own[0][0] for own in gaps.values())
    end = min(own[-1][1] for own in gaps.values())
    looks = sorted((when, comes, who) for who, own in gaps.items() for gap in own
                   for comes, when in enumerate(gap) if start <= when <= end)
    rows = {"switch-vm": [], "switch-vcpu": []}
    for (before, came, one), (after, comes, other) in zip(looks, looks[1:]):
        if not came and comes and one != other:
            rows["switch-vcpu" if one[0] == other[0] else "switch-vm"].append(after - before)
    return {name: [min(own), statistics.median_low(own), max(own)] for name, own in rows.items() if own}


def check_build():
    """Without link-time optimisation each exit costs a little more."""
    variant = TOP / "build" / ".variant"
    if variant.exists() and variant.read_text().strip().endswith("/dev"):
        sys.exit("bench: build/ is of `make DEV=1`; run make")


def rows_of(console):
    """{row: [minimum, median, maximum]} of what guest/payloads/bench prints."""
    return {name: [int(n) for n in figures] for name, *figures in ROW.findall(console)}


def runs_of(engine):
    """The runs that an engine is measured by: (configuration, its payload)."""
    if engine == "pv":
        return [(PV_CONFIG, "benchpv.elf")]
    return [(CONFIG.format(engine=engine), "bench.bin"), (SWITCH_CONFIG.format(engine=engine), "switch.bin")]


def measure(engines):
    """{engine: {row: [minimum, median, maximum]}} of a run of each payload."""
    measured = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # an emulator's ticks are its own, whatever else runs
        runs = {engine: [pool.submit(run, *what) for what in runs_of(engine)]
                for engine in sorted(engines, key="bt vtx pv".split().index)}  # the longest first
        for engine in engines:
            operations, *turns = (each.result() for each in runs[engine])
            rows = rows_of(operations)
            if not rows:
                sys.exit("bench: no row was printed")
            measured[engine] = rows
            for console in turns:
                measured[engine] |= switches(console)
    return measured


def compiler():
    """Another compiler makes other code, so that its figures say nothing of a change of ours."""
    version = subprocess.run(["gcc", "-dumpversion"], check=True, stdout=subprocess.PIPE, text=True)
    return f"gcc {version.stdout.split('.')[0].strip()}"


def cell(value):
    return f"{value:>9}" if value is not None else " " * 9


def show(engine, rows, committed, beside):
    """Prints the table of one engine, with another's figures beside it: (title, {row: [minimum, median,
    maximum]}). Returns the rows that got worse."""
    title, others = beside
    worse = []
    print(f"{engine + ', instructions':<18}{'minimum':>9}{'median':>9}{'maximum':>9}"
          f"{'before':>9}{'goal':>9}{title:>9}")
    for name, (low, median, high) in rows.items():
        before, goal = committed.get(name, [None] * 3)[1], GOAL[engine].get(name)
        rose = before is not None and median > before * UNSTEADY.get(engine, {}).get(name, TOLERANCE)
        over = goal is not None and median > goal
        print(f"{name:<18}{low:>9}{median:>9}{high:>9}{cell(before)}{cell(goal)}"
              f"{cell(others.get(name, [None] * 3)[1])}{'  ROSE' * rose}{'  over its goal' * over}")
        if rose:
            worse.append(f"{engine}: {name} rose from {before} to {median}")
    return worse + [f"{engine}: {name} is gone" for name in committed if name not in rows]


def write(columns):
    parts = [f' "compiler": "{compiler()}"']
    for engine, rows in columns.items():
        lines = [f'  "{name}": {figures}' for name, figures in rows.items() if name not in UNJUDGED.get(engine, ())]
        parts.append(f' "{engine}": {{\n' + ",\n".join(lines) + "\n }")
    TABLE.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="measure only this one; repeatable")
    parser.add_argument("--update", action="store_true",
                        help=f"write what was measured to {TABLE.relative_to(TOP)}")
    options = parser.parse_args()
    check_build()
    committed = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    judged_compiler = committed.pop("compiler", None)
    is_judged = judged_compiler in (None, compiler())
    chosen = options.engine or ENGINES
    if options.update and not is_judged and set(committed) - set(chosen):
        sys.exit(f"bench: other columns are of {judged_compiler}: write all of them at once")
    kvm = json.loads(KVM_TABLE.read_text())
    measured, worse = measure(chosen), []
    for engine in chosen:
        worse += show(engine, measured[engine], committed.get(engine, {}),
                      ("KVM", kvm) if engine == "vtx" else ("vtx", measured.get("vtx", committed.get("vtx", {}))))
        if engine == "vtx":
            print(f"KVM: {kvm['versions']}, the same payload; its serial port and disk are QEMU's, and it runs "
                  "without APIC\nvirtualisation, for a fault of Bochs's")
        if engine not in committed:
            print(f"bench: {engine}: there is no committed column to compare with; --update writes it")
    if options.update:
        write({engine: measured.get(engine, committed.get(engine)) for engine in ENGINES
               if engine in measured or engine in committed})
        return 0
    if not is_judged:
        print(f"bench: not judged: this is {compiler()}, the committed table {judged_compiler}'s")
        return 0
    for text in worse:
        print(f"bench: {text}")
    return bool(worse) or not committed


if __name__ == "__main__":
    sys.exit(main())
