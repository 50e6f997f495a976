#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The engines side by side: runs guest/payloads/bench (for pv: benchpv, whose kernel does the same in its own way),
three and Debian's demo under each engine and on the bare machine, and prints what operations, parts of a kernel's
work, classes of events and the whole cost, and the goals. In Bochs the unit is
instructions; in QEMU's own emulation it is time: of the host's TSC for operations, and for the demo the CPU
time of the emulator, from the guest's first instruction on. Where a VM has not come to its end in time, what it
has had until then is shown, and that."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import bench
import demo
from nadirlib import TOP, ToolError, debian, initramfs, machine

ENGINES = ("vtx", "bt", "pv")
PROGRAMS = ("bench", "three", "demo")
# Adams and Agesen's names for what guest/payloads/bench has, and what else tells engines apart.
OPERATIONS = {"syscall": "syscall", "in": "port-in", "cr8wr": "mov-to-cr8", "call/ret": "call-ret",
              "pgfault": "pgfault", "divzero": "divzero", "ptemod": "ptemod", "loop": "loop",
              "cpuid": "cpuid", "pushf cli popf": "irq-save", "timer": "tsc-deadline",
              "null hypercall": "hypercall", "64 updates, once": "update-64", "64 calls, once": "mapping-64"}
BATCH = 64
CLASSES = ("io", "mmio", "cpu", "page_tables", "exception", "interrupt", "syscall", "timer", "idle",
           "translate", "other")
CONFIGS = {
    "bench": "[vm bench]\nkernel = {bench}\nmemory = 64\nengine = {engine}\n",
    "three": "[vm three]\nkernel = {three}\nmemory = 32\nvcpus = 2\non_reboot = destroy\nengine = {engine}\n",
    "demo": "[vm debian]\nkernel = vmlinuz\nramdisk = initramfs.gz\nmemory = 256\nengine = {engine}\n"
            "cmdline = console={console} panic=-1\n",
}
# A paravirtual kernel is another file, and has another console.
FILES = {"bench": "bench.bin", "three": "three.bin", "console": "ttyS0"}
PV_FILES = {"bench": "benchpv.elf", "three": "three.elf", "console": "hvc0"}
CPUS = {"three": 2}
PART = re.compile(r"^three: (native|hypercall): \d+ (.*): (\d+) ticks each", re.M)
PROCESSES = 200
CALLS = 20000  # of read(), and as many of write()
WORK = f"""fact calls begin
dd if=/dev/zero of=/dev/null bs=1 count={CALLS} 2>/dev/null
fact calls end
fact processes begin
i=0; while [ $i -lt {PROCESSES} ]; do /bin/busybox true; i=$((i+1)); done
fact processes end
"""
TSC_KHZ = re.compile(r"^nadir: TSC: (\d+) kHz by", re.M)
# Where a run of the demo is: the guest's first instruction is next; system calls; forks; the guest is off.
MARKS = {"start": re.compile(rb"^nadir: debian: \d+ MiB, 1 vCPU|Booting from ROM"),
         "calls": re.compile(rb"^nadir-demo: calls begin"),
         "called": re.compile(rb"^nadir-demo: calls end"),
         "forks": re.compile(rb"^nadir-demo: processes begin"),
         "forked": re.compile(rb"^nadir-demo: processes end"),
         "off": re.compile(rb"reboot: (Power down|System halted)")}


def say(text):
    print(f"engines: {text}", file=sys.stderr, flush=True)


# --- runs ---

def cpu_seconds(pid):
    """CPU time that a process has had, without its children; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def emulator_of(pid):
    """The process itself, or the emulator that it has started."""
    for each in [pid, *children_of(pid)]:
        try:
            if Path(f"/proc/{each}/comm").read_text().startswith(machine.QEMU[:15]):
                return each
        except OSError:
            continue
    return None


def watch(command, limit):
    """Runs an emulator: (console, {mark: CPU seconds}, whether it has ended by itself)."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    timer = threading.Timer(limit, process.terminate)
    timer.start()
    text, marks, line = b"", {}, b""
    try:
        while data := os.read(process.stdout.fileno(), 4096):
            text += data
            line = (line + data).rpartition(b"\n")[2][-4096:]
            recent = text[-len(data) - len(line) - 256:]
            for name in [name for name in MARKS if name not in marks]:
                if any(MARKS[name].search(each) for each in recent.split(b"\n")):
                    emulator = emulator_of(process.pid)
                    marks[name] = emulator and cpu_seconds(emulator)
        process.wait()
    finally:
        ended = timer.is_alive()
        timer.cancel()
        machine.stop(process)
    return text.decode(errors="replace").replace("\r", ""), marks, ended


