# SPDX-License-Identifier: BSD-2-Clause
"""A wrong nadir.cfg, or a wrong file that it names: the tool, or the loader of a stick, says what and
where, and gives up."""

import re
import struct
import subprocess
import sys

import pytest
from conftest import TOOL, Result

ONE_VM = "[nadir]\n\n[vm a]\nkernel = vmlinuz\nmemory = 64\nvcpus = 1\n"


def fails_at(result, line, *words):
    """Status 2, and one line that names the line of nadir.cfg and what is wrong: the loader's, or the tool's
    where the machine starts warm."""
    assert result.status == 2, result
    where = f"nadir.cfg:{line}:" if line else "nadir.cfg"
    said = [text for text in (result.console + result.messages).splitlines() if where in text]
    assert any(all(re.search(word, text, re.I) for word in words) for text in said), result


WRONG_TEXTS = {
    "unknown section": ("[nadir]\n[vmm a]\n", 2, ["section", "vmm"]),
    "unknown key": (ONE_VM + "colour = red\n", 7, ["key", "colour"]),
    "key twice": (ONE_VM + "memory = 128\n", 7, ["memory", "twice|already|again"]),
    "bad number": (ONE_VM.replace("memory = 64", "memory = many"), 5, ["memory", "many"]),
    "number out of range": (ONE_VM.replace("64", "99999999999999999999999"), 5, ["memory"]),
    "two VMs with a name": (ONE_VM + "\n[vm a]\nkernel = vmlinuz\nmemory = 64\n", 8,
                            ["a", "twice|already|name"]),
    "memory 0": (ONE_VM.replace("64", "0"), 5, ["memory"]),
    "vcpus 0": (ONE_VM.replace("vcpus = 1", "vcpus = 0"), 6, ["vcpus"]),
    "too many vcpus": (ONE_VM.replace("vcpus = 1", "vcpus = 1000"), 6, ["vcpus"]),
    "65 vcpus": (ONE_VM.replace("vcpus = 1", "vcpus = 65"), 6, ["vcpus"]),
    "weight 0": (ONE_VM + "weight = 0\n", 7, ["weight", "1 to 1000"]),
    "cap 0": (ONE_VM + "cap = 0\n", 7, ["cap", "1 to 6400"]),
    "unknown way of bt": (ONE_VM + "bt = native\n", 7, ["bt", "native", "translate"]),
    "bt under vtx": (ONE_VM + "bt = check\nengine = vtx\n", 7, ["bt", "engine = vtx"]),
    "unknown engine": (ONE_VM + "engine = kvm\n", 7, ["engine", "kvm", "vtx"]),
    "odd list of CPUs": (ONE_VM + "cpus = 1-\n", 7, ["cpus", "0-3,5"]),
    "absent CPU": (ONE_VM + "cpus = 0-1\n", 7, ["no CPU 1 ", "last one is 0"]),
    "65 VMs": ("".join(f"[vm v{i}]\nkernel = vmlinuz\n" for i in range(65)), 129, ["64"]),
    "more starts than VMs": ("[nadir]\nmax_vms = 1\n" + ONE_VM[8:] + "[vm b]\nkernel = vmlinuz\n", 8,
                             ["max_vms"]),
    "nothing to run": (ONE_VM + "start = no\n", 0, ["nothing to run"]),
    "command line too long": (ONE_VM + "cmdline = " + "x" * 3000 + "\n", 7, ["cmdline", "long"]),
    "no value": (ONE_VM + "cmdline\n", 7, ["="]),
    "not text": (b"[nadir]\n\x00\x01\xff\xfe\n", 2, []),
}


