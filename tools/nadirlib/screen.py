# SPDX-License-Identifier: BSD-2-Clause
"""What a person sees of the machine's console. On a terminal: Nadir's own words in colour, a VM's
screen in the place that terminals have for such, and the terminal as it was at the end. In a pipe
or a file: text, and no screens."""

import os
import re
import sys

from . import has_colours, say
from .saved import Saved, Stdout

# How guest/monitor/ begins to draw a screen, and how it stops (ansi.c, vm_console.c).
DRAWING = b"\x1b[?25l\x1b[2J"
DRAWN = b"\x1b[0m\x1b[?25h\x1b[2J\x1b[H"
ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[0m\x1b[?25h\x1b[?1049l"  # xterm's, which all know
CONTROL = re.compile(rb"\x1b\[[?0-9;]*[A-Za-z]")
ADDRESS = re.compile(rb"\x1b\[([0-9]+);([0-9]+)H")
MARKS = re.compile(b"(" + re.escape(DRAWING) + b"|" + re.escape(DRAWN) + b")")
OWN_WORDS = re.compile(rb"^(nadir: (?:[\w.-]+: )?)(error:|ended:)", re.M)
COLOURS = {b"error:": b"\x1b[31m", b"ended:": b"\x1b[1m"}
SMALLEST = (80, 25)  # what a PC's text screen has
KEPT = 1 << 16  # bytes: of a line, and of what is said while a screen is shown


def unfinished(data):
    """How many bytes at the end may be the beginning of a mark."""
    return max((n for mark in (DRAWING, DRAWN) for n in range(1, len(mark))
                if data.endswith(mark[:n])), default=0)


class Text:
    """Lines without screens. Nadir sends no end of line while it draws, so that a line with controls
    in it is a piece of a screen, behind which may stand what a VM or Nadir has to say."""

    def __init__(self, with_screens):
        self._with_screens = with_screens
        self._line = b""

    def feed(self, data):
        """The part of the text that can be told by now."""
        data = data.replace(b"\r", b"")
        if not self._with_screens:
            return data
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-KEPT:]
        return b"".join(self._without_screen(line, b"\n") for line in lines)

    def end(self):
        return self._without_screen(self._line, b"")

    @staticmethod
    def _without_screen(line, end):
        *drawn, last = CONTROL.split(line)
        if not drawn:
            return line + end
        words = re.search(rb"(\[[\w.-]+\] |nadir: ).*", last)
        return words.group() + end if words else b""


class Terminal:
    """A terminal of a size, (columns, lines); with_screens: a VM's screen may come."""

    def __init__(self, with_screens, size, colours):
        self._with_screens, self._size, self._colours = with_screens, size, colours
        self._is_screen = False
        self._held = b""
        self._lines, self._said = Text(True), b""  # while a screen is shown
        self._most = (0, 0)
        if with_screens and not self._has_room(SMALLEST):
            say("this terminal has {} x {} characters: a VM's screen of {} x {} does not fit".format(
                *size, *SMALLEST))

    def _has_room(self, size):
        return size[0] <= self._size[0] and size[1] <= self._size[1]

    def feed(self, data):
        if self._with_screens:
            data = self._place_screens(self._held + data)
        if self._colours:
            data = OWN_WORDS.sub(lambda m: m[1] + COLOURS[m[2]] + m[2] + b"\x1b[0m", data)
        return data

    def _place_screens(self, data):
        """Screens get the terminal's other page; what is said meanwhile comes on the first one, too."""
        cut = len(data) - unfinished(data)
        whole, self._held = data[:cut], data[cut:]
        out = b""
        for piece in MARKS.split(whole):
            if piece == DRAWN and self._is_screen:
                out += self._leave()
                continue
            if piece == DRAWING and not self._is_screen:
                out += ENTER_SCREEN
                self._is_screen = True
            out += piece
            self._note(piece)
        return out

    def _note(self, piece):
        if not self._is_screen:
            return
        for row, column in ADDRESS.findall(piece):
            self._most = (max(self._most[0], int(column)), max(self._most[1], int(row)))
        self._said = (self._said + self._lines.feed(piece))[-KEPT:]

    def _leave(self):
        self._is_screen = False
        said, self._said = self._said + self._lines.end(), b""
        self._lines = Text(True)
        return LEAVE_SCREEN + said

    def end(self):
        return self._held + (self._leave() if self._is_screen else b"") + b"\x1b[0m"

    def advice(self):
        """What to say at the end."""
        if self._has_room(self._most):
            return None
        return "a VM's screen had {} columns and {} lines, or more, and this terminal {} and {}".format(
            *self._most, *self._size)


class Output:
    """Where the console goes: stdout, and the file of --serial."""

    def __init__(self, with_screens, file=None):
        is_terminal = os.isatty(1) and os.environ.get("TERM") != "dumb"
        self._shown = (Terminal(with_screens, tuple(os.get_terminal_size(1)), has_colours(sys.stdout))
                       if is_terminal else Text(with_screens))
        self.with_screens = with_screens
        self._stdout, self._shown_last = Stdout(), b""
        self._file = Saved(f"--serial {file}", file) if file else None
        self._text = Text(with_screens)

    def write(self, data):
        self._put(self._shown.feed(data), self._text.feed(data))

    def _put(self, shown, text):
        if self._file:
            self._file.write(text)
        self._stdout.write(shown)
        self._shown_last = shown[-1:] or self._shown_last

    def end_line(self):
        """What is said next is not to stand behind a guest's words."""
        if self._shown_last not in (b"", b"\n"):
            self._put(b"\n", b"")

    def close(self):
        self._put(self._shown.end(), self._text.end())
        advice = isinstance(self._shown, Terminal) and self._shown.advice()
        if advice:
            say(advice)
        if self._file:
            self._file.close()
