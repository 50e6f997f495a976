# SPDX-License-Identifier: BSD-2-Clause
"""What the `nadir` command is made of: images, emulators, consoles."""

import os
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
if not os.environ.get("HOME"):
    os.environ.pop("HOME", None)  # empty, it would be the folder one stands in
try:
    CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nadir"
except RuntimeError:  # a user without an account, in a container say
    print("nadir: there is no home folder to keep Bochs and kernels in: set HOME or XDG_CACHE_HOME", file=sys.stderr)
    sys.exit(2)

# Where mkfs.fat is; only root has it in the PATH on Debian.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"

# Exit statuses of `nadir run`.
OK, VM_FAILED, USAGE, REFUSED, TIMEOUT = 0, 1, 2, 3, 124


quiet = False  # -q


class ToolError(Exception):
    """The user asked for what cannot be: its text is all that is printed. Exit status 2."""


def say(text):
    """A line of the tool's own; the console of the machine goes to stdout instead."""
    if not quiet:
        print(f"[{text}]", file=sys.stderr, flush=True)


def has_colours(stream):
    """NO_COLOR is a convention of many programs (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text, code, stream):
    return f"\x1b[{code}m{text}\x1b[0m" if has_colours(stream) else text
