#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks what the README.md files name: files that exist, and functions where they are said to be.

    `path/file.c` `function()`      that file defines the function (assembly: the label)
    `function()`                    alone: some file of the tree does
    `path/with/slash`               exists; NAME in capitals stands for any name
    `file.c`                        alone: there is a file of that name
"""

import re
import sys
from pathlib import Path

TOP = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
FOLDERS = ("boot", "arch", "mm", "drivers", "guest", "vmx", "tests", "tools")
FOLDER_LINES, TOP_LINES = 60, 249
MADE = "build/"  # what make makes is not looked for

CODE = re.compile(r"`([^`\n]+)`")
FUNCTION = re.compile(r"(\w+)\(\)")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
SOURCE = re.compile(r"[\w-]+\.(?:[ch]|asm|asl|ld|py|sh|mk)")
BETWEEN_NAMES = re.compile(r"\s*(?:,|and|,\s+and)?\s*")  # of one file: `a.c` `f()`, `g()` and `h()`
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# At column 0: the name behind its type, or on a line of its own; then parameters and a body.
DEFINITION = re.compile(r"^(?:[A-Za-z_][\w \t*]*[ \t*])?([A-Za-z_]\w*)\([^;{}]*\)\s*\{", re.M)
LABEL = re.compile(r"^([A-Za-z_]\w*):", re.M)


def files():
    """All of the tree but what git or make keep in it."""
    for entry in sorted(TOP.iterdir()):
        if entry.is_dir() and entry.name != "build" and not entry.name.startswith("."):
            yield from (path for path in sorted(entry.rglob("*")) if path.is_file())
        elif entry.is_file():
            yield entry


def definitions(path):
    text = path.read_text(errors="replace")
    if path.suffix == ".asm":
        return set(LABEL.findall(text))
    return set(DEFINITION.findall(ATTRIBUTE.sub("", COMMENT.sub("", text))))


class Tree:
    def __init__(self):
        paths = list(files())
        self.readmes = [path for path in paths if path.name == "README.md"]
        self.names = {path.name for path in paths}
        self.defined = {str(path.relative_to(TOP)): definitions(path) for path in paths
                        if path.suffix in (".c", ".h", ".asm")}
        self.all_defined = set().union(*self.defined.values())

    def missing_path(self, name):
        """Whether a word with a slash names nothing that there is."""
        if name.startswith(MADE) or re.search(r"(^|/)(?!README)[A-Z]{2,}(?=[./]|$)", name):
            return False
        return not any(TOP.glob(name)) if "*" in name else not (TOP / name).exists()

    def check_word(self, word, file):
        """What is wrong with one piece of code text, and the file that what follows it may be in."""
        function = FUNCTION.fullmatch(word)
        if function and file:
            where = self.defined.get(file)
            if where is not None and function[1] not in where:
                return f"{file} does not define {function[1]}()", file
            return None, file
        if function:
            wrong = function[1] not in self.all_defined
            return f"nothing defines {function[1]}()" if wrong else None, None
        for part in word.split():
            if "/" in part and PATH.fullmatch(part) and self.missing_path(part):
                return f"there is no {part}", word
            if SOURCE.fullmatch(part) and part not in self.names:
                return f"there is no file {part}", None
        return None, word if "/" in word and SOURCE.fullmatch(word.rpartition("/")[2]) else None

    def check(self, readme):
        text = readme.read_text()
        lines = text.count("\n")
        most = TOP_LINES if readme.parent == TOP else FOLDER_LINES
        if lines > most:
            yield most + 1, f"{lines} lines; at most {most}"
        file, end = None, 0
        for match in CODE.finditer(text):
            if not BETWEEN_NAMES.fullmatch(text, end, match.start()):
                file = None
            wrong, file = self.check_word(match[1], file)
            end = match.end()
            if wrong:
                yield text.count("\n", 0, match.start()) + 1, wrong


def main():
    tree = Tree()
    wrong = 0
    for folder in FOLDERS:
        if TOP / folder / "README.md" not in tree.readmes:
            print(f"{folder}: has no README.md")
            wrong += 1
    for readme in tree.readmes:
        for line, text in tree.check(readme):
            print(f"{readme.relative_to(TOP)}:{line}: {text}")
            wrong += 1
    print(f"readmes: {len(tree.readmes)} files, {wrong} wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
