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
