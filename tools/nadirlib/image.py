# SPDX-License-Identifier: BSD-2-Clause
"""Makes the boot image: a GPT disk with one EFI system partition that holds Nadir and its files."""

import os
import re
import shutil
import subprocess
import uuid
from itertools import count
from pathlib import Path, PurePosixPath

from . import TOP, ToolError, bzimage, gpt, say
from .config import quoted

MIB = 1 << 20
FIRST_MIB = 1  # where the partition starts; the last MiB of the disk is for the second GPT
SMALLEST_ESP = 40 * MIB  # FAT32 cannot be smaller than 65,525 clusters

# Two images of the same files are the same, so that two runs in Bochs are, to the instruction.
ALWAYS_THE_SAME = {"MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": "1767225600", "TZ": "UTC"}
DISK_GUID = uuid.uuid5(uuid.NAMESPACE_OID, "nadir disk")
PARTITION_GUID = uuid.uuid5(uuid.NAMESPACE_OID, "nadir partition")

# Keys of nadir.cfg whose value is a file. Everything else in it is for Nadir alone to judge.
FILE_LINE = re.compile(
    rb"""^(\s*(?:kernel|firmware|vga_rom|ramdisk|disk|cdrom)\s*=\s*)("[^"]*"|'[^']*'|(?:(?!\s+#|\s*\r?$).)*)(.*)$""",
    re.S)
# FILE [STRING], where quotes may be around FILE, if something follows, around all, or around both.
MODULE_LINE = re.compile(
    rb"""^(\s*module\s*=\s*)((?:"[^"]*"|'[^']*')(?=\s+[^\s#])|["'](?:"[^"]*"|'[^']*')|["']?[^\s"']+)(.*)$""",
    re.S)
QUOTED_MODULE = re.compile(rb"""^\s*module\s*=\s*["']([^"']*)["']\s*$""")
DEBUGCON_LINE = re.compile(rb"""^\s*debugcon\s*=\s*("[^"]*"|'[^']*'|(?:(?!\s+#|\s*\r?$).)*)""", re.S)
REPORT_LINE = re.compile(rb"^(\s*report\s*=\s*)[^#\r\n]*", re.M)
CFG_THERE = "::/EFI/BOOT/nadir.cfg"
PLAIN_NAME = re.compile(r"[A-Za-z0-9._+-][A-Za-z0-9._+ -]*")


STARTED_LINE = re.compile(rb"^\s*(?:kernel|firmware)\s*=")
BOOT_SECTOR, NATIVE_LIMIT = 512, 0x80000 - 0x7c00  # bytes, as tools/native/native.c has them
KERNEL_REFUSED = 3  # check_config's status
RESERVED = {"nadir.cfg", "bootx64.efi"}  # what is in the image's folder anyway


