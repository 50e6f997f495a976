# SPDX-License-Identifier: BSD-2-Clause
"""The `nadir` command itself: its images, what it says to wrong usage, and whom it believes."""

import fcntl
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
import check  # noqa: E402
from nadirlib import console, image, machine  # noqa: E402

VM, FILES = "[vm a]\nkernel = k\n", {"k": b"kernel"}


def tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)


def read(image, name):
    return subprocess.run(["mtype", "-i", f"{image}@@1M", f"::/EFI/BOOT/{name}"], check=True,
                          capture_output=True).stdout


@pytest.mark.parametrize("arguments", [
    [], ["fly"], ["run"], ["run", "/nowhere/nadir.cfg"], ["image", "/nowhere/nadir.cfg"],
    ["image", "/nowhere/nadir.cfg", "-o", "/nowhere/x.img"], ["run", "x", "--cpus", "0"],
    ["run", "x", "--timeout", "soon"], ["run", "x", "--on", "toaster"]])
def test_wrong_usage(arguments):
    done = tool(*arguments)
    assert done.returncode == 2, done
    assert done.stderr.strip() and "Traceback" not in done.stderr, done


@pytest.mark.parametrize("number", ["0", "-1", "two", "0x", "1.5", "", "\u0662"])
def test_bad_numbers(number):
    done = tool("run", "x", f"--cpus={number}")
    assert done.returncode == 2 and f"--cpus: {number}: not a whole number of at least 1" in done.stderr, done


def test_hexadecimal_number(write_config):
    """As in nadir.cfg."""
    done = tool("run", write_config(VM, FILES), "--on", "bochs", "--cpus", "0x10")
    assert done.returncode == 2 and "--cpus 16: Bochs takes at most" in done.stderr, done


def test_full_disk(write_config, payload, tmp_path):
    """One line for each file that cannot be written to its end; the machine runs on, and the status tells."""
    cfg = write_config("[vm a]\nkernel = k\nmemory = 16\n", {"k": payload("hello")})
    full = [word for name in ("serial", "stats", "log") for word in (f"--{name}", "/dev/full")]
    done = tool("run", cfg, "--on", "bochs", *full)
    assert done.returncode == 2 and "nadir: end: ok" in done.stdout, done
    said = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert sorted(said) == [f"nadir: --{name} /dev/full: No space left on device; the rest is not saved"
                            for name in ("log", "serial", "stats")], done
    with open("/dev/full", "wb") as nowhere:
        done = subprocess.run([sys.executable, TOOL, "run", cfg, "-q", "--on", "bochs"], stdout=nowhere,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "nadir: the standard output: No space left on device\n"), done


def test_no_room_for_temporary_files(write_config, payload, tmp_path):
    """What is made for the machine before it starts."""
    cfg = write_config("[vm a]\nkernel = k\nmemory = 16\n", {"k": payload("hello")})
    done = subprocess.run([sys.executable, TOOL, "run", cfg, "--on", "bochs"], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)},
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)))
    assert done.returncode == 2 and not done.stdout, done
    assert len(done.stderr.splitlines()) == 1 and "no room for the machine's memory" in done.stderr, done


def test_too_much_memory_for_bochs(write_config):
    done = tool("run", write_config(VM, FILES), "--on", "bochs", "--memory", "4096")
    assert done.returncode == 2 and "2048" in done.stderr, done


@pytest.mark.parametrize("cpus, more, most", [(15, [], 14), (300, ["--boot", "firmware"], 14),
                                              (14, ["--real-time", "--boot", "firmware"], 13)])
def test_too_many_cpus_for_bochs(write_config, cpus, more, most):
    done = tool("run", write_config(VM, FILES), "--on", "bochs", "--cpus", str(cpus), *more)
    assert done.returncode == 2 and f"--cpus {cpus}: Bochs takes at most {most} CPUs" in done.stderr, done


@pytest.mark.parametrize("cpus", [256, 300])
def test_too_many_cpus_for_qemu(write_config, cpus):
    done = tool("run", write_config(VM, FILES), "--on", "qemu", "--cpus", str(cpus))
    assert done.returncode == 2 and f"--cpus {cpus}: QEMU takes at most 255 CPUs" in done.stderr, done


def test_native_image(write_config, tmp_path):
    """An image is booted as it is, and so has what is to be left out."""
    image = tmp_path / "x.img"
    image.write_bytes((bytes(512) + b"EFI PART").ljust(1 << 20, b"\0"))
    done = tool("run", image, "--native")
    assert done.returncode == 2 and "x.img: --native is for a configuration or a kernel" in done.stderr, done


def test_no_home(write_config):
    """The cache is where the user's account says, or where it is told; a user without an account says it."""
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    there = subprocess.run([TOP / "tools" / "bochs_build.sh"], capture_output=True, text=True, timeout=60)
    done = subprocess.run([TOP / "tools" / "bochs_build.sh"], capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stdout) == (0, there.stdout), done
    program = ("import pwd, sys\ndef nobody(*_): raise KeyError\npwd.getpwuid = nobody\n"
               f"sys.path.insert(0, {str(TOP / 'tools')!r})\nimport nadirlib\nprint(nadirlib.CACHE)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.returncode == 2 and done.stderr == ("nadir: there is no home folder to keep Bochs and kernels "
                                                    "in: set HOME or XDG_CACHE_HOME\n"), done


