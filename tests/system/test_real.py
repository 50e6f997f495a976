# SPDX-License-Identifier: BSD-2-Clause
"""What real machines have and Bochs has not, played by QEMU's own emulation. It has no VT-x: all is
about what comes before and around the refusal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
import qemu  # noqa: E402

VM = "[vm a]\nkernel = hello.bin\nengine = vtx\nmemory = 64\n"
WITHOUT_SERIAL = "[nadir]\nserial = none\n"
FIRST_LINE = "nadir: the hypervisor runs"


@pytest.fixture
def boot(write_config, payload, tmp_path):
    """Boots a configuration on a PC of QEMU's that has these devices."""
    machines = []

    def start(cfg, *arguments, efi="nadir", files=None, **options):
        path = write_config(cfg, {"hello.bin": payload("hello"), **(files or {})})
        image = tmp_path / "boot.img"
        subprocess.run([sys.executable, TOOL, "image", path, "-o", image], check=True,
                       env={**os.environ, "NADIR_EFI": str(TOP / "build" / f"{efi}.efi")})
        machines.append(qemu.Qemu(tmp_path, image, *arguments, **options))
        return machines[-1]

    yield start
    for machine in machines:
        machine.close()


@pytest.mark.parametrize("screen", ["VGA", "ramfb"])
def test_refused_by_the_hypervisor_itself(boot, screen):
    """What only it sees stays on the screen (in a card's memory, in RAM), from its first line on. It
    is all that there is: Nadir has no serial port here. A key ends the waiting."""
    machine = boot(WITHOUT_SERIAL + VM, "-device", screen, efi="late")
    lines = machine.wait_for_screen("Power-off in")
    assert FIRST_LINE in lines[:2], lines
    assert "nadir: end: refused" in lines, lines
    assert any("no VT-x" in line for line in lines), lines
    assert FIRST_LINE not in machine.serial()
    machine.press("r" if screen == "ramfb" else "ret")
    assert machine.wait_for_end() == ("guest-reset" if screen == "ramfb" else "guest-shutdown")


def test_refused_by_the_loader(boot):
    """On all CPUs, and with what may help; a key leads back to the firmware, which is alive."""
    machine = boot(VM, "-device", "VGA", "-smp", "3")
    machine.wait_for("nadir: 3 CPUs")
    machine.wait_for("error: this CPU has no VT-x")
    machine.wait_for("nadir-end: refused")
    assert "leaving the firmware" not in machine.serial()
    machine.press("ret")
    machine.wait_for("BdsDxe: failed to start")


def test_cpus_by_the_madt(boot):
    """Without MP services; and the clock's rate is what two timers agree about. ResetSystem hangs:
    off by ACPI."""
    machine = boot(VM, "-smp", "3", efi="bare")
    machine.wait_for(r"no MP services: CPUs by the MADT\s+nadir: 3 CPUs")
    machine.wait_for(r"TSC: \d+ kHz by the ACPI PM timer, and the HPET agrees")
    assert machine.wait_for_end() == "guest-shutdown"


def test_no_way_to_power_off(boot):
    """ResetSystem hangs, and there are no ACPI tables: who sits there is asked to do it."""
    machine = boot(VM, "-no-acpi", "-device", "VGA", efi="bare")
    machine.wait_for_screen("Power-off in")
    machine.press("ret")
    machine.wait_for_screen("you may switch the machine off now")
    assert "no ACPI tables" in machine.serial()


def test_no_execute_disable(boot):
    """As where the firmware's set-up has it off, and it stays so: Nadir runs without, on all CPUs."""
    machine = boot(VM, "-smp", "2", "-cpu", "max,-nx", efi="late")
    machine.wait_for("nadir: no execute-disable bit: data of the hypervisor's can be executed")
    machine.wait_for("nadir: end: refused")


def test_more_memory_than_there_is(boot):
    machine = boot(VM.replace("64", "4096"), efi="late")
    machine.wait_for(r"error: nadir\.cfg:1: .* 4096 MiB of memory, and this machine has \d+ MiB")


def test_kernel_that_is_none(boot):
    """Told by the loader, in the words of the hypervisor's own loaders."""
    machine = boot(VM + "[vm b]\nkernel = program\nmemory = 32\n", efi="late",
                   files={"program": Path("/bin/true")})
    machine.wait_for(r"error: nadir\.cfg:6: program: a program that runs in an operating system")
    machine.wait_for("nadir-end: config-error")
    assert "leaving the firmware" not in machine.serial()


def test_screen_that_can_only_be_copied_to(boot):
    """PixelBltOnly: no framebuffer in any mode, and the serial port is enough."""
    machine = boot(VM, "-device", "virtio-gpu-pci", efi="late")
    machine.wait_for("nadir: end: refused")
    assert "nadir: no framebuffer" in machine.serial()
    assert FIRST_LINE in machine.serial()


def test_nobody_would_see_anything(boot):
    """Refused while the firmware can still say so."""
    machine = boot(WITHOUT_SERIAL + VM, "-device", "virtio-gpu-pci", efi="late")
    machine.wait_for("error: no screen with a framebuffer, and no serial port")
    machine.wait_for("nadir-end: refused")
    assert FIRST_LINE not in machine.serial()
