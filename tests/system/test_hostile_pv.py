# SPDX-License-Identifier: BSD-2-Clause
"""guest/payloads/tests/hostilepv: a paravirtual kernel that does to Nadir what it can, and others that end themselves in
each way that there is. Only they notice: another VM on the same CPUs comes to its end undisturbed."""

import re

RYZEN = {"on": "bochs", "model": "ryzen"}

# How a kernel ends by its command line: what is told, or the end and its code.
ENDS = {
    "no-kernel-stack": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "no-stack": "vCPU 0: its kernel's stack at 0xffff800000000fc8 is not mapped, or read-only",
    "stack-beyond-all": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "stack-read-only": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "iret-without-stack": "vCPU 0: iret by a stack at 0x7ffffffffff0 that is not mapped",
    "no-handler": r"vCPU 0: exception 6 at 0x[0-9a-f]* \(error code 0x0, CR2 0x0\), and no handler for it",
    "handler-nowhere": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "no-user-tables": "vCPU 0: iret to user code at 0x200000 without user page tables",
    "event-without-callback": "vCPU 0: an event, and no callback for events",
    "other-root": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "root-of-rubbish": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "own-mapping-gone": "vCPU 0: its kernel's stack at 0x[0-9a-f]* is not mapped, or read-only",
    "down": r"powered off \(VCPUOP_down of its last vCPU\)",
    "reboot": r"reset \(SCHEDOP_shutdown\)",
    "exit-7": "hypercall, code 7",
}


def test_hostile_kernels(nadir, payload):
    pv = "kernel = hostilepv.elf\nmemory = 16\nengine = pv\non_reboot = destroy\n"
    cfg = (f"[vm hostile]\n{pv}vcpus = 2\n"
           "[vm sleeper]\nkernel = sleeper.bin\nmemory = 16\nengine = bt\n" +
           "".join(f"[vm {name}]\n{pv}cmdline = {name}\n" for name in ENDS))
    result = nadir(cfg, {"hostilepv.elf": payload("hostilepv").with_suffix(".elf"), "sleeper.bin": payload("sleeper")},
                   cpus=2, timeout=300, **RYZEN)
    assert "FAIL" not in result.console and "panic" not in result.console, result
    ends = {vm["vm"]: vm["end"] for vm in result.stats}
    assert ends["hostile"] == "poweroff" and ends["sleeper"] == "debug-exit", result
    assert len(result.stats) == len(ENDS) + 2, result
    for name, why in ENDS.items():
        assert re.search(rf"^nadir: {name}: ended: {why}\r?$", result.console, re.M), (name, result)
    assert re.search(r"^\[hostile\] hostilepv: \d+ passed, 0 failed\r?$", result.console, re.M), result
    in_time = re.search(r"^\[sleeper\] sleeper: (\d+) of 1000 in time", result.console, re.M)
    assert int(in_time[1]) > 900, result
