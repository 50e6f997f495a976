# SPDX-License-Identifier: BSD-2-Clause
"""The machine while it runs: its console copied to stdout, the keyboard copied to that, and what
Nadir reports understood."""

import json
import os
import pty
import re
import selectors
import termios
import time
import tty

from . import OK, REFUSED, USAGE, VM_FAILED, say
from .saved import Saved
from .screen import Output

ENDS = {"ok": OK, "vm-failed": VM_FAILED, "config-error": USAGE, "refused": REFUSED,
        "panic": REFUSED}
# After these the loader goes back to the firmware, which would go on to wait for someone.
ENDS_IN_FIRMWARE = ("config-error", "refused")
FIRMWARE_GRACE, POWER_OFF_GRACE = 1, 10  # seconds
LAST_WORDS = re.compile(rb"nadir: end: [a-z-]+[\r\n]+$")  # boot/main.c: finish()
LATE_OUTPUT = 0.3  # seconds
KEYS_AT_ONCE, KEYS_PAUSE = 8, 0.02

# Colours, positions and modes that firmware sends for a screen.
SCREEN_CONTROL = re.compile(rb"\x1b\[[=?]?[0-9;]*[A-Za-z]|\x1b[()][A-Z0-9]")
UNFINISHED_CONTROL = re.compile(rb"\x1b(\[[=?]?[0-9;]*|[()])?\Z")
ASK = b"?"  # at the port for reports: where do the VMs stand?
SHOW_GRACE, SHOW_MORE, SHOW_LIMIT = 3, 10, 30  # seconds: of silence; behind the last VM's report; for the first
QUIT_PREFIX, QUIT_KEY = b"\x01", b"x"  # Ctrl-A x, as in QEMU


class Reports:
    """The lines of JSON that Nadir sends to a port which its guests have no way to. Between them may
    stand what firmware says to each port that it finds."""

    def __init__(self, folder=None):
        """folder: of nadir.cfg's debugcon files; None: none are written. A payload on the bare machine,
        and what an image brings along, may say anything here, and shall name no file of the user's."""
        self.started = False  # Nadir runs
        self.end = None
        self.stats = []  # of each VM that has ended, or as asked for
        self._line = b""
        self._folder = folder
        self._files = {}

    def feed(self, data):
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._take(line)
        self._line = self._line[-65536:]

    def _take(self, line):
        try:
            (kind, value), = json.loads(line).items()
            if kind == "nadir-debugcon":
                value = value["file"].encode("latin-1"), value["text"].encode("latin-1")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            say("a report is not one of Nadir's")
            return
        if kind == "nadir":
            self.started = True
        elif kind == "nadir-end" and isinstance(value, str) and value in ENDS:
            self.end = value
        elif kind == "nadir-stats":
            self.stats.append(value)
        elif kind == "nadir-debugcon":
            self._write(*value)

    def _write(self, name, text):
        """What a VM has written to its debug console; each run begins the file anew."""
        name = name.decode("utf-8", "replace")
        if name not in self._files and not self._folder:
            self._files[name] = None
            say(f"debugcon = {name!r}: not written, since no configuration of yours says so")
        if name not in self._files:
            self._files[name] = Saved(f"debugcon = {name}", self._folder / name)
        if self._files[name]:
            self._files[name].write(text)


def costs(stats):
    """A VM's exits, of a report: lines."""
    head = f"VM exits by reason ({stats['engine']})"
    rows = sorted(stats["exits"].items(), key=lambda row: -row[1]["tsc_root"])
    return [f"{stats['vm']}: {head:<34} {'count':>10} {'root ticks':>14}",
            *(f"{stats['vm']}: {name:<34} {one['count']:>10} {one['tsc_root']:>14}" for name, one in rows)]


