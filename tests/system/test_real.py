# SPDX-License-Identifier: BSD-2-Clause
"""What real machines have and Bochs has not, played by QEMU's own emulation. It has no VT-x: all is
about what comes before and around the refusal."""

import os
import subprocess
import sys

import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
import qemu  # noqa: E402

VM = "[vm a]\nkernel = hello.bin\nmemory = 64\n"
WITHOUT_SERIAL = "[nadir]\nserial = none\n"
FIRST_LINE = "nadir: the hypervisor runs"


@pytest.fixture
def boot(write_config, payload, tmp_path):
    """Boots a configuration on a PC of QEMU's that has these devices."""
    machines = []

    def start(cfg, *arguments, efi="nadir", **options):
        path = write_config(cfg, {"hello.bin": payload("hello")})
        image = tmp_path / "boot.img"
        subprocess.run([sys.executable, TOOL, "image", path, "-o", image], check=True,
                       env={**os.environ, "NADIR_EFI": str(TOP / "build" / f"{efi}.efi")})
        machines.append(qemu.Qemu(tmp_path, image, *arguments, **options))
        return machines[-1]

    yield start
    for machine in machines:
        machine.close()


@pytest.mark.parametrize("screen", ["VGA", "ramfb"])
def test_screen_has_all_from_the_first_line_on(boot, screen):
    """With no serial port of Nadir's, the screen (in a card's memory, in RAM) is all that there is."""
    machine = boot(WITHOUT_SERIAL + VM, "-device", screen)
    lines = machine.wait_for_screen("nadir-end: refused")
    assert FIRST_LINE in lines[:2], lines
    assert any("no VT-x" in line for line in lines), lines
    assert FIRST_LINE not in machine.serial()


def test_screen_that_can_only_be_copied_to(boot):
    """PixelBltOnly: no framebuffer in any mode, and the serial port is enough."""
    machine = boot(VM, "-device", "virtio-gpu-pci")
    machine.wait_for("nadir-end: refused")
    assert "nadir: no framebuffer" in machine.serial()
    assert FIRST_LINE in machine.serial()


def test_nobody_would_see_anything(boot):
    """Refused while the firmware can still say so."""
    machine = boot(WITHOUT_SERIAL + VM, "-device", "virtio-gpu-pci")
    machine.wait_for("error: no screen with a framebuffer, and no serial port")
    machine.wait_for("nadir-end: refused")
    assert FIRST_LINE not in machine.serial()