def stays_inside(name):
    """Whether a name can be kept in the image: relative, below the configuration, fit for FAT."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and all(
        PLAIN_NAME.fullmatch(part) and part[-1] not in " ." for part in parts)


def store(named):
    """What goes into the image, {name there: path here}, and {name in the configuration: name there}
    for those that cannot keep theirs. FAT takes Kernel and kernel for one name."""
    files, aliases = {}, {}
    taken = {name: None for name in RESERVED}
    for name, path in sorted(named.items()):
        there = str(PurePosixPath(name))
        if not stays_inside(name) or taken.get(there.lower(), path) != path:
            there = next(alias for i in count(1)
                         if (alias := f"file{i}") not in taken and alias not in named)
            aliases[name] = there
        taken[there.lower()] = path
        files[there] = path
    return files, aliases


def files_of(cfg):
    """The files that a configuration has its VMs read: (line, name)."""
    for number, line in enumerate(cfg.text.split(b"\n"), 1):
        match = FILE_LINE.match(line) or MODULE_LINE.match(line)
        value = os.fsdecode(match.group(2)).strip("\"'") if match else ""
        if value:
            yield number, value


def debugcons_of(cfg):
    """Those that their debug consoles write: (line, name)."""
    for number, line in enumerate(cfg.text.split(b"\n"), 1):
        match = DEBUGCON_LINE.match(line)
        value = os.fsdecode(match.group(1)).strip("\"'") if match else ""
        if value not in ("", "no", "yes"):
            yield number, value


def refuse_overwriting(cfg, outputs):
    """What is written is none of the files that are read, by whatever name. outputs: (what says that it
    is written, path)."""
    inputs = [Path(cfg.name), *(Path(cfg.folder, name) for _, name in files_of(cfg))]
    for said, path in outputs:
        if any(path.exists() and each.exists() and path.samefile(each) for each in inputs):
            raise ToolError(f"{said} would overwrite a file that the machine is made of")


def refuse_native(cfg):
    """What starts first is all that a bare machine gets, and it must be a boot sector there. For a
    configuration that has been checked."""
    lines = cfg.text.split(b"\n")
    number, name = next((number, name) for number, name in files_of(cfg) if STARTED_LINE.match(lines[number - 1]))
    data = Path(cfg.folder, name).read_bytes()
    why = ("no boot sector (55 AA at offset 510)" if data[BOOT_SECTOR - 2:BOOT_SECTOR] != b"\x55\xaa" else
           f"too large: {len(data)} bytes, of at most {NATIVE_LIMIT}" if len(data) > NATIVE_LIMIT else None)
    if why:
        raise ToolError(f"{cfg.where(number)}: {name} is {why}, and --native starts no other payload"
                        .replace(f"{name}: {name}", name))


def image_section(stored, unpacked):
    """What tools/nadir adds to a configuration: {name in it: name there}, of files that are stored as they
    are, and of kernels that are stored unpacked."""
    lines = [f"{key} = {quoted(name, f'{there} {name}')}\n" for key, names in
             (("stored", stored), ("unpacked", unpacked)) for name, there in names.items()]
    head = "\n[image]  # where tools/nadir has put what lies elsewhere, or in a bzImage\n"
    return os.fsencode(head + "".join(lines)) if lines else b""


def have_judged(cfg, program, *arguments, text=None):
    """Runs one of our programs that read the configuration, and gives it the kernels that are in no file."""
    numbers = {}
    try:
        for name, content in cfg.unpacked.items():
            numbers[name] = os.memfd_create("kernel")
            with open(numbers[name], "wb", closefd=False) as file:
                file.write(content)
        added = image_section({}, {name: f"/proc/self/fd/{number}" for name, number in numbers.items()})
        return subprocess.run([*find_built(program), *map(str, arguments)], input=(text or cfg.text) + added,
                              cwd=cfg.folder, stdout=subprocess.PIPE, pass_fds=numbers.values())
    finally:
        for number in numbers.values():
            os.close(number)


def find_packed(cfg):
    """Kernels that cannot start before they are taken out of their bzImages: {line: name}."""
    done = have_judged(cfg, "check_config", "--folder", ".", "--packed")
    numbers = {int(line.split(b" ", 1)[0]) for line in done.stdout.splitlines()}
    return {number: name for number, name in files_of(cfg) if number in numbers}


def unpack(cfg, number, name):
    try:
        return bzimage.unpack(Path(cfg.folder, name).read_bytes())
    except ToolError as error:
        raise ToolError(cfg.told(number, f"{name}: {error}"))


def refuse_unwritable(outputs):
    """What is to be written when the machine runs can be, as far as that shows without a trace: a run
    may be long, and its output is lost where this is told at its end. outputs: as above."""
    for said, path in outputs:
        # A link may lead to a file that is yet to be, and that of /dev/stdout has no name behind it.
        there = path if path.exists() else Path(os.path.realpath(path))
        if there.is_dir():
            raise ToolError(f"{said}: that is a folder")
        if not there.exists() and not there.parent.is_dir():
            raise ToolError(f"{said}: there is no folder {there.parent}")
        if not os.access(there if there.exists() else there.parent, os.W_OK):
            raise ToolError(f"{said}: you may not write there")


def advice(cfg, number):
    """For a module whose quotes are around FILE [STRING], where FILE alone was meant."""
    quotes = QUOTED_MODULE.match(cfg.text.split(b"\n")[number - 1])
    whole = os.fsdecode(quotes[1]) if quotes else ""
    return f"""; a name with blanks is written module = '"{whole}"'""" if whole and Path(cfg.folder, whole).exists() else ""


def plan(cfg, cpus, memory=None):
    """Checks a configuration, for a machine of so many CPUs and MiB if they are known. Returns the
    image's nadir.cfg as bytes, and what goes beside it: {name in the image: path here, or bytes}."""
    missing = None
    for number, value in files_of(cfg):
        path = Path(cfg.folder, value)
        if not path.exists():
            missing = missing or (f"{cfg.where(number)}: there is no file {value}; looked for {path.absolute()}"
                                  + advice(cfg, number))
    packed = {} if missing else find_packed(cfg)
    for number, name in packed.items():
        if name not in cfg.unpacked:
            cfg.unpacked[name] = unpack(cfg, number, name)
    check(cfg, cpus, memory, files=not missing)
    if missing:
        raise ToolError(missing)
    debugcons = [(f"{cfg.where(number)}: debugcon = {name}", Path(cfg.folder, name))
                 for number, name in debugcons_of(cfg)]
    refuse_overwriting(cfg, debugcons)
    if memory:  # else it is a stick's, and none are written here
        refuse_unwritable(debugcons)
    files, aliases = store({name: Path(cfg.folder, name) for number, name in files_of(cfg) if number not in packed})
    kernels_there = {}
    for name, content in cfg.unpacked.items():
        kernels_there[name] = there = next(each for i in count(1) if (each := f"vmlinux{i}")
                                           not in map(str.lower, files))
        files[there] = content
    return cfg.text + image_section(aliases, kernels_there), files


def with_reports(text, port):
    """A nadir.cfg by which Nadir reports at this port, whatever it says itself; no line moves."""
    text, own = REPORT_LINE.subn(rb"\g<1>%#x" % port, text)
    return text if own else text + b"\n[nadir]\nreport = %#x\n" % port


