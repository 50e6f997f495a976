# SPDX-License-Identifier: BSD-2-Clause
"""Guests on machines without VT-x: engine = bt, in QEMU's own emulation."""

import os
import re
import sys
from pathlib import Path

import bootdisk
import pexpect
from conftest import NO_SELF_TESTS, TOOL, assemble
from kernels import lines_of, section
from test_guest_kinds import INIT_TEXT, STARTS, all_starts, file_of, initramfs32, installer, was_handed_over
from test_lives import disk


def on_qemu(nadir, cfg, files, **options):
    options.setdefault("on", "qemu")
    return nadir(cfg, files, env={"NADIR_KVM": "0"}, timeout=400, **options)


def test_auto_without_vtx(nadir, payload):
    """Where nobody asks for VT-x, a machine without it is as good, and the tool says which it takes."""
    result = on_qemu(nadir, "[vm a]\nkernel = hello.bin\nmemory = 32\n", {"hello.bin": payload("hello")}, on="auto",
                     boot="firmware")
    assert result.status == 0, result
    assert ("[starting QEMU with its own emulation (no VT-x): 1 CPU, 1024 MiB; no KVM here can nest VT-x, and no VM "
            "asks for engine = vtx]") in result.messages.splitlines(), result
    assert "nadir: engine = auto: bt, for want of VT-x" in lines_of(result, "a"), result
    assert "hello: from long mode, in a virtual machine" in result.console
    stats, = result.stats
    assert stats["engine"] == "bt" and stats["exits"]["cpuid"]["count"] >= 2
    assert stats["classes"]["cpu"]["count"] >= stats["exits"]["cpuid"]["count"], stats
    # It starts in real mode, is translated from 64-bit mode on, and has nothing to compute with vector registers.
    assert stats["counters"]["interpreted"] > 50 and "executed_singly" not in stats["exits"], stats
    assert re.search(rf"^nadir: a: interpreted +{stats['counters']['interpreted']}$",
                     result.console.replace("\r", ""), re.M), result


def test_key_of_another_engine(nadir, payload):
    """Where `auto` takes VT-x, a VM whose configuration says how bt is to work is told that it is not bt."""
    result = nadir("[vm a]\nkernel = k\nmemory = 16\nbt = interpret\n[vm b]\nkernel = k\nmemory = 16\n",
                   {"k": payload("hello")})
    assert result.status == 0 and {vm["engine"] for vm in result.stats} == {"vtx"}, result
    told = [line for line in result.console.splitlines() if line.startswith("nadir: warning: ")]
    assert told == ["nadir: warning: a: its key bt does nothing, as vtx executes it: say engine = bt"], result


def test_check(nadir, payload):
    """What translated code does, compared with the software CPU: no difference, or the VM would have ended."""
    names = ("borders", "events")
    result = on_qemu(nadir, "".join(section(name) + "engine = bt\nbt = check\n" for name in names),
                     {f"{name}.bin": payload(name) for name in names})
    for stats in result.stats:
        assert (stats["end"], stats["code"]) == ("debug-exit", 0), result
        assert stats["counters"]["checked"] > 100 * stats["counters"]["unchecked"] > 0, stats
    assert len(result.stats) == len(names), result


def test_lock_step(nadir, payload, request):
    """Programs of no plan, other ones than the kernel `walks` has by itself: all that each does, as a number, is the
    same whether it is translated or interpreted."""
    count = request.config.getoption("--walks")
    image, mark = payload("walks").read_bytes(), b"WALKS-WANTED"
    at = image.index(mark) + len(mark)
    words = b"".join(number.to_bytes(4, "little") for number in (10_000, count, 1))
    engines = {"translate": "engine = bt\n", "interpret": "engine = bt\nbt = interpret\n"}
    cfg = "".join(section("walks").replace("[vm walks]", f"[vm {name}]") + keys for name, keys in engines.items())
    result = on_qemu(nadir, cfg, {"walks.bin": image[:at] + words + image[at + len(words):]}, cpus=2)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)] * 2, result
    said = [[line for line in lines_of(result, name) if line.startswith("walks: ")] for name in engines]
    assert len(said[0]) == count and said[0] == said[1], result


