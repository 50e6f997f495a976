# SPDX-License-Identifier: BSD-2-Clause
"""A PC that QEMU's own emulation plays, with whatever screens and devices a test wants: its serial
port, its screen as text, its keys, its end."""

import json
import re
import socket
import subprocess
import time

from conftest import TOP
from nadirlib import machine

CELL = (6, 10)  # pixels of Nadir's letters (drivers/host/font.h)
LETTER = (5, 8)


def letters():
    """Nadir's own font: a tuple of the rows of each letter's pixels, and which letter that is."""
    source = (TOP / "drivers/host/font.c").read_text()
    table = re.search(r"glyphs\[COUNT\] = \{(.*?)\};", source, re.S).group(1)
    found = {}
    for i, word in enumerate(re.findall(r"0x[0-9a-f]{10}", table)):
        rows = tuple(int(word, 16) >> 5 * (LETTER[1] - 1 - y) & 31 for y in range(LETTER[1]))
        found.setdefault(rows, chr(32 + i))
    return found


def read_screen(ppm):
    """The lines of Nadir's text on a picture of the screen."""
    _, size, _, pixels = ppm.split(b"\n", 3)
    width, height = map(int, size.split())
    scale = width // 512 if width >= 1024 else 1
    known = letters()

    def lit(x, y):
        return pixels[3 * (y * scale * width + x * scale)] > 64

    lines = []
    for top in range(0, height // scale - CELL[1] + 1, CELL[1]):
        line = ""
        for left in range(0, width // scale - CELL[0] + 1, CELL[0]):
            rows = tuple(sum(lit(left + x, top + y) << 4 - x for x in range(LETTER[0]))
                         for y in range(LETTER[1]))
            line += known.get(rows, "\N{REPLACEMENT CHARACTER}")
        lines.append(line.rstrip())
    return lines


class Qemu:
    """Runs until close(); `arguments` are QEMU's, and say which screen and CPU there is."""

    def __init__(self, folder, image, *arguments, memory=256):
        self._log, self._picture = folder / "serial.txt", folder / "screen.ppm"
        self._log.write_bytes(b"")
        control = folder / "control"
        control.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [machine.QEMU, "-machine", "q35", "-m", str(memory), "-accel", "tcg", "-nodefaults",
             "-bios", machine.find_rom(folder), "-display", "none", "-serial", f"file:{self._log}",
             "-qmp", f"unix:{control},server=on,wait=off",
             "-drive", f"if=none,id=boot,format=raw,snapshot=on,file={image}",
             "-device", "ide-hd,drive=boot,bootindex=0", *arguments], stdin=subprocess.DEVNULL)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        for _ in range(100):
            if control.exists():
                break
            time.sleep(0.1)
        self._socket.connect(str(control))
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self._do("qmp_capabilities")

    def _do(self, command, **arguments):
        """Its answer; what QEMU reports unasked in between is passed over."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        for line in self._file:
            answer = json.loads(line)
            if "event" not in answer:
                assert "error" not in answer, answer
                return answer.get("return")
        raise AssertionError("QEMU has ended")

    def serial(self):
        return self._log.read_text(errors="replace")

    def wait_for(self, text, seconds=60):
        """Until the serial port has sent it, a regular expression."""
        until = time.monotonic() + seconds
        while not re.search(text, self.serial()):
            assert time.monotonic() < until and self.process.poll() is None, self.serial()
            time.sleep(0.1)

    def screen(self):
        self._do("screendump", filename=str(self._picture))
        return read_screen(self._picture.read_bytes())

    def wait_for_screen(self, text, seconds=60):
        """Until a line of the screen has it, a regular expression; returns the lines."""
        until = time.monotonic() + seconds
        while True:
            lines = self.screen()
            if any(re.search(text, line) for line in lines):
                return lines
            assert time.monotonic() < until, "\n".join(lines) + self.serial()
            time.sleep(0.3)

    def press(self, key):
        self._do("send-key", keys=[{"type": "qcode", "data": key}])

    def wait_for_end(self):
        """Until the machine is off or has been reset; which of the two ("guest-shutdown" ...)."""
        for line in self._file:
            event = json.loads(line)
            if event.get("event") in ("SHUTDOWN", "RESET"):
                return event["data"]["reason"]
        raise AssertionError("QEMU has ended")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()
        self._socket.close()
