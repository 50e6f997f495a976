# SPDX-License-Identifier: BSD-2-Clause
"""guest/payloads/tests/poisonpv: nothing of a paravirtual domain, or of a VM beside it, is seen in another domain: one
fills registers and memory with a pattern, others look for it. All share one CPU. A domain that fills, powers off and
begins again gets memory that was full of the pattern: all its lives together have more than the machine."""

import re

import pytest

MIB, MACHINE = 16, 112

# Where is looked, and whether the control, which puts something there, finds it.
PLACES = {"registers": True, "debug registers": True, "bases": True, "x87 and SSE": True, "AVX": True,
          "descriptors": True, "memory": True, "shared page": True, "grants": True, "frames beyond": False,
          "console": True, "store": True, "array of frames": True, "behind the array": False,
          "meanwhile": True}


def reports(result, vm):
    """Of each life, what was found by place."""
    found = re.findall(rf"^\[{vm}\] poisonpv: (.*?): (\d+) looked at, (\d+) found\r?$", result.console, re.M)
    assert found and all(int(looked) >= 4 for _, looked, _ in found), result
    lives = [{place: int(n) for place, _, n in found[i:i + len(PLACES)]} for i in range(0, len(found), len(PLACES))]
    assert all(list(life) == list(PLACES) for life in lives if life is not lives[-1]), (vm, lives)
    return lives


@pytest.mark.parametrize("model, engine", [("ryzen", "bt"), ("tigerlake", "vtx")])
def test_nothing_is_seen(nadir, payload, model, engine):
    cfg = "".join(f"[vm {how}]\nkernel = poisonpv.elf\nengine = pv\nmemory = {MIB}\ncmdline = {how}\n"
                  for how in ("poison", "find", "planted"))
    cfg += f"[vm other]\nkernel = poison.bin\nengine = {engine}\nmemory = {MIB}\n"
    cfg += (f"[vm again]\nkernel = poisonpv.elf\nengine = pv\nmemory = {MIB}\ncmdline = again\n"
            "on_poweroff = restart\nlimit = 5\n")
    result = nadir(cfg, {"poisonpv.elf": payload("poisonpv").with_suffix(".elf"), "poison.bin": payload("poison")},
                   model=model, memory=MACHINE, timeout=120)
    assert "FAIL" not in result.console and "panic" not in result.console, result
    lives = [vm["end"] for vm in result.stats if vm["vm"] == "again"]
    assert lives[-1] == "limit" and set(lives[:-1]) == {"poweroff"} and len(lives) * MIB > MACHINE, lives
    ends = {vm["vm"]: vm["end"] for vm in result.stats if vm["vm"] != "again"}
    assert ends == {"poison": "poweroff", "find": "poweroff", "planted": "poweroff", "other": "debug-exit"}, result
    for vm in ("find", "again"):
        for life in reports(result, vm):
            assert not any(life.values()), (vm, life)
    control, = reports(result, "planted")
    assert {place: n > 0 for place, n in control.items()} == PLACES, control
    for vm in ("poison", "find"):  # neither had the CPU to itself
        held = re.search(rf"^\[{vm}\] poisonpv: held (\d+) times, shared (\d+) times, 0 differ", result.console, re.M)
        assert int(held[1]) == 80 and int(held[2]) >= 5, result
