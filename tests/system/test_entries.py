# SPDX-License-Identifier: BSD-2-Clause
"""Invariants at each entry and exit. What Nadir enters by VT-x, the SDM's rules allow, in all that the test kernels do;
and what bt lets the processor reach, when it has, is the guest's own.

A rule for entries that Bochs does not check, or that only an older or newer CPU has, would otherwise first show on
somebody's machine. tests/unit/test_vmcs_model.c asks the same of random states."""

import pytest
from conftest import TOP, make
from kernels import MODELS, TEST_KERNELS, batch_of, section
from test_bt import ANSWERS, intruders, on_qemu

CHECKED = TOP / "build" / "check-entry.efi"
KERNELS = [name for name in TEST_KERNELS if name not in MODELS]
BATCHES = sorted({tuple(batch_of(name, KERNELS)) for name in KERNELS})


@pytest.fixture(scope="session")
def checked_build():
    make("-j2", "check-entry")
    return str(CHECKED)


@pytest.mark.parametrize("names", BATCHES, ids=lambda names: names[0])
def test_all_entries(nadir, payload, checked_build, names):
    files = {f"{name}.bin": payload(name) for name in names}
    result = nadir("".join(map(section, names)), files, timeout=300, env={"NADIR_EFI": checked_build})
    assert "broken rule" not in result.console, result
    # Each has gone through to its end; what it counts is no matter, for checking takes of the time that some measure.
    assert {vm["vm"]: vm["end"] for vm in result.stats} == dict.fromkeys(names, "debug-exit"), result


def test_all_exits(nadir, payload, monkeypatch, checked_build):
    """Of guests that attack what they run by, some on two CPUs, and of two kernels. A leaf that must not be there
    would have ended the machine, by a panic."""
    names = ("paging", "events")
    cfg, files = intruders(payload)
    cfg += "".join(section(name) + "engine = bt\n" for name in names)
    files |= {f"{name}.bin": payload(name) for name in names}
    monkeypatch.setenv("NADIR_EFI", checked_build)
    result = on_qemu(nadir, cfg, files, cpus=2)
    ends = {vm["vm"]: (vm["end"], vm["code"]) for vm in result.stats}
    assert "panic" not in result.console and len(ends) == cfg.count("[vm "), result
    assert {ends[name] for name in ("walks", *ANSWERS, *names)} == {("debug-exit", 0)}, result
