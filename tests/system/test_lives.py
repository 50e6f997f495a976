# SPDX-License-Identifier: BSD-2-Clause
"""A VM that is reset again and again, while another one wants its CPUs: nothing of a life is left behind."""

import re
import struct

import pytest

ALONE = 60_000_000  # ticks: when the other VM has had its CPU to itself for so long, the lives are over


def disk(left, starts_others, alone):
    """What guest/payloads/tests/lives reads; it counts its lives there."""
    return struct.pack("<IIQ", left, starts_others, alone).ljust(1 << 16, b"\0")


# A life costs 0.2 million instructions, as a reset keeps its 16 MiB; the report of its end takes the serial
# port another 10 million, which one CPU sleeps away, and two do not while the other VM works.
# A VM that ends so soon waits longer each time, a quarter of a second in the end. Bochs skips that where nobody
# else runs: then there can be many lives.
@pytest.mark.parametrize("cpus, lives", [(1, 17), (2, 17)])
def test_nothing_is_left(nadir, payload, cpus, lives):
    cfg = "".join(f"[vm {name}]\nkernel = lives.bin\nmemory = 16\nvcpus = {cpus}\ndisk = {name}.img\n"
                  "on_crash = restart\n" for name in ("other", "mortal"))
    result = nadir(cfg, {"lives.bin": payload("lives"), "other.img": disk(0, cpus > 1, ALONE),
                         "mortal.img": disk(lives - 1, cpus > 1, 0)}, cpus=cpus)
    assert result.status == 0, result
    ends = [vm["end"] for vm in result.stats if vm["vm"] == "mortal"]
    assert len(ends) == lives and ends[-1] == "poweroff", ends
    crashes = len(range(1, lives - 1, 8))
    assert ends.count("crash") == crashes and ends.count("reset") == lives - crashes - 1, ends
    assert result.stats[-1]["vm"] == "other" and result.stats[-1]["end"] == "poweroff", result
    memory = re.findall(r"^nadir: mortal: .* own memory: (.*?)\r?$", result.console, re.M)
    assert len(memory) == lives and len(set(memory)) == 1, set(memory)
    waits = [int(ms) for ms in re.findall(r"^nadir: mortal: restarts in (\d+) ms", result.console, re.M)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128], waits


def test_many_lives(nadir, payload):
    result = nadir("[vm mortal]\nkernel = lives.bin\nmemory = 16\ndisk = disk\non_crash = restart\n",
                   {"lives.bin": payload("lives"), "disk": disk(39, 0, 0)})
    assert result.status == 0 and len(result.stats) == 40, result
    memory = re.findall(r"^nadir: mortal: .* own memory: (.*?)\r?$", result.console, re.M)
    assert len(memory) == 40 and len(set(memory)) == 1, set(memory)
    assert "restarts in 2000 ms" in result.console, result


@pytest.mark.parametrize("kernel", ("reset8042", "poweroff", "triple"))
def test_ends_are_in_nobodys_way(nadir, payload, kernel):
    """A guest may have its VM end and begin again and again, with page tables to be built, memory to be
    zeroed and tables to be printed: meanwhile another one's timer comes in time. With 256 MiB it had been 7.5
    million ticks late."""
    cfg = ("[vm victim]\nkernel = punctual.bin\nmemory = 16\n"
           f"[vm other]\nkernel = {kernel}.bin\nmemory = 64\nvcpus = 4\nlimit = 4\n"
           "on_poweroff = restart\non_crash = restart\n")
    result = nadir(cfg, {f"{name}.bin": payload(name) for name in ("punctual", kernel)}, timeout=60)
    assert len([vm for vm in result.stats if vm["vm"] == "other"]) >= 3, result
    assert int(re.search(r"punctual: at most (\d+) ticks late", result.console)[1]) <= 40000, result
