# SPDX-License-Identifier: BSD-2-Clause
"""VMs of several vCPUs: on as many host CPUs, and in turns on fewer; with APIC virtualisation and without."""

import re

import pytest

MODELS = ("corei7_skylake_x", "corei5_arrandale_m520")
CASES = ((2, 1), (4, 2), (4, 4), (16, 1))  # vCPUs, host CPUs


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("vcpus,cpus", CASES)
def test_kernel(nadir, payload, model, vcpus, cpus):
    result = nadir(f"[vm smp]\nkernel = smp.bin\nmemory = 32\nvcpus = {vcpus}\n",
                   {"smp.bin": payload("smp")}, model=model, cpus=cpus, timeout=240)
    assert "FAIL" not in result.console, result
    assert f"smp: {vcpus} CPUs" in result.console, result
    assert re.search(r"^test smp: \d+ passed, 0 failed\r?$", result.console, re.M), result
    assert result.status == 0, result
    assert result.stats[0]["vcpus"] == vcpus and result.stats[0]["cpus"] == min(vcpus, cpus)


@pytest.mark.parametrize("model", MODELS)
def test_storm(nadir, payload, model):
    """Two vCPUs to a CPU; the other tests of stormsmp have one, or four, to a CPU."""
    result = nadir("[vm s]\nkernel = stormsmp.bin\nmemory = 32\nvcpus = 4\n",
                   {"stormsmp.bin": payload("stormsmp")}, model=model, cpus=2, timeout=300)
    assert "FAIL" not in result.console, result
    assert result.status == 0, result


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("vcpus,cpus", ((2, 2), (4, 1), (4, 2), (4, 4)))
def test_races(nadir, payload, model, vcpus, cpus):
    """Code that changes while it is executed, storms of IPIs and NMIs, APICs at several addresses."""
    result = nadir(f"[vm races]\nkernel = races.bin\nmemory = 32\nvcpus = {vcpus}\n",
                   {"races.bin": payload("races")}, model=model, cpus=cpus, timeout=400)
    assert "FAIL" not in result.console, result
    assert re.search(r"^test races: \d+ passed, 0 failed\r?$", result.console, re.M), result
    assert result.status == 0, result


def test_output_waits(nadir, payload):
    """A CPU that prints more than the console takes gets its (posted) interrupts all the same, whoever sleeps
    where. None came when the host slept in the exit and did not look at what it was told meanwhile."""
    result = nadir("[vm printing]\nkernel = printing.bin\nmemory = 32\nvcpus = 2\n",
                   {"printing.bin": payload("printing")}, cpus=2, timeout=240)
    assert "printing: 4 of 4 interrupts came" in result.console, result.console[-2000:]
    assert result.status == 0, result.console[-2000:]


def test_all_halted(nadir, payload):
    """Several vCPUs that nothing can wake: that VM ends, with a reason; the next has its turn."""
    sections = "".join(f"[vm {name}]\nkernel = {name}.bin\nmemory = 32\nvcpus = 4\n"
                       for name in ("haltcli", "hello"))
    result = nadir(sections, {f"{name}.bin": payload(name) for name in ("haltcli", "hello")},
                   timeout=120)
    assert result.status == 1, result
    assert re.search(r"^nadir: haltcli: ended: halted with interrupts disabled", result.console,
                     re.M), result
    assert [(vm["vm"], vm["end"]) for vm in result.stats] == [("haltcli", "crash"),
                                                              ("hello", "debug-exit")]


def test_masked_for_ever(nadir, payload):
    """A VM that spins with interrupts off keeps its own CPU only: two others come and go, and one that
    waits for an interrupt has their CPU. In the end Nadir says where all vCPUs stand."""
    names = ("spincli", "hello", "poweroff")
    sections = "".join(f"[vm {name}]\nkernel = {name}.bin\nmemory = 32\nlimit = 3\n" for name in names)
    sections += "[vm halted]\nkernel = halted\ntype = flat\nmemory = 32\nvcpus = 2\nlimit = 3\n"
    result = nadir(sections, {"halted": b"\xb0\xff\xe6\x21\xfb\xf4", **{f"{name}.bin": payload(name) for name in names}},
                   cpus=2)
    assert result.status == 1, result
    assert "[spincli] spincli: now" in result.console, result
    for line in ("spincli: vCPU 0: runs\nnadir: spincli: RIP 0000000000007[0-9a-f]{3}  RFLAGS 000000[0-9a-f]{2}  64-bit mode",
                 "halted: vCPU 0: halted\nnadir: halted: RIP 0000000000007c06  RFLAGS 00000202  real mode",
                 "halted: vCPU 1: not started\n"):
        assert len(re.findall(f"^nadir: {line}", result.console, re.M)) == 1, result
    assert {(vm["vm"], vm["end"]) for vm in result.stats} == {
        ("hello", "debug-exit"), ("poweroff", "poweroff"), ("spincli", "limit"), ("halted", "limit")}, result


