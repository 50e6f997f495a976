# SPDX-License-Identifier: BSD-2-Clause
"""CPU time among VMs: shares by weight, caps, and how soon a sleeper runs. The clock is
the emulator's, so each figure is the same on every machine."""

import re

# What a vCPU switch may cost, in instructions from the last exit of one to the entry of the next.
SWITCH_OF_VMS = 1600


def section(name, kernel, keys=""):
    return f"[vm {name}]\nkernel = {kernel}.bin\nmemory = 16\n{keys}"


def rounds_of(result):
    """What each VM of `share` has done in its second."""
    found = re.findall(r"^\[(\w+)\] share: (\d+) rounds\r?$", result.console, re.M)
    return {name: int(rounds) for name, rounds in found}


def test_weights_and_sleeper(nadir, payload):
    """Three CPU-bound VMs on a CPU get 1:2:4; one that sleeps there is woken in time."""
    cfg = (section("one", "share") + section("two", "share", "weight = 200\n")
           + section("four", "share", "weight = 400\n") + section("sleeper", "sleeper"))
    result = nadir(cfg, {f"{name}.bin": payload(name) for name in ("share", "sleeper")})
    assert result.status == 0, result
    rounds = rounds_of(result)
    whole = rounds["one"] + rounds["two"] + rounds["four"]
    for name, parts in (("one", 1), ("two", 2), ("four", 4)):
        assert abs(rounds[name] * 7 / (whole * parts) - 1) < 0.05, rounds
    in_time, wakes = map(int, re.search(r"sleeper: (\d+) of (\d+) in time", result.console).groups())
    assert in_time >= 0.99 * wakes, result
    switches = [vm["switches_from_vm"] for vm in result.stats if vm["vm"] == "four"][0]
    assert switches["count"] > 100 and switches["ticks"] < SWITCH_OF_VMS * switches["count"], switches


def test_cap(nadir, payload):
    """A VM with a cap of 25 % gets that, and the one beside it the rest, where each has a right to half."""
    cfg = section("capped", "share", "cap = 25\n") + section("other", "share")
    result = nadir(cfg, {"share.bin": payload("share")})
    assert result.status == 0, result
    rounds = rounds_of(result)
    assert abs(rounds["other"] / (3 * rounds["capped"]) - 1) < 0.05, rounds


def test_seven_on_two(nadir, payload):
    """Seven CPU-bound VMs on two CPUs get the same, though none can be halved."""
    cfg = "".join(section(f"vm{i}", "share") for i in range(7))
    result = nadir(cfg, {"share.bin": payload("share")}, cpus=2)
    assert result.status == 0, result
    rounds = rounds_of(result)
    assert len(rounds) == 7, result
    mean = sum(rounds.values()) / 7
    assert all(abs(own / mean - 1) < 0.05 for own in rounds.values()), rounds
