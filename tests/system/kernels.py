# SPDX-License-Identifier: BSD-2-Clause
"""The test kernels: each folder of guest/payloads/tests whose program counts checks (guest/lib/test.h)
is one, unless it is started in a way of its own (payload.ld). Tests run them in Nadir and on the bare machine."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2] / "guest" / "payloads" / "tests"
AT_ONCE = 8  # that share one boot

# CPUs of those that need more than one.
CPUS = {"a20": 2, "races": 2, "smp": 2, "stepsmp": 2, "stormsmp": 4}

# CPU models of those that say little on others.
MODELS = {"paging5": "sapphire_rapids"}

TEST_KERNELS = sorted({file.parent.name for file in TESTS.glob("*/*.c")
                       if "test_begin(" in file.read_text()
                       and not file.with_name("payload.ld").exists()})


def section(name):
    """The part of nadir.cfg for one guest program."""
    return (f"[vm {name}]\nkernel = {name}.bin\nmemory = 32\nvcpus = {CPUS.get(name, 1)}\n"
            "on_reboot = destroy\n")


# Those that measure time so closely that other VMs' turns on their CPU show.
ALONE = ("budget", "longest", "pit", "screen", "smp", "timer")


def batch_of(name, names):
    """Those of `names` that share one boot with this one."""
    if name in ALONE:
        return [name]
    together = [other for other in names if other not in ALONE]
    start = together.index(name) // AT_ONCE * AT_ONCE
    return together[start:start + AT_ONCE]


def group_of(names, *machine):
    """The mark of tests that look at one boot."""
    return pytest.mark.xdist_group("-".join(map(str, (names[0], *machine))))


def lines_of(result, name):
    """What one VM has printed, without the name that Nadir puts before where there are several."""
    mark = f"[{name}] "
    lines = [line.strip("\r") for line in result.console.split("\n")]
    return [line[len(mark):] for line in lines if line.startswith(mark)] or lines


def whole_lines(lines, name):
    """A test kernel's lines. One that took long to print is in pieces on a console that several VMs share."""
    whole = []
    for line in lines:
        if re.match(rf"(ok|FAIL|note|test|--) |{name}: |  |nadir: ", line) or not whole:
            whole.append(line)
        else:
            whole[-1] += line
    return whole