def test_flood(nadir, payload):
    """A CPU that writes to its serial port without end waits for itself alone: not its VM's other CPU, with
    which it takes turns, and not another VM, which prints a line now and then. Nothing is lost."""
    result = nadir("[vm flood]\nkernel = flood.bin\nmemory = 32\nvcpus = 2\n"
                   "[vm steady]\nkernel = steady.bin\nmemory = 32\n",
                   {f"{name}.bin": payload(name) for name in ("flood", "steady")}, cpus=2,
                   timeout=240)
    assert result.status == 0, result
    lines = re.findall(r"^\[flood\] (\d{4})([a-z]{26})\r?$", result.console, re.M)
    assert [int(number) for number, _ in lines] == list(range(3000)), result
    assert all(text == chr(ord("a") + int(number) % 26) * 26 for number, text in lines), result
    steady = re.findall(r"^\[steady\] steady line (\d+)\r?$", result.console, re.M)
    assert [int(number) for number in steady] == list(range(100)), result
    # Ticks, of which 10 us have 1000 here. With one console for all to wait at it was 697,321.
    assert int(re.search(r"steady: longest (\d+)", result.console)[1]) < 50000, result
    # As two turns of 1/500 s.
    assert int(re.search(r"2 CPUs, \d+ ticks, longest pause (\d+)", result.console)[1]) < 400000


def test_vms_share_the_cpus(nadir, payload):
    """Two VMs of two vCPUs on two CPUs run at the same time, on both."""
    sections = "".join(f"[vm {name}]\nkernel = smp.bin\nmemory = 32\nvcpus = 2\n" for name in "ab")
    result = nadir(sections, {"smp.bin": payload("smp")}, cpus=2, timeout=240)
    assert result.status == 0, result
    assert len(re.findall(r"^\[[ab]\] test smp: \d+ passed, 0 failed$", result.console, re.M)) == 2
    a, b = result.stats
    assert a["cpus"] == b["cpus"] == 2
    assert max(a["tsc_first_entry"], b["tsc_first_entry"]) < min(a["tsc_end"], b["tsc_end"])


def boot_linux(nadir, debian, vcpus, cpus):
    """Ticks (in Bochs: instructions of each CPU, asleep or not) from power-on to power-off."""
    folder = debian()
    cfg = (folder / "nadir.cfg").read_text().replace("vcpus = 1", f"vcpus = {vcpus}")
    files = {name: folder / name for name in ("vmlinuz", "initramfs.gz")}
    result = nadir(cfg, files, cpus=cpus, timeout=600)
    assert result.status == 0, result
    assert f"nadir-demo: cpus {vcpus}," in result.console, result
    assert "nadir-demo: kernel errors 1" in result.console, result
    assert not re.search(r"WARNING: CPU|BUG:|soft lockup|rcu.*stall|Spurious", result.console)
    vm = result.stats[0]
    return vm["tsc_end"] - vm["tsc_first_entry"]


@pytest.mark.slow
def test_linux(nadir, debian):
    """Linux with 1, 2 and 4 vCPUs; with 4 on 4 host CPUs it takes at most 1.3 times as long as with one,
    though it starts its CPUs one by one and RCU waits for all of them."""
    alone = boot_linux(nadir, debian, 1, 1)
    boot_linux(nadir, debian, 2, 1)
    four = boot_linux(nadir, debian, 4, 4)
    print(f"ticks: {alone}, {four} with 4 vCPUs on 4 CPUs")
    assert four <= 1.3 * alone
