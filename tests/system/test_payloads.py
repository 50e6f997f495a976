# SPDX-License-Identifier: BSD-2-Clause
"""Small guests of guest/payloads: the virtual PC as a program sees it, and every way for a VM to end."""

import re

import pytest
from kernels import TEST_KERNELS, batch_of, group_of, lines_of, section, whole_lines

# Several in one boot, as each VM has its own memory and devices; those of one CPU run in turn.
ENDS_WELL = {**{name: ("debug-exit", 0) for name in TEST_KERNELS},
             "poweroff": ("poweroff", 0), "reset8042": ("reset", 0), "resetcf9": ("reset", 0),
             "initself": ("reset", 0)}
ENDS_BADLY = {"triple": ("crash", 0), "debugexit7": ("debug-exit", 7), "haltcli": ("crash", 0),
              "cr3device": ("crash", 0), "idtdevice": ("crash", 0),
              "apicram": ("crash", 0)}
REASONS = {"haltcli": "halted with interrupts disabled",
           "cr3device": r"triple fault at RIP [^\n]*\nnadir: cr3device: first came #PF at 0x[0-9a-f]* \(read, ",
           "idtdevice": r"triple fault at RIP [^\n]*\nnadir: idtdevice: first came #UD, which was not delivered: "
                        "the IDT at 0xfec00000 is not in memory",
           "apicram": "a local APIC was moved to 0x100000, where memory is"}

HELLO = group_of(["hello"])

# All of them with and without APIC virtualisation, and with CPUs to spare. Those that meet features of the
# CPU also where these lie in between (a preemption timer, 1 GiB pages), and beyond (5-level paging).
OF_THE_CPU = [name for name in ENDS_WELL if name in {
    "apic", "cpuid", "cr", "debug", "events", "ioapic", "modes", "msr", "paging", "paging5", "smp", "storm",
    "stormsmp", "task", "timer"}]
# On one host only: waiting for the RTC's seconds (0.8 of 1 billion ticks of a boot, on each CPU), and devices'
# operands of all instructions (0.3 billion), which are the same work of one vCPU wherever it is.
ELSEWHERE = [name for name in ENDS_WELL if name not in {"anyinsn", "rtc"}]
HOSTS = {("corei7_skylake_x", 1): list(ENDS_WELL), ("corei7_skylake_x", 4): ELSEWHERE,
         ("corei5_arrandale_m520", 1): ["anyinsn", *ELSEWHERE], ("corei7_haswell_4770", 1): OF_THE_CPU,
         ("sapphire_rapids", 1): OF_THE_CPU}


def end_of(result, name):
    ends = [(vm["end"], vm["code"]) for vm in result.stats if vm["vm"] == name]
    assert len(ends) == 1, f"{name} ended {len(ends)} times\n{result}"
    return ends[0]


def host_batch(name, host):
    """What shares a boot with it on that host."""
    return batch_of(name, HOSTS[host])


@HELLO
def test_hello(boot_once):
    result = boot_once(["hello"])
    assert result.status == 0, result
    console = lines_of(result, "hello")
    assert "hello: from long mode, in a virtual machine" in console, result
    assert any(re.fullmatch(r"hello: the hypervisor signs as \S+", line) for line in console), result


WAITS = ["tsc_hlt", "tsc_wait_io", "tsc_wait_x87", "tsc_wait_sleep", "tsc_wait_sipi"]


def assert_each_tick_is_booked(vm):
    """Of each vCPU, on one account."""
    assert vm["tsc_idle"] == sum(vm[wait] for wait in WAITS), vm
    assert vm["tsc_root"] + vm["tsc_idle"] + vm["tsc_guest_or_ready"] == \
        vm["vcpus"] * (vm["tsc_end"] - vm["tsc_first_entry"]), vm


@HELLO
def test_statistics(boot_once):
    """The fields that tools and people rely on, with values that can be."""
    result = boot_once(["hello"])
    assert len(result.stats) == 1, result
    vm = result.stats[0]
    assert vm["vm"] == "hello" and vm["end"] == "debug-exit" and vm["code"] == 0
    assert vm["vcpus"] == 1 and vm["memory_bytes"] == 32 << 20
    assert vm["ept_violations_ram"] == 0
    leaves = vm["ept_leaves"]
    mapped = (leaves["4k"] << 12) + (leaves["2m"] << 21) + (leaves["1g"] << 30)
    assert (32 << 20) - (1 << 20) <= mapped <= (32 << 20) + (1 << 20), leaves
    assert vm["tsc_first_entry"] < vm["tsc_end"]
    assert 0 < vm["tsc_root"] + vm["tsc_idle"] < vm["tsc_end"] - vm["tsc_first_entry"]
    assert_each_tick_is_booked(vm)
    assert vm["exits"]["cpuid"]["count"] >= 2, vm
    assert sum(e["tsc_root"] for e in vm["exits"].values()) <= vm["tsc_root"]
    assert vm["classes"]["cpu"]["count"] >= vm["exits"]["cpuid"]["count"], vm
    for what in ("count", "tsc_root"):
        assert sum(e[what] for e in vm["classes"].values()) == sum(e[what] for e in vm["exits"].values()), vm
    assert vm["counters"] == {}, vm


