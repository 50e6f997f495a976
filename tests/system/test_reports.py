# SPDX-License-Identifier: BSD-2-Clause
"""What a user reads of a kernel that has died or hangs: the faults of those who write their first one."""

import re
import time

import pytest
from conftest import PAYLOADS, assemble

# Each starts at 0x100000 in flat 32-bit protected mode with interrupts off.
START = "bits 32\norg 0x100000\nmov esp, 0x8000\nxor ebp, ebp\n"


def init_8259(base):
    """The 8259 with its vectors from base on, and the 8254's IRQ 0 alone let through."""
    return "".join(f"mov al, {value:#x}\nout {port:#x}, al\n" for port, value in (
        (0x20, 0x11), (0x21, base), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x34), (0x40, 0),
        (0x40, 0x10)))


KERNELS = {
    # An exception, two functions deep, before there is an IDT.
    "noidt": START + "call f\nf: push ebp\nmov ebp, esp\ncall g\ng: push ebp\nmov ebp, esp\nud2\n",
    # Interrupts on with an IDT that is empty, and the 8259 where the BIOS has put it.
    "irq8": START + init_8259(8) + "lidt [idtr]\nsti\nl: jmp l\nidtr: dw 0x3ff\ndd 0x200000\n",
    # Paging with one page of tables that are empty: the next fetch is not mapped.
    "paging": START + "lidt [idtr]\nmov eax, 0x201000\nmov cr3, eax\nmov eax, cr0\n"
              "or eax, 0x80000000\nmov cr0, eax\nnop\nidtr: dw 0x7ff\ndd 0x200000\n",
    # A handler that forgets the EOI, and a wait for a disk that is not there.
    "noeoi": START + init_8259(0x20) +
             "lidt [idtr]\nmov eax, h\nmov [0x200100], ax\nmov [0x200102], cs\n"
             "mov word [0x200104], 0x8e00\nshr eax, 16\nmov [0x200106], ax\nsti\n"
             "l: mov dx, 0x321\nin al, dx\nmov eax, [0xd0000000]\njmp l\nh: iret\n"
             "idtr: dw 0x3ff\ndd 0x200000\n",
    # A selector of a table that nobody has made.
    "selector": START + "lidt [idtr]\nmov ax, 0x54\nmov ds, ax\nidtr: dw 0x7ff\ndd 0x200000\n",
    # A wait for a key that nobody types, at a controller that is there.
    "polls": START + "l: in al, 0x64\ntest al, 1\njz l\n",
}

LINES = """
noidt: ended: triple fault at RIP 0x100017
noidt: first came #UD, which was not delivered: its entry in the IDT at 0x0 is no gate (type 0x0): LIDT was never executed
noidt: code at RIP: 0f 0b
noidt: called from (by RBP): 100014 10000c
irq8: first came interrupt vector 8, which was not delivered: its entry in the IDT at 0x200000 is no gate (type 0x0)
irq8: IRQ 0 arrives as vector 8: the 8259 was not remapped
paging: first came #PF at 0x100021 (read, not present), which was not delivered: the IDT at 0x200000 is not mapped
paging: code at RIP: none, there is no memory at that address
paging: there is no memory below RSP: a CALL, a PUSH or an interrupt cannot save anything
noeoi: vCPU 0: runs
noeoi: IRQ 0 is in service at the 8259, with no EOI for
noeoi: IRQ 0 waits for the EOI of one that comes before it
noeoi: port 0x321 was read
noeoi: ended: its time limit is reached
noeoi: address 0xd0000000 was read
selector: #GP(0x54) is about selector 0x54, entry 10 of the LDT: there is no LDT
polls: port 0x64 was read N times within 10 ms, and it answers 0x14 each time
"""


def test_a_limit_begins_with_the_first_turn(nadir):
    """The one CPU makes four VMs of 256 MiB, which takes it more than a second, before one of them runs."""
    cfg = "".join(f"[vm {name}]\nkernel = hello.bin\nlimit = 1\n" for name in "abcd")
    result = nadir(cfg, {"hello.bin": PAYLOADS / "hello.bin"}, memory=2048)
    assert result.status == 0, result
    assert [vm["end"] for vm in result.stats] == ["debug-exit"] * 4, result


# Its other processors run, too, from 0x8000 on in real mode.
ALL_RUN = """org 0x8000
bits 16
other: jmp other
times 16-($-$$) nop
bits 32
mov dword [0xfee000f0], 0x1ff
mov dword [0xfee00300], 0xc4500
mov ecx, 100000
wait_some: loop wait_some
mov dword [0xfee00300], 0xc4608
first: jmp first
"""


