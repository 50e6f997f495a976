# SPDX-License-Identifier: BSD-2-Clause
"""The bare machine as the oracle: each test kernel prints the same there and in a virtual machine."""

import re

import pytest
from kernels import TEST_KERNELS, batch_of, lines_of, section

MODEL = "corei7_skylake_x"

# Where Bochs is not the machine that its manuals describe, and a virtual machine of Nadir is: the
# checks that fail there and pass here, with the reason. One that passes there too is to be deleted.
BOCHS_FAILS = {
    "apic": {
        "a masked LINT0 lets nothing in": "the 8259 is wired to the CPU, past the local APIC",
        "a level interrupt comes again while its line is high": "EOI does not look at the line",
        "and not when it is low": "the same",
        "remote IRR is set until EOI": "it is never set",
        "the deadline is 0 afterwards": "the MSR keeps its value when the timer fires",
        "back in xAPIC mode": "an APIC that was switched off stays off",
    },
    "hostile": {
        "IN of 2 bytes, the second unclaimed": "a wide access is not split, but unclaimed",
    },
}


def common(lines, name, other_side):
    """A kernel's lines from its title on, but for those of one side and the summary."""
    title, summary = f"test {name}: ", re.compile(rf"test {name}: \d+ passed, \d+ failed")
    starts = [i for i, line in enumerate(lines) if line.startswith(title)]
    ends = [i for i, line in enumerate(lines) if summary.fullmatch(line)]
    assert starts and len(ends) == 1, "\n".join(lines)
    return [line for line in lines[starts[0]:ends[0]] if f" {name}: {other_side}: " not in line]


@pytest.fixture(scope="module")
def in_nadir():
    return {}


@pytest.mark.parametrize("name", TEST_KERNELS)
def test_same_on_the_bare_machine(nadir, payload, in_nadir, name):
    batch = batch_of(name, TEST_KERNELS)
    files = {f"{each}.bin": payload(each) for each in batch}
    if batch[0] not in in_nadir:
        in_nadir[batch[0]] = nadir("".join(map(section, batch)), files, model=MODEL, timeout=240)
    bare = nadir(section(name), files, model=MODEL, timeout=60, native=True, strict=True)
    here = common(lines_of(in_nadir[batch[0]], name), name, "vm-only")
    there = common(lines_of(bare, ""), name, "native-only")
    assert len(here) == len(there), f"{len(here)} lines, {len(there)} on the bare machine\n{bare}"
    fails = BOCHS_FAILS.get(name, {})
    seen = set()
    for mine, its in zip(here, there):
        what = its.removeprefix(f"FAIL {name}: ").partition(" (")[0]
        if mine == its:
            continue
        assert what in fails and mine.startswith(f"ok {name}: {what} ("), f"{mine!r}, not {its!r}"
        seen.add(what)
    assert seen == set(fails), f"Bochs passes now: {set(fails) - seen}"
    assert bare.status == (1 if fails else 0), bare
