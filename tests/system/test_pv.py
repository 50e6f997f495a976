# SPDX-License-Identifier: BSD-2-Clause
"""Debian's own kernels as paravirtualised guests, where there is no VT-x: from their entry to a line of user space and
power-off. The tool takes the kernel out of its bzImage."""

import pytest

pytestmark = pytest.mark.slow

TCG = {"on": "qemu", "env": {"NADIR_KVM": "0"}}
RYZEN = {"on": "bochs", "model": "ryzen"}
# A kernel without a local APIC says that its CPUs' numbers were not the firmware's: an error for each but the first.
NO_APIC = "APIC id mismatch"


def files_of(folder):
    return {name: folder / name for name in ("vmlinuz", "initramfs.gz")}


def has_no_trouble(result):
    for trouble in ("Oops", "BUG:", "Call Trace", "WARNING: CPU"):
        assert trouble not in result.console, result
    assert "which is not there: -ENOSYS" not in result.console, result  # a call that Nadir does not know


@pytest.mark.parametrize("package, vcpus, where", [
    ("linux-image-cloud-amd64", 1, TCG), ("linux-image-cloud-amd64", 4, TCG), ("linux-image-amd64", 1, TCG),
    ("linux-image-cloud-amd64", 1, RYZEN)])
def test_kernel(nadir, debian, package, vcpus, where):
    folder = debian(package, engine="pv")
    text = (folder / "nadir.cfg").read_text().replace("vcpus = 1", f"vcpus = {vcpus}")
    result = nadir(text, files_of(folder), cpus=min(vcpus, 2), timeout=400, **where)
    assert result.status == 0, result
    for line in ("Hypervisor detected: Xen PV", "Booting kernel on Xen", f"nadir-demo: cpus {vcpus}",
                 "nadir-demo: clocksource xen", "nadir-demo: user space reached", "reboot: System halted"):
        assert line in result.console, result
    errors = result.console.count(NO_APIC)
    assert errors == vcpus - 1 and f"nadir-demo: kernel errors {errors}" in result.console, result
    has_no_trouble(result)
    stats = result.stats[0]
    counters = stats["counters"]
    assert stats["engine"] == "pv" and stats["end"] == "poweroff", stats
    assert counters["iret"] > 1_000 and counters["table_updates"] > 40_000 and counters["other_calls"] == 0, stats
    # A flush looks at what was written since: not at all of the kernel's translations.
    assert counters["shadow_verified"] < 10 * counters["shadow_fills"], stats


def test_beside_others(nadir, debian):
    """Two paravirtualised guests and one that is translated, at once on two CPUs: each comes to its end."""
    folder, files = debian(engine="pv"), {}
    text = (folder / "nadir.cfg").read_text()
    files.update(files_of(folder))
    section = text[text.index("[vm debian]"):]
    translated = section.replace("debian", "third").replace("engine = pv", "engine = bt").replace("hvc0", "ttyS0")
    result = nadir(text + section.replace("debian", "second") + translated, files, cpus=2, timeout=400, memory=2048, **TCG)
    assert result.status == 0, result
    assert sorted((vm["vm"], vm["engine"], vm["end"]) for vm in result.stats) == [
        ("debian", "pv", "poweroff"), ("second", "pv", "poweroff"), ("third", "bt", "poweroff")], result.stats
    for name in ("debian", "second", "third"):
        assert f"[{name}] nadir-demo: user space reached" in result.console, result
    has_no_trouble(result)
