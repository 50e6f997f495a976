# SPDX-License-Identifier: BSD-2-Clause
"""Firmware as a guest, from the reset vector: Debian's SeaBIOS, OVMF, U-Boot and GRUB."""

import re
import sys

import bootdisk
import pexpect
import pytest
from conftest import NO_SELF_TESTS, TOOL, TOP, assemble
from test_guest_kinds import INIT_TEXT, initramfs32, installer

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian, machine  # noqa: E402

SECTION = "[vm {0}]\nfirmware = {0}\nmemory = {1}\non_reboot = destroy\n"
TIMEOUT = 400
MOST_TICKS = 20000  # that one access may keep its CPU


def typed(write_config, cfg, files, conversation, *options):
    """Boots a configuration and types: after each of the texts that are awaited, an answer."""
    command = [str(a) for a in (TOOL, "run", write_config(cfg, files), "--timeout", TIMEOUT,
                                "--on", "bochs", *options)]
    child = pexpect.spawn(sys.executable, command, timeout=TIMEOUT + 60, encoding="utf-8",
                          codec_errors="replace")
    for awaited, answer in conversation:
        child.expect(awaited)
        child.send(answer)
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before


def seabios(name):
    return debian.fetch_package("seabios") / "usr/share/seabios" / name


def test_seabios(nadir):
    """Both of its sizes, to what they try to boot: there is no disk, so each resets a minute later. One
    speaks on the serial port, one has a screen and its ROM, and one a log, which says what fw_cfg and
    the tables tell it."""
    names = ["bios.bin", "bios-256k.bin", "vgabios-isavga.bin"]
    screen_cfg = SECTION.format(names[1], 64)
    cfg = (SECTION.format(names[0], 16) +
           screen_cfg + f"console = vga\nvga_rom = {names[2]}\n" +
           screen_cfg.replace("[vm bios-256k.bin]", "[vm log]") + "firmware_log = yes\nvcpus = 2\n")
    result = nadir(cfg, {name: seabios(name) for name in names}, timeout=TIMEOUT)
    assert result.status == 0, result
    assert [vm["end"] for vm in result.stats] == ["reset"] * 3, result
    serial, log = ("".join(re.findall(rf"^\[{name}\] (.*\n)", result.console, re.M))
                   for name in ("bios.bin", "log"))
    screen = result.console.partition("its screen at the end")[2].partition("ended:")[0]
    for text in (serial, screen):
        for line in (r"SeaBIOS \(version \d", "Booting from Hard Disk", "No bootable device"):
            assert re.search(line, text), result
    for line in ("Running on QEMU (i440fx)", "Found 2 cpu(s)", "(via xsdt)", "Moving pm_base to 0x",
                 "addr 0x0000000000000000 len 0x0000000004000000 [RAM]"):
        assert line in log, (line, result)


# The end of a boot sector: a routine that prints DX as four hexadecimal digits.
PRINT = """
print:  mov     cx, 4
.digit: rol     dx, 4
        mov     al, dl
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        mov     ah, 0x0e
        xor     bx, bx
        int     0x10
        loop    .digit
        mov     ax, 0x0e20
        int     0x10
        ret
        times   510 - ($ - $$) db 0
        dw      0xaa55
"""

# A boot sector that prints what INT 13h, AH = 8, says of its disk, CX and DX, and leaves by port 0xf4.
GEOMETRY = """
bits 16
org 0x7c00
        mov     ah, 8
        int     0x13
        push    dx
        mov     dx, cx
        call    print
        pop     dx
        call    print
        mov     dx, 0xf4
        xor     eax, eax
        out     dx, eax
""" + PRINT


def test_disk_geometry(nadir, tmp_path):
    """SeaBIOS is told by the boot order which disk is first, and by CMOS memory and IDENTIFY that its
    geometry is small enough to stand: 40 cylinders, 16 heads, 63 sectors for 20 MiB."""
    first = assemble(GEOMETRY, tmp_path).ljust(20 << 20, b"\0")
    cfg = SECTION.format("bios", 64) + "disk = first\ndisk = second\nfirmware_log = yes\n"
    result = nadir(cfg, {"bios": seabios("bios-256k.bin"), "second": bytes(1 << 20), "first": first},
                   timeout=TIMEOUT)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)], result
    assert re.search("1: /pci@i0cf8/ide@1,1/drive@0/disk@0\n2: /pci@i0cf8/ide@1,1/drive@0/disk@1\n"
                     "(?!3:)", result.console), result
    # The last cylinder is not told, and the numbers are of the last, from 0; DL: how many disks.
    assert "263F 0F02" in result.console, result


