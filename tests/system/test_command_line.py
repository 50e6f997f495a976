# SPDX-License-Identifier: BSD-2-Clause
"""The command line of `nadir`: a kernel without a configuration, `check`, and that manual pages and completion
say what there is. An emulator runs in one test."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pexpect
import pytest
from conftest import TOOL, TOP

sys.path.insert(0, str(TOP / "tools"))
import manual  # noqa: E402
from nadirlib import ToolError, config, console, image, machine, options  # noqa: E402

KERNEL = b"\x55\xaa\0kernel"


def tool(*arguments, folder=TOP):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], stdin=subprocess.DEVNULL, cwd=folder,
                          capture_output=True, text=True, timeout=60)


def as_said(*arguments):
    return options.make_parser().parse_args(["run", *map(str, arguments)])


@pytest.mark.parametrize("arguments", [
    ["run", "x", "--cpu", "2"], ["run", "x", "--mem", "64"], ["run", "x", "--re"], ["check", "x", "--app", "y"],
    ["image", "x", "--out", "y"], ["--vers"]])
def test_no_abbreviations(arguments):
    """A script that says --mem would mean something else once there is a --memo."""
    done = tool(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr, done


def test_version():
    done = tool("--version")
    assert done.returncode == 0 and re.fullmatch(r"nadir \d+\.\d+\n", done.stdout), done


@pytest.mark.parametrize("arguments, lines", [
    ([], []),
    (["--append", "console=ttyS0 'quiet' # no comment"], ['cmdline = "console=ttyS0 \'quiet\' # no comment"']),
    (["--append", 'name="a b"'], ["cmdline = 'name=\"a b\"'"]),
    (["--initrd", "my initrd"], ['ramdisk = "my initrd"']),
    (["-m", "64", "--vcpus", "2", "--vga"], ["memory = 64", "vcpus = 2", "console = vga"]),
    (["--engine", "vtx"], ["engine = vtx"]),
])
def test_configuration_of_a_kernel(tmp_path, monkeypatch, arguments, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my kernel.elf").write_bytes(KERNEL)
    cfg = config.read(as_said("my kernel.elf", *arguments))
    assert cfg.text.decode().splitlines() == ["[vm my-kernel]", 'kernel = "my kernel.elf"', *lines]
    assert cfg.where(2) == "my kernel.elf"  # there are no lines that the user has seen
    assert config.has_vga(cfg.text) == ("--vga" in arguments)


def test_both_quotes(tmp_path):
    (tmp_path / "k").write_bytes(KERNEL)
    for text in ("'\"", "two\nlines"):
        with pytest.raises(ToolError, match="--append"):
            config.read(as_said(tmp_path / "k", "--append", text))


@pytest.mark.parametrize("name, content, is_kernel", [
    ("k", KERNEL, True), ("k", "[vm \u00e4]\n".encode(), False), ("x.cfg", KERNEL, False), ("k", b"\xff\xfe", True)])
def test_kernel_or_configuration(tmp_path, name, content, is_kernel):
    """A name that ends in .cfg says it; else, what is no text is a kernel."""
    (tmp_path / name).write_bytes(content)
    assert (config.read(as_said(tmp_path / name)).text != content) == is_kernel


def test_kernel_words_are_not_for_a_configuration(tmp_path):
    for name in ("x.cfg", "x.img"):
        (tmp_path / name).write_bytes(b"[vm a]\n")
        for words in (["--append", "x"], ["-m", "64"], ["--vga"]):
            with pytest.raises(ToolError, match=words[0]):
                config.read(as_said(tmp_path / name, *words))


def test_image_of_a_kernel(tmp_path):
    (tmp_path / "k").write_bytes(KERNEL)
    done = tool("image", tmp_path / "k", "-o", tmp_path / "x.img")
    assert done.returncode == 2 and "no configuration" in done.stderr and not (tmp_path / "x.img").exists(), done


@pytest.mark.parametrize("text, status, words", [
    ("[vm a]\nkernel = hello.bin\nmemory = 16\n", 0, "my.cfg: nothing is wrong"),
    ("[vm a]\nkernel = hello.bin\nmemory = 15\n", 2, "my.cfg:3: memory"),
    ("[vm a]\nkernel = gone\n", 2, "my.cfg:2: there is no file gone"),
    ("[vm a]\nkernel = hello.bin\ncpus = 1\n", 2, "my.cfg:3: "),
])
def test_check(write_config, payload, tmp_path, text, status, words):
    cfg = write_config(text, {"hello.bin": payload("hello")}).rename(tmp_path / "my.cfg")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tool("check", cfg.name, folder=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == status and words in (done.stderr if status else done.stdout), done
    kind = ["hello.bin: flat, entry 0x7c00"] * (status == 0)
    assert (done.stdout + done.stderr).splitlines()[:-1] == kind, done
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # seconds; 0.06 here


@pytest.mark.parametrize("command, more, what", [
    ("check", "debugcon = hello.bin\n", "my.cfg:4: debugcon = hello.bin"),
    ("run", "debugcon = './my.cfg' # itself\n", "my.cfg:4: debugcon = ./my.cfg"),
    ("check", "debugcon = other\n", "my.cfg:4: debugcon = other"),
    ("run", "disk = disk.img\ndebugcon = disk.img\n", "my.cfg:5: debugcon = disk.img"),
    ("run --serial hello.bin", "", "--serial hello.bin"), ("run --stats ./my.cfg", "", "--stats ./my.cfg"),
    ("run --log other", "", "--log other"), ("image -o hello.bin", "", "-o hello.bin")])
def test_inputs_are_not_written(write_config, payload, tmp_path, command, more, what):
    """By whatever name: "other" is a link to the kernel."""
    write_config(f"[vm a]\nkernel = hello.bin\nmemory = 16\n{more}", {"disk.img": bytes(512)}).rename(
        tmp_path / "my.cfg")
    (tmp_path / "hello.bin").write_bytes(payload("hello").read_bytes())
    (tmp_path / "other").symlink_to("hello.bin")
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = tool(*command.split(), "my.cfg", folder=tmp_path)
    assert done.returncode == 2 and f"{what} would overwrite" in done.stderr, done
    assert kept == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("command, more, what", [
    ("check", "debugcon = gone/x\n", "my.cfg:4: debugcon = gone/x: there is no folder "),
    ("run", "debugcon = link\n", "my.cfg:4: debugcon = link: there is no folder "),
    ("run", "debugcon = folder\n", "my.cfg:4: debugcon = folder: that is a folder"),
    ("run --serial gone/x", "", "--serial gone/x: there is no folder "),
    ("run --stats folder", "", "--stats folder: that is a folder"),
    ("run --log=", "", "--log : that is a folder")])
def test_outputs_can_be_written(write_config, payload, tmp_path, command, more, what):
    """Said before the machine runs for an hour: no emulator starts."""
    write_config(f"[vm a]\nkernel = hello.bin\nmemory = 16\n{more}", {"hello.bin": payload("hello")}).rename(
        tmp_path / "my.cfg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone/x")
    done = tool(*command.split(), "my.cfg", folder=tmp_path)
    assert done.returncode == 2 and f"nadir: {what}" in done.stderr and done.stderr.count("\n") == 1, done


@pytest.mark.parametrize("name, asked", [("old", "old"), ("new", "")])
def test_outputs_may_be_forbidden(tmp_path, monkeypatch, name, asked):
    """To root, by whom tests may run, hardly anything is."""
    (tmp_path / "old").touch()
    image.refuse_unwritable([("--log x", tmp_path / name)])
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path / asked, os.W_OK))
    with pytest.raises(ToolError, match="--log x: you may not write there"):
        image.refuse_unwritable([("--log x", tmp_path / name)])
    assert not (tmp_path / "new").exists()


def test_outputs_may_be_pipes(bochsrc):
    """Behind the link /dev/stdout is no name then."""
    assert "warm.rom" in bochsrc("", "--serial", "/dev/stdout", "--log", "/dev/null")


def test_a_stick_writes_no_outputs_here(write_config, payload, tmp_path):
    cfg = write_config("[vm a]\nkernel = k\ndebugcon = gone/x\n", {"k": payload("hello")})
    done = tool("image", cfg, "-o", tmp_path / "x.img")
    assert done.returncode == 0, done


def test_check_of_a_kernel(payload, tmp_path):
    done = tool("check", payload("hello"), "--vcpus", "2")
    assert done.returncode == 0 and "nothing is wrong" in done.stdout, done
    done = tool("check", payload("hello"), "--vcpus", "65")
    assert done.returncode == 2 and "vcpus" in done.stderr, done
    done = tool("check", tmp_path)
    assert done.returncode == 2 and "not a file" in done.stderr, done


def test_run_of_a_kernel(payload, tmp_path, monkeypatch):
    """With -q the machine alone is heard. The folder for temporary files may have any name."""
    (tmp_path / "a b, c").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a b, c"))
    stats = tmp_path / "stats.json"
    done = tool("run", payload("hello"), "-m", "24", "--vcpus", "2", "--stats", stats, "-q", "--on", "bochs")
    assert done.returncode == 0 and "hello: from long mode" in done.stdout and not done.stderr, done
    vm, = json.loads(stats.read_text())
    assert (vm["vm"], vm["vcpus"], vm["memory_bytes"]) == ("hello", 2, 24 << 20), vm


@pytest.fixture
def bochsrc(tmp_path, write_config, payload, monkeypatch):
    """What Bochs is told: another program in its place keeps its configuration."""
    fake, kept = tmp_path / "bochs", tmp_path / "kept"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --help ] || {{ cat "$3"; echo "TZ=$TZ"; }} >"{kept}"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("BOCHS", str(fake))

    def run(more="", *arguments, terminal=False, file=None):
        cfg = file or write_config(f"[vm a]\nkernel = hello.bin\nmemory = 16\n{more}", {"hello.bin": payload("hello")})
        command = [str(TOOL), "run", str(cfg), "--on", "bochs", *arguments]
        if terminal:
            child = pexpect.spawn(sys.executable, command, timeout=30)
            child.expect(pexpect.EOF)
            child.close()
        else:
            subprocess.run([sys.executable, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        return kept.read_text()

    return run


@pytest.mark.parametrize("more, arguments, terminal, real", [
    ("console = vga\n", [], True, True), ("console = vga\n", [], False, False), ("", [], True, False),
    ("console = vga\n", ["--no-real-time"], True, False), ("", ["--real-time"], False, True)])
def test_time_is_real_where_somebody_looks(bochsrc, more, arguments, terminal, real):
    """A menu on a screen that waits five seconds is to wait five seconds."""
    assert ("sync=slowdown" in bochsrc(more, *arguments, terminal=terminal)) == real


def test_screens_of_an_image(bochsrc, write_config, payload, tmp_path):
    """Its own nadir.cfg tells whether a VM has a screen."""
    for shown, real in (("vga", True), ("serial", False)):
        cfg = write_config(f"[vm a]\nkernel = k\nconsole = {shown}\n", {"k": payload("hello")})
        assert tool("image", cfg, "-o", tmp_path / "x.img").returncode == 0
        assert ("sync=slowdown" in bochsrc(file=tmp_path / "x.img", terminal=True)) == real


def test_how_bochs_starts(bochsrc, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    warm, firmware = bochsrc(), bochsrc("", "--boot", "firmware")
    assert "TZ=UTC" in firmware  # or else a guest's clock would be nine hours ahead
    assert "warm.rom" in warm and "ata0-master" not in warm
    assert "OVMF" in firmware and "ata0-master" in firmware and "optramimage" not in firmware


@pytest.mark.parametrize("size", [0, 1000])
def test_image_of_no_disk(tmp_path, size):
    (tmp_path / "junk.img").write_bytes(bytes(size))
    done = tool("run", "junk.img", folder=tmp_path)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr == f"nadir: junk.img is no image of a disk: it has {size} bytes, not sectors of 512\n", done


AUTO, VTX = "[vm a]\nkernel = k\n# engine = vtx\n", "[vm a]\nkernel = k\n  engine = 'vtx' # please\n"
KVM, BOCHS, TCG = "KVM can nest VT-x here", "a VM asks for engine = vtx", "no KVM here can nest VT-x"


@pytest.mark.parametrize("text, nested, arguments, on, why", [
    (AUTO, True, [], "qemu", KVM), (VTX, True, [], "qemu", KVM),
    (AUTO, False, [], "qemu", TCG), (VTX, False, [], "bochs", BOCHS), (AUTO + VTX, False, [], "bochs", BOCHS),
    (AUTO, True, ["--model", "ryzen"], "bochs", "--model is Bochs's"),
    (AUTO, False, ["--boot", "warm"], "qemu", TCG), (VTX, True, ["--boot", "warm"], "bochs", BOCHS),
    (AUTO, False, ["--boot", "firmware"], "qemu", TCG), (AUTO, False, ["--real-time"], "qemu", TCG),
    (AUTO, False, ["--no-real-time"], "bochs", "--no-real-time is Bochs's"),
    (AUTO, True, ["--strict"], "bochs", "--strict is Bochs's"), (AUTO, False, ["--gdb"], "qemu", TCG),
    (VTX, False, ["--gdb"], "bochs", BOCHS),
    (VTX, False, ["--usb"], "qemu", "--usb is QEMU's"),
    (AUTO, False, ["--on", "bochs"], "bochs", ""), (VTX, False, ["--on", "qemu"], "qemu", "")])
def test_which_emulator(monkeypatch, text, nested, arguments, on, why):
    """What the user has said goes before; else KVM, Bochs for a VM that is to have VT-x, QEMU's emulation."""
    monkeypatch.setattr(machine, "has_nested_kvm", lambda: nested)
    monkeypatch.setattr(machine, "find_bochs", lambda variant: ("bochs", False))
    monkeypatch.setattr(machine, "check_model", lambda program, model: None)
    said = as_said("x.cfg", *arguments)
    said.model_given = said.model is not None
    machine.choose(said, text.encode(), False)
    assert (said.on, said.why.startswith(f"; {why}" if why else "")) == (on, True), said.why
    assert bool(said.why) == bool(why)
    assert said.kvm == (nested and on == "qemu" and said.boot == "firmware")
    assert said.boot == (as_said("x.cfg", *arguments).boot or ("firmware" if said.kvm or said.usb else "warm"))