class Transcript:
    """The console's text, without what firmware sends for a screen. The loader ends its own life
    here, before there is a guest; from then on no word of it is believed. Of a payload on the bare
    machine, it is all that there is."""

    def __init__(self, native=False):
        self.end = None  # by the loader, or by a payload on the bare machine
        self.started = False  # Nadir itself, or its loader, has said something
        self._native = native
        self._line = b""
        self._held = b""

    def feed(self, data, guests_run):
        """Takes bytes from the machine and returns those that a person is to see."""
        if not self.started:
            data = self._held + data
            cut = UNFINISHED_CONTROL.search(data)
            self._held = cut.group() if cut else b""
            data = SCREEN_CONTROL.sub(b"", data[: cut.start()] if cut else data)
        if not guests_run or not self.started:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                self._judge(line.strip(b"\r \t").decode("utf-8", "replace"), guests_run)
            self._line = self._line[-65536:]
        return data

    def _judge(self, line, guests_run):
        kind, _, rest = line.partition(": ")
        if kind == "nadir":
            self.started = True
        elif guests_run:
            return
        elif kind == "nadir-end" and rest in ENDS:
            self.end = rest
        elif kind == "native-exit" and self._native:
            self.end = "ok" if rest == "0" else "vm-failed"


class OwnLines:
    """Nadir's lines among those of guests."""

    def __init__(self):
        self._line = b""

    def feed(self, data):
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-65536:]
        return b"".join(line + b"\n" for line in lines if line.startswith(b"nadir: "))


class WholeLines:
    """What an emulator says that may be off in the middle of it: whole lines."""

    def __init__(self):
        self._line = b""

    def feed(self, data):
        whole, end, self._line = (self._line + data).rpartition(b"\n")
        return whole + end


def is_in_background(terminal):
    """Whether setting it would stop us."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # it is not the one that controls us
        return False


class Keyboard:
    """The terminal in raw mode for as long as the machine runs, where stdin is one. One in whose
    background we are, as behind timeout(1), would stop us."""

    def __init__(self):
        self.active = os.isatty(0) and not is_in_background(0)
        if os.isatty(0) and not self.active:
            say("no keys go to the guest: this runs in the terminal's background (timeout --foreground does not)")
        self._prefix = False

    def __enter__(self):
        if self.active:
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
            mode = termios.tcgetattr(0)
            mode[1] |= termios.OPOST | termios.ONLCR  # our own lines end in a bare newline
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
            say("keys go to the guest; Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends Ctrl-A")
        return self

    def __exit__(self, *_):
        if self.active:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def read(self):
        """The bytes to send, and whether the user wants to end."""
        out = b""
        for key in os.read(0, 256):
            key = bytes([key])
            if self._prefix:
                self._prefix = False
                if key.lower() == QUIT_KEY:
                    return out, True
                out += key
            elif key == QUIT_PREFIX:
                self._prefix = True
            else:
                out += key
        return out, False


def open_pty():
    """A pty that passes bytes as they are; the slave stays open, so that reads never end early."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    return master, slave, os.ttyname(slave)