class Run:
    """What one run has shown. rows: operations, as bench.rows_of(); parts: three's ticks; marks: CPU seconds of the emulator at each;
    stats: the VM's accounts."""

    def __init__(self, console="", marks=None, stats=None, trouble=None):
        self.console, self.marks, self.stats = console, marks or {}, stats or {}
        self.rows = bench.rows_of(console)
        self.parts = {(column, what): int(ticks) for column, what, ticks in PART.findall(console)}
        self.trouble = trouble  # why there is no figure, or no whole one
        khz = TSC_KHZ.search(console)
        self.tsc_khz = int(khz[1]) if khz else None

    def seconds(self, since, until):
        """CPU time of the emulator between two marks."""
        first, last = self.marks.get(since), self.marks.get(until)
        return None if first is None or last is None else last - first

    def boot_seconds(self):
        """Power-on to power-off, without the calls and processes that are counted for themselves."""
        whole = self.seconds("start", "off")
        return None if whole is None else whole - (self.seconds("calls", "called") or 0) - \
            (self.seconds("forks", "forked") or 0)

    def busy(self):
        """Ticks between the first entry and the end, but for idle ones."""
        s = self.stats
        return s["tsc_end"] - s["tsc_first_entry"] - s["tsc_idle"] if s else None


def run_nadir(folder, config, on, limit, native=False, cpus=1):
    (folder / "nadir.cfg").write_text(config)
    stats = folder / "stats.json"
    stats.unlink(missing_ok=True)
    console, marks, ended = watch(
        [TOP / "tools" / "nadir", "run", folder / "nadir.cfg", "--on", on, "--timeout", str(limit), "--stats", stats,
         "--cpus", str(cpus), *["--native"] * native], limit + 60)
    vms = json.loads(stats.read_text()) if stats.exists() else []
    whole = not native and len(vms) == 1 and vms[0]["end"] in ("debug-exit", "poweroff") and vms[0]["code"] == 0
    if whole or native and "native-exit: 0" in console:
        return Run(console, marks, vms[0] if vms else None)
    if len(vms) == 1 and vms[0]["end"] == "runs":  # Nadir was asked for its accounts when the time was up
        return Run(console, stats=vms[0], trouble=f"no end in {limit} s")
    return Run(trouble=f"no end in {limit} s" if not ended or native else
               f"ended: {vms[0]['end']}" if vms else "did not start")


def run_linux(folder, limit, isolated):
    """The demo on QEMU's own PC, started by its firmware; isolated: it keeps its page tables from user code's."""
    console, marks, ended = watch(
        [machine.QEMU, "-machine", "q35,graphics=off", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1",
         "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", folder / "vmlinuz",
         "-initrd", folder / "initramfs.gz", "-append", "console=ttyS0 panic=-1" + " pti=on" * isolated], limit)
    if not ended:
        return Run(trouble=f"no end in {limit} s")
    return Run(console, marks) if "off" in marks else Run(trouble="did not reach power-off")


def prepare(folder):
    for name in (FILES["bench"], PV_FILES["bench"], FILES["three"], PV_FILES["three"]):
        (folder / name).symlink_to(TOP / "build" / "payloads" / name)
    shutil.copyfile(debian.fetch_kernel("linux-image-cloud-amd64") / "vmlinuz", folder / "vmlinuz")
    before, mark, after = demo.INIT.partition("fact user space reached\n")
    archive = initramfs.with_busybox(before + mark + WORK + after)
    (folder / "initramfs.gz").write_bytes(archive.compressed())


def plan(options):
    """What is to be run: (emulator, program, engine)."""
    for on in options.on:
        engines = [engine for engine in options.engine if on == "bochs" or engine != "vtx"]
        for program in options.program:
            # Nothing starts Linux on a bare Bochs as a VM of Nadir starts it.
            bare = ["bare"] if program != "demo" else ["bare", "bare, pti=on"] if on == "qemu" else []
            yield from ((on, program, engine) for engine in [*bare, *engines])


def measure(folder, options, runs):
    """Adds {(emulator, program, engine): Run}, one after the other; the engine `bare` is none."""
    planned = list(plan(options))
    say(f"{len(planned)} runs, of a minute or two each; Ctrl-C prints what has been measured until then")
    for number, (on, program, engine) in enumerate(planned, 1):
        say(f"{number} of {len(planned)}: {program}, {engine}, in {on}: at most {options.limit} s")
        start = time.monotonic()
        if program == "demo" and engine.startswith("bare"):
            run = run_linux(folder, options.limit, "pti" in engine)
        else:
            config = CONFIGS[program].format(engine="auto" if engine == "bare" else engine,
                                             **(PV_FILES if engine == "pv" else FILES))
            run = run_nadir(folder, config, on, options.limit, engine == "bare", CPUS.get(program, 1))
        say(f"  {run.trouble or 'done'}, {time.monotonic() - start:.0f} s")
        runs[on, program, engine] = run