@pytest.mark.parametrize("where", [["--on", "qemu"], ["--usb"]])
@pytest.mark.parametrize("word", [["--model", "ryzen"], ["--strict"], ["--no-real-time"]])
def test_words_of_bochs_alone(write_config, where, word):
    """QEMU would start without a word, and do nothing of it."""
    done = tool("run", write_config("[vm a]\nkernel = k\n", {"k": KERNEL}), *where, *word)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr == f"nadir: {word[0]} is an option of Bochs's alone, and this is QEMU\n", done


def test_one_file(tmp_path):
    done = tool("run", "a.elf", "b.elf", folder=tmp_path)
    assert done.returncode == 2 and "one FILE is taken, a.elf, and b.elf is another" in done.stderr, done
    done = tool("run", "a.elf", "--colour", "b.elf", folder=tmp_path)
    assert done.returncode == 2 and "unrecognized arguments: --colour b.elf" in done.stderr, done


@pytest.mark.parametrize("content, why", [
    (b"\x7fELF".ljust(600, b"\0"), "no boot sector (55 AA at offset 510)"), (b"short", "no boot sector"),
    (bytes(510) + b"\x55\xaa" + bytes(0x80000), "too large: 524800 bytes, of at most 492544")],
    ids=["elf", "short", "large"])
