# SPDX-License-Identifier: BSD-2-Clause
"""The bare machine as the oracle: each test kernel prints the same there and in a virtual machine."""

import re

import pytest
from kernels import CPUS, MODELS, TEST_KERNELS, group_of, lines_of, section, whole_lines
from test_payloads import host_batch

MODEL = "corei7_skylake_x"

# Where Bochs is not the machine that its manuals describe, and a virtual machine of Nadir is: the
# checks that fail there and pass here, with the reason. One that passes there too is to be deleted.
BOCHS_FAILS = {
    "apic": {
        "the deadline is 0 afterwards": "the MSR keeps its value when the timer fires",
        "back in xAPIC mode": "an APIC that was switched off stays off",
    },
    "cpuid": {
        "which has neither type, nor shift, nor CPUs": "ECX echoes all bits of a large subleaf",
    },
    "ferr": {
        "behind the write of port 0xf0 nothing waits": "there is no IGNNE#",
    },
    "hostile": {
        "IN of 2 bytes, the second unclaimed": "a wide access is not split, but unclaimed",
    },
    "ioapic": {
        "the ID has four bits": "it has eight",
        "the arbitration ID follows it": "it is always 0",
        "delivery status and remote IRR are read-only": "reserved bits can be written",
        "a destination has eight bits": "the same",
        "a level is seen when unmasked, and again at each EOI": "EOI does not look at the line",
        "and not when it is down": "the same",
        "remote IRR is set until EOI": "it is never set",
        "TMR says level": "no interrupt came",
    },
    "pic": {
        "non-specific EOI does not end a masked one": "EOI does not look at special mask mode",
        "a poll tells the line that asks": "a poll does not acknowledge",
        "which is in service then": "the same",
        "and asks no more": "the same",
        "nor comes as an interrupt": "the same",
        "IRQ8 interrupts IRQ12, IRQ4 does not": "there is no special fully nested mode",
        "a masked LINT0 lets nothing in": "the 8259 is wired to the CPU, past the local APIC",
    },
    "pit": {
        "status has the control word as written": "modes 6 and 7 read as 2 and 3",
        "the first byte of a count lowers OUT and holds it": "only the second byte does anything",
        "a new count waits for the period's end": "it is loaded at once",
        "bits 3:0 can be set": "bits 3:2 cannot",
    },
    "rtc": {
        "the first comes half a second after a divider reset": "it comes after a second",
        "but PF is set, without IRQF": "it is set with PIE only",
    },
    "screen": {
        "there is no set 4": "it says 0xff, not that the byte is to be sent again",
    },
    "smp": {
        "EDX holds the signature of CPUID leaf 1": "INIT leaves 0 there",
    },
    "stormsmp": {
        "none comes that was not asked for": "one of the class that is in service comes, as spurious",
    },
    "uart": {
        "the receiver FIFO's reset": "it leaves LSR.DR set",
        "writing THR makes the next edge, without a look at IIR": "the line stays high",
        "five bytes, five edges": "the same",
    },
}


def common(lines, name, other_side):
    """A kernel's lines from its title on, but for those of one side and the summary."""
    title, summary = f"test {name}: ", re.compile(rf"test {name}: \d+ passed, \d+ failed")
    starts = [i for i, line in enumerate(lines) if line.startswith(title)]
    ends = [i for i, line in enumerate(lines) if summary.fullmatch(line)]
    assert starts and len(ends) == 1, "\n".join(lines)
    return [line for line in lines[starts[0]:ends[0]] if f" {name}: {other_side}: " not in line]


def host_of(name):
    """One of those where test_payloads.py boots it; it is not booted again for this."""
    return MODELS.get(name, MODEL), 1


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=group_of(host_batch(name, host_of(name)), *host_of(name))) for name in TEST_KERNELS])
def test_same_on_the_bare_machine(nadir, payload, boot_once, name):
    host = host_of(name)
    inside = boot_once(host_batch(name, host), model=host[0], cpus=host[1])
    bare = nadir(section(name), {f"{name}.bin": payload(name)}, model=host[0], timeout=240, native=True, strict=True,
                 cpus=CPUS.get(name, 1))
    here = common(whole_lines(lines_of(inside, name), name), name, "vm-only")
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
