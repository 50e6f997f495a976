# SPDX-License-Identifier: BSD-2-Clause
"""What the system tests stand on: `nadir(cfg, files)` boots a configuration in an emulator."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import kernels
import pytest

TOP = Path(__file__).resolve().parents[2]
TOOL = TOP / "tools" / "nadir"
PAYLOADS = TOP / "build" / "payloads"

# Linux's tests of its own ciphers are a third of a general kernel's boot: for kernels other than test_linux.py's.
NO_SELF_TESTS = "cryptomgr.notests"

# What tools/nadir prints on a test's pseudo-terminal does not depend on whose terminal the tests run in.
os.environ.update(TERM="xterm", NO_COLOR="1")


def pytest_addoption(parser):
    parser.addoption("--boot", choices=("warm", "firmware"), help="for the tests that do not say")
    parser.addoption("--walks", type=int, default=60, help="programs of test_lock_step; thousands, by hand")
    parser.addoption("--translated", action="store_true", help="test_stress.py: by bt, and more of pv, in QEMU, for minutes")


def pytest_collection_modifyitems(items):
    """The slow ones first: one of them at the end would have a CPU for itself, and the others idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def make(*words):
    """Builds what only tests need. One process at a time, as two would write the same files."""
    with open(TOP / "build" / "tests.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", *words], cwd=TOP, check=True)


class Result:
    """How a run ended: `status` as of tools/nadir, `console` and `messages` as text, `stats`."""

    def __init__(self, status, console, messages, stats):
        self.status, self.console, self.messages, self.stats = status, console, messages, stats

    def __repr__(self):  # what pytest shows when an assertion on it fails
        return (f"status {self.status}\n--- messages\n{self.messages}"
                f"--- console\n{self.console[-8000:]}")


def arguments(options):
    """{"cpus": 4, "usb": True} as command line."""
    out = []
    for name, value in options.items():
        out += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return out


def assemble(source, folder):
    """The bytes that NASM makes of a source text."""
    code, image = folder / "code.asm", folder / "code.bin"
    code.write_text(source)
    subprocess.run(["nasm", "-f", "bin", "-o", image, code], check=True)
    return image.read_bytes()


@pytest.fixture
def write_config(tmp_path):
    """Writes nadir.cfg and its files, given as bytes, text or paths; returns the path of the cfg."""

    def write(cfg, files=None):
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        path = tmp_path / "nadir.cfg"
        path.write_bytes(cfg.encode() if isinstance(cfg, str) else cfg)
        return path

    return write


@pytest.fixture
def nadir(write_config, tmp_path, request):
    """Boots a configuration: nadir("[vm a]\\nkernel = k\\n", {"k": b"..."}, cpus=4) -> Result. In Bochs, which has
    VT-x on any machine and runs the same way each time, unless the test says on="qemu"."""

    def run(cfg, files=None, timeout=240, env=None, **options):
        if request.config.getoption("boot"):
            options.setdefault("boot", request.config.getoption("boot"))
        options.setdefault("on", "bochs")
        path = write_config(cfg, files)
        stats = tmp_path / "stats.json"
        stats.unlink(missing_ok=True)
        command = [sys.executable, TOOL, "run", path, "--stats", stats, "--timeout", str(timeout),
                   *arguments(options)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=timeout + 60, env={**os.environ, **(env or {})})
        return Result(done.returncode, done.stdout.decode(errors="replace"),
                      done.stderr.decode(errors="replace"),
                      json.loads(stats.read_text()) if stats.exists() else [])

    return run


@pytest.fixture
def payload():
    """The path of a guest program of guest/payloads, by name."""

    def find(name):
        path = PAYLOADS / f"{name}.bin"
        assert path.exists(), f"{path} is not built"
        return path

    return find


@pytest.fixture(scope="session")
def booted():
    """Results by what was booted, so that many tests can look at one run. Those that do are one `xdist_group`: the
    run would be made again in each of several processes that run tests."""
    return {}


@pytest.fixture
def boot_once(nadir, payload, booted):
    """One boot of several guest programs: boot_once(["hello"], model="tigerlake") -> Result."""

    def run(names, **options):
        key = (*names, *options.items())
        if key not in booted:
            booted[key] = nadir("".join(map(kernels.section, names)),
                                {f"{name}.bin": payload(name) for name in names}, timeout=400, **options)
        return booted[key]

    return run


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """Folder with vmlinuz, initramfs.gz and nadir.cfg of a Debian kernel, by package."""

    def make(package="linux-image-cloud-amd64", **options):
        folder = tmp_path_factory.mktemp("debian")
        subprocess.run([sys.executable, TOP / "tools" / "demo.py", folder, "--package", package,
                        *arguments({"shell": "no", **options})], check=True)
        return folder

    return make
