# SPDX-License-Identifier: BSD-2-Clause
"""Test kernels under engines that need no VT-x, check by check against the bare CPU of the same machine: QEMU's
emulation, and a model of Bochs without VMX."""

import pytest
from engines import ADMITTED, ASTRAY, FEATURES, LOST, TIMED, UNFINISHED, checks, differences, failures
from kernels import CPUS, TEST_KERNELS, group_of, lines_of, section
from test_native import BOCHS_FAILS

IN_QEMU = {"on": "qemu", "env": {"NADIR_KVM": "0"}}
ON_RYZEN = {"on": "bochs", "model": "ryzen"}

TOGETHER = 9  # kernels that share a boot
# All but those that cannot be judged there: engines.py says why. `ferr` is for Bochs alone, as LOST says, and `opcodes`
# tells what each encoding does, which is to be compared, and with a bare CPU that is ASTRAY cannot.
QEMU_KERNELS = [name for name in TEST_KERNELS if name not in (*TIMED, *UNFINISHED, "ferr", "opcodes")]
# Those in which this CPU, without UMIP, FSGSBASE and TSC_ADJUST, is another than QEMU's.
RYZEN_KERNELS = ["a20", "borders", "cr", "debug", "events", "ferr", "hostile", "mmio", "modes", "msr", "privilege",
                 "segments", "steps", "syscall", "task", "vm86"]
# Where this model strays from the manuals, beside BOCHS_FAILS.
RYZEN_FAILS = {
    "syscall": {"SYSENTER in long mode, on AMD's CPUs": "it is executed, as by Intel's CPUs"},
}


def batch_of(name, kernels):
    start = kernels.index(name) // TOGETHER * TOGETHER
    return kernels[start:start + TOGETHER]


def each_of(kernels, machine):
    """As parameters: those that share a boot are a group."""
    return [pytest.param(name, marks=group_of(batch_of(name, kernels), "bt", machine)) for name in kernels]


@pytest.fixture
def run(nadir, payload, booted):
    """What a kernel prints in a VM, among others, and on the bare machine."""

    def under(name, kernels, engine, **machine):
        batch = batch_of(name, kernels)
        key = (engine, machine["on"], *batch)
        if key not in booted:
            cfg = "".join(section(each) + engine for each in batch)
            booted[key] = nadir(cfg, {f"{each}.bin": payload(each) for each in batch}, cpus=2, timeout=600, **machine)
        return checks(lines_of(booted[key], name), name), booted[key]

    def bare(name, **machine):
        result = nadir(section(name), {f"{name}.bin": payload(name)}, native=True, cpus=CPUS.get(name, 1), timeout=300,
                       **machine)
        return checks(lines_of(result, ""), name), result

    return under, bare


def judge(name, found, result, admitted):
    failed = failures(lines_of(result, name), name)
    assert found and failed <= set(admitted), f"{failed}\n{result}"


@pytest.mark.parametrize("name", each_of(QEMU_KERNELS, "qemu"))
def test_in_qemu(run, name):
    """Translated and interpreted, against one run of the bare machine."""
    under, bare = run
    found = []
    for engine in ("engine = bt\n", "engine = bt\nbt = interpret\n"):
        here, result = under(name, QEMU_KERNELS, engine, **IN_QEMU)
        judge(name, here, result, ADMITTED.get(name, {}))
        assert [(vm["engine"], vm["end"]) for vm in result.stats if vm["vm"] == name] == [("bt", "debug-exit")], result
        found.append(here)
    if name in LOST or name in ASTRAY or name in FEATURES:
        return
    there, alone = bare(name, **IN_QEMU)
    wrong = [line for here in found for line in differences(there, here, None)]
    assert there and not wrong, "\n".join(wrong) + f"\n{alone}"


@pytest.mark.parametrize("name", each_of(RYZEN_KERNELS, "ryzen"))
def test_without_vmx(run, name):
    under, bare = run
    here, result = under(name, RYZEN_KERNELS, "engine = bt\n", **ON_RYZEN)
    judge(name, here, result, {})
    there, alone = bare(name, strict=True, **ON_RYZEN)
    wrong = differences(there, here, BOCHS_FAILS.get(name, {}) | RYZEN_FAILS.get(name, {}))
    assert there and (name in FEATURES or not wrong), "\n".join(wrong) + f"\n{alone}"