class Watch:
    """Copies between machine and terminal until one of them has ended. `master` is our side of its
    console, `reports` of its port for reports."""

    def __init__(self, process, log, master, reports, timeout, native=False, output=None,
                 folder=None):
        self.process, self.log, self.master, self._port = process, log, master, reports
        self.transcript, self.reports = Transcript(native), Reports(folder)
        self._output = output or Output(False)
        self.deadline = time.monotonic() + timeout
        self.last_output = time.monotonic()
        self._keys, self._next_keys = b"", 0.0
        self._own = self._whole = None
        self._tail = b""

    @property
    def end(self):
        """How it ended, as far as somebody has said so."""
        return self.reports.end or (None if self.reports.started else self.transcript.end)

    def _is_in_firmware(self):
        """Whether the loader has gone back there."""
        return not self.reports.started and self.transcript.end in ENDS_IN_FIRMWARE

    def _read(self, port):
        try:
            return os.read(port, 65536)
        except (BlockingIOError, OSError):
            return b""

    def _copy_out(self):
        """Whether something came. Reports first: what the console says counts until they begin. Behind
        that of the end, the emulator goes off while something is said."""
        known = len(self.reports.stats)
        reports = self._read(self._port)
        self.reports.feed(reports)
        data = self._read(self.master)
        self._tail = (self._tail + data)[-100:]
        if self._own:
            data, reports = self._own.feed(data), len(self.reports.stats) > known
        elif self.reports.end:
            self._whole = self._whole or WholeLines()
            data = self._whole.feed(data)
        if data and not self._is_in_firmware():  # whose menus are nobody's business
            self._output.write(self.transcript.feed(data, self.reports.started))
        if data or reports:
            self.last_output = time.monotonic()
        return bool(data or reports)

    def _is_over(self):
        """Whether Nadir has said its last word and the emulator does not end by itself."""
        if not self.end:
            return False
        grace = FIRMWARE_GRACE if self._is_in_firmware() else POWER_OFF_GRACE
        return time.monotonic() - self.last_output > grace

    def _is_silent(self):
        return time.monotonic() - self.last_output > FIRMWARE_GRACE

    def _send_keys(self):
        """Some keys at a time, as a serial port has room for 16 and drops what is more; an escape
        sequence, which is one key, in one piece."""
        if self._keys and time.monotonic() >= self._next_keys:
            end = min(KEYS_AT_ONCE, len(self._keys))
            escape = self._keys.rfind(b"\x1b", 1, end)
            if escape > 0 and end < len(self._keys):
                end = escape
            os.write(self.master, self._keys[:end])
            self._keys = self._keys[end:]
            self._next_keys = time.monotonic() + KEYS_PAUSE

    def ask(self):
        """Has Nadir print where the VMs stand, and report what they have cost; guests' lines are not
        shown meanwhile. Returns the reports; none: it does not answer."""
        known = told = len(self.reports.stats)
        if not self._output.with_screens:  # whose text begins with nothing
            self._own = OwnLines()
        os.write(self._port, ASK)
        self.last_output = start = time.monotonic()
        end = start + SHOW_LIMIT
        with selectors.DefaultSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            selector.register(self._port, selectors.EVENT_READ)
            while time.monotonic() < (end if told == known else min(end, self.last_output + SHOW_GRACE)):
                if selector.select(0.2):
                    self._copy_out()
                if any(vm["end"] == "runs" for vm in self.reports.stats[told:]):
                    end = time.monotonic() + SHOW_MORE
                    told = len(self.reports.stats)
        return [vm for vm in self.reports.stats[known:] if vm["end"] == "runs"]

    def _may_come(self, selector):
        """Whether there is more of an emulator that has ended: on a busy machine the kernel passes on later
        what it has taken. Nadir's last words are the last."""
        return not LAST_WORDS.search(self._tail) and any(
            key.fd != 0 for key, _ in selector.select(LATE_OUTPUT))

    def run(self):
        """Returns `end`, `quit` or `timeout`."""
        with Keyboard() as keyboard, selectors.DefaultSelector() as selector:
            selector.register(self.master, selectors.EVENT_READ)
            selector.register(self._port, selectors.EVENT_READ)
            if keyboard.active:
                selector.register(0, selectors.EVENT_READ)
            while True:
                self._send_keys()
                pause = KEYS_PAUSE if self._keys else 0.2
                ready = {key.fd for key, _ in selector.select(pause)}
                if ready - {0}:
                    self._copy_out()
                if 0 in ready:
                    keys, wants_end = keyboard.read()
                    if wants_end:
                        return "quit"
                    self._keys += keys
                if self.process.poll() is not None:
                    while self._copy_out() or self._may_come(selector):
                        pass
                    return "end"
                if self._is_over() or self.log.deadly and self._is_silent():
                    return "end"
                if time.monotonic() > self.deadline:
                    return "timeout"