def tool_refuses(folder, command, text, line, *words):
    """The tool does, before anything boots, and calls the file by its name."""
    (folder / "other.cfg").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = subprocess.run([sys.executable, TOOL, *command.split(), "other.cfg"], cwd=folder,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout, done
    assert done.stderr.startswith(f"nadir: other.cfg:{line}: " if line else "nadir: other.cfg: "), done
    assert len(done.stderr.splitlines()) == 1, done
    assert all(re.search(word, done.stderr, re.I) for word in words), done


@pytest.mark.parametrize("name", WRONG_TEXTS)
def test_wrong_text(tmp_path, name):
    text, line, words = WRONG_TEXTS[name]
    (tmp_path / "vmlinuz").write_bytes(b"x" * 3000)
    tool_refuses(tmp_path, "run", text, line, *words)


@pytest.mark.parametrize("command", ["run", "image -o stick.img"])
@pytest.mark.parametrize("key", ["kernel", "ramdisk", "module"])
def test_missing_file(tmp_path, command, key):
    (tmp_path / "vmlinuz").write_bytes(b"x" * 3000)
    text = ONE_VM.replace("vmlinuz", "../gone") if key == "kernel" else ONE_VM + f"{key} = ../gone\n"
    tool_refuses(tmp_path, command, text, 4 if key == "kernel" else 7, f"no file ../gone; .*{tmp_path}")
    assert not (tmp_path / "stick.img").exists()


IN_LOADER = {
    "none": (None, 0, ["nadir.cfg"]),
    "text": (ONE_VM + "colour = red\n", 7, ["unknown key colour"]),
    "file": (ONE_VM + "ramdisk = sub/gone\n", 7, [r"no file sub/gone; .* \\EFI\\BOOT\\sub\\gone$"]),
    "absent CPU": (ONE_VM + "cpus = 0-3\n", 7, ["no CPU 1 here; the last one is 0"]),
    "nothing to run": (ONE_VM + "start = no\n", 0, ["nothing to run"]),
    "from the root": (ONE_VM + "ramdisk = /gone\n", 7, [r"no file /gone; .* \\gone$"]),
}


@pytest.mark.parametrize("name", IN_LOADER)
def test_loader(write_config, tmp_path, name):
    """A stick whose nadir.cfg is not what it was when the image was made."""
    text, line, words = IN_LOADER[name]
    image, cfg = tmp_path / "stick.img", "::/EFI/BOOT/nadir.cfg"
    subprocess.run([sys.executable, TOOL, "image", write_config(ONE_VM, {"vmlinuz": b"x" * 3000}),
                    "-o", image], check=True)
    subprocess.run(["mdel", "-i", f"{image}@@1M", cfg], check=True)
    if text:
        subprocess.run(["mcopy", "-i", f"{image}@@1M", "-", cfg], input=text.encode(), check=True)
    done = subprocess.run([sys.executable, TOOL, "run", image, "--on", "bochs", "--timeout", "60"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    fails_at(Result(done.returncode, done.stdout, done.stderr, []), line, *words)
    assert "nadir-end: config-error" in done.stdout


def test_start_no(nadir, payload):
    """A VM that does not start, beside one that does, on a machine with both its CPUs."""
    section = "[vm {}]\nkernel = hello.bin\nmemory = 16\nstart = {}\n"
    cfg = section.format("off", "no") + section.format("on", "yes") + "cpus = 0-1\n" + section.format("z", "no")
    result = nadir(cfg, {"hello.bin": payload("hello")}, timeout=60, cpus=2)
    assert result.status == 0, result
    assert [vm["vm"] for vm in result.stats] == ["on"], result
    assert "hello: from long mode" in result.console and "nadir: end: ok" in result.console, result
    assert "[on] " not in result.console, result  # the console is its own


def test_more_memory_than_there_is(nadir, debian):
    folder = debian()
    result = nadir(ONE_VM.replace("64", "65536"), {"vmlinuz": folder / "vmlinuz"}, timeout=60)
    assert result.status == 2, result
    assert re.search(r"nadir\.cfg:\d+:.*memory", result.messages), result


@pytest.mark.parametrize("boot", ["warm", "firmware"])
@pytest.mark.parametrize("key", ["kernel", "ramdisk"])
def test_empty_file(nadir, debian, key, boot):
    files = {"vmlinuz": debian() / "vmlinuz", "nil": b""}
    text = ONE_VM.replace("vmlinuz", "nil") if key == "kernel" else ONE_VM + "ramdisk = nil\n"
    fails_at(nadir(text, files, timeout=60, boot=boot), 4 if key == "kernel" else 7, "nil", "empty")


@pytest.mark.parametrize("boot", ["warm", "firmware"])
def test_odd_disk(nadir, debian, boot):
    files = {"vmlinuz": debian() / "vmlinuz", "disk.img": b"x" * 1000}
    fails_at(nadir(ONE_VM + "disk = disk.img\n", files, timeout=60, boot=boot), 7, "disk.img", "1000", "512")


def says_of_kernel(result, *words):
    """A kernel that is no good is refused by name, with the status of a wrong config."""
    assert result.status == 2, result
    said = [text for text in (result.console + result.messages).splitlines() if "vmlinuz" in text]
    assert any(all(re.search(word, text, re.I) for word in words) for text in said), result


def test_truncated_kernel(nadir, debian):
    image = (debian() / "vmlinuz").read_bytes()
    says_of_kernel(nadir(ONE_VM, {"vmlinuz": image[: len(image) // 2]}, timeout=60),
                   "trunc|short|end")


def test_truncated_kernel_on_a_stick(write_config, tmp_path, debian):
    """Nadir has the last word: of a stick, the tool only warns."""
    image = (debian() / "vmlinuz").read_bytes()
    cfg, stick = write_config(ONE_VM, {"vmlinuz": image[: len(image) // 2]}), tmp_path / "stick.img"
    made = subprocess.run([sys.executable, TOOL, "image", cfg, "-o", stick], capture_output=True, text=True)
    assert made.returncode == 0 and "vmlinuz: the kernel is truncated" in made.stderr, made
    done = subprocess.run([sys.executable, TOOL, "run", stick, "--on", "bochs", "--timeout", "60"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "error: nadir.cfg:4: vmlinuz: the kernel is truncated" in done.stdout, done
    assert done.returncode == 2, done


def test_kernel_cut_in_its_header(nadir, debian):
    image = (debian() / "vmlinuz").read_bytes()
    says_of_kernel(nadir(ONE_VM, {"vmlinuz": image[:0x210]}, timeout=60))


def test_32_bit_kernel(nadir, debian):
    image = bytearray((debian() / "vmlinuz").read_bytes())
    flags, = struct.unpack_from("<H", image, 0x236)  # xloadflags; bit 0 is XLF_KERNEL_64
    struct.pack_into("<H", image, 0x236, flags & ~1)
    says_of_kernel(nadir(ONE_VM, {"vmlinuz": bytes(image)}, timeout=60), "64")


@pytest.mark.parametrize("size, words", [(0, "is empty"), (3000, "3000 bytes.*2048"), (1 << 16, "is no image of a CD")])
def test_no_cd(nadir, size, words):
    result = nadir("[vm a]\nkernel = k\ncdrom = cd.iso\n", {"k": b"x", "cd.iso": bytes(size)}, timeout=60)
    fails_at(result, 3, f"cd.iso.*{words}")