# A boot sector that asks INT 15h for the A20 gate: AH and AL of AX = 2402h, then what FFFF:0510 is while
# 0:0500 holds 5Ah and 10:0500 A5h; on, off, and on again. Last, AH and BX of AX = 2403h.
A20 = """
bits 16
org 0x7c00
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        dec     ax
        mov     es, ax
        mov     byte [0x500], 0x5a
        mov     byte [es:0x510], 0xa5
        call    state
        mov     ax, 0x2400
        int     0x15
        call    state
        mov     ax, 0x2401
        int     0x15
        call    state
        mov     ax, 0x2403
        int     0x15
        xchg    ax, dx
        mov     dl, bl
        call    print
        mov     dx, 0xf4
        xor     eax, eax
        out     dx, eax
state:  mov     ax, 0x2402
        int     0x15
        xchg    ax, dx
        call    print
        mov     dl, [es:0x510]
""" + PRINT


def test_a20_by_int15(nadir, tmp_path):
    """SeaBIOS runs with the gate off, and so does its caller, in real mode."""
    cfg = SECTION.format("bios", 16) + "disk = disk\n"
    disk = assemble(A20, tmp_path).ljust(1 << 20, b"\0")
    result = nadir(cfg, {"bios": seabios("bios-256k.bin"), "disk": disk}, timeout=TIMEOUT)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)], result
    assert "0001 00A5 0000 005A 0001 00A5 0003" in result.console, result


# A program that prints FCW, FSW and FTW as they are at its start. As a BIOS it sends INIT to its own processor
# by the x2APIC then, and prints them again; meanwhile there is a one in the x87 unit. RAM tells which.
X87 = """
bits 16
start:  xor     ax, ax
        mov     ds, ax
        fnstenv [0x500]
        mov     si, 0x500
        mov     di, 3
.word:  lodsw
        mov     dx, ax
        mov     cx, 4
.digit: rol     dx, 4
        mov     al, dl
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        out     0xe9, al
        loop    .digit
        mov     al, ' '
        out     0xe9, al
        dec     di
        jnz     .word
        mov     al, 10
        out     0xe9, al
        inc     byte [0x600]
        cmp     byte [0x600], STARTS
        je      .done
        fninit
        fld1
        mov     ecx, 0x1b
        rdmsr
        or      ax, 0xc00
        wrmsr
        mov     ecx, 0x830
        xor     edx, edx
        mov     eax, 0x4500
        wrmsr
        hlt
.done:  xor     eax, eax
        mov     dx, 0xf4
        out     dx, eax
"""
BIOS_END = """
        times   0xfff0 - ($ - $$) db 0
        jmp     0xf000:start
        times   0x10000 - ($ - $$) db 0
"""


def test_x87_after_reset_and_init(nadir, tmp_path):
    """SDM, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT": 0040h, 0, 5555h; INIT
    leaves the x87 unit alone. A kernel without firmware finds what FNINIT leaves, as behind a PC's."""
    bios = assemble(X87.replace("STARTS", "2") + BIOS_END, tmp_path)
    sector = assemble(X87.replace("STARTS", "1") + "times 510 - ($ - $$) db 0\ndw 0xaa55\n", tmp_path)
    cfg = SECTION.format("bios", 16) + "[vm sector]\nkernel = sector\nmemory = 16\n"
    result = nadir(cfg, {"bios": bios, "sector": sector}, timeout=TIMEOUT)
    assert result.status == 0, result
    said = {name: re.findall(rf"^\[{name}\] (.*?) *$", result.console, re.M) for name in ("bios", "sector")}
    assert said == {"bios": ["0040 0000 5555", "037F 3800 3FFF"], "sector": ["037F 0000 FFFF"]}, result


