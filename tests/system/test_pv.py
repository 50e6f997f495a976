# SPDX-License-Identifier: BSD-2-Clause
"""Other people's kernels as paravirtualised guests, where there is no VT-x: Debian's own, from their entry to a line of
user space and power-off, which the tool takes out of their bzImages; and GRUB, made for Xen."""

import os
import sys

import pexpect
import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian as packages  # noqa: E402

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
    ("linux-image-cloud-amd64", 1, TCG), ("linux-image-amd64", 1, TCG),
    ("linux-image-cloud-amd64", 4, RYZEN), ("linux-image-amd64", 1, RYZEN)])
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


def test_grub(write_config):
    """A kernel that is no Linux, linked at 0, which maps all of its RAM by tables that it makes itself. It gives frames
    other numbers, wants a table of grants, asks the store for its disks, and types and reads by the console's rings."""
    image = packages.fetch_package("grub-xen-host") / "usr/lib/grub-xen/grub-x86_64-xen.bin"
    path = write_config("[vm grub]\nkernel = grub\nengine = pv\nmemory = 64\n", {"grub": image})
    child = pexpect.spawn(sys.executable, [str(TOOL), "run", str(path), "--on", "qemu", "--timeout", "60"], timeout=60,
                          encoding="utf-8", codec_errors="replace", env={**os.environ, **TCG["env"]})
    child.expect("GNU GRUB +version")
    for typed, seen in (("echo $grub_cpu-$grub_platform", "x86_64-xen"),
                        ("lsmmap", r"base_addr = 0x0, length = 0x3f[0-9a-f]{5}, available RAM")):
        child.expect("grub> ")
        child.send(f"{typed}\r")
        child.expect(seen)
    child.expect("grub> ")
    child.send("halt\r")
    child.expect(r"powered off \(SCHEDOP_shutdown\)")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