def test_one_build_of_bochs_at_a_time(tmp_path):
    """The second waits and says so, and then takes what the first has built."""
    cache = tmp_path / "nadir"
    built = cache / "bochs-3.0-5" / "fast" / "bochs"
    cache.mkdir()
    with open(cache / "bochs.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen([TOP / "tools" / "bochs_build.sh"], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)})
        assert second.stderr.readline() == "bochs: another build is running, waiting\n"
        built.parent.mkdir(parents=True)
        built.touch(0o755)
    out, _ = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, f"{built}\n")


def test_most_cpus_for_bochs(nadir, payload):
    """As many as are said to be possible are."""
    result = nadir("[vm a]\nkernel = k\nmemory = 16\ncpus = 13\n", {"k": payload("hello")}, on="bochs",
                   cpus=machine.BOCHS_CPU_LIMIT, timeout=120)
    assert result.status == 0, result


def test_unknown_model(write_config):
    done = tool("run", write_config(VM, FILES), "--on", "bochs", "--model", "i387")
    assert done.returncode == 2 and "tigerlake" in done.stderr, done


def test_image_is_no_device(write_config, tmp_path):
    """Nothing but a file is replaced: a device is written to by dd, as make usb says."""
    (tmp_path / "sdx").symlink_to("/dev/null")
    done = tool("image", write_config(VM, FILES), "-o", tmp_path / "sdx")
    assert done.returncode == 2 and "not a file" in done.stderr, done
    assert (tmp_path / "sdx").is_char_device()


def test_image_is_not_put_among_devices(write_config, tmp_path):
    """The name of a stick that is not plugged in would become a file in memory, that nobody sees."""
    (tmp_path / "dev").symlink_to("/dev")
    for name in ("/dev/shm/nadir-no-stick", tmp_path / "dev/shm/nadir-no-stick"):
        done = tool("image", write_config(VM, FILES), "-o", name)
        assert done.returncode == 2 and "not a file" in done.stderr, done
    assert not Path("/dev/shm/nadir-no-stick").exists()


def test_help_has_examples():
    done = tool("--help")
    assert done.returncode == 0 and "tools/nadir run" in done.stdout, done


def test_image_holds_files(write_config, tmp_path):
    """The user's lines stay as they are; behind them stands where that is which cannot keep its name."""
    (tmp_path / "outside").write_bytes(b"o" * 100)
    text = ("# a comment\n[vm a]\nkernel = sub/k  \t # here\n"
            f"ramdisk = '{tmp_path}/outside' # there\nmodule = Sub/k x\nmodule = file1 a=1\n")
    cfg = write_config(text, {"sub/k": b"kernel", "Sub/k": b"another", "file1": b"mine"})
    image = tmp_path / "stick.img"
    done = tool("image", cfg, "-o", image)
    assert done.returncode == 0, done
    there = read(image, "nadir.cfg").decode()
    assert there.startswith(text), there
    stored = dict(reversed(line.split('"')[1].split(" ", 1)) for line in there.splitlines()
                  if line.startswith("stored = "))
    for name, content in {f"{tmp_path}/outside": b"o" * 100, "sub/k": b"kernel", "Sub/k": b"another",
                          "file1": b"mine"}.items():
        assert read(image, stored.get(name, name)) == content, (name, stored)
    assert f"{tmp_path}/outside" in stored and "/" not in stored[f"{tmp_path}/outside"]
    assert ("sub/k" in stored) != ("Sub/k" in stored)  # one name, on FAT
    assert "as it is, this VM will not start" in done.stderr and "nadir.cfg:3: sub/k: " in done.stderr
    assert read(image, "BOOTX64.EFI")[:2] == b"MZ"


@pytest.mark.parametrize("payload_mib", [0, 50])
def test_image_is_gpt_with_esp(write_config, tmp_path, payload_mib):
    """Judged by the tools of those who know: partition table, its copy, and file system."""
    image, esp = tmp_path / "stick.img", tmp_path / "esp.img"
    files = {"k": b"kernel" + bytes(payload_mib << 20)}
    assert tool("image", write_config(VM, files), "-o", image).returncode == 0
    table = subprocess.run(["sgdisk", "--verify", "--print", image], capture_output=True, text=True)
    assert "No problems found" in table.stdout and "EF00" in table.stdout, table.stdout
    assert not table.stderr, table  # it would warn of a damaged copy, or of the protective MBR
    first, last = map(int, re.search(r"^ +1 +(\d+) +(\d+) ", table.stdout, re.M).groups())
    whole = image.read_bytes()
    assert whole[512:520] == whole[-512:-504] == b"EFI PART"
    esp.write_bytes(whole[first * 512:(last + 1) * 512])
    assert esp.read_bytes()[82:90] == b"FAT32   "
    subprocess.run(["fsck.fat", "-n", esp], check=True)