# A BIOS that, from RAM, switches all of [0xc0000, 1 MiB) to RAM and back, by the two accesses that it takes,
# each as wide as can be. It prints the most ticks of one, and for each round a word at F000:8000 and at
# D800:0 while RAM is shown, and while ROM is.
SHADOW = """
bits 16
org 0x7c00
start:  xor     ax, ax
        mov     es, ax
        mov     ss, ax
        mov     ds, ax
        mov     sp, 0x7c00
        mov     si, 0
        mov     di, 0x7c00
        mov     cx, 0x100
        cld
        db      0x2e            ; cs:
        rep movsw
        mov     dword [0x600], 0
        mov     word [0x604], 4
        jmp     0:round
round:  mov     ebx, 0x33333333
        call    switch
        mov     ax, [0x604]
        call    touch
        xor     ebx, ebx
        call    switch
        xor     ax, ax
        call    touch
        dec     word [0x604]
        jnz     round
        mov     dx, [0x602]
        call    print
        mov     dx, [0x600]
        call    print
        mov     al, 10
        out     0xe9, al
        mov     dx, 0xf4
        xor     eax, eax
        out     dx, eax

switch: mov     eax, 0x80000058
        call    .one
        mov     eax, 0x8000005c
.one:   mov     dx, 0xcf8
        out     dx, eax
        rdtsc
        mov     esi, eax
        mov     dx, 0xcfc
        mov     eax, ebx
        out     dx, eax
        rdtsc
        sub     eax, esi
        cmp     eax, [0x600]
        jb      .less
        mov     [0x600], eax
.less:  ret

touch:  push    word 0xf000
        pop     es
        mov     [es:0x8000], ax
        mov     bp, ax
        mov     dx, [es:0x8000]
        call    print
        push    word 0xd800
        pop     es
        mov     [es:0], bp
        mov     dx, [es:0]
        call    print
        ret

print:  mov     cx, 4
.digit: rol     dx, 4
        mov     al, dl
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        out     0xe9, al
        loop    .digit
        mov     al, ' '
        out     0xe9, al
        ret
        align   2
        times   (0xfff0 - ($ - $$)) / 2 dw 0xabcd
        jmp     0xf000:0
        align   16
"""


def test_shadowing_takes_little_time(nadir, tmp_path):
    """A guest can ask for it at each exit, so it is a remapping, and no copy of 128 KiB."""
    result = nadir(SECTION.format("bios", 16), {"bios": assemble(SHADOW, tmp_path)}, timeout=TIMEOUT)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)], result
    rounds = " ".join(f"000{i} 000{i} ABCD FFFF" for i in (4, 3, 2, 1))
    ticks = re.search(rf"{rounds} (\w{{4}}) (\w{{4}})", result.console)
    assert ticks and int("".join(ticks.groups()), 16) <= MOST_TICKS, result


# A boot sector that has itself reset by each way there is, with the shutdown status 0Ah or 05h: it goes on
# where 40:67 says. Then without one: the BIOS starts it anew. It counts in RAM, and says on COM1 how far it is.
RESETS = """
bits 16
org 0x7c00
COUNT   equ     0
        jmp     0:here
here:   cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     ax, 0x60                ; RAM that SeaBIOS does not clear
        mov     es, ax
        mov     word [0x467], go_on
        mov     word [0x469], 0
        mov     bx, [es:COUNT]
        cmp     byte [es:COUNT], ways
        jne     go_on
        mov     al, 'B'
        call    say
        xor     eax, eax
        mov     dx, 0xf4
        out     dx, eax
go_on:  xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        mov     ax, 0x60
        mov     es, ax
        mov     al, 0x8f                ; the BIOS has taken the status
        out     0x70, al
        in      al, 0x71
        add     al, '0'
        call    say
        mov     bx, [es:COUNT]
        inc     word [es:COUNT]
        mov     al, 0x8f
        out     0x70, al
        mov     al, [status + bx]
        out     0x71, al
        add     bx, bx
        jmp     [table + bx]
hard:   mov     dx, 0xcf9
        mov     al, 2
        out     dx, al
        mov     al, 6
        out     dx, al
        jmp     $
soft:   mov     dx, 0xcf9
        mov     al, 0
        out     dx, al
        mov     al, 4
        out     dx, al
        jmp     $
kbc:    mov     al, 0xfe
        out     0x64, al
        jmp     $
fast:   mov     al, 1
        out     0x92, al
        jmp     $
triple: lidt    [none]
        int3
say:    mov     dx, 0x3f8
        out     dx, al
        ret
status  db      0x0a, 0x0a, 0x0a, 0x05, 0x0a, 0
ways    equ     $ - status
table   dw      hard, soft, kbc, fast, triple, hard
none    dw      0, 0, 0
        times   510 - ($ - $$) db 0
        dw      0xaa55
"""


