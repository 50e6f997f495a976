# SPDX-License-Identifier: BSD-2-Clause
"""Debian's own kernels as guests, from power-on to a line of user space and power-off."""

import re
import shutil
import sys

import pexpect
import pytest
from conftest import NO_SELF_TESTS, TOOL
from test_screen import last_screen

pytestmark = pytest.mark.slow

SCREEN = "linux-image-amd64"  # which has a driver for one, and the cloud kernel has not


def boot(nadir, folder, more="", **options):
    files = {name: folder / name for name in ("vmlinuz", "initramfs.gz")}
    return nadir((folder / "nadir.cfg").read_text() + more, files, **options)


def found_kvm(result, vcpus=1):
    """What Linux itself says of KVM's interface. Its clock is there; where the TSC is invariant Linux takes that."""
    said = ["Hypervisor detected: KVM", "kvm-clock: Using msrs 4b564d01 and 4b564d00"]
    if vcpus > 1:
        said += ["kvm-guest: PV spinlocks enabled", "kvm-guest: setup PV IPIs", "kvm-guest: setup PV sched yield",
                 "kvm-guest: KVM setup pv remote TLB flush"]
    return all(line in result.console for line in said) and re.search(r"clocksource (tsc|kvm-clock) of .*kvm-clock", result.console)


def reached_user_space(result, vcpus=1, paravirt=True):
    assert result.status == 0, result
    assert bool(found_kvm(result, vcpus)) == paravirt and ("KVM" in result.console) == paravirt, result
    assert "nadir-demo: user space reached" in result.console, result
    for trouble in ("Oops", "BUG:", "Call Trace", "WARNING: CPU"):
        assert trouble not in result.console, result
    assert len(result.stats) == 1 and result.stats[0]["end"] == "poweroff", result.stats


@pytest.mark.parametrize("package", ["linux-image-cloud-amd64", "linux-image-amd64",
                                     "linux-image-rt-amd64"])
def test_kernel(nadir, debian, package, tmp_path):
    """On a machine where MSRs that it does not know fault, as on a real CPU; and none is touched. Of one of them vgacon
    has a screen, too, and the last has the end of its log."""
    log = tmp_path / "emulator.log"
    folder, more = debian(package, append=NO_SELF_TESTS if package.endswith("-rt-amd64") else ""), ""
    if package == SCREEN:
        config = folder / "nadir.cfg"
        config.write_text(config.read_text().replace("console=", "console=tty0 console="))
        more = "console = vga+serial\n"
    result = boot(nadir, folder, more, strict=True, log=log)
    reached_user_space(result)
    if package == SCREEN:
        size, screen = last_screen(result.console)
        assert size == "80 x 25" and any(line.endswith("reboot: Power down") for line in screen), result
    unknown = re.findall(r"(?:RD|WR)MSR: Unknown register \S+", log.read_text(errors="replace"))
    # Nadir itself looks once whether there is IA32_MISC_ENABLE, which each CPU of Intel's has.
    assert set(unknown) <= {"RDMSR: Unknown register 0x1a0"}, unknown
    stats = result.stats[0]
    assert stats["ept_violations_ram"] == 0, stats
    exits = stats["exits"]
    for never in ("rdtsc", "rdtscp", "invlpg"):
        assert never not in exits or exits[never]["count"] == 0, stats
    assert exits.get("control_register_accesses", {"count": 0})["count"] <= 20, stats


# With and without APIC virtualisation, and a preemption timer; 5-level paging. On several CPUs Linux runs on
# corei7_skylake_x, too: test_two_at_once(), and test_smp.py.
@pytest.mark.parametrize("model, cpus", [
    ("tigerlake", 1), ("corei7_haswell_4770", 1), ("corei5_arrandale_m520", 2), ("sapphire_rapids", 1)])
def test_host(nadir, debian, model, cpus):
    paravirt = model != "corei7_haswell_4770"  # there without KVM's interface, as on a PC
    result = boot(nadir, debian(), "" if paravirt else "paravirt = none\n", model=model, cpus=cpus, timeout=400)
    reached_user_space(result, paravirt=paravirt)
    levels = 5 if model == "sapphire_rapids" else 4
    assert f"nadir-demo: page-table levels {levels}" in result.console, result


def test_two_at_once(nadir, debian):
    """Two machines on two CPUs, at the same time, neither in the other's way."""
    folder = debian()
    files = {name: folder / name for name in ("vmlinuz", "initramfs.gz")}
    text = (folder / "nadir.cfg").read_text()
    first = text[text.index("[vm debian]"):]
    result = nadir(text + first.replace("debian", "second"), files, cpus=2, timeout=400)
    assert result.status == 0, result
    assert sorted((vm["vm"], vm["end"]) for vm in result.stats) == [("debian", "poweroff"),
                                                                   ("second", "poweroff")]
    for name in ("debian", "second"):
        assert f"[{name}] nadir-demo: user space reached" in result.console, result
    begin, end = ([vm[key] for vm in result.stats] for key in ("tsc_first_entry", "tsc_end"))
    assert max(begin) < min(end), result.stats


def test_shell(debian):
    """The keyboard reaches a shell in the guest, and its exit ends everything well."""
    folder = debian(shell="yes")
    command = [str(TOOL), "run", str(folder / "nadir.cfg"), "--timeout", "240", "--on", "bochs"]
    child = pexpect.spawn(sys.executable, command, timeout=240, encoding="utf-8",
                          codec_errors="replace")
    child.expect("user space reached")
    child.expect("/ # ")
    child.send("echo $((6 * 7)) is the answer\r")
    child.expect("42 is the answer")
    child.expect("/ # ")
    child.send("exit\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    shutil.rmtree(folder)


@pytest.mark.parametrize("package, vcpus", [
    ("linux-image-cloud-amd64", 1), ("linux-image-cloud-amd64", 2), ("linux-image-amd64", 1), ("linux-image-rt-amd64", 1)])
def test_translated(nadir, debian, package, vcpus):
    """Without VT-x: the kernel as a translation, user code as it is."""
    folder = debian(package, engine="bt")
    text = (folder / "nadir.cfg").read_text().replace("vcpus = 1", f"vcpus = {vcpus}")
    files = {name: folder / name for name in ("vmlinuz", "initramfs.gz")}
    result = nadir(text, files, on="qemu", env={"NADIR_KVM": "0"}, cpus=vcpus, timeout=400)
    reached_user_space(result, vcpus)
    assert f"nadir-demo: cpus {vcpus}" in result.console and "nadir-demo: kernel errors 0" in result.console, result
    stats = result.stats[0]
    counters = stats["counters"]
    assert stats["engine"] == "bt" and counters["blocks"] > 20_000 and counters["direct_entries"] > 1_000, stats
    assert counters["interpreted"] < 2_000_000, stats  # of 1,500 million
