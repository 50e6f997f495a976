# SPDX-License-Identifier: BSD-2-Clause
"""Test kernels under engines that need no VT-x, check by check against the bare CPU of the same machine: QEMU's
emulation, and a model of Bochs without VMX."""

import pytest
from engines import ADMITTED, ASTRAY, FEATURES, LOST, TIMED, UNFINISHED, checks, differences
from kernels import CPUS, TEST_KERNELS, lines_of, section
from test_native import BOCHS_FAILS

IN_QEMU = {"on": "qemu", "env": {"NADIR_KVM": "0"}}
ON_RYZEN = {"on": "bochs", "model": "ryzen"}

TOGETHER = 9  # kernels that share a boot
QEMU_KERNELS = [name for name in TEST_KERNELS if name not in (*TIMED, *ASTRAY, *UNFINISHED, "ferr")]
# Under bt in Bochs an instruction takes hundreds of ticks: those that measure time are not for it. These are those in
# which this CPU, without UMIP and FSGSBASE, is another than QEMU's; `ferr` is for Bochs alone (engines.LOST).
RYZEN_KERNELS = ["a20", "borders", "cr", "debug", "events", "ferr", "hostile", "mmio", "modes", "privilege",
                 "segments", "syscall", "task", "vm86"]


def batch_of(name, kernels):
    start = kernels.index(name) // TOGETHER * TOGETHER
    return kernels[start:start + TOGETHER]


@pytest.fixture(scope="module")
def booted():
    return {}


@pytest.fixture
def run(nadir, payload, booted):
    """What a kernel prints in a VM, among others, and on the bare machine."""

    def under(name, kernels, engine, **machine):
        batch = tuple(batch_of(name, kernels))
        if (engine, batch) not in booted:
            cfg = "".join(section(each) + engine for each in batch)
            booted[engine, batch] = nadir(cfg, {f"{each}.bin": payload(each) for each in batch}, cpus=2, timeout=600,
                                          **machine)
        return checks(lines_of(booted[engine, batch], name), name), booted[engine, batch]

    def bare(name, **machine):
        result = nadir(section(name), {f"{name}.bin": payload(name)}, native=True, cpus=CPUS.get(name, 1), timeout=300,
                       **machine)
        return checks(lines_of(result, ""), name), result

    return under, bare


def judge(name, found, result, admitted):
    failed = {check.what for check in found if not check.ok}
    assert found and failed <= set(admitted), f"{failed}\n{result}"


@pytest.mark.parametrize("engine", ["engine = bt\n", "engine = bt\nbt = interpret\n"], ids=["bt", "interpret"])
@pytest.mark.parametrize("name", QEMU_KERNELS)
def test_in_qemu(run, name, engine):
    under, bare = run
    here, result = under(name, QEMU_KERNELS, engine, **IN_QEMU)
    judge(name, here, result, ADMITTED.get(name, {}))
    assert [(vm["engine"], vm["end"]) for vm in result.stats if vm["vm"] == name] == [("bt", "debug-exit")], result
    if name in LOST or name in FEATURES:
        return
    there, alone = bare(name, **IN_QEMU)
    assert there and not differences(there, here, None), "\n".join(differences(there, here, None)) + f"\n{alone}"


@pytest.mark.parametrize("name", RYZEN_KERNELS)
def test_without_vmx(run, name):
    under, bare = run
    here, result = under(name, RYZEN_KERNELS, "engine = bt\n", **ON_RYZEN)
    judge(name, here, result, {})
    there, alone = bare(name, strict=True, **ON_RYZEN)
    wrong = differences(there, here, BOCHS_FAILS.get(name, {}))
    assert there and (name in FEATURES or not wrong), "\n".join(wrong) + f"\n{alone}"