# Attacks of the kernel `intruder` on the engine that runs it, and whether another CPU takes part.
ATTACKS = {"look": 1, "lookup": 1, "slots": 1, "shared": 1, "jumps": 1, "beside": 2, "own-tables": 1, "races": 2,
           "ends": 1, "crossing": 1}
# Those that do no harm, have an answer, and get the time for it.
ANSWERS = {"look": "the window has code 1, data 1", "jumps": "jumps that were none: 0", "ends": "ends that were none: 0",
           "crossing": "old code that was run: 0"}


def intruders(payload):
    """Configuration and files of a VM for each attack, and of `walks`, which has to pass beside them."""
    image, cfg, files = payload("intruder").read_bytes(), "", {"walks.bin": payload("walks")}
    mark = b"INTRUDER-WANTED\0"
    at = image.index(mark) + len(mark)
    for number, (name, vcpus) in enumerate(ATTACKS.items()):
        files[f"{name}.bin"] = image[:at] + number.to_bytes(4, "little") + image[at + 4:]
        cfg += (f"[vm {name}]\nkernel = {name}.bin\nmemory = 16\nvcpus = {vcpus}\non_reboot = destroy\n"
                f"engine = bt\nlimit = {200 if name in ANSWERS else 20}\n")
    return cfg + section("walks") + "engine = bt\n", files


def test_intruders(nadir, payload):
    """Guests that find their translated code's tables, and spoil them, or run off all that has an end: each goes on
    or ends, as may be, and so much is said; the hypervisor and the others of the machine go on."""
    result = on_qemu(nadir, *intruders(payload), cpus=2)
    ends = {vm["vm"]: (vm["end"], vm["code"]) for vm in result.stats}
    assert set(ends) == {*ATTACKS, "walks"}, result
    assert {ends[name] for name in ("walks", *ANSWERS)} == {("debug-exit", 0)}, result
    for name, answer in ANSWERS.items():
        assert re.search(rf"^\[{name}\] intruder: .*{answer}\r?$", result.console, re.M), result
    for name in ATTACKS:
        assert re.search(rf"^\[{name}\] intruder: .* the window has code 1, data 1", result.console, re.M), result
        assert f"nadir: {name}: ended: " in result.console, result


def test_timers_in_translated_code(nadir, payload):
    """A timer that is due while kernel code runs as a translation is looked at once it has left that: an interrupt
    takes some 5,000 instructions to its handler, and took 13,000 more by entries that led nowhere."""
    result = nadir(section("punctual") + "engine = bt\n", {"punctual.bin": payload("punctual")}, on="bochs",
                   timeout=300)
    late = re.search(r"in the mean (\d+) ticks late", result.console)
    assert result.status == 0 and late and int(late[1]) < 9_000, result


def test_firmware(nadir, payload):
    """SeaBIOS from the reset vector: its copy in shadow RAM, and a boot sector of a disk."""
    result = on_qemu(nadir, "[vm a]\nfirmware = bios.bin\ndisk = disk.img\nmemory = 32\nengine = bt\n", {
        "bios.bin": Path("/usr/share/seabios/bios.bin"), "disk.img": payload("hello")})
    assert result.status == 0, result
    assert "Booting from Hard Disk" in result.console, result
    assert "hello: from long mode, in a virtual machine" in result.console


def test_syslinux_starts_linux(nadir, tmp_path):
    """SeaBIOS, SYSLINUX from its disk, Linux's start in real mode, its 32-bit kernel, a program, and power-off."""
    disk_image = tmp_path / "made.img"
    bootdisk.make(disk_image, "default a\nlabel a\nkernel a\ninitrd b\nappend console=ttyS0 quiet panic=-1 edd=off "
                  f"{NO_SELF_TESTS}\n", {"a": installer("i386"), "b": initramfs32()})
    result = on_qemu(nadir, "[vm a]\nfirmware = bios\ndisk = disk.img\nmemory = 128\nengine = bt\n"
                     "on_reboot = destroy\n", {"bios": Path("/usr/share/seabios/bios-256k.bin"), "disk.img": disk_image})
    assert "SYSLINUX" in result.console and INIT_TEXT.decode().strip() in result.console, result
    assert result.status == 0 and [vm["end"] for vm in result.stats] == ["poweroff"], result
    for trouble in ("BUG:", "WARNING:", "Call Trace"):
        assert trouble not in result.console, result
    assert result.stats[0]["counters"]["blocks"] > 20_000, result.stats