# --- tables ---

def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(title, columns, rows):
    """rows: (name, [text of each column])."""
    print(f"\n{title}")
    left = max(18, *(len(name) + 1 for name, _ in rows))
    print(" " * left + "".join(f"{column:>18}" for column in columns))
    for name, cells in rows:
        print(f"{name:<{left}}" + "".join(f"{cell:>18}" for cell in cells))


def columns_of(runs, on, program):
    return [engine for engine in ("bare", "bare, pti=on", *ENGINES) if (on, program, engine) in runs]


def nanoseconds(ticks, khz):
    return None if ticks is None or not khz else ticks * 1e6 / khz


def tsc_khz(runs, on):
    """The same machine's for each run; Nadir measures it, the bare machine does not."""
    return next((run.tsc_khz for (where, _, _), run in runs.items() if where == on and run.tsc_khz), None)


def operation(runs, on, engine, row):
    """Median of an operation, in instructions or nanoseconds; None: not measured."""
    run = runs.get((on, "bench", engine))
    ticks = run.rows[row][1] if run and not run.trouble and row in run.rows else None
    return nanoseconds(ticks, tsc_khz(runs, on)) if on == "qemu" else ticks


def show_operations(runs, on):
    columns = columns_of(runs, on, "bench")
    if not columns:
        return
    rows = [(name, [number(operation(runs, on, engine, row)) for engine in columns])
            for name, row in OPERATIONS.items()]
    rows += [("", [runs[on, "bench", engine].trouble or "" for engine in columns])]
    table(f"bench in {on}: median of an operation, in " + ("nanoseconds" if on == "qemu" else "instructions"),
          columns, rows if any(rows[-1][1]) else rows[:-1])


def show_three(runs, on):
    """One program's work, natively and by hypercalls: a column for each way that an engine has."""
    ways = [(engine, way) for engine in columns_of(runs, on, "three") for way in ("native", "hypercall")
            if any(column == way for column, _ in runs[on, "three", engine].parts)]
    if not ways:
        return
    khz = tsc_khz(runs, on)
    what = list(dict.fromkeys(part for engine, _ in ways for _, part in runs[on, "three", engine].parts))

    def cell(engine, way, part):
        ticks = runs[on, "three", engine].parts.get((way, part))
        return number(nanoseconds(ticks, khz) if on == "qemu" else ticks)

    table(f"three in {on}, two CPUs: one of each, in " + ("nanoseconds" if on == "qemu" else "instructions"),
          [f"{engine}{' calls' if way == 'hypercall' else ''}" for engine, way in ways],
          [(part.partition(",")[0][:30], [cell(engine, way, part) for engine, way in ways]) for part in what])


def class_cell(run, name, khz):
    """Count, and seconds or instructions for all of them."""
    one = run.stats.get("classes", {}).get(name) if run.stats else None
    if not one:
        return "-"
    cost = f"{one['tsc_root'] / khz / 1000:.2f} s" if khz else f"{one['tsc_root'] / 1e6:,.1f} M"
    return f"{one['count']:,} {cost}"


def show_demo(runs, on):
    columns = columns_of(runs, on, "demo")
    if not columns:
        return
    of = [runs[on, "demo", engine] for engine in columns]
    khz = tsc_khz(runs, on) if on == "qemu" else None
    if on == "qemu":
        whole = [(f"{2 * CALLS} calls", [number(run.seconds("calls", "called"), 2) for run in of]),
                 (f"{PROCESSES} processes", [number(run.seconds("forks", "forked"), 2) for run in of]),
                 ("all else", [number(run.boot_seconds(), 2) for run in of])]
    else:
        whole = [("busy, millions", [number(run.busy() and run.busy() / 1e6) for run in of])]
    rows = [(name, [class_cell(run, name, khz) for run in of]) for name in CLASSES]
    counters = sorted({name for run in of for name in run.stats.get("counters", {})})
    rows += [(name, [number(run.stats.get("counters", {}).get(name)) for run in of]) for name in counters]
    rows += [("", [run.trouble or "" for run in of])] if any(run.trouble for run in of) else []
    table(f"Debian's demo in {on}: " +
          ("CPU seconds of the emulator; events of each class, and the time in them"
           if on == "qemu" else "instructions; events of each class, and those for them"), columns, whole + rows)


# --- goals ---

def ratio(one, other):
    return one / other if one is not None and other else None


def to_bare(runs, row):
    return ratio(operation(runs, "qemu", "bt", row), operation(runs, "qemu", "bare", row))


