# SPDX-License-Identifier: BSD-2-Clause
"""A hypervisor that executes code at CPL 3 (tests/ring3), on machines that need no VT-x."""

import pytest
from conftest import TOP, make

CONFIG = "[vm a]\nkernel = hello.bin\nmemory = 16\n"


@pytest.fixture(scope="session")
def efi():
    make("build/ring3.efi")
    return {"NADIR_EFI": str(TOP / "build/ring3.efi")}


@pytest.mark.parametrize("options", [
    {"on": "bochs"},
    {"on": "bochs", "model": "ryzen"},
    {"on": "bochs", "model": "sapphire_rapids"},  # shadow stacks
    {"on": "qemu"},
], ids=lambda options: options.get("model", options["on"]))
def test_ring3(nadir, payload, efi, options):
    """Entry and exit with all registers; faults, privileged instructions, interrupts, NMIs, broken frames."""
    result = nadir(CONFIG, {"hello.bin": payload("hello")}, cpus=2, timeout=150,
                   env={**efi, "NADIR_KVM": "0"}, **options)
    assert result.status == 0 and ", 0 failed" in result.console, result
    assert ("ring3: hardened ways checked" in result.console) == (options.get("model") != "sapphire_rapids"), result
    if options.get("model") == "sapphire_rapids":
        assert "guarded by shadow stacks and branch tracking" in result.console, result