def test_lives(nadir, payload):
    """A VM that is reset, or crashes, begins anew in the memory that it had, with nothing lost each time."""
    result = on_qemu(nadir, "[vm a]\nkernel = lives.bin\nmemory = 16\nvcpus = 2\ndisk = disk\non_crash = restart\n"
                     "engine = bt\n", {"lives.bin": payload("lives"), "disk": disk(5, True, 0)}, cpus=2)
    assert result.status == 0 and "is interpreted" not in result.console, result
    assert [vm["end"] for vm in result.stats] == ["reset", "reset", "reset", "crash", "reset", "poweroff"], result
    memory = re.findall(r"^nadir: a: .* own memory: (.*?)\r?$", result.console, re.M)
    # Each vCPU's first translation makes page tables, which stay; the second starts in the second life.
    assert len(memory) == 6 and len(set(memory[2:])) == 1, memory


def test_handed_over(nadir, tmp_path):
    """Each kind of kernel starts as it does by VT-x."""
    result = on_qemu(nadir, *all_starts(tmp_path, "bt"), cpus=2)
    for name in STARTS:
        was_handed_over(result, name)
    assert {vm["engine"] for vm in result.stats} == {"bt"}


# Kernels and firmware of others, and the last that each says where it has nothing to boot: two kernels of 64 bits,
# one of which moves itself, and firmware that goes from the reset vector by way of 32-bit mode.
OTHERS = {
    "mach": ("kernel = mach\ntype = multiboot\nmemory = 64\ncmdline = console=com0\n", "No bootstrap code loaded"),
    "xen": ("kernel = xen\nmemory = 128\ncmdline = com1=115200,8n1 console=com1\n", "dom0 kernel not specified"),
    "u-boot": ("firmware = u-boot\nmemory = 64\n", "scanning bus for devices"),
}


def test_guests_of_others(write_config):
    """All at once on two CPUs. Ctrl-A x ends them, as some wait for somebody to type."""
    files = {"mach": file_of("gnumach-image-1.8-486", "boot/gnumach-*.gz"),
             "xen": file_of("xen-hypervisor-4.17-amd64", "boot/xen-*.gz"),
             "u-boot": file_of("u-boot-qemu", "usr/lib/u-boot/qemu-x86_64/u-boot.rom")}
    cfg = "".join(f"[vm {name}]\nengine = bt\non_reboot = destroy\n{lines}" for name, (lines, _) in OTHERS.items())
    child = pexpect.spawn(sys.executable, [str(TOOL), "run", str(write_config(cfg, files)), "--on", "qemu",
                                           "--cpus", "2", "--timeout", "300"], timeout=300, encoding="utf-8",
                          codec_errors="replace", env={**os.environ, "NADIR_KVM": "0"})
    awaited = dict(OTHERS)
    while awaited:
        child.expect("\n")
        for name, (_, text) in OTHERS.items():
            if f"[{name}] " in child.before and text in child.before:
                awaited.pop(name, None)
        assert not re.search("nadir: [a-z-]+: ended: (?!keyboard|reset)", child.before), child.before
    child.send("\x01x")
    child.expect(pexpect.EOF)
    child.close()


def test_cpu_without_vmx(nadir, payload):
    result = nadir("[vm a]\nkernel = hello.bin\nmemory = 32\n", {"hello.bin": payload("hello")}, model="ryzen")
    assert result.status == 0, result
    assert [vm["engine"] for vm in result.stats] == ["bt"]


def test_engines_side_by_side(nadir, payload):
    """On one CPU, in turn: each finds the registers that it has left, those of vectors, too."""
    kernels = ("cr", "ferr", "mmio", "syscall", "xsave")
    result = nadir("".join(f"[vm {name}-{engine}]\nkernel = {name}.bin\nmemory = 32\nengine = {engine}\n"
                           for engine in ("vtx", "bt") for name in kernels),
                   {f"{name}.bin": payload(name) for name in kernels})
    assert result.status == 0, result
    assert "FAIL" not in result.console, result
    for name in kernels:
        assert len(re.findall(rf"test {name}: [1-9]\d* passed, 0 failed", result.console)) == 2, result
    assert sorted(vm["engine"] for vm in result.stats) == ["bt"] * len(kernels) + ["vtx"] * len(kernels)
    assert sum(vm["switches_from_vm"]["count"] for vm in result.stats) > 2 * len(result.stats)