def test_native_takes_boot_sectors(write_config, content, why):
    """Said with its line, before a machine starts; of the first VM, which alone is started."""
    cfg = write_config("[vm a]\nmemory = 16\ntype = flat\nkernel = k # it\n[vm b]\nkernel = j\n",
                       {"k": content, "j": bytes(510) + b"\x55\xaa"})
    done = tool("run", cfg.name, "--native", folder=cfg.parent)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith(f"nadir: nadir.cfg:4: k is {why}"), done


def test_threads_of_qemu(monkeypatch):
    """Where QEMU's emulation would take turns with the CPUs for want of an x86's order, it is left alone."""
    for architecture, words in (("x86_64", "tcg,thread=multi"), ("aarch64", "tcg")):
        monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", architecture)))
        assert machine.accelerator(False, 4, False) == ["-accel", words, "-cpu", "max"]
        assert machine.accelerator(False, 1, False) == ["-accel", "tcg", "-cpu", "max"]
        assert machine.accelerator(False, 1, True) == ["-accel", "tcg", "-cpu", "max,-hypervisor"]
    assert machine.accelerator(True, 4, False)[:2] == ["-accel", "kvm"]


@pytest.mark.parametrize("number, said", [(signal.SIGTERM, ["[ended by SIGTERM]"]), (signal.SIGINT, [])])
def test_signals(payload, tmp_path, monkeypatch, number, said):
    """The emulator ends with the tool: it has told its number, and is gone."""
    fake, told = tmp_path / "bochs", tmp_path / "told"
    fake.write_text('#!/bin/sh\n[ "$1" = --help ] && exit\n'
                    f'echo $$ >"{told}.new"\nmv "{told}.new" "{told}"\nexec sleep 60\n')
    fake.chmod(0o755)
    monkeypatch.setenv("BOCHS", str(fake))
    run = subprocess.Popen([sys.executable, TOOL, "run", payload("hello"), "--on", "bochs"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)  # it has started the emulator, and is to know that
    run.send_signal(number)
    _, messages = run.communicate(timeout=30)
    assert run.returncode == 128 + number, messages
    assert messages.splitlines()[1:] == said, messages  # behind "starting Bochs"
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_in_the_background_of_a_terminal(payload):
    """timeout(1) puts what it runs there, where a word to the terminal would stop it for good."""
    command = f"timeout 60 {sys.executable} {TOOL} run {payload('hello')} -m 16 --on qemu; exit $?"
    child = pexpect.spawn("sh", ["-c", command], timeout=90, encoding="utf-8", env={**os.environ, "NADIR_KVM": "0"})
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and "no keys go to the guest" in child.before, child.before


def test_a_terminal_that_controls_nobody():
    """As behind setsid(1): there is no background of it."""
    line = console.open_pty()
    assert not console.is_in_background(line[1])
    for fd in line[:2]:
        os.close(fd)


def words_of_help(*command):
    """The options that --help lists."""
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", tool(*command, "--help").stdout))


def test_manual_says_what_help_says():
    page = manual.nadir_1().replace("\\-", "-")
    for command in ([], ["run"], ["check"], ["image"]):
        missing = {word for word in words_of_help(*command) if word not in page} - {"-h", "--help"}
        assert not missing, (command, missing)
    for title in ("EXIT STATUS", "ENVIRONMENT", "EXAMPLES"):
        assert f".SH {title}\n" in page
    assert "NO_COLOR" in page and "124" in page


def test_manual_tells_what_is_counted():
    """Each name that a VM's table may have under the engine bt."""
    told = {name for names, _ in manual.options.COUNTS for name in names.split(", ")}
    header = (TOP / "guest" / "bt" / "bt.h").read_text()
    names = set(re.findall(r'^    X\(BT_.*"(\w+)"\)', header, re.M))
    assert len(names) > 30 and told == names, told ^ names


def test_manual_tells_what_pv_counts():
    """Likewise under pv, but for hypercalls, which have Xen's names."""
    told = {name for names, _ in manual.options.COUNTS + manual.options.COUNTS_PV for name in names.split(", ")}
    folder = TOP / "guest" / "pv"
    names = set(re.findall(r'^    X\(PV_.*"(\w+)"\)', (folder / "pv.h").read_text(), re.M))
    names |= set(re.findall(r'\[PV_\w+\] = "(\w+)"', (folder / "engine.c").read_text()))
    assert len(names) > 20 and names <= told, names - told


def test_manual_has_each_key():
    page = manual.nadir_cfg_5().replace("\\-", "-")
    keys = re.findall(r"^\| `(\w+)` \|", (TOP / "README.md").read_text().partition("### Kinds")[0], re.M)
    assert len(keys) > 20
    assert not [key for key in keys if f'"{key} = "' not in page]


def test_manual_is_sound():
    """No line that the formatter would take for a request of its own, or for none that it knows."""
    known = re.compile(r"\.(TH|SH|SS|TP|PP|B|BI|BR|br)( |$)")
    for page in (manual.nadir_1(), manual.nadir_cfg_5()):
        assert not [line for line in page.splitlines() if line.startswith((".", "'")) and not known.match(line)]
        assert page.startswith(".TH ")


def completed(*words):
    script = (f"{manual.completion()}\nCOMP_WORDS=({' '.join(words)})\nCOMP_CWORD={len(words) - 1}\n_nadir\n"
              'printf "%s\\n" "${COMPREPLY[@]}"\n')
    return set(subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"]}).stdout.split())


def test_completion():
    assert completed("nadir", "''") == {"run", "check", "image", "--help", "--version"}
    assert completed("nadir", "r") == {"run"}
    assert completed("nadir", "run", "--bo") == {"--boot"}
    assert completed("nadir", "run", "--boot", "''") == {"warm", "firmware"}
    assert completed("nadir", "check", "--bo") == set()
    assert completed("nadir", "run", "--") == {word for word in words_of_help("run") if word.startswith("--")}
    assert completed("nadir", "run", "x") == set()  # a file: bash's own


def test_kernel_that_looks_like_an_image(tmp_path):
    """UEFI would boot no such thing, and wait at its shell for ten minutes."""
    (tmp_path / "os.img").write_bytes(bytes(510) + b"\x55\xaa")
    done = tool("run", "os.img", folder=tmp_path)
    assert done.returncode == 2, done
    assert done.stderr.startswith("nadir: os.img is no image that UEFI boots") and "kernel = os.img" in done.stderr, done
    assert tool("check", "os.img", folder=tmp_path).returncode == 0


@pytest.mark.parametrize("command", ["run", "check"])
def test_empty_file(tmp_path, command):
    (tmp_path / "k").write_bytes(b"")
    done = tool(command, "k", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "nadir: k is empty\n"), done


def test_module_name_in_quotes(tmp_path, payload):
    """Quotes around all are around FILE [STRING], so that a name with blanks needs its own."""
    (tmp_path / "my file").write_bytes(b"x")
    (tmp_path / "k").symlink_to(payload("hello"))
    for value, said in (('"my file"', """there is no file my; looked for {}/my; a name with blanks is written """
                                      """module = '"my file"'"""), ("'\"my file\"'", "takes neither ramdisk nor modules")):
        (tmp_path / "a.cfg").write_text(f"[vm a]\nkernel = k\nmodule = {value}\n")
        done = tool("check", "a.cfg", folder=tmp_path)
        assert done.returncode == 2 and said.format(tmp_path) in done.stderr, done