def check(cfg, cpus, memory, files):
    """Has the loader's own parser judge the text, and the hypervisor's loaders its kernels, here,
    before a machine starts. A stick may be for later: its kernels are only warned of."""
    options = [*(["--cpus", str(cpus)] if cpus else []), *(["--memory", str(memory)] if memory else []),
               *(["--folder", "."] if files else [])]
    done = have_judged(cfg, "check_config", *options)
    if done.returncode == KERNEL_REFUSED and not memory:
        say(f"as it is, this VM will not start: {told(cfg, done)}")
    else:
        judge(cfg, "check_config", done)


def kernels(cfg):
    """What each VM's kernel is, of a configuration that has been checked: (line, text)."""
    done = have_judged(cfg, "check_config", "--folder", ".", "--tell")
    return [tuple(line.split(" ", 1)) for line in done.stdout.decode(errors="replace").splitlines()]


def told(cfg, done):
    """Of `LINE TEXT`."""
    line, _, what = done.stdout.decode().strip().partition(" ")
    return cfg.told(line, what)


def judge(cfg, program, done):
    """What a program says of the configuration: nothing, or `LINE TEXT` with status 1."""
    if done.returncode not in (0, 1, KERNEL_REFUSED):
        raise ToolError(f"{program} failed with status {done.returncode}")
    if done.returncode:
        raise ToolError(told(cfg, done))


def run(*command, data=None):
    try:
        done = subprocess.run([str(c) for c in command], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, **ALWAYS_THE_SAME})
    except FileNotFoundError:
        raise ToolError(f"there is no {command[0]}; run make deps")
    if done.returncode:
        raise ToolError(f"{command[0]} failed:\n" + done.stdout.decode(errors="replace").strip())


def text_of(image):
    """The nadir.cfg of an image, empty where it has none."""
    return subprocess.run(["mtype", "-i", f"{image}@@{FIRST_MIB}M", CFG_THERE], stdin=subprocess.DEVNULL,
                          capture_output=True).stdout


def copy(image, out, report):
    """Takes an image that is there already; a machine may write to its disk, so not itself."""
    shutil.copyfile(image, out)
    text = text_of(out)
    if text:
        run("mcopy", "-o", "-i", f"{out}@@{FIRST_MIB}M", "-", CFG_THERE, data=with_reports(text, report))


def find_built(*names):
    """Paths of what `make` has built, or the advice to call it."""
    paths = [TOP / "build" / name for name in names]
    for path in paths:
        if not path.is_file():
            raise ToolError(f"{path}: not built yet; run make")
    return paths


def make_memory(cfg, hypervisor, out, options, report):
    """Writes what the loader would leave in memory to `out`, for a machine that starts warm."""
    elf, = find_built(hypervisor)
    plan(cfg, options.cpus, options.memory)
    done = have_judged(cfg, "warm_ram", options.cpus, options.memory, options.epoch, options.on, elf,
                       Path(out).absolute(), text=with_reports(cfg.text, report))
    judge(cfg, "warm_ram", done)


def make(cfg, efi, out, cpus=None, memory=None, report=None):
    """Writes the image of a configuration to `out`, for a machine of so many CPUs and MiB, if they
    are known, with a port for reports, if there is one."""
    text, files = plan(cfg, cpus, memory)
    if report:
        text = with_reports(text, report)
    home = PurePosixPath("EFI/BOOT")
    make_disk(out, {home / "BOOTX64.EFI": efi, home / "nadir.cfg": text,
                    **{home / name: path for name, path in files.items()}})
    say(f"image made: nadir.cfg and {len(files)} file{'s' * (len(files) != 1)}")


def make_disk(out, files):
    """A disk with these files in its ESP: {path there: path here, or bytes}."""
    payload = sum(len(content) if isinstance(content, bytes) else content.stat().st_size
                  for content in files.values())
    esp = max(SMALLEST_ESP, (payload + payload // 16 + 8 * MIB) // MIB * MIB)
    start = FIRST_MIB * MIB // gpt.SECTOR
    out = Path(out)
    if out.exists() and not out.is_file() or out.resolve().is_relative_to("/dev"):
        raise ToolError(f"{out} is not a file: make an image, and dd that to it")
    try:
        out.unlink(missing_ok=True)
        with open(out, "wb") as image:
            image.truncate(esp + 2 * MIB)
            gpt.write(image, (esp + 2 * MIB) // gpt.SECTOR, start, esp // gpt.SECTOR, "nadir",
                      DISK_GUID, PARTITION_GUID)
    except OSError as error:
        raise ToolError(f"{out}: {error.strerror}")
    run("mkfs.fat", "--invariant", "-F", "32", "-n", "NADIR", "--offset", start, out, esp // 1024)
    partition = f"{out}@@{FIRST_MIB}M"
    made = set()
    for name, content in files.items():
        name = PurePosixPath(name)
        for folder in reversed(name.parents[:-1]):
            if folder not in made:
                run("mmd", "-i", partition, f"::/{folder}")
                made.add(folder)
        if isinstance(content, bytes):
            run("mcopy", "-i", partition, "-", f"::/{name}", data=content)
        else:
            run("mcopy", "-i", partition, content, f"::/{name}")