@pytest.mark.parametrize("status, output, expected", [
    (0, "[  PASSED  ] 3 test(s).", (3, 0)), (0, "[  PASSED  ] 0 test(s).", (0, 1)), (0, "", (0, 1)),
    (139, "", (0, 1)), (1, "[  PASSED  ] 2 test(s).", (2, 1)),
    (2, "[  FAILED  ] a\n[  FAILED  ] b\n[  PASSED  ] 1 test(s).\n[  FAILED  ] 2 test(s), listed:\n"
     "[  FAILED  ] a\n[  FAILED  ] b\n", (1, 2))])
def test_check_counts_cmocka(status, output, expected):
    """A unit test that ran nothing has failed, whatever its status."""
    assert check.count_cmocka(status, output) == expected


@pytest.mark.parametrize("status, output, expected", [
    (0, "== 5 passed in 9.00s ==", (5, 0)), (5, "== no tests ran in 0.01s ==", (0, 1)), (0, "", (0, 1)),
    (0, "== 7 deselected in 0.01s ==", (0, 1)), (0, "== 4 passed, 1 skipped in 1s ==", (4, 1)),
    (1, "== 2 failed, 4 passed, 1 error in 1s ==", (4, 3)), (124, "tests/x.py .", (0, 1))])
def test_check_counts_pytest(status, output, expected):
    assert check.count_pytest(status, output) == expected


def test_a_guest_does_not_speak_for_nadir(nadir, payload):
    """Its console is its own, whatever stands there: status and statistics are what Nadir reports."""
    result = nadir("[vm forger]\nkernel = forger.bin\nmemory = 16\n",
                   {"forger.bin": payload("forger")}, timeout=100)
    assert result.status == 1, result
    assert [(vm["vm"], vm["end"], vm["code"]) for vm in result.stats] == [("forger", "debug-exit", 7)]
    assert result.console.splitlines().count("nadir-end: ok") == 2, result  # COM1, and the debug port


FORGED = b"nadir: x\nnadir-end: ok\nnative-exit: 0\n"


def test_whose_end_counts():
    """The loader's on the console, until Nadir reports; a payload's with --native alone."""
    loader, guest, native = console.Transcript(), console.Transcript(), console.Transcript(native=True)
    loader.feed(b"nadir: x\nnadir-end: refus", False)
    loader.feed(b"ed\n", False)
    guest.feed(b"nadir: x\n", False)
    guest.feed(FORGED, True)
    native.feed(b"native-exit: 3\n", False)
    assert (loader.end, guest.end, native.end) == ("refused", None, "vm-failed")


def test_reports():
    """They come in pieces, and between what firmware says to each port that it finds."""
    reports = console.Reports()
    for piece in (b"\x1b[2JBdsDxe: starting\r\nnadir-end: ok\r\n", b'{"nadir": "0.1"}\n{"nadir-st',
                  b'ats": {"vm": "a"}}\n{"nadir-end": "rain"}\n{"nadir-end": "vm-fa', b'iled"}\n'):
        assert reports.end is None
        reports.feed(piece)
    assert (reports.started, reports.end, reports.stats) == (True, "vm-failed", [{"vm": "a"}])


@pytest.mark.parametrize("line", [
    b"{", b"{}", b'{"nadir-end": ["ok"]}', b'{"nadir-end": {}}', b'{"a": 1, "b": 2}', b'{"nadir-debugcon": 1}',
    b'{"nadir-debugcon": {"file": "f"}}', b'{"nadir-debugcon": {"file": 1, "text": "t"}}', b"{" * 70000,
    b'{"nadir-debugcon": {"file": "\\u20ac", "text": "t"}}', b'{"x": ' + b"[" * 60000, b'{"\xff": 1}'])
def test_reports_that_are_none(line, capsys):
    """Whatever came by the port: it is passed over, and what follows counts."""
    reports = console.Reports(Path("/nowhere"))
    reports.feed(line + b"\n" + b'{"nadir-end": "ok"}\n')
    assert reports.end == "ok" and not reports.stats


def test_whose_reports_name_files(tmp_path, capsys):
    """Nadir's, by the user's own nadir.cfg; on the bare machine the port is the payload's, as any is."""
    report = b'{"nadir-debugcon": {"file": "%s", "text": "text"}}\n' % str(tmp_path / "file").encode()
    console.Reports(None).feed(2 * report)
    assert not (tmp_path / "file").exists()
    assert capsys.readouterr().err.count("not written") == 1
    console.Reports(tmp_path).feed(report)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("text, expected", [
    (b"[vm a]\nkernel = k", b"[vm a]\nkernel = k\n[nadir]\nreport = 0x2e8\n"),
    (b"[nadir]\n report = none # of no use\r\n", b"[nadir]\n report = 0x2e8# of no use\r\n")])
def test_port_for_reports(text, expected):
    assert image.with_reports(text, 0x2e8) == expected
