# SPDX-License-Identifier: BSD-2-Clause
"""A CPU that lacks what Nadir needs: it names the lack and ends with status 3, and does not hang."""

import re

import pytest

CONFIG = "[nadir]\n\n[vm a]\nkernel = hello.bin\nengine = vtx\nmemory = 64\nvcpus = 1\n"


def refuses(result, *words):
    assert result.status == 3, result
    lines = [line for line in result.console.splitlines() if line.startswith("nadir")]
    for word in words:
        assert any(re.search(word, line, re.I) for line in lines), (word, result)
    assert "nadir: end: refused" in lines or "nadir-end: refused" in lines, result  # the loader's


@pytest.mark.parametrize("boot", ["warm", "firmware"])
@pytest.mark.parametrize("model, lack", [
    ("ryzen", "VMX|VT-x"),
    ("core2_penryn_t9600", "EPT|extended page table"),
    ("corei5_lynnfield_750", "unrestricted guest"),
])
def test_cpu_lacks(nadir, payload, model, lack, boot):
    refuses(nadir(CONFIG, {"hello.bin": payload("hello")}, model=model, boot=boot, timeout=90), lack)


@pytest.mark.parametrize("how", [{}, {"boot": "firmware"}, {"usb": True}], ids=["warm", "disk", "usb-stick"])
def test_qemu_without_kvm(nadir, payload, how):
    """QEMU's own emulation has no VMX; booting from a USB stick gets as far."""
    refuses(nadir(CONFIG, {"hello.bin": payload("hello")}, on="qemu", env={"NADIR_KVM": "0"},
                  timeout=90, **how), "VMX|VT-x")


def test_vtx_is_had_where_it_is_asked_for(nadir, payload):
    """Without VT-x and left the choice, the tool takes the emulator that has it."""
    result = nadir(CONFIG, {"hello.bin": payload("hello")}, on="auto", env={"NADIR_KVM": "0"}, timeout=90)
    assert result.status == 0 and [vm["engine"] for vm in result.stats] == ["vtx"], result
    assert re.search(r"^\[starting Bochs: .*; a VM asks for engine = vtx\]$", result.messages, re.M), result