def test_a_limit_of_many(nadir, tmp_path):
    """Where each of 64 vCPUs stands is more than a VM's ring holds in full: why the VM has ended is seen all the
    same, and something of each vCPU."""
    cfg = ("[vm a]\nkernel = k\ntype = flat\nload = 0x8000\nentry = 0x8010\nmode = 32\nmemory = 16\nvcpus = 64\n"
           "limit = 1\n")
    result = nadir(cfg, {"k": assemble(ALL_RUN, tmp_path)}, timeout=150)
    assert result.status == 1, result
    stand = set(re.findall(r"^nadir: a: vCPU (\d+): runs", result.console, re.M))
    assert stand == {str(i) for i in range(64)}, result
    for line in ("nadir: a: ended: its time limit is reached", "nadir: a: VM exits by reason"):
        assert f"\n{line}" in result.console, result
    assert "left out" not in result.console and result.console.count(" GDT ") >= 16, result


@pytest.mark.parametrize("engine", ["vtx", "bt"])
def test_first_kernels(nadir, tmp_path, engine):
    files = {}
    for name, code in KERNELS.items():
        files[name] = assemble(code, tmp_path)
    cfg = "".join(f"[vm {name}]\nkernel = {name}\ntype = flat\nload = 0x100000\nmode = 32\n"
                  f"memory = 16\nlimit = 1\nengine = {engine}\n" for name in KERNELS)
    result = nadir(cfg, files)
    assert result.status == 1, result
    for line in LINES.strip().splitlines():
        pattern = "\nnadir: " + re.escape(line).replace(r"\ N\ ", " [0-9]+ ")
        assert re.search(pattern, result.console), line + result.console[-7000:]
    stats = {vm["vm"]: vm for vm in result.stats}
    assert {name: vm["end"] for name, vm in stats.items()} == {
        "noidt": "crash", "irq8": "crash", "paging": "crash", "noeoi": "limit", "polls": "limit",
        "selector": "crash"}, result
    assert 0.95e8 < stats["noeoi"]["tsc_end"] - stats["noeoi"]["tsc_first_entry"] < 1.02e8, result


SAYS = """bits 16
org 0x7c00
cli
xor ax, ax
mov ds, ax
mov bp, 300
again:
mov si, text
mov cx, end - text
mov dx, 0xe9
rep outsb
mov si, text
mov cx, end - text
mov dx, 0x3f8
rep outsb
dec bp
jnz again
mov al, 0
out 0xf4, al
text: db "a line with ", 0x22, 0xff, 0x5c, 10
end:
times 510 - ($ - $$) db 0
dw 0xaa55
"""


# It never ends, nor does its last line.
CHATS = """bits 16
org 0x7c00
xor ax, ax
mov ds, ax
again: mov si, text
mov cx, end - text
mov dx, 0x3f8
rep outsb
jmp again
text: db "a guest says", 10, "nadir and so on"
end: times 510 - ($ - $$) db 0
dw 0xaa55
"""


def test_timeout_of_a_guest_that_talks(nadir, tmp_path):
    """What the tool says stands on a line of its own; the report and the exits follow, no word of the guest's, and
    the end, soon."""
    start = time.monotonic()
    result = nadir("[vm a]\nkernel = k\nmemory = 16\n", {"k": assemble(CHATS, tmp_path)}, timeout=5, on="qemu",
                   env={"NADIR_KVM": "0"})
    assert result.status == 124 and time.monotonic() - start < 25, result
    assert "[no end within 5 s; what guests say from here on is left out]" in result.messages, result
    assert re.search(r"^\[a: VM exits by reason \(bt\) .*\n\[a: ", result.messages, re.M), result
    before, report, after = result.console.partition("\nnadir: a: vCPU 0: ")
    assert report and "a guest says" in before and "nadir: a: RIP " in after, result
    assert all(line.startswith("nadir: ") for line in after.splitlines()[1:]), result


def test_debug_console_has_a_file(nadir, tmp_path):
    """What a kernel writes to port 0xe9 and to COM1 alike is seen once, and is in the file, byte by byte."""
    (tmp_path / "said.txt").write_text("of the run before")
    result = nadir("[vm says]\nkernel = says\nmemory = 16\ndebugcon = said.txt\n",
                   {"says": assemble(SAYS, tmp_path)})
    assert result.status == 0, result
    assert (tmp_path / "said.txt").read_bytes() == b'a line with "\xff\\\n' * 300
    assert result.console.count("a line with") == 300, result
