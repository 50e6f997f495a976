# SPDX-License-Identifier: BSD-2-Clause
"""What `make` makes anew, and what it leaves alone. Nothing is built or run in an emulator here."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import TOP


def make(*arguments, **environment):
    """Without what a make above has been told, as in `make DEV=1 system`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "DEV"))}
    return subprocess.run(["make", *map(str, arguments)], cwd=TOP, capture_output=True, text=True,
                          env={**inherited, **environment}, timeout=120)


def up_to_date(*arguments, **environment):
    return make("-q", *arguments, **environment).returncode == 0


@pytest.fixture
def folder():
    """A build folder of a test's own. A relative one, since make knows no names with blanks."""
    with tempfile.TemporaryDirectory(dir=TOP / "build", prefix="test-") as name:
        yield Path(name).relative_to(TOP)


@pytest.fixture
def stamp(folder):
    """The stamp of the packages, made a moment ago."""
    assert make(f"B={folder}", folder / ".deps").returncode == 0
    return f"B={folder}", folder / ".deps"


def test_packages_are_not_looked_at_each_time(stamp):
    assert up_to_date(*stamp)


@pytest.mark.parametrize("changed", ["tools/install.sh", "/var/lib/dpkg/status"])
def test_packages_are_looked_at_when_the_list_changes(stamp, changed):
    assert not up_to_date("-W", changed, *stamp)


def test_packages_are_looked_at_when_a_tool_is_missing(stamp, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "make", "gcc", "find", "sed", "nasm", "clang"):  # and no iasl
        (programs / name).symlink_to(f"/usr/bin/{name}")
    # The Makefile adds the folders of root's programs to the PATH; iasl is in none of them.
    assert not up_to_date(*stamp, PATH=str(programs))
    (programs / "iasl").symlink_to("/usr/bin/iasl")
    assert up_to_date(*stamp, PATH=str(programs))


@pytest.mark.parametrize("words, objects, optimised", [((), "hv", True), (("DEV=1",), "dev", False)])
def test_edit_loop_has_objects_of_its_own(folder, words, objects, optimised):
    """Both link build/nadir.elf, so a switch links anew, from objects that were never mixed."""
    commands = make("-n", "V=1", *words, f"B={folder}", folder / "nadir.elf").stdout
    compiled = [line for line in commands.splitlines() if "arch/hidden.h" in line]
    assert len(compiled) > 100
    assert all(("-flto" in line) == optimised for line in compiled)
    assert all(f"{folder}/{objects}/" in line for line in compiled)


@pytest.mark.parametrize("words, built", [(("run",), False), (("deps",), False), (("run", "ENGINE=bt"), False),
                                          (("run", "ENGINE=vtx"), True), (("bench",), True)])
def test_bochs_is_built_where_it_is_needed(folder, words, built):
    """It takes minutes, which who boots the demo without VT-x does not have to wait."""
    commands = make("-n", f"B={folder}", *words).stdout
    assert ("tools/bochs_build.sh" in commands) == built, commands
    engine = re.search(r"^tools/demo.py \S+ --engine (\w+)", commands, re.M)
    asked = {"ENGINE=bt": "bt", "ENGINE=vtx": "vtx"}.get(words[-1], "auto")
    assert (engine and engine[1]) == (asked if words[0] == "run" else None), commands


def test_run_of_an_unknown_engine(folder):
    """One line, and no usage of a tool that make calls."""
    done = make("-n", f"B={folder}", "run", "ENGINE=VTX")
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.endswith("ENGINE=VTX is none of auto, vtx, bt, pv.  Stop.\n") and done.stderr.count("\n") == 1, done


def test_run_makes_the_manual(folder):
    """README.md names it where `make run` was all that has been called."""
    assert f"tools/manual.py nadir.bash > {folder}/nadir.bash" in make("-n", "V=1", f"B={folder}", "run").stdout


def test_switch_links_anew(folder):
    variant = folder / ".variant"
    for words, written in [((), "hv"), (("DEV=1",), "dev"), ((), "hv")]:
        assert make(*words, f"B={folder}", variant).returncode == 0
        assert (TOP / variant).read_text().strip() == f"{folder}/{written}"
        before = (TOP / variant).stat().st_mtime_ns
        assert make(*words, f"B={folder}", variant).returncode == 0
        assert (TOP / variant).stat().st_mtime_ns == before


def test_branch_targets(tmp_path):
    """Linking fails where an indirect branch goes by no thunk (here: twice through the last step of it), and where
    an address is taken at which no ENDBR64 is."""
    elf = tmp_path / "nadir.elf"
    image = bytearray((TOP / "build" / "nadir.elf").read_bytes())
    entry = image.index(bytes.fromhex("f30f1efa 6a00 6a00"))  # ENDBR64, and two PUSHes: entry_0 of arch/vectors.asm
    image[entry:entry + 4] = bytes.fromhex("0f1f4000")
    elf.write_bytes(image)
    done = subprocess.run([TOP / "tools" / "branches.py", elf], capture_output=True, text=True)
    assert done.returncode == 1 and elf.read_bytes() == image
    assert "an indirect branch that is no call or jump by a thunk" in done.stderr
    symbols = subprocess.run(["nm", elf], check=True, capture_output=True, text=True).stdout
    address = re.search(r"^(\w+) t entry_0$", symbols, re.M)[1]
    assert f"takes the address {address}, where no ENDBR64 is" in done.stderr
    assert done.stderr.count("takes the address") == 1


def test_pci_lines_of_the_dsdt():
    """The one teller of interrupt lines that is not made of guest/pc/isa_lines.h offers PCI the same."""
    header = (TOP / "guest/pc/isa_lines.h").read_text()
    lines = [int(number) for number in re.findall(r"ISA_PCI_\w+ = (\d+)", header)]
    offered = re.search(r"Name \(LPRS.*?\{ ([\d, ]+) \}", (TOP / "guest/pc/dsdt.asl").read_text(), re.S)
    assert [int(number) for number in offered[1].split(",")] == lines == [10, 11]
