# SPDX-License-Identifier: BSD-2-Clause
"""A hypervisor that goes wrong (tests/astray) is stopped before it goes where it was sent, and says so."""

import subprocess

import pytest
from conftest import TOP

CONFIG = "[vm a]\nkernel = hello.bin\nmemory = 16\n"


@pytest.fixture(scope="session")
def astray():
    """Builds it, and returns the environment in which tools/nadir boots it."""

    def build(name):
        efi = f"build/{name}.efi"
        subprocess.run(["make", efi], cwd=TOP, check=True)
        return {"NADIR_EFI": str(TOP / efi)}

    return build


def test_overrun(nadir, payload, astray):
    """The stack protector sees what has been written past an array, before the function returns by it."""
    result = nadir(CONFIG, {"hello.bin": payload("hello")}, env=astray("overrun"), timeout=100)
    assert result.status == 3 and "panic: a function has written past an array on its stack" in result.console, result
    assert "2a2a2a2a2a2a2a2a" in result.console and "nadir: hello" not in result.console, result


def test_bend(nadir, payload, astray):
    """With shadow stacks RET goes where CALL came from, or nowhere; an exception that is allowed for goes on elsewhere."""
    result = nadir(CONFIG, {"hello.bin": payload("hello")}, env=astray("bend"), model="sapphire_rapids", timeout=150)
    assert result.status == 3 and "panic: control protection" in result.console, result
    assert "RET to where no CALL came from" in result.console and "nadir: astray" not in result.console, result


@pytest.mark.parametrize("model, line", [
    ("sapphire_rapids", "nadir: the hypervisor's stacks have shadow stacks"),
    ("tigerlake", "nadir: no shadow stacks: return thunks are in use, or VMX does not switch them"),
])
def test_shadow_stacks(nadir, payload, model, line):
    """Interrupts, exits, and what all CPUs do at start and at the end, by CALL and RET as they are meant."""
    cfg = "[vm a]\nkernel = stormsmp.bin\nmemory = 32\nvcpus = 2\n"
    result = nadir(cfg, {"stormsmp.bin": payload("stormsmp")}, model=model, cpus=2, timeout=300)
    assert result.status == 0 and line in result.console.splitlines(), result