def test_resets(nadir, tmp_path):
    """RAM, and the shutdown status in CMOS memory, outlast each way to reset a PC; SeaBIOS goes on by them.
    Where it is to start anew, it restores its image in RAM and resets a second time."""
    cfg = SECTION.format("bios", 16).replace("destroy", "restart") + "disk = disk\non_crash = restart\n"
    disk = assemble(RESETS, tmp_path).ljust(1 << 20, b"\0")
    result = nadir(cfg, {"bios": seabios("bios-256k.bin"), "disk": disk}, timeout=TIMEOUT)
    assert result.status == 0, result
    ends = [vm["end"] for vm in result.stats]
    assert ends == ["reset"] * 4 + ["crash"] + ["reset"] * 2 + ["debug-exit"], result
    said = "".join(re.findall(r"([0B])\s*nadir: bios: ended", result.console))
    assert said == "000000B", result


# A boot sector that counts on the chips as a BIOS leaves them: the timer ticks with no more to do, and both
# INT 08h and INT 09h come where it has hooked them. It leaves by port 0xf4, with a code that tells the step.
CHIPS = """
bits 16
org 0x7c00
        jmp     0:here
here:   pushf
        xor     bx, bx
        mov     ds, bx
        pop     ax
        inc     bl                      ; 1: interrupts are on
        test    ah, 2
        jz      leave
        inc     bl                      ; 2: IRQ 0 to 2 are open
        in      al, 0x21
        test    al, 7
        jnz     leave
        inc     bl                      ; 3: the BIOS counts, and calls INT 1Ch
        mov     word [4 * 0x1c], user
        mov     word [4 * 0x1c + 2], 0
        mov     ecx, [0x46c]
        add     ecx, 2
.user:  hlt
        cmp     byte [users], 2
        jb      .user
        cmp     [0x46c], ecx
        jb      leave
        inc     bl                      ; 4: INT 08h and INT 09h
        cli
        mov     word [4 * 8], tick
        mov     word [4 * 8 + 2], 0
        mov     word [4 * 9], key
        mov     word [4 * 9 + 2], 0
        sti
.tick:  hlt
        cmp     byte [ticks], 2
        jb      .tick
        mov     al, 0xd2                ; as if a key had been pressed
        out     0x64, al
        mov     al, 0x1e
        out     0x60, al
.key:   hlt
        cmp     byte [ticks], 20
        ja      leave
        cmp     byte [code], 0x1e
        jne     .key
        xor     bl, bl
leave:  movzx   eax, bl
        mov     dx, 0xf4
        out     dx, eax
user:   inc     byte [cs:users]
        iret
key:    push    ax
        in      al, 0x60
        mov     [cs:code], al
        jmp     eoi
tick:   push    ax
        inc     byte [cs:ticks]
eoi:    mov     al, 0x20
        out     0x20, al
        pop     ax
        iret
users   db      0
ticks   db      0
code    db      0
        times   510 - ($ - $$) db 0
        dw      0xaa55
"""


def test_chips_as_a_bios_leaves_them(nadir, tmp_path):
    """Without a BIOS a boot sector finds the chips as behind SeaBIOS."""
    sector = assemble(CHIPS, tmp_path)
    cfg = SECTION.format("bios", 16) + "disk = disk\n[vm bare]\nkernel = sector\nmemory = 16\n"
    files = {"bios": seabios("bios-256k.bin"), "disk": sector.ljust(1 << 20, b"\0"), "sector": sector}
    result = nadir(cfg, files, timeout=TIMEOUT)
    assert [(vm["end"], vm["code"]) for vm in result.stats] == [("debug-exit", 0)] * 2, result


def test_boot_menu(write_config, tmp_path):
    """Of two disks, neither of which need be the first: SeaBIOS offers its menu, answered by keys."""
    cfg = SECTION.format("bios", 64) + "disk = empty\ndisk = second\n"
    files = {"bios": seabios("bios-256k.bin"), "empty": bytes(1 << 20),
             "second": assemble(GEOMETRY, tmp_path).ljust(1 << 20, b"\0")}
    status, last = typed(write_config, cfg, files, [
        ("Press ESC for boot menu", "\x1b"), ("Select boot device.*2\\. ata0-1: Nadir", "2")], "--real-time")
    assert status == 0 and "ended: debug-exit port, code 0" in last, last


