# SPDX-License-Identifier: BSD-2-Clause
"""Test kernels under each engine against the bare CPU: how two runs are compared, and every difference
that is allowed, with its reason. Where Bochs strays from the manuals is in test_native.BOCHS_FAILS."""

import difflib
import re

from kernels import whole_lines

# Kernels that are not judged where the emulator is QEMU's: its ticks are the host's, which other work takes away,
# and under bt in Bochs an instruction takes hundreds of ticks. They are compared with the bare machine under VT-x
# (test_native.py); what they ask of devices has tests of its own (tests/unit), whatever the engine.
TIMED = {
    "apic": "a deadline is to come within so many ticks",
    "budget": "work in root mode is to take so many ticks at most; a CPU of AMD's has no TSC deadline to begin it by",
    "ioapic": "the PIT's interrupts are waited for, for so many ticks",
    "longest": "one instruction is to take so many ticks at most",
    "pic": "the same as ioapic",
    "pit": "the PIT is held against the TSC",
    "rtc": "the RTC is held against the TSC",
    "screen": "a frame and the keyboard's answers are waited for, for so many ticks",
    "smp": "clocks of several CPUs are held against each other",
    "storm": "what was asked for last is to come within so many ticks",
    "stormsmp": "the same as storm, between CPUs",
    "timer": "the timer's divisors are held against the TSC",
}

# Those in which the bare CPU of QEMU's emulation does not come to the end. Under bt they do, and judge themselves.
LOST = {
    "cr": "CR0.PG can be cleared in 64-bit code, and the CPU goes astray",
    "debug": "INT1 is undefined",
    "events": "an event from a stack of CPL 3 does not come, and the kernel waits",
    "ferr": "FLDCW does not clear the x87 status word's ES, so that IGNNE# never ends",
    "hostile": "an instruction of more than 15 bytes hangs",
    "segments": "a far jump beyond the limit is taken",
}

# Those in which it prints what no processor would.
ASTRAY = {
    "opcodes": "encodings that are reserved are executed",
    "walks": "there is no RFLAGS.RF in the frames of #UD and #GP, and no shadow of STI under TF",
}

# What bt does not do, or not as it is to.
UNFINISHED = {
}

# What a VM of bt has fewer or more lines for, as its CPUID says: what shadow paging cannot give is not there, and
# MSRs that only software emulates are there on any CPU.
FEATURES = {
    "cpuid": "other components of XSAVE",
    "cr": "no PCIDs, no protection keys",
    "hostile": "x2APIC, which this model of Bochs has not",
    "msr": "no XSS",
    "paging": "no protection keys, no SMAP",
    "paging5": "no 57-bit addresses",
    "xsave": "no XSAVES, no protection keys",
}

# What is not right in a VM of bt, either.
ADMITTED = {
    "cpuid": {"RDSEED": "QEMU's emulation executes it where CPUID does not show it"},
}


class Check:
    """A line `ok NAME: WHAT (RULE)`, or FAIL."""

    def __init__(self, ok, what, line):
        self.ok, self.what, self.line = ok, what, line


def checks(lines, name):
    """Those of both sides, in order."""
    pattern = re.compile(rf"(ok|FAIL) {name}: (?!vm-only: |native-only: )(.*?)( \(.*)?")
    found = [pattern.fullmatch(line) for line in whole_lines(lines, name)]
    return [Check(match[1] == "ok", match[2], match[0]) for match in found if match]


def failures(lines, name):
    """The checks that have failed, those included that only a VM has."""
    pattern = re.compile(rf"FAIL {name}: (.*?)( \(.*)?")
    found = [pattern.fullmatch(line) for line in whole_lines(lines, name)]
    return {match[1] for match in found if match}


def differences(bare, here, bare_fails):
    """Lines of a VM that are not the bare machine's. bare_fails: by which check's name the bare machine may be
    wrong, where the VM is right; None: any."""
    out = []
    names = [[check.what for check in side] for side in (bare, here)]
    for kind, i, j, k, m in difflib.SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        pairs = list(zip(bare[i:j], here[k:m])) if kind == "equal" else []
        for its, mine in pairs:
            excused = mine.ok and not its.ok and (bare_fails is None or its.what in bare_fails)
            if its.ok != mine.ok and not excused:
                out.append(f"{mine.line}, not {its.line}")
        if not pairs:
            out += [f"bare: {check.line}" for check in bare[i:j]] + [f"VM: {check.line}" for check in here[k:m]]
    return out
