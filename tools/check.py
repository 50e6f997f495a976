#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs everything that `make check` stands for, shows it as it goes, and adds it up in one line."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
JOBS = str(os.cpu_count() or 1)
# A group of tests looks at one boot, which one process is to make.
PYTEST = ["/usr/bin/python3", "-m", "pytest", "-v", "-n", JOBS, "--dist", "loadgroup", "--durations=25", "tests/system"]
FUZZ_SECONDS = 2
LONG_UNITS = ("test_vms", "test_vmcs_model")  # a third of the unit tests' time, which goes first: none is left alone at the end
STAGE_LIMIT = 2400  # seconds; the longest takes a third of it on an idle machine


def run(command):
    """Runs a command, shows its output as it comes, and returns its status and the output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    process = subprocess.Popen(["timeout", str(STAGE_LIMIT), *command], cwd=TOP, env=env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return process.wait(), "".join(lines)


def run_all(commands):
    """Runs commands that need one CPU each, as many at once as there are, and shows each one's output when it has
    ended. Returns their statuses and outputs, in order."""

    def run_one(command):
        return subprocess.run(["timeout", str(STAGE_LIMIT), *command], cwd=TOP, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")})

    with ThreadPoolExecutor(int(JOBS)) as pool:
        ended = []
        for done in pool.map(run_one, commands):
            print(f"+ {' '.join(done.args[2:])}\n{done.stdout}", end="", flush=True)
            ended.append((done.returncode, done.stdout))
        return ended


def built(programs):
    """Builds programs, and says of which nothing was to be done any more when it was over."""
    status, _ = run(["make", "-k", "-j", JOBS, *programs])
    return [status == 0 or run(["make", program])[0] == 0 for program in programs]


def whole(command):
    """A stage that passes or fails as one."""
    status, _ = run(command)
    return int(status == 0), int(status != 0)


def lint():
    status, output = run(["tools/lint.sh"])
    passed = len(re.findall(r"^lint: .* passed$", output, re.M))
    failed = len(re.findall(r"^lint: .* failed$", output, re.M))
    return passed, max(failed, int(status != 0))


def count_cmocka(status, output):
    """What a test program has shown: one that dies, or that ran no test, has failed."""
    passed = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M)))
    failed = len(re.findall(r"^\[  FAILED  \] \S+$", output, re.M)) // 2
    return passed, failed or int(status != 0 or passed == 0)


def unit():
    """Each cmocka test counts; a program that does not build is one more failure."""
    sources = sorted((TOP / "tests" / "unit").glob("test_*.c"), key=lambda source: (source.stem not in LONG_UNITS, source))
    programs = [f"build/unit/{source.stem}" for source in sources]
    ready = [program for program, is_built in zip(programs, built(programs)) if is_built]
    counts = [count_cmocka(*ended) for ended in run_all([[program] for program in ready])]
    return sum(good for good, _ in counts), sum(bad for _, bad in counts) + len(programs) - len(ready)


def fuzz():
    """Each fuzzer for a moment: that it still is one, and that nothing breaks at once."""
    programs = [f"build/fuzz/{source.stem}" for source in sorted((TOP / "tests" / "fuzz").glob("fuzz_*.c"))]
    ready = [program for program, is_built in zip(programs, built(programs)) if is_built]
    ended = run_all([["make", "fuzz", f"FUZZ={program}", f"S={FUZZ_SECONDS}"] for program in ready])
    passed = [status for status, _ in ended].count(0)
    return passed, len(programs) - passed


def count_pytest(status, output):
    summary = output.strip().rpartition("\n")[2]
    count = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", summary)}
    failed = count.get("failed", 0) + count.get("error", 0) + count.get("errors", 0)
    # A test that was skipped tested nothing.
    failed += count.get("skipped", 0)
    passed = count.get("passed", 0)
    return passed, max(failed, int(status != 0 or passed == 0))


STAGES = (
    ("deps", lambda: whole(["make", "deps", "bochs"])),
    ("build", lambda: whole(["make", "-k", "-j", JOBS, "all"])),
    ("lint", lint),
    ("unit", unit),
    ("fuzz", fuzz),
    ("bench", lambda: whole(["tools/bench.py"])),
    ("system", lambda: count_pytest(*run(PYTEST))),
)


def main():
    total_passed = total_failed = 0
    report = []
    built = True
    for name, stage in STAGES:
        if not built and name in ("bench", "system"):
            total_failed += 1
            report.append(f"{name:8} not run: the build failed")
            continue
        print(f"=== {name}", flush=True)
        start = time.monotonic()
        passed, failed = stage()
        if passed + failed == 0:
            failed = 1  # nothing ran
        total_passed += passed
        total_failed += failed
        report.append(f"{name:8}{passed:5} passed {failed:4} failed "
                      f"{time.monotonic() - start:7.0f} s")
        built = built and not (name == "build" and failed)
    print("\n".join(["=== sum", *report]))
    print(f"{total_passed} passed, {total_failed} failed", flush=True)
    return total_failed > 0


if __name__ == "__main__":
    sys.exit(main())