def test_ovmf(write_config, tmp_path):
    """To the UEFI shell on the serial console, which powers off by the ports that OVMF has chosen. That
    it takes the variables' volume for flash, and writes there, is seen by the exits."""
    rom = machine.find_rom(tmp_path)
    status, last = typed(write_config, SECTION.format("OVMF.fd", 128), {"OVMF.fd": rom}, [
        ("in 5 seconds", "\x1b"), ("Shell> ", "ver\r"), (r"UEFI v\d", ""), ("Shell> ", "reset -s\r")])
    assert status == 0 and "ended: ACPI S5" in last, last
    exits = re.search(r": ept_violation +(\d+)", last)
    assert int(exits.group(1)) > 1000, last


def disk_with_memtest(path):
    """A disk with a small kernel of the Linux boot protocol, and GRUB's menu that starts it."""
    bootdisk.make(path, "", {
        "memtest": debian.fetch_package("memtest86+") / "boot/memtest86+x64.bin",
        "grub/grub.cfg": b"linux /memtest\nboot\n"})
    return path


def u_boot(write_config, board, memory, disk, conversation):
    """To its prompt, where it knows its memory and its disk; and on from there."""
    rom = debian.fetch_package("u-boot-qemu") / "usr/lib/u-boot" / board / "u-boot.rom"
    cfg = SECTION.format("u-boot", memory) + "disk = disk.img\n"
    return typed(write_config, cfg, {"u-boot": rom, "disk.img": disk}, [
        ("stop autoboot", " "), ("=> ", "version\r"), (r"U-Boot \d.*=> ", "bdinfo\r"),
        (rf"-> size +=\s+0x0*{memory << 20:x}\b.*=> ", "ide reset\r"), ("Bus 0: OK", ""), *conversation])


def test_u_boot_of_64_bits(write_config, tmp_path):
    """It loads GDT and TSS from ROM. (Where it puts a kernel it has its own stack, and resets, also in QEMU.)"""
    status, last = u_boot(write_config, "qemu-x86_64", 64, disk_with_memtest(tmp_path / "made.img"), [
        ("=> ", "load ide 0:1 0x1000000 grub/grub.cfg\r"), ("20 bytes read.*=> ", "reset\r")])
    assert status == 0 and "ended: reset" in last, last


def test_u_boot_starts_linux(write_config, tmp_path):
    """From the disk, to its user space and off by ACPI."""
    disk = tmp_path / "made.img"
    bootdisk.make(disk, "", {"linux": installer("i386"), "initrd": initramfs32()})
    status, last = u_boot(write_config, "qemu-x86", 128, disk, [
        ("=> ", "load ide 0:1 0x1000000 linux\r"),
        ("bytes read.*=> ", "load ide 0:1 0x4000000 initrd\r"),
        ("bytes read.*=> ", f"setenv bootargs console=ttyS0 quiet {NO_SELF_TESTS}\r"),
        ("=> ", "zboot 0x1000000 0 0x4000000 ${filesize}\r"),
        ("Starting kernel", ""), (INIT_TEXT.decode().strip(), "")])
    assert status == 0 and "ended: ACPI S5" in last, last


def test_grub(write_config, tmp_path):
    """Its menu on the screen, the fourth entry of which finds a kernel on the disk. GRUB goes to protected
    mode by a GDT in ROM, and to the disk by PCI and ports. Ctrl-A x ends the run."""
    rom = debian.fetch_package("grub-firmware-qemu") / "usr/share/qemu/grub.bin"
    cfg = SECTION.format("grub", 64) + "console = vga\ndisk = disk.img\n"
    files = {"grub": rom, "disk.img": disk_with_memtest(tmp_path / "made.img")}
    status, _ = typed(write_config, cfg, files, [
        (r"GNU GRUB  version \d", ""), ("Reboot", "\x1b[B" * 3 + "\r"),
        ("Moving inversions", "\x01x")])
    assert status == 1


@pytest.mark.parametrize("bytes_there", [0x18000 - 1, 0x8000, 0x1010000])
def test_wrong_size(nadir, bytes_there):
    result = nadir("[nadir]\n[vm a]\nfirmware = f\n", {"f": bytes(bytes_there)}, timeout=60)
    assert result.status == 2, result
    assert re.search(rf"nadir\.cfg:3: f has {bytes_there} bytes.*64 KiB", result.messages), result


def test_kernel_and_firmware(nadir):
    result = nadir("[vm a]\nfirmware = f\nkernel = f\n", {"f": bytes(0x10000)}, timeout=60)
    assert result.status == 2 and "both kernel and firmware" in result.messages, result
