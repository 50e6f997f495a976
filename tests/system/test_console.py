# SPDX-License-Identifier: BSD-2-Clause
"""What a person sees of the console (tools/nadirlib/screen.py), on a terminal and in a pipe. No emulator runs."""

import os
import subprocess
import sys

import pytest
from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
from nadirlib import console, screen  # noqa: E402

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[0m\x1b[?25h\x1b[?1049l"
# As guest/monitor/ sends it: a first picture, a change, and the end of it with the last screen as text.
PICTURE = b"\x1b[0;37;40m\x1b[?25l\x1b[2J\x1b[1;1Hprompt>\x1b[25;1H\x1b[?25h"
CHANGE = b"\x1b[25;3Hx"
STOP = b"\x1b[0m\x1b[?25h\x1b[2J\x1b[H\r\n"
SCREEN = b"nadir: a: its screen at the end, 80 x 25:\r\nprompt>\r\n"
BEGIN, OTHER, LOG = b"nadir: begins\r\n", b"[b] hello\r\n", b"\r\nnadir: b: ended: debug-exit port, code 0\r\n"


def shown(output, *pieces):
    return b"".join(map(output.feed, pieces)) + output.end()


def terminal(size=(80, 25), colours=False, screens=True):
    return screen.Terminal(screens, size, colours)


ALL = BEGIN + PICTURE + CHANGE + OTHER + PICTURE + LOG + PICTURE + STOP + SCREEN
TEXT = b"nadir: begins\n[b] hello\nnadir: b: ended: debug-exit port, code 0\n\n" + SCREEN.replace(b"\r", b"")


@pytest.mark.parametrize("step", [1, 2, 7, len(ALL)])
def test_no_screens_in_a_pipe(step):
    pieces = [ALL[at:at + step] for at in range(0, len(ALL), step)]
    lines = shown(screen.Text(True), *pieces).split(b"\n")
    assert [line for line in lines if line] == [line for line in TEXT.split(b"\n") if line]


def test_a_serial_console_is_passed_on_at_once():
    """A guest's own colours too: that is what it has sent."""
    output = screen.Text(False)
    assert output.feed(b"login\x1b[1m: ") == b"login\x1b[1m: "
    assert terminal(screens=False).feed(b"login\x1b[1m: \x1b[?25l\x1b[2J") == b"login\x1b[1m: \x1b[?25l\x1b[2J"


@pytest.mark.parametrize("step", [1, 2, 7, len(ALL)])
def test_a_screen_has_a_page_of_its_own(step):
    """What the others said meanwhile stands on the first page afterwards, the last screen too."""
    pieces = [ALL[at:at + step] for at in range(0, len(ALL), step)]
    all_shown = shown(terminal(), *pieces)
    before, _, rest = all_shown.partition(ENTER)
    page, _, after = rest.partition(LEAVE)
    assert before == BEGIN + b"\x1b[0;37;40m" and ENTER not in rest and LEAVE not in after
    assert page == PICTURE.removeprefix(b"\x1b[0;37;40m") + CHANGE + OTHER + PICTURE + LOG + PICTURE
    assert after.replace(b"\r", b"").strip(b"\n") == (
        b"[b] hello\nnadir: b: ended: debug-exit port, code 0\n\n"
        + SCREEN.replace(b"\r", b"") + b"\x1b[0m").strip(b"\n")


def test_a_cut_run_leaves_the_terminal_as_it_was():
    """A panic's lines are not lost with the page."""
    cut = shown(terminal(), PICTURE + CHANGE + b"\r\nnadir: panic: all is lost\r\n" + b"\x1b[0")
    assert b"nadir: panic: all is lost\n" in cut.partition(LEAVE)[2] and cut.endswith(b"\x1b[0m"), cut
    assert shown(terminal(screens=False), b"\x1b[31mred").endswith(b"\x1b[0m")


def test_colours():
    said = b"nadir: error: no\r\nnadir: vm-1.x: ended: triple fault\r\n[a] error: ended:\r\n"
    assert shown(terminal(colours=False), said) == said + b"\x1b[0m"
    assert shown(terminal(colours=True), said) == (
        b"nadir: \x1b[31merror:\x1b[0m no\r\nnadir: vm-1.x: \x1b[1mended:\x1b[0m triple fault\r\n"
        b"[a] error: ended:\r\n\x1b[0m")


def test_colours_only_where_wanted(monkeypatch):
    class Tty:
        def isatty(self):
            return True

    from nadirlib import has_colours
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colours(Tty())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours(Tty())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colours(Tty())


def test_a_terminal_that_is_too_small_is_told(capsys):
    small, large = terminal(size=(80, 24)), terminal(size=(80, 25))
    assert "80 x 24" in capsys.readouterr().err
    for one in (small, large):
        shown(one, PICTURE)
    assert "25 lines" in small.advice() and large.advice() is None
    shown(large, PICTURE.replace(b"25;1H", b"50;1H"))
    assert "50 lines" in large.advice()
    terminal(size=(10, 10), screens=False)
    assert not capsys.readouterr().err


def test_own_lines_and_whole_lines():
    """In pieces of any size; what has no end yet is not shown."""
    text = b"half of a guest's\nnadir: a: vCPU 0: runs\r\n[b] nadir: no\nnadir: end: ok\nnadir: you may s"
    for size in (1, 7, len(text)):
        own, whole = console.OwnLines(), console.WholeLines()
        pieces = [text[at:at + size] for at in range(0, len(text), size)]
        assert b"".join(map(own.feed, pieces)) == b"nadir: a: vCPU 0: runs\r\nnadir: end: ok\n"
        assert b"".join(map(whole.feed, pieces)) == text.rpartition(b"\n")[0] + b"\n"


@pytest.mark.parametrize("said, shown", [
    (b"nadir: end: ok\r\nnadir: you may s", b"nadir: end: ok\n"),
    (b"nadir: end: ok\r\nnadir: you may switch the machine off now\r\n",
     b"nadir: end: ok\nnadir: you may switch the machine off now\n")])
def test_an_emulator_goes_off_in_the_middle_of_a_line(capfdbinary, said, shown):
    """Behind Nadir's end a line is shown whole or not at all."""
    line, reports = console.open_pty(), console.open_pty()
    os.write(reports[1], b'{"nadir": "0"}\n{"nadir-end": "ok"}\n')
    os.write(line[1], said)
    process = subprocess.Popen(["true"])
    process.wait()
    watch = console.Watch(process, None, line[0], reports[0], 10)
    assert watch.run() == "end" and watch.end == "ok"
    assert capfdbinary.readouterr().out == shown
    for fd in (*line[:2], *reports[:2]):
        os.close(fd)
