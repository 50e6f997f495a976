# SPDX-License-Identifier: BSD-2-Clause
"""stress-ng in a Linux of four vCPUs that share two host CPUs: processors, memory, timers, IPIs. By VT-x in Bochs;
`make system T="-k stress --translated"` has it, longer and with processes and pipes, as a translation in QEMU. As a
paravirtualised guest there, too; with `--translated`, each by itself."""

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
# What a paravirtualised kernel asks its hypervisor for, or is told by it: page tables, and flushes on all CPUs; faults,
# signals, CR4.TSD (sigsegv), breakpoints, timers and events. The second is for `--translated`, each by itself.
DOMAIN_WORK = [
    "--vm 2 --vm-bytes 16m --mmap 2 --mmap-bytes 8m --tlb-shootdown 2 --userfaultfd 1 --bad-altstack 1 --fork 2",
    "--sigsegv 1 --sigfpe 1 --sigtrap 1 --ptrace 1 --membarrier 1 --affinity 1 --timer 2 --timer-freq 2000 --switch 4"]
DOMAIN_LONGER = [*WORK, *LONGER, *(f"--{name} 3" for name in (
    "tlb-shootdown userfaultfd mremap mprotect madvise fault stack bad-altstack vm-segv vfork clone exec brk sigsegv sigfpe "
    "sigtrap prctl seccomp opcode far-branch x86syscall vdso clock ptrace membarrier affinity rseq kill context sysbadaddr "
    "set itimer nanosleep poll epoll vecmath fp-error pthread").split())]
HOTPLUG = """\
cpus=/sys/devices/system/cpu
for n in 3 1 2 3 1; do echo 0 >$cpus/cpu$n/online; [ $n = 2 ] || echo 1 >$cpus/cpu$n/online; done
echo "stress: online $(cat $cpus/online)"
echo 1 >$cpus/cpu2/online
echo "stress: online $(cat $cpus/online)"
"""
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
MORE
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


def archive(work, seconds, more=""):
    init = INIT.replace("WORK", " ".join(f'"{what}"' for what in work)).replace("SECONDS", str(seconds))
    init = init.replace("MORE\n", more)
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


def test_domain(nadir, debian, request):
    """As a paravirtualised guest, whose CPUs go and come back as well."""
    work = DOMAIN_LONGER if request.config.getoption("translated") else DOMAIN_WORK
    config = CONFIG.replace("ttyS0", "hvc0") + "engine = pv\n"
    result = nadir(config, {"vmlinuz": debian() / "vmlinuz", "initramfs.gz": archive(work, 1, HOTPLUG)}, cpus=2,
                   timeout=900, on="qemu", env={"NADIR_KVM": "0"})
    assert result.status == 0, result
    # 7 says of stress-ng's own metrics that a worker was ended while it counted, and of no failure, which is 2.
    uncounted = len(re.findall(r"^stress: --.*: status 7\r?$", result.console, re.M))
    assert uncounted == 0 or "metrics are untrustworthy" in result.console, result
    assert len(re.findall(r"^stress: --.*: status 0\r?$", result.console, re.M)) + uncounted == len(work), result
    for line in ("Hypervisor detected: Xen PV", "cpu 3 spinlock event irq", "stress: online 0-1,3", "stress: online 0-3",
                 "stress: warnings 0", "reboot: System halted"):
        assert line in result.console, result
    assert "which is not there: -ENOSYS" not in result.console, result
    stats = result.stats[0]
    assert stats["engine"] == "pv" and stats["end"] == "poweroff" and stats["counters"]["other_calls"] == 0, stats


def test_paravirt():
    """Shoot-downs do not wait for vCPUs that have no CPU: 1.6 times as many, where threads give memory back."""
    work = [paravirt.WORK["shoot-downs"]]
    none, kvm = (paravirt.measure(how, work, 1)[work[0]] for how in ("none", "kvm"))
    assert kvm > 1.4 * none, (none, kvm)
