# SPDX-License-Identifier: BSD-2-Clause
"""stress-ng in a Linux of four vCPUs that share two host CPUs: processors, memory, timers, IPIs. By VT-x in Bochs;
`make system T="-k stress --translated"` has it, longer and with processes and pipes, as a translation in QEMU."""

import re
import sys

import pytest
from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
import paravirt  # noqa: E402
from nadirlib import initramfs  # noqa: E402

pytestmark = pytest.mark.slow

# Each with more workers than vCPUs. --switch, --futex and --mmap make Linux send IPIs: wake-ups, TLB shoot-downs.
WORK = ["--cpu 5", "--vm 4 --vm-bytes 24m", "--timer 4 --timer-freq 2000", "--hrtimers 2", "--switch 6 --futex 2",
        "--mmap 4 --mmap-bytes 8m"]
LONGER = ["--fork 5", "--pipe 4"]
INIT = """\
#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for what in WORK; do
    /usr/bin/stress-ng $what --timeout SECONDS --quiet --temp-path /tmp
    echo "stress: $what: status $?"
done
set -- $(head -n 1 /proc/stat)
echo "stress: ticks stolen by other vCPUs: $9"
grep -E 'RES:|CAL:|TLB:|LOC:|ERR:|MIS:' /proc/interrupts
echo "stress: warnings $(dmesg | grep -cE 'WARNING: CPU|BUG:|Oops|soft lockup|rcu.*stall|clocksource: .*unstable|Call Trace')"
stty sane
poweroff -f
"""

CONFIG = """\
[vm stress]
kernel = vmlinuz
ramdisk = initramfs.gz
cmdline = console=ttyS0 panic=-1
memory = 384
vcpus = 4
"""


def archive(work, seconds):
    init = INIT.replace("WORK", " ".join(f'"{what}"' for what in work)).replace("SECONDS", str(seconds))
    made = initramfs.with_busybox(init)
    made.add_program("stress-ng")
    return made.compressed()


def test_stress(nadir, debian, request):
    folder = debian()
    translated = request.config.getoption("translated")
    work, seconds = ([*WORK, *LONGER], 3) if translated else (WORK, 1)
    config = CONFIG
    how = {}
    if translated:  # there a busy machine loses ticks, which the kernel's check of its timer would panic for
        config = CONFIG.replace("panic=-1", "panic=-1 no_timer_check") + "engine = bt\n"
        how = {"on": "qemu", "env": {"NADIR_KVM": "0"}}
    result = nadir(config, {"vmlinuz": folder / "vmlinuz", "initramfs.gz": archive(work, seconds)}, cpus=2,
                   timeout=900, **how)
    assert result.status == 0, result
    assert len(re.findall(r"^stress: --.*: status 0\r?$", result.console, re.M)) == len(work), result
    assert re.search(r"^stress: warnings 0\r?$", result.console, re.M), result
    for line in ("PV spinlocks enabled", "setup PV IPIs", "KVM setup pv remote TLB flush"):
        assert f"kvm-guest: {line}" in result.console, result
    assert int(re.search(r"stolen by other vCPUs: (\d+)", result.console).group(1)) > 100, result
    calls = re.search(r"^ *CAL:((?: +\d+)+)", result.console, re.M)
    assert min(map(int, calls.group(1).split())) > 0, result


def test_paravirt():
    """Shoot-downs do not wait for vCPUs that have no CPU: 1.6 times as many, where threads give memory back."""
    work = [paravirt.WORK["shoot-downs"]]
    none, kvm = (paravirt.measure(how, work, 1)[work[0]] for how in ("none", "kvm"))
    assert kvm > 1.4 * none, (none, kvm)
