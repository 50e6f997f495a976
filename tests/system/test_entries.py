# SPDX-License-Identifier: BSD-2-Clause
"""The entry checks as an invariant: what Nadir enters, the SDM's rules allow, in all that the test kernels do.

A rule that Bochs does not check, or that only an older or newer CPU has, would otherwise first show on
somebody's machine. tests/unit/test_vmcs_model.c asks the same of random states."""

import pytest
from conftest import TOP, make
from kernels import MODELS, TEST_KERNELS, batch_of, section

CHECKED = TOP / "build" / "check-entry" / "nadir.efi"
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
