#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""How much the unit tests notice: changes one thing at a time in the code they link, runs them, lists what survives.

A mutant is a source file with one operator, constant, condition or statement changed. It is killed when a unit test
that links the file fails, dies or hangs; one that does not compile, or to the same object code, is dropped. What
survives is tried again with the sanitizers that `make unit` has. Mutants live under build/mutants only.
"""

import argparse
import os
import random
import re
import resource
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

try:
    from clang import cindex
except ImportError:
    sys.exit("mutants: needs Debian's package python3-clang, and /usr/bin/python3")

BUILD = Path("build/mutants")
INCLUDES = ["-I.", "-Ibuild"]
FAST = ["-std=c11", "-O1", "-w"]
THOROUGH = [*FAST, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SAMPLE = 1200  # some 10 minutes on 2 cores
DATA = {"drivers/host/font.c"}  # pictures: each of their constants would be a mutant

OPERATORS = {
    "==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"],
    "+": ["-"], "-": ["+"], "*": ["+"], "/": ["*"], "%": ["/"], "&": ["|"], "|": ["&"], "^": ["|"],
    "<<": [">>"], ">>": ["<<"], "&&": ["||"], "||": ["&&"], "+=": ["-=", "="], "-=": ["+=", "="],
    "|=": ["&=", "="], "&=": ["|=", "="], "^=": ["|="], "<<=": [">>="], ">>=": ["<<="], "*=": ["/="], "/=": ["*="]}
UNARY = {"!": "", "~": "", "++": "--", "--": "++"}
COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}


def constants(word):
    """What may stand in place of an integer: a neighbour, or for a mask the same with one bit changed."""
    number, suffix = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", word).groups()
    if number[:2] in ("0x", "0X"):
        value = int(number, 16)
        low = value & -value
        others = {value ^ 1, value ^ low, value ^ (1 << value.bit_length() >> 1)} - {value}
        return [f"{other:#x}{suffix}" for other in sorted(others)]
    value = int(number, 8 if number[0] == "0" else 10)
    return [f"{other}{suffix}" for other in ([value - 1] if value > 1 else []) + [value + 1]]


class Mutator:
    """Finds the mutants of one file: (offset, end, new text), all of them bytes."""

    def __init__(self, path):
        self.path, self.text, self.found = path, Path(path).read_bytes(), set()
        self.unit = cindex.Index.create().parse(path, args=["-std=c11", "-xc", *INCLUDES])
        errors = [d.spelling for d in self.unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        if errors:
            sys.exit(f"mutants: {path}: {errors[0]}")
        self.tokens = [(t.extent.start.offset, t.extent.end.offset, t.spelling, t.kind)
                       for t in self.unit.get_tokens(extent=self.unit.cursor.extent)
                       if t.kind != cindex.TokenKind.COMMENT]
        self.starts = [token[0] for token in self.tokens]

    def all(self):
        self.visit_tokens()
        self.visit(self.unit.cursor)
        if self.path.endswith(".h"):  # of a header the code alone: its numbers are names, the same for all
            bodies = [(f.extent.start.offset, f.extent.end.offset) for f in self.unit.cursor.get_children()
                      if f.kind == cindex.CursorKind.FUNCTION_DECL and f.location.file.name == self.path]
            self.found = {m for m in self.found if any(start <= m[0] < end for start, end in bodies)}
        return sorted(self.found)

    def add(self, start, end, text):
        self.found.add((start, end, text.encode()))

    def directive(self, offset):
        """The word of the preprocessor line that an offset is in, if it is in one."""
        start = self.text.rfind(b"\n", 0, offset) + 1
        while self.text[max(start - 2, 0):start] == b"\\\n":
            start = self.text.rfind(b"\n", 0, start - 1) + 1
        word = re.match(rb"\s*#\s*(\w+)", self.text[start:])
        return word and word[1].decode()

    def visit_tokens(self):
        for start, end, word, kind in self.tokens:
            directive = self.directive(start)
            if kind == cindex.TokenKind.LITERAL and re.fullmatch(r"(0[xX][\da-fA-F]+|\d+)[uUlL]*", word):
                if directive in (None, "define"):
                    for other in constants(word):
                        self.add(start, end, other)
            elif word in ("true", "false") and directive is None:
                self.add(start, end, "false" if word == "true" else "true")

    def between(self, first, last):
        """The token that an operator between two operands is; none where a macro hides it."""
        i = bisect_left(self.starts, first.extent.end.offset)
        while i < len(self.tokens) and self.tokens[i][0] < last.extent.start.offset:
            if self.tokens[i][2] != ")":
                return self.tokens[i]
            i += 1
        return None

    def at(self, node):
        """The first token of a node."""
        i = bisect_left(self.starts, node.extent.start.offset)
        return self.tokens[i] if i < len(self.tokens) and self.starts[i] == node.extent.start.offset else None

    def visit(self, node):
        for child in node.get_children():
            file = child.location.file
            if file is None or file.name != self.path:
                continue
            self.mutate(node, child)
            self.visit(child)

    def mutate(self, parent, node):
        kind = cindex.CursorKind
        children = list(node.get_children())
        if node.kind in (kind.BINARY_OPERATOR, kind.COMPOUND_ASSIGNMENT_OPERATOR) and len(children) == 2:
            token = self.between(*children)
            for other in OPERATORS.get(token[2], ()) if token else ():
                self.add(token[0], token[1], other)
        elif node.kind == kind.UNARY_OPERATOR:
            first = self.at(node)
            if first and first[2] in UNARY:
                self.add(first[0], first[1], UNARY[first[2]])
            elif self.text[node.extent.end.offset - 2:node.extent.end.offset] in (b"++", b"--"):
                end = node.extent.end.offset
                self.add(end - 2, end, UNARY[self.text[end - 2:end].decode()])
        if node.kind in (kind.IF_STMT, kind.CONDITIONAL_OPERATOR):
            self.negate(children[0])
        statement = parent.kind in (kind.COMPOUND_STMT, kind.IF_STMT, kind.FOR_STMT, kind.WHILE_STMT, kind.CASE_STMT,
                                    kind.DEFAULT_STMT)
        if statement and node.kind in (kind.CALL_EXPR, kind.BINARY_OPERATOR, kind.COMPOUND_ASSIGNMENT_OPERATOR,
                                       kind.UNARY_OPERATOR, kind.BREAK_STMT, kind.CONTINUE_STMT):
            end = node.extent.end.offset
            following = self.text[end:].lstrip()
            if following[:1] == b";":  # a statement, not a condition
                self.add(node.extent.start.offset, end, "")

    def negate(self, node):
        """Negates a condition whose operator is not changed already."""
        children = list(node.get_children())
        if node.kind == cindex.CursorKind.BINARY_OPERATOR and len(children) == 2:
            token = self.between(*children)
            if token is None or token[2] in COMPARISONS:
                return
        if not self.at(node) or self.at(node)[2] == "!" and node.kind == cindex.CursorKind.UNARY_OPERATOR:
            return
        start, end = node.extent.start.offset, node.extent.end.offset
        self.add(start, end, f"!({self.text[start:end].decode()})")


def head(source, word):
    """The names behind `// link:` or `// libs:` at the top of a test, each once, as make takes them."""
    lines = Path(source).read_text().splitlines()[:20]
    return list(dict.fromkeys(name for line in lines if line.startswith(f"// {word}:")
                              for name in line.split(":", 1)[1].split()))


def command(flags, source, target, shadow=None):
    root = [f"-I{shadow}", f"-fmacro-prefix-map={shadow}/="] if shadow else []
    mutated = shadow and (shadow / source).exists()
    return ["gcc", *flags, *root, *INCLUDES, "-MMD", "-MF", f"{target}.d", "-c",
            str(shadow / source) if mutated else source, "-o", str(target)]


class Build:
    """The unmutated objects with some flags, made when first asked for, and kept between runs."""

    def __init__(self, name, flags):
        self.folder, self.flags = BUILD / name, flags

    def object(self, source):
        target = self.folder / f"{source}.o"
        known = self.dependencies(source)
        if not known or any(not Path(f).exists() or Path(f).stat().st_mtime >= target.stat().st_mtime for f in known):
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(command(self.flags, source, target), check=True)
        return target

    def dependencies(self, source):
        target, rule = self.folder / f"{source}.o", self.folder / f"{source}.o.d"
        if not target.exists() or not rule.exists():
            return []
        return [os.path.normpath(f) for f in rule.read_text().replace("\\\n", " ").split(":", 1)[1].split()]

    def link(self, test, replaced, program):
        objects = [str(replaced.get(source) or self.object(source)) for source in test.sources]
        return subprocess.run(["gcc", *self.flags, *objects, "-lcmocka", *test.libs, "-o", str(program)],
                              stderr=subprocess.DEVNULL).returncode == 0


class Test:
    def __init__(self, source):
        self.name = Path(source).stem
        self.sources, self.libs = [source, *head(source, "link")], head(source, "libs")
        self.seconds, self.lock = {}, Lock()

    def passes(self, program, limit):
        try:
            return subprocess.run([f"./{program}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=limit).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def measure(self, build):
        """Runs it unmutated, which has to pass, and notes how long it takes."""
        program = build.folder / self.name
        if not build.link(self, {}, program):
            sys.exit(f"mutants: {self.name} does not link")
        start = time.monotonic()
        if not self.passes(program, 120):
            sys.exit(f"mutants: {self.name} fails without a mutant")
        self.seconds[build] = time.monotonic() - start

    def limit(self, build):
        return 2 + 5 * self.seconds[build]


class Bench:
    """Which tests judge a file, and the verdict on a mutant of it."""

    def __init__(self, tests):
        self.tests = tests
        self.fast, self.thorough = Build("fast", FAST), Build("thorough", THOROUGH)
        self.users = defaultdict(set)  # of a file: the sources that are compiled with it
        self.judges = defaultdict(list)

    def prepare(self, pool):
        sources = {source for test in self.tests for source in test.sources}
        list(pool.map(self.fast.object, sources))
        for source in sources:
            for file in self.fast.dependencies(source):
                self.users[file].add(source)
        for file, users in self.users.items():
            self.judges[file] = [test for test in self.tests if users & set(test.sources)]
            # The test of that name first, then those that link least.
            self.judges[file].sort(key=lambda test: (test.name != f"test_{Path(file).stem}", len(test.sources)))

    def compiled(self, build, shadow, path):
        """Objects of what contains the mutated file, by source; None: it does not compile or changes nothing."""
        objects, same = {}, True
        for i, source in enumerate(sorted(self.users[path])):
            target = shadow / f"{i}.o"
            if subprocess.run(command(build.flags, source, target, shadow), stderr=subprocess.DEVNULL).returncode != 0:
                return None
            objects[source] = target
            same = same and target.read_bytes() == build.object(source).read_bytes()
        return None if same else objects

    def survives(self, build, shadow, path):
        """True, False, or None: nothing to judge."""
        objects = self.compiled(build, shadow, path)
        if objects is None:
            return None
        for test in self.judges[path]:
            with test.lock:  # two jobs would write the same program
                if build not in test.seconds:
                    test.measure(build)
            program = shadow / "program"
            if not build.link(test, objects, program) or not test.passes(program, test.limit(build)):
                return False
        return True

    def verdict(self, shadow, path, text):
        file = shadow / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
        try:
            survives = self.survives(self.fast, shadow, path)
            # Without the sanitizers' objects differing there is nothing more to see: None counts as a survivor.
            return self.survives(self.thorough, shadow, path) is not False if survives else survives
        finally:
            file.unlink()


def describe(path, text, mutant):
    start, end, new = mutant
    line = text.count(b"\n", 0, start) + 1
    begin, stop = text.rfind(b"\n", 0, start) + 1, text.find(b"\n", end)
    words = [b" ".join(part.split()).decode() for part in (text[start:end], new, text[begin:stop])]
    return f"{path}:{line}:{start - begin + 1}: {words[0]} -> {words[1] or 'nothing'}    in: {words[2]}"


def choose(arguments, linked):
    """Paths and their mutants, shuffled and cut to the sample."""
    files = arguments.files or sorted(linked - DATA)
    unknown = [path for path in files if path not in linked]
    if unknown:
        sys.exit(f"mutants: no unit test links {unknown[0]}")
    texts, mutants = {}, []
    for path in files:
        mutator = Mutator(path)
        texts[path] = mutator.text
        mutants += [(path, mutant) for mutant in mutator.all()]
    random.Random(arguments.seed).shuffle(mutants)
    print(f"mutants: {len(mutants)} in {len(files)} files", flush=True)
    return texts, mutants[:arguments.sample] if arguments.sample else mutants


def headers_of(bench, linked):
    """The headers beside linked files that hold code."""
    return {path for path in bench.users if path.endswith(".h") and "static inline" in Path(path).read_text()
            and (Path(path).parent in {Path(other).parent for other in linked})}


def measure(bench, arguments, pool, shadows):
    linked = {source for test in bench.tests for source in test.sources[1:]}
    texts, mutants = choose(arguments, linked | headers_of(bench, linked))
    counts, survivors, done = defaultdict(Counter), [], 0

    def judge(job):
        path, (start, end, new) = job
        shadow = shadows.get()
        try:
            return bench.verdict(shadow, path, texts[path][:start] + new + texts[path][end:])
        finally:
            shadows.put(shadow)

    try:
        for (path, mutant), survives in zip(mutants, pool.map(judge, mutants)):
            counts[path]["dropped" if survives is None else "survived" if survives else "killed"] += 1
            if survives:
                survivors.append((path, mutant))
            done += 1
            if sys.stderr.isatty():
                print(f"\r{done} of {len(mutants)} ", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        print(f"\nmutants: interrupted after {done}")
    report(counts, survivors, texts)


def report(counts, survivors, texts):
    print(f"{'killed':>8}{'survived':>10}{'dropped':>9}  file")
    total = Counter()
    for path in sorted(counts):
        total.update(counts[path])
        print(f"{counts[path]['killed']:8}{counts[path]['survived']:10}{counts[path]['dropped']:9}  {path}")
    for path, mutant in sorted(survivors):
        print(describe(path, texts[path], mutant))
    judged = total["killed"] + total["survived"]
    print(f"{total['killed']} of {judged} mutants killed ({100 * total['killed'] / max(judged, 1):.1f} %), "
          f"{total['survived']} survived, {total['dropped']} dropped")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="files to mutate; default: all that a unit test links")
    parser.add_argument("-n", "--sample", type=int, help=f"how many mutants, 0 for all; default: {SAMPLE}, or all of "
                        "the files that are named")
    parser.add_argument("-s", "--seed", type=int, default=1, help="another seed, another sample")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.sample is None:
        arguments.sample = 0 if arguments.files else SAMPLE
    os.chdir(Path(__file__).resolve().parents[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shadows = SimpleQueue()
    for i in range(arguments.jobs):
        (BUILD / f"shadow{i}").mkdir(parents=True, exist_ok=True)
        shadows.put(BUILD / f"shadow{i}")
    bench = Bench([Test(str(path)) for path in sorted(Path("tests/unit").glob("test_*.c"))])
    with ThreadPoolExecutor(arguments.jobs) as pool:
        bench.prepare(pool)
        measure(bench, arguments, pool, shadows)


if __name__ == "__main__":
    main()