# A boot sector that prints what CPUID says of each (leaf, subleaf), all four registers on a line.
CPUID = """
bits 16
org 0x7c00
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        cld
        mov     dx, 0x3fb
        mov     al, 3
        out     dx, al
        mov     bp, leaves
next:   mov     eax, [bp]
        mov     ecx, [bp + 4]
        cpuid
        push    edx
        push    ecx
        push    ebx
        push    eax
        mov     di, 4
reg:    pop     ebx
        mov     cx, 8
digit:  rol     ebx, 4
        mov     al, bl
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        call    say
        loop    digit
        mov     al, ' '
        call    say
        dec     di
        jnz     reg
        mov     al, 10
        call    say
        add     bp, 8
        cmp     bp, end_of_leaves
        jb      next
        mov     si, last
tell:   lodsb
        call    say
        test    al, al
        jnz     tell
        xor     eax, eax
        mov     dx, 0xf4
        out     dx, eax
        hlt
say:    mov     ah, al
        mov     dx, 0x3fd
.wait:  in      al, dx
        test    al, 0x20
        jz      .wait
        mov     dx, 0x3f8
        mov     al, ah
        out     dx, al
        ret
last    db      "native-exit: 0", 10, 0
leaves  dd LEAVES
end_of_leaves:
        times   510 - ($ - $$) db 0
        dw      0xaa55
"""
LEAVES = ((1, 0), (7, 0), (0xa, 0), (0xd, 1))
EAX, EBX, ECX, EDX = range(4)

# What is not shown to guests of bt, by (leaf, register): bits.
LACKING = {
    (1, ECX): {"MONITOR": 3, "VMX": 5, "PCID": 17},
    (7, EBX): {"HLE": 4, "INVPCID": 10, "RTM": 11, "SMAP": 20},
    (7, ECX): {"PKU": 3, "CET_SS": 7, "LA57": 16},
    (7, EDX): {"CET_IBT": 20, "AMX_TILE": 24},
    (0xa, EAX): {f"PMU version {1 << bit}": bit for bit in range(8)},
    (0xd, EAX): {"XSAVES": 3},
}


def cpuid_of(result):
    """{leaf: registers} as the boot sector has printed them."""
    lines = re.findall(r"^(\w{8}) (\w{8}) (\w{8}) (\w{8}) \r?$", result.console, re.M)
    assert result.status == 0 and len(lines) == len(LEAVES), result
    return {leaf: [int(word, 16) for word in line] for (leaf, _), line in zip(LEAVES, lines)}


def test_cpuid_shows_what_there_is(nadir, tmp_path):
    """A guest that asks finds none of what the engine lacks, though the CPU has some of it; and no more at all
    than that CPU has, but for what says that this is a virtual machine, and that the local APIC is emulated."""
    sector = assemble(CPUID.replace("LEAVES", ", ".join(f"{a:#x}, {b}" for a, b in LEAVES)), tmp_path)
    cfg = "[vm a]\nkernel = k\nmemory = 16\nengine = bt\n"
    guest = cpuid_of(on_qemu(nadir, cfg, {"k": sector}))
    host = cpuid_of(on_qemu(nadir, cfg, {"k": sector}, native=True))
    shown = [name for (leaf, reg), bits in LACKING.items() for name, bit in bits.items() if guest[leaf][reg] >> bit & 1]
    hidden = [name for (leaf, reg), bits in LACKING.items() for name, bit in bits.items() if host[leaf][reg] >> bit & 1]
    assert not shown and {"MONITOR", "SMAP", "PKU", "LA57"} <= set(hidden), (shown, hidden)
    # Hypervisor, TSC deadline, x2APIC; APIC; TSC_ADJUST; ARCH_CAPABILITIES, which can say what no guest need fear.
    added = {1: [0, 0, 1 << 31 | 1 << 24 | 1 << 21, 1 << 9], 7: [0, 1 << 1, 0, 1 << 29]}
    for leaf in (1, 7):
        for reg in (EBX, ECX, EDX)[leaf == 1:]:
            more = guest[leaf][reg] & ~host[leaf][reg] & ~added[leaf][reg]
            assert more == 0, (hex(leaf), reg, hex(more))
