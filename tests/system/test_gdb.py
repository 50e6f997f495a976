# SPDX-License-Identifier: BSD-2-Clause
"""gdb on the machine that runs a guest (tools/gdb.sh, tools/gdb_modes.py): it follows the guest from real
mode to 64-bit mode, and Nadir behind it."""

import os
import re
import subprocess

import pexpect
import pytest
from conftest import PAYLOADS, TOP

PROMPT = r"\(gdb\) $"
BUILDING = 900  # seconds: this Bochs is another one, which the first run builds


CFG = "[vm a]\nkernel = kernel\nmemory = 64\n"

# A 32-bit kernel with functions that have frame pointers, as most of those of courses do.
CALLS = """bits 32
section .text
align 4
dd 0x1badb002, 0, -0x1badb002
global _start, outer, middle, inner, leaf
_start: mov esp, stack
xor ebp, ebp
call outer
outer: push ebp
mov ebp, esp
sub esp, 8
call middle
middle: push ebp
mov ebp, esp
sub esp, 24
push 1
call inner
inner: push ebp
mov ebp, esp
sub esp, 12
call leaf
leave
ret
leaf: nop
ret
section .bss
resb 4096
stack:
"""


def start(cfg, *more):
    """A gdb that has stopped at Nadir's first instruction."""
    child = pexpect.spawn("tools/gdb.sh", [str(cfg), *more], cwd=TOP, timeout=BUILDING, encoding="utf-8",
                          codec_errors="replace", dimensions=(500, 200), echo=False,
                          env={**os.environ, "TERM": "dumb", "GDBFLAGS": "-nx", "DEBUGINFOD_URLS": "", "NADIR_KVM": "0"})
    child.expect(PROMPT)
    child.timeout = 240
    assert "nadir_entry () at boot/entry.asm" in child.before, child.before
    return child


def end(child):
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before


def test_without_vtx_qemu_does(write_config, payload):
    """At once: no Bochs is built. The tool has told where it waits."""
    child = start(write_config(CFG, {"kernel": payload("hello")}))
    child.sendline("stepi")
    child.expect(PROMPT)
    assert "cld" in child.before
    said = (TOP / "build" / "gdb-console.log").read_text()
    assert "[starting QEMU" in said and "[waiting for gdb on port 1234]" in said, said
    end(child)


@pytest.fixture
def gdb(write_config, payload, request):
    """Commands to a gdb that has stopped at Nadir's first instruction, in Bochs: gdb("command") -> its answer.
    The kernel is hello, unless there is a fixture `kernel`."""
    kernel = request.getfixturevalue("kernel") if "kernel" in request.fixturenames else payload("hello")
    child = start(write_config(CFG, {"kernel": kernel}), "--on", "bochs")

    def command(text):
        child.sendline(text)
        child.expect(PROMPT)
        return child.before.replace("\r", "")

    yield command
    end(child)


@pytest.mark.slow
def test_modes(gdb):
    """What is disassembled is 16-, 32- and 64-bit code, wherever the CPU stops; the control registers are
    those of that moment."""
    assert "cli" in gdb("x/i $pc")
    gdb("delete")
    gdb("break *0x7c00")
    stop = gdb("continue")
    assert "16-bit code of a guest, at linear address 0x7c00" in stop, stop
    code = gdb("x/12i $pc")
    # In 32- and 64-bit code these bytes are other instructions, of other lengths.
    for line in ("0x7c00:\tljmp   $0x0,$0x7c05", "0x7c07:\txor    %ax,%ax", "0x7c0f:\tmov    $0x7c00,%sp",
                 "0x7c12:\tcmpl   $0x6469614e,"):
        assert line in code, code
    assert int(gdb("output $cr0"), 0) & 1 == 0
    stop = gdb("stepi")
    assert "16-bit code of a guest, at linear address 0x7c05" in stop, stop
    assert "#1" not in gdb("bt")  # which would be made up

    gdb("delete")
    gdb(f"add-symbol-file {PAYLOADS}/hello.elf")
    gdb("break start32")
    stop = gdb("continue")
    assert "start32 ()" in stop and "32-bit code of a guest" in stop, stop
    assert "<start32>:\tmov    $0x10,%eax" in gdb("x/i $pc")
    assert int(gdb("output $cr0"), 0) & 1 == 1
    assert int(gdb("output $efer"), 0) & 0x400 == 0

    gdb("delete")
    gdb("break start64")
    stop = gdb("continue")
    assert "64-bit code of a guest" in stop, stop
    assert int(gdb("output $efer"), 0) & 0x400 != 0
    assert int(gdb("output $cr3"), 0) == int(gdb("output (unsigned long)&page_tables"), 0)
    assert "rip" in gdb("info registers rip")

    gdb("delete")
    gdb("break vmx_exit_point")
    stop = gdb("continue")
    assert "vmx_exit_point () at vmx/vmenter.asm" in stop and "guest" not in stop.split("at vmx")[1], stop
    assert "<vmx_exit_point>:\txchg" in gdb("x/i $pc")


@pytest.fixture
def kernel(tmp_path):
    """CALLS, as an ELF file with symbols."""
    source, code, out = tmp_path / "calls.asm", tmp_path / "calls.o", tmp_path / "calls.elf"
    source.write_text(CALLS)
    subprocess.run(["nasm", "-f", "elf32", "-o", code, source], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x100000", "-o", out, code], check=True)
    return out


@pytest.mark.slow
def test_callers_in_32_bit_code(kernel, gdb):
    """Frames have four bytes a word there, whatever the remote protocol says of the registers: also on a
    function's first instructions, and where none has a frame pointer yet."""
    def trace():
        return re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\w+) \(\)", gdb("bt"), re.M)

    gdb("delete")
    gdb(f"add-symbol-file {kernel}")
    gdb("break *inner")
    stop = gdb("continue")
    assert "32-bit code of a guest" in stop, stop
    for _ in range(4):  # in front of PUSH EBP, of MOV EBP, ESP, of SUB, and of CALL
        assert trace() == ["inner", "middle", "outer", "_start"], gdb("bt")
        gdb("stepi")
    assert trace() == ["leaf", "inner", "middle", "outer", "_start"], gdb("bt")
    gdb("stepi")
    assert trace() == ["leaf", "inner", "middle", "outer", "_start"], gdb("bt")
    assert "inner" in gdb("finish")
    for _ in range(2):  # in front of LEAVE, and of RET
        assert trace() == ["inner", "middle", "outer", "_start"], gdb("bt")
        gdb("stepi")