@HELLO
def test_hello_is_deterministic(nadir, payload, boot_once):
    first = boot_once(["hello"])
    second = nadir(section("hello"), {"hello.bin": payload("hello")})
    assert first.status == second.status == 0, second
    assert first.stats == second.stats


@pytest.mark.parametrize("name,host", [
    pytest.param(name, host, id=f"{name}-{host[0]}-{host[1]}", marks=group_of(host_batch(name, host), *host))
    for host, names in HOSTS.items() for name in names])
def test_ends_well(boot_once, name, host):
    result = boot_once(host_batch(name, host), model=host[0], cpus=host[1])
    console = whole_lines(lines_of(result, name), name)
    failures = [line for line in console if line.startswith(f"FAIL {name}:")]
    assert not failures, "\n".join(failures)
    if name in TEST_KERNELS:
        summary = re.compile(rf"test {name}: [1-9]\d* passed, 0 failed")
        assert any(summary.fullmatch(line) for line in console), result
    assert end_of(result, name) == ENDS_WELL[name]
    for vm in result.stats:
        assert_each_tick_is_booked(vm)
    assert result.status == (1 if "FAIL" in result.console else 0), result  # not 124, or no VM is judged


def bad_batch(name):
    """Those that end badly beside this one in one boot, and one behind them that does not."""
    half = len(ENDS_BADLY) // 2
    names = [*ENDS_BADLY]
    return [*(names[:half] if name in names[:half] else names[half:]), "hello"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=group_of(bad_batch(name))) for name in ENDS_BADLY])
def test_ends_badly(boot_once, name):
    """The machine says why, and the VM after it runs all the same."""
    result = boot_once(bad_batch(name))
    assert result.status == 1, result
    assert end_of(result, name) == ENDS_BADLY[name]
    assert f"{name}: now" in lines_of(result, name), result
    assert re.search(rf"^nadir: {name}: ended: \S+", result.console, re.M), result
    assert end_of(result, "hello") == ("debug-exit", 0)


@pytest.mark.parametrize("name", [pytest.param(name, marks=group_of(bad_batch(name))) for name in REASONS])
def test_bad_end_is_explained(boot_once, name):
    result = boot_once(bad_batch(name))
    assert re.search(rf"^nadir: {name}: ended: {REASONS[name]}", result.console, re.M), result


def test_restarts(nadir, payload):
    """on_reboot = restart, xl's default: the VM begins anew, with nothing lost each time. When the run's time is up,
    Nadir is asked where all stand, and says so of one that spins with interrupts off."""
    result = nadir("".join(f"[vm {name}]\nkernel = {kernel}.bin\nmemory = 32\n"
                           for name, kernel in (("b", "spincli"), ("a", "reset8042"))),
                   {f"{name}.bin": payload(name) for name in ("reset8042", "spincli")}, timeout=6)
    assert result.status == 124, result
    assert len(re.findall("^nadir: b: vCPU 0: runs\nnadir: b: RIP ", result.console, re.M)) == 1, result
    assert [vm["end"] for vm in result.stats if vm["vm"] == "b"] == ["runs"], result.stats
    lives = re.findall(r"^nadir: a: 32 MiB.*own memory: (.*)$", result.console, re.M)
    assert len(lives) >= 3 and len(set(lives)) == 1, lives
    assert result.console.count("a: restarts") >= 2
    ends = [vm["end"] for vm in result.stats if vm["vm"] == "a"]  # when time is up one life is asked, and more follow
    assert ends.count("reset") >= 3 and len(ends) - ends.count("reset") <= 1, ends[-6:]
    assert set(ends) <= {"reset", "runs"}, ends[-6:]


def test_gives_up_on_a_vm_that_fails_at_once(nadir, payload):
    """on_crash = restart, but not for ever; the VM beside it runs all the same."""
    sections = ("[vm a]\nkernel = triple.bin\nmemory = 32\non_crash = restart\n"
                "[vm b]\nkernel = hello.bin\nmemory = 32\n")
    result = nadir(sections, {f"{name}.bin": payload(name) for name in ("triple", "hello")},
                   timeout=60)
    assert result.status == 1, result
    assert [vm["end"] for vm in result.stats if vm["vm"] == "a"] == ["crash"] * 5, result.stats
    assert [vm["end"] for vm in result.stats if vm["vm"] == "b"] == ["debug-exit"], result.stats
    assert "nadir: a: does not restart" in result.console, result


def test_longest(nadir, payload):
    """One instruction of one vCPU has work for 16 others, who all wait on the same CPU."""
    cfg = section("longest").replace("vcpus = 1", "vcpus = 17")
    result = nadir(cfg, {"longest.bin": payload("longest")}, timeout=200)
    assert result.status == 0 and "longest: vm-only: 17 vCPUs" in result.console, result
