# SPDX-License-Identifier: BSD-2-Clause
"""tools/engines.py: what it reads of runs, and what it makes of it; and tools/bench.py's columns."""

import json
import os
import subprocess
import sys
import time

from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
import bench  # noqa: E402
import engines  # noqa: E402

CONSOLE = """nadir: TSC: {khz} kHz by the ACPI PM timer, and the HPET agrees
bench: nothing 5 5 15
bench: vmcall is not possible here
bench: syscall 200 {syscall} 9000
bench: call-ret 1 {calls} 9
"""


def bench_run(syscall, calls, khz=2000000):
    return engines.Run(CONSOLE.format(khz=khz, syscall=syscall, calls=calls))


def demo_run(start, forks, forked, off):
    return engines.Run(marks={"start": start, "forks": forks, "forked": forked, "off": off})


def goal(runs, beginning):
    (name, most, measured, digits), = [each for each in engines.goals(runs) if each[0].startswith(beginning)]
    return measured, engines.verdict(most, measured, digits)


def test_operations():
    """Ticks become nanoseconds by the frequency that Nadir has measured, also on the bare machine."""
    runs = {("qemu", "bench", "bare"): engines.Run("bench: syscall 1 300 9\nbench: call-ret 1 1000 9\n"),
            ("qemu", "bench", "bt"): bench_run(15000, 3500),
            ("bochs", "bench", "bt"): bench_run(7, 4006)}
    assert engines.operation(runs, "qemu", "bare", "syscall") == 150
    assert engines.operation(runs, "qemu", "bt", "syscall") == 7500
    assert engines.operation(runs, "bochs", "bt", "syscall") == 7
    assert engines.operation(runs, "qemu", "bt", "vmcall") is None
    assert goal(runs, "null system call") == (7.5, "MISSED")
    assert goal(runs, "calls and returns, QEMU") == (3.5, "reached")
    del runs["qemu", "bench", "bare"]
    assert goal(runs, "calls and returns, QEMU") == (None, "not measured"), "there is no bare machine beside it"


def test_demo():
    """The processes are counted for themselves; a run that was cut off has no figure."""
    runs = {("qemu", "demo", "bare"): demo_run(0.5, 3.5, 4.5, 5.0),
            ("qemu", "demo", "bt"): demo_run(1.0, 6.0, 9.0, 10.0)}
    assert goal(runs, "demo to power-off") == (6.0 / 3.5, "reached")
    assert goal(runs, "fork + exec + exit") == (3.0, "reached")
    runs["qemu", "demo", "bt"] = engines.Run(trouble="no end within 1 s")
    assert goal(runs, "demo to power-off") == (None, "not measured")


def test_translation():
    stats = {"counters": {"blocks": 2, "instructions": 10, "bytes_in": 40, "bytes_out": 100},
             "exits": {"translations": {"count": 2, "tsc_root": 9000}}}
    runs = {("bochs", "bench", "bt"): engines.Run(stats=stats)}
    assert goal(runs, "translation, instructions") == (900, "MISSED")
    assert goal(runs, "translation, bytes") == (2.5, "reached")


def test_accounts_are_laid_side_by_side(capsys):
    def accounts(**classes):
        return engines.Run(stats={"tsc_first_entry": 0, "tsc_end": 9000000, "tsc_idle": 1000000,
                                  "classes": {name: {"count": count, "tsc_root": ticks}
                                              for name, (count, ticks) in classes.items()},
                                  "counters": {"blocks": 12345} if "translate" in classes else {}})
    runs = {("bochs", "demo", "vtx"): accounts(io=(1000, 200000)),
            ("bochs", "demo", "bt"): accounts(io=(1001, 400000), translate=(7, 100000))}
    engines.show_demo(runs, "bochs")
    lines = {line[:18].strip(): line[18:].split("  ") for line in capsys.readouterr().out.splitlines()}
    cells = {name: [cell.strip() for cell in row if cell] for name, row in lines.items()}
    assert cells["io"] == ["1,000 0.2 M", "1,001 0.4 M"]
    assert cells["translate"] == ["-", "7 0.1 M"]
    assert cells["blocks"] == ["-", "12,345"]
    assert cells["busy, millions"] == ["8", "8"]


def test_watching(tmp_path):
    """Marks are found wherever the output is cut, with the CPU time of the emulator that a child may be; and a run
    ends in time."""
    emulator = tmp_path / engines.machine.QEMU
    emulator.symlink_to(sys.executable)
    program = tmp_path / "program.py"
    program.write_text("""import os, sys, time
def use(seconds):
    while sum(os.times()[:2]) < seconds: pass
os.write(1, b"Booting from R")
time.sleep(0.2)
os.write(1, b"OM\\n")
use(0.3)
os.write(1, b"nadir-demo: processes begin\\r\\nnadir-demo: processes end\\r\\n")
time.sleep(0.2)
if len(sys.argv) > 1: time.sleep(60)
""")
    command = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", emulator, program]
    text, marks, ended = engines.watch(command, 60)
    assert ended and text.endswith("processes end\n")
    assert set(marks) == {"start", "forks", "forked"}
    run = engines.Run(text, marks)
    assert 0.1 <= run.seconds("start", "forks") <= 1.5, marks
    assert run.seconds("start", "off") is None
    start = time.monotonic()
    _, marks, ended = engines.watch([sys.executable, program, "for long"], 3)
    assert not ended and time.monotonic() - start < 20


def test_a_limit_is_told(tmp_path):
    """A run that takes too long makes a row that says so, and no figure."""
    done = subprocess.run([TOP / "tools" / "engines.py", "--on", "qemu", "--program", "demo", "--engine", "bt",
                           "--limit", "1"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done
    assert done.stdout.count("no end within 1 s") == 2, done
    assert "demo to power-off, QEMU, bt / bare" in done.stdout and "reached" not in done.stdout, done


def test_columns_of_bench(tmp_path, monkeypatch, capsys):
    """A column that is not committed fails nothing; one that is does, where a row has risen or gone."""
    rows = {"bt": {"cpuid": [400, 400, 500]}, "vtx": {"cpuid": [130, 133, 200], "rdtsc": [6, 6, 6]}}
    monkeypatch.setattr(bench, "TABLE", tmp_path / "bench.json")
    monkeypatch.setattr(bench, "TOP", tmp_path)
    monkeypatch.setattr(bench, "measure", lambda engine: rows[engine])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
        return bench.main(), capsys.readouterr().out

    assert run("--update")[0] == 0
    assert set(json.loads(bench.TABLE.read_text())) == {"compiler", "vtx"}
    assert run()[0] == 0
    status, text = run("--all")
    assert status == 0 and "bt: there is no committed column" in text
    rows["vtx"]["cpuid"] = [130, 137, 200]
    status, text = run()
    assert status == 1 and "vtx: cpuid rose from 133 to 137" in text and "bt" not in text
    rows["vtx"]["cpuid"] = [130, 133, 200]
    assert run("--all", "--update")[0] == 0
    rows["bt"] = {"rdmsr": [1, 1, 1]}
    status, text = run()
    assert status == 1 and "bench: bt: cpuid is gone" in text
    assert run("--engine", "vtx", "--update")[0] == 0
    assert json.loads(bench.TABLE.read_text())["bt"] == {"cpuid": [400, 400, 500]}
    assert os.path.exists(bench.TABLE)
