# SPDX-License-Identifier: BSD-2-Clause
"""What is written while the machine runs. A disk that is full is told once, in a line, and the run goes
on: of a long one its end is worth more than the rest of a file."""

import os
import sys

from . import ToolError, paint

lost = []  # what the user will look for and not find whole


def write_all(fd, data):
    data = memoryview(data)
    while data:
        data = data[os.write(fd, data):]


class Saved:
    """A file that the user wants, beginning anew. said: what of the user's says so."""

    def __init__(self, said, path):
        self._said = said
        self._fd = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            self._fail(error)

    def _fail(self, error):
        lost.append(self._said)
        print(f"{paint('nadir:', '31', sys.stderr)} {self._said}: {error.strerror}; the rest is not saved",
              file=sys.stderr)
        self.close()

    def write(self, data):
        try:
            if self._fd is not None:
                write_all(self._fd, data)
        except OSError as error:
            self._fail(error)

    def close(self):
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


class Stdout:
    """Where nobody reads any longer, or nothing more fits, a run has no purpose."""

    def __init__(self):
        self._works = True

    def write(self, data):
        try:
            if self._works:
                write_all(1, data)
        except OSError as error:
            self._works = False
            raise ToolError(f"the standard output: {error.strerror}")
