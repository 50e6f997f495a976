# SPDX-License-Identifier: BSD-2-Clause
"""A hypervisor that goes wrong (tests/astray) is stopped before it goes where it was sent, and says so."""

import re

import pytest
from conftest import TOP, make


@pytest.fixture
def astray(nadir, payload):
    """Boots build/astray.efi, which goes wrong in the way that its VM is named after."""

    def run(way, **options):
        make("build/astray.efi")
        return nadir(f"[vm {way}]\nkernel = hello.bin\nmemory = 16\n", {"hello.bin": payload("hello")},
                     env={"NADIR_EFI": str(TOP / "build" / "astray.efi")}, timeout=150, **options)

    return run


def test_overrun(astray):
    """The stack protector sees what has been written past an array, before the function returns by it."""
    result = astray("overrun")
    assert result.status == 3 and "panic: a function has written past an array on its stack" in result.console, result
    assert "2a2a2a2a2a2a2a2a" in result.console and "hello: " not in result.console, result


def test_bend(astray):
    """With shadow stacks RET goes where CALL came from, or nowhere; an exception that is allowed for goes on elsewhere."""
    result = astray("bend", model="sapphire_rapids")
    assert result.status == 3 and "panic: control protection" in result.console, result
    assert "RET to where no CALL came from" in result.console and "nadir: astray" not in result.console, result


def test_lost(astray):
    """Who works for a VM without having entered its page tables does not reach its RAM, from its making on."""
    result = astray("lost")
    assert result.status == 3 and "panic: page fault" in result.console, result
    assert "hello: " not in result.console, result


def test_leap(astray):
    """With branch tracking an indirect call goes to where a function begins, or nowhere."""
    result = astray("leap", model="sapphire_rapids")
    assert result.status == 3 and "panic: control protection" in result.console, result
    assert "an indirect branch to where no ENDBRANCH is" in result.console and "nadir: astray" not in result.console, result


@pytest.mark.parametrize("model, call", [("corei7_skylake_x", "2e"), ("tigerlake", "e8")])
def test_calls(astray, model, call):
    """Indirect calls go by RET on the CPU that needs that, and on no other."""
    result = astray("leap", model=model)
    assert f"nadir: an indirect call: {call}" in result.console, result


@pytest.mark.parametrize("model, line", [
    ("sapphire_rapids", "nadir: the hypervisor is guarded by shadow stacks and branch tracking"),
    ("tigerlake", "nadir: no shadow stacks, no branch tracking: return thunks are in use, or VMX does not switch them"),
])
def test_guarded(nadir, payload, model, line):
    """Interrupts, exits, and what all CPUs do at start and at the end, by CALL and RET as they are meant."""
    cfg = "[vm a]\nkernel = stormsmp.bin\nmemory = 32\nvcpus = 2\n"
    result = nadir(cfg, {"stormsmp.bin": payload("stormsmp")}, model=model, cpus=2, timeout=300)
    assert result.status == 0 and line in result.console.splitlines(), result


def test_full_rings(astray):
    """What no longer fits is told of, also where nothing else follows; and a panic comes behind all that was said
    before it."""
    result = astray("full")
    assert result.status == 3, result
    said = re.findall(r"^nadir: (?:(first|second): line (\d+) of a VM|(own) line (\d+) before|(\d+) bytes of text are (left) out"
                      r"|(all) of the first|(panic): with full rings)", result.console, re.M)
    order = [(next(filter(None, (a, c, f, g, h))), int(b or d or e or 0)) for a, b, c, d, e, f, g, h in said]
    first, second = ([number for kind, number in order if kind == name] for name in ("first", "second"))
    assert first == list(range(len(first))) and 500 < len(first) < 2000, result
    assert second == list(range(len(second))) and 500 < len(second) < 2000, result
    assert [number for kind, number in order if kind == "own"] == list(range(200)), result
    kinds = [kind for kind, _ in order]
    notes = [number for kind, number in order if kind == "left"]
    lost = [sum(len(f"nadir: {name}: line {i} of a VM whose ring becomes full\n") for i in range(len(got), 2000))
            for name, got in (("first", first), ("second", second))]
    assert notes == lost, (notes, lost, result)
    assert kinds.index("left") > len(first) - 1 and kinds.index("left") < kinds.index("all"), result
    assert kinds.index("panic") > max(i for i, kind in enumerate(kinds) if kind in ("own", "second")), result
