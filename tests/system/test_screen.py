# SPDX-License-Identifier: BSD-2-Clause
"""console = vga: the guest's screen on the terminal, keys from there, the last screen as text."""

import sys

import pexpect
import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import debian as packages  # noqa: E402

AT_THE_END = ": its screen at the end, "


def last_screen(text, mark=""):
    """The size, and the lines, of the screen that is printed when a VM ends."""
    lines = [line.strip("\r") for line in text.split("\n")]
    start = next(i for i, line in enumerate(lines) if AT_THE_END in line)
    screen = []
    for line in lines[start + 1:]:
        if not line.startswith(mark) or line.startswith("nadir: "):
            break
        screen.append(line.removeprefix(mark))
    return lines[start].partition(AT_THE_END)[2].rstrip(":"), screen


def config(name, **keys):
    return f"[vm {name}]\nkernel = {name}.bin\nmemory = 16\n" + "".join(
        f"{key} = {value}\n" for key, value in keys.items())


@pytest.fixture
def terminal(write_config):
    """A guest with its screen on a terminal that a test reads and types at."""

    def start(cfg, files):
        command = [str(TOOL), "run", str(write_config(cfg, files)), "--timeout", "200",
                   "--on", "bochs", "--no-real-time"]
        return pexpect.spawn(sys.executable, command, timeout=200, encoding="utf-8",
                             codec_errors="replace")

    return start


TYPING = config("typing", console="vga")


def type_and_see(child):
    """Characters, cursor and function keys, by polling in set 1 and by IRQ1 in set 2, Esc alone."""
    child.expect("Enter ends it:")
    child.send("aB\x1b[A\x1bOP\x03\r")
    child.expect("Esc ends it:")
    child.send("a\x1b[D")
    child.expect("6b")
    child.send("\x1b")
    child.expect(AT_THE_END)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    size, screen = last_screen(AT_THE_END + child.before)
    assert size == "80 x 50"
    assert screen[0] == " \u2554\u2550 Nadir's typing test \u2550\u2557"
    assert screen[2:5] == ["Polled, set 1; Enter ends it:",
                           "1e 9e 2a 30 b0 aa e0 48 e0 c8 3b bb 1d 2e ae 9d 1c 9c", "LEDs on"]
    assert screen[47:] == ["By IRQ1, set 2; Esc ends it:", "1c f0 1c e0 6b e0 f0 6b 76 f0 76",
                           "The end."]


def test_keys_and_screen(terminal, payload):
    type_and_see(terminal(TYPING, {"typing.bin": payload("typing")}))


def test_behind_a_bios(terminal, payload):
    """SeaBIOS, with its VGA BIOS, sets screen and keyboard up and loads the program from a disk."""
    names = {"firmware": "bios-256k.bin", "vga_rom": "vgabios-isavga.bin"}
    cfg = "[vm bios]\nmemory = 16\nconsole = vga\ndisk = disk.img\n" + "".join(
        f"{key} = {name}\n" for key, name in names.items())
    roms = packages.fetch_package("seabios") / "usr/share/seabios"
    disk = payload("typing").read_bytes()
    type_and_see(terminal(cfg, {"disk.img": disk.ljust(1 << 20, b"\0"),
                                **{name: roms / name for name in names.values()}}))


def test_what_is_sent(terminal, payload):
    """Colours by name, frames as UTF-8, the cursor behind what was written. Where the VM stands, asked for
    by Ctrl-], stays until the next key; then the picture is back, and the VM has gone on."""
    child = terminal(TYPING, {"typing.bin": payload("typing")})
    child.expect("\x1b\\[0;93;44m \u2554\u2550 Nadir's typing test \u2550\u2557")
    child.expect("\x1b\\[0;91;40mPolled, set 1; Enter ends it:")
    child.send("\r")
    child.expect("\x1b\\[2J")  # another size
    child.expect("Esc ends it:")
    child.send("\x1d\x1d\x1d")
    child.expect("nadir: typing: vCPU 0: .*nadir: typing: RIP .*nadir: typing: IDT [^\n]*\n")
    assert child.expect(["\x1b", pexpect.TIMEOUT], timeout=3) == 1, child.before
    child.send("a")
    child.expect("\x1b\\[2J")
    child.send("\x1b")
    child.expect(AT_THE_END)
    child.expect("nadir: end: ok")
    child.close(force=True)


def test_last_screens_of_several(nadir, payload, tmp_path):
    """Each VM's last screen bears its name; COM1 of a VM whose screen is shown is not."""
    files = {f"{name}.bin": payload(name) for name in ("screen", "hello")}
    result = nadir(config("screen", console="vga") + config("hello"), files, timeout=120,
                   serial=tmp_path / "said")
    assert result.status == 0, result
    size, screen = last_screen(result.console, "[screen] ")
    assert size == "80 x 25" and screen[0] == "A", result
    assert "[hello] hello: from long mode, in a virtual machine" in result.console, result
    assert "ok screen:" not in result.console, result
    assert "\x1b" not in result.console and "\u2554" not in result.console, result  # no drawing in a pipe
    assert (tmp_path / "said").read_text() == result.console


def test_the_log_begins_a_line(nadir):
    """What a guest leaves without an end of line has nothing of Nadir's behind it."""
    code = b"\xb0x\xe6\xe9" + b"\x31\xc0\xe6\xf4" + b"\xf4"  # mov al, 'x'; out 0xe9, al; xor ax, ax; out 0xf4, al; hlt
    result = nadir("[vm a]\nkernel = k\nmemory = 16\n", {"k": code.ljust(510, b"\0") + b"\x55\xaa"})
    assert result.status == 0, result
    assert "\nx\nnadir: a: ended: debug-exit port, code 0" in result.console, result


def test_screen_and_serial_port(nadir, payload):
    """console = vga+serial: COM1's lines come marked, in front of the last screen."""
    result = nadir(config("screen", console="vga+serial"), {"screen.bin": payload("screen")})
    assert result.status == 0, result
    assert result.console.index("\n[screen] test screen: ") < result.console.index(AT_THE_END), result
    assert last_screen(result.console) == ("80 x 25", ["A"]), result
    assert "\x1b" not in result.console, result