def goals(runs):
    """(figure, goal, what was measured or None, digits)."""
    bare, isolated, bt, pv = (runs.get(("qemu", "demo", engine), Run())
                              for engine in ("bare", "bare, pti=on", "bt", "pv"))
    translated = next((run for program in ("demo", "bench")
                       if (run := runs.get(("bochs", program, "bt"))) and run.stats.get("counters", {}).get("blocks")),
                      Run())
    counters = translated.stats.get("counters", {})
    work = translated.stats.get("exits", {}).get("translations", {}).get("tsc_root")
    microseconds, pv_microseconds = (ns and ns / 1000 for ns in (operation(runs, "qemu", engine, "syscall")
                                                                 for engine in ("bt", "pv")))
    return [
        ("demo to power-off, QEMU, bt / bare", 1.8, ratio(bt.boot_seconds(), bare.boot_seconds()), 2),
        ("fork + exec + exit, QEMU, bt / bare", 4,
         ratio(bt.seconds("forks", "forked"), bare.seconds("forks", "forked")), 2),
        ("null system call, QEMU, bt, µs", 7, microseconds, 2),
        ("calls and returns, QEMU, bt / bare", 4, to_bare(runs, "call-ret"), 2),
        ("plain loop, QEMU, bt / bare", 1.1, to_bare(runs, "loop"), 2),
        # Instructions in Bochs are no time, and there is no real CPU here.
        ("calls and returns, on a CPU, bt / bare", 1.4, None, 2),
        ("plain loop, on a CPU, bt / bare", 1.0, None, 2),
        *((f"{name}, Bochs, bt, instructions", bench.GOAL["bt"][row], operation(runs, "bochs", "bt", row), 0)
          for name, row in OPERATIONS.items() if row in bench.GOAL["bt"]),
        ("translation, instructions for one", 700, ratio(work, counters.get("instructions")), 0),
        ("translation, bytes out for one in", 3, ratio(counters.get("bytes_out"), counters.get("bytes_in")), 2),
        ("demo to power-off, QEMU, pv / bare", 2.3, ratio(pv.boot_seconds(), bare.boot_seconds()), 2),
        ("fork + exec + exit, QEMU, pv / bare", 3,
         ratio(pv.seconds("forks", "forked"), bare.seconds("forks", "forked")), 2),
        ("null system call, QEMU, pv, µs", 5, pv_microseconds, 2),
        # Such a kernel, too, loads CR3 on both ways, and QEMU's emulation forgets all of its TLB each time.
        ("system calls, QEMU, pv / bare, pti=on", 1.5,
         ratio(pv.seconds("calls", "called"), isolated.seconds("calls", "called")), 2),
        ("null hypercall, Bochs, pv, instructions", 150, operation(runs, "bochs", "pv", "hypercall"), 0),
        ("one of 64 updates, Bochs, instructions", 40, ratio(operation(runs, "bochs", "pv", "update-64"), BATCH), 0),
    ]


def verdict(goal, measured, digits):
    """A ratio of 1.00 is what a goal of 1 is about: rounded as it is shown."""
    if measured is None:
        return "not measured"
    return "reached" if round(measured, digits) <= goal else "MISSED"


def show_goals(runs):
    print(f"\n{'goal':<40}{'at most':>10}{'measured':>10}")
    for name, goal, measured, digits in goals(runs):
        print(f"{name:<40}{goal:>10}{number(measured, digits):>10}  {verdict(goal, measured, digits)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=("bochs", "qemu"), action="append", help="only there; repeatable")
    parser.add_argument("--program", choices=PROGRAMS, action="append", help="only this one; repeatable")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this one; repeatable")
    parser.add_argument("--limit", type=int, default=300, metavar="S", help="seconds for each run (300)")
    options = parser.parse_args()
    options.on = options.on or ["bochs", "qemu"]
    options.program = options.program or list(PROGRAMS)
    options.engine = options.engine or list(ENGINES)
    bench.check_build()
    os.environ["NADIR_KVM"] = "0"  # QEMU is for its own emulation here
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    runs, whole = {}, False
    with tempfile.TemporaryDirectory(prefix="nadir-engines-") as folder:
        try:
            prepare(Path(folder))
            measure(Path(folder), options, runs)
            whole = True
        except ToolError as error:
            sys.exit(f"engines: {error}")
        except KeyboardInterrupt:
            say(f"interrupted: {len(runs)} runs were finished")
    for on in options.on:
        show_operations(runs, on)
        show_three(runs, on)
        show_demo(runs, on)
    show_goals(runs)
    return not whole or any(run.trouble for run in runs.values())


if __name__ == "__main__":
    sys.exit(main())
