# SPDX-License-Identifier: BSD-2-Clause
"""The emulators' command lines: each function here makes one process with a console to talk to."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from . import CACHE, ToolError, config, say
from .image import find_built
from .saved import Saved

EPOCH = 1767225600  # when Bochs's clock starts: 1 January 2026
WARM_MEMORY_LIMIT = 2048  # MiB, which tools/warm/ram.c takes for one piece of RAM
WARM_START = 0x100000  # where tools/warm/rom.asm finds the memory of a warm start
BOCHS_MEMORY_LIMIT = 2048  # MiB; Bochs's i440fx takes no more
BOCHS_CPU_LIMIT = 14  # Bochs has 64 timers, for CPUs and devices
QEMU_CPU_LIMIT = 255  # more need KVM's X2APIC, and Nadir takes 256
QEMU = "qemu-system-x86_64"

# Where Nadir reports to us (nadir.cfg: report). COM3: firmware speaks on the first two.
REPORT_PORT = 0x3e8
GDB_PORT = 1234

ROMS = ("/usr/share/ovmf/OVMF.fd", "/usr/share/OVMF/OVMF.fd", "/usr/share/qemu/OVMF.fd")
ROM_HALVES = ("/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd")
VGA_ROMS = ("/usr/share/vgabios/vgabios.bin", "/usr/share/bochs/VGABIOS-lgpl-latest",
            "/usr/share/bochs/VGABIOS-lgpl-latest.bin", "/usr/share/seabios/vgabios-stdvga.bin")


TELLING = re.compile(rb"VMFAIL|VMENTER FAIL|VMX|PANIC|panic|[Tt]riple fault|3rd|fatal|qemu-system")

HARMLESS_PANIC = re.compile(rb"set dirty on paging leaf")


class Log(threading.Thread):
    """Reads the emulator's log: keeps the last lines that may tell why, and all in a file if asked.

    A pipe and not a file, as a guest that does one odd thing for ever would fill the disk.
    """

    def __init__(self, pipe, path):
        super().__init__(daemon=True)
        self.telling = deque(maxlen=20)
        self.last = deque(maxlen=8)
        self.deadly = False  # the emulator cannot go on, and may not end by itself
        self._pipe = pipe
        self._file = Saved(f"--log {path}", path) if path else None
        self.start()

    def run(self):
        for line in self._pipe:
            self.last.append(line.decode(errors="replace").strip())
            if b">>PANIC<<" in line and not HARMLESS_PANIC.search(line):
                self.deadly = True
            if TELLING.search(line):
                self.telling.append(line.decode(errors="replace").strip())
            if self._file:
                self._file.write(line)
        if self._file:
            self._file.close()


def find_rom(work):
    """UEFI firmware as one file that ends at 4 GiB; newer packages have it in two halves only."""
    named = os.environ.get("OVMF")
    for path in [named] if named else ROMS:
        if os.path.exists(path):
            return Path(path)
    if named or not all(map(os.path.exists, ROM_HALVES)):
        raise ToolError(f"no UEFI firmware at {named or ROMS[0]}; run make deps")
    rom = work / "OVMF.fd"
    rom.write_bytes(b"".join(Path(half).read_bytes() for half in ROM_HALVES))
    return rom


def find_bochs(variant="fast"):
    """The program, and whether it is the packaged one, which has other displays and a debugger."""
    named = os.environ.get("BOCHS")
    if named and variant == "fast":
        if not shutil.which(named):
            raise ToolError(f"BOCHS={named}: no such program")
        return named, needs_prompt_file(named)
    built = CACHE / "bochs-3.0-5" / variant / "bochs"
    if built.exists():
        return str(built), False
    packaged = shutil.which("bochs-bin") or shutil.which("bochs")
    if not packaged or variant != "fast":
        raise ToolError("there is no Bochs; run " +
                        ("make bochs" if variant == "fast" else f"tools/bochs_build.sh {variant}"))
    say("using the packaged Bochs; `make bochs` builds one that is five times as fast")
    return packaged, needs_prompt_file(packaged)


def needs_prompt_file(program):
    """A Bochs with its debugger stops at a prompt unless told to go on; only its help tells."""
    return "-rc" in help_of(program)


def help_of(program, *topic):
    done = subprocess.run([program, "--help", *topic], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode(errors="replace")


def check_model(program, model):
    models = re.findall(r"^(\w+)$", help_of(program, "cpu"), re.M)
    if models and model not in models:
        raise ToolError(f"Bochs has no CPU {model}, but: {' '.join(models)}")


# What every CPU of these models has, the firmware reads, and Bochs lacks: PLATFORM_ID, BIOS_SIGN_ID.
KNOWN_MSRS = (0x17, 0x8b)


def size_of(options):
    """The machine's, for the line that tells of it."""
    return f"{options.cpus} CPU{'s' * (options.cpus > 1)}, {options.memory} MiB"


def strict_msrs(work):
    """The part of Bochs's cpu line that makes all other unknown MSRs fault."""
    (work / "msrs.def").write_text("".join(f"{msr:#x} 0{' 00000000' * 6}\n" for msr in KNOWN_MSRS))
    return ", ignore_bad_msrs=0, msrs=msrs.def"


def name_in(work, path):
    """The file's name for Bochs, which starts in `work`: of a path, its configuration would lose the
    blanks, and take commas and dollar signs for its own."""
    if path.parent != work:
        (work / path.name).symlink_to(path.absolute())
    return path.name


def warm_memory(start, work):
    """Bochs's lines for the memory of a warm start. A block of RAM exists in Bochs once it is touched,
    and the file must be the next to come (tools/warm/rom.asm): gdb looks at the first block before."""
    (work / "nothing").write_bytes(bytes(4096))
    return ["optramimage1: file=nothing, address=0",
            f"optramimage2: file={name_in(work, start)}, address={WARM_START:#x}"]


def bochs(start, console, reports, work, options):
    """Bochs; `console` and `reports` are the names of ptys. `start`: the disk that firmware is to
    boot, or the memory of a warm start."""
    program, debugger = options.bochs
    warm = options.boot == "warm"
    rom = find_built("warm.rom")[0] if warm else find_rom(work)
    vga = next((path for path in VGA_ROMS if os.path.exists(path)), None)
    if not vga:
        raise ToolError("no VGA BIOS for Bochs; run make deps")
    display = "rfb, options=\"timeout=0\"" if debugger else "nogui"
    lines = [
        f"display_library: {display}",
        f"romimage: file={name_in(work, rom)}, address={(1 << 32) - rom.stat().st_size:#x}",
        f"vgaromimage: file={vga}",
        # Where there are several CPUs, a round of Bochs runs a few instructions (a trace, of at most
        # `quantum`) on each, a CPU that sleeps counts as `quantum`, and the average is the time that
        # has passed. With the default of 16 one CPU that works while others sleep runs at half speed.
        f"cpu: model={options.model}, count={options.cpus}, ips=100000000, "
        + "quantum=4, " * (options.cpus > 1) +  # Bochs with gdb's stub has one CPU, and no such word
        "reset_on_triple_fault=0" + (strict_msrs(work) if options.strict else ""),
        f"megs: {options.memory}",
        # Always the same day, so that runs can be compared. "slowdown" sleeps where it would be ahead.
        f"clock: sync={'slowdown' if options.real_time else 'none'}, time0={EPOCH}",
        "pci: enabled=1, chipset=i440fx",
        f"com1: enabled=1, mode=term, dev={console}",
        f"com3: enabled=1, mode=term, dev={reports}",
        *(warm_memory(start, work) if warm
          else [f"ata0-master: type=disk, path={name_in(work, start)}, mode=flat"]),
        "boot: disk",
        "log: /dev/stdout",
        "error: action=report",
        "info: action=ignore",
        "debug: action=ignore",
        # Not "fatal": Bochs panics too where firmware clears CR0.WP on a model with CET, as real
        # processors do not. Log ends the run at any other panic.
        "panic: action=report",
        *(["sound: driver=dummy", "speaker: enabled=0"] if debugger else []),
        *([f"gdbstub: enabled=1, port={GDB_PORT}"] if options.gdb else []),
    ]
    config = work / "bochsrc"
    config.write_text("\n".join(lines) + "\n")
    command = [program, "-q", "-f", str(config)]
    if debugger:
        go_on = work / "debugger.rc"
        go_on.write_text("c\n")
        command += ["-rc", str(go_on)]
    say(f"starting Bochs: {options.model}, {size_of(options)}{options.why}")
    env = {"BXSHARE": "/usr/share/bochs", **os.environ, "TZ": "UTC"}  # its clock would go by the user's zone
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, cwd=work,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return process, Log(process.stdout, options.log)


def has_nested_kvm():
    """Whether QEMU's guest here would see VT-x."""
    if os.environ.get("NADIR_KVM") == "0":
        return False
    nested = Path("/sys/module/kvm_intel/parameters/nested")
    return (os.access("/dev/kvm", os.R_OK | os.W_OK) and nested.exists()
            and nested.read_text().strip() in ("Y", "1"))


def quoted(path):
    """A file's name for QEMU, which has commas between its words."""
    return str(path).replace(",", ",,")


def firmware_qemu(image, work, usb):
    disk = "usb-storage,bus=usb.0" if usb else "ide-hd"
    return ["-bios", str(find_rom(work)), "-vga", "std",
            *(["-device", "qemu-xhci,id=usb"] if usb else []),
            "-drive", f"if=none,id=boot,format=raw,file={quoted(image)}",
            "-device", f"{disk},drive=boot,bootindex=0"]


def warm_qemu(start, native):
    """A screen would need firmware, too; but a kernel on the bare machine may ask for the VGA's ports."""
    return ["-bios", str(find_built("warm.rom")[0]), "-vga", "std" if native else "none",
            "-device", f"loader,file={quoted(start)},addr={WARM_START:#x},force-raw=on"]


def accelerator(kvm, cpus, native):
    """QEMU's words for what executes the machine. Its emulation gives each CPU a thread of its own by
    itself where that is right: on a host whose memory is ordered as an x86's, or stricter. There it
    is said, so that a QEMU that does not do it tells."""
    bare = ",-hypervisor" if native else ""  # a bit of CPUID by which programs know a VM
    if kvm:
        return ["-accel", "kvm", "-cpu", "host,migratable=off" + bare]
    threads = ",thread=multi" if cpus > 1 and os.uname().machine in ("x86_64", "i686") else ""
    return ["-accel", f"tcg{threads}", "-cpu", "max" + bare]


def qemu(image, console, reports, work, options):
    """QEMU, with KVM where that can nest VT-x, else its own emulation, which has none."""
    kvm = options.kvm
    if not shutil.which(QEMU):
        raise ToolError(f"there is no {QEMU}; run make deps")
    command = [
        QEMU, "-machine", "q35", "-m", str(options.memory), "-smp", str(options.cpus),
        *accelerator(kvm, options.cpus, options.native),
        *(warm_qemu(image, options.native) if options.boot == "warm" else firmware_qemu(image, work, options.usb)),
        "-nodefaults", "-display", "none",
        "-no-reboot", "-monitor", "none", "-chardev", "stdio,id=console,signal=off",
        "-serial", "chardev:console", "-chardev", f"serial,id=reports,path={reports}",
        "-device", f"isa-serial,iobase={REPORT_PORT:#x},irq=4,chardev=reports",
        *(["-gdb", f"tcp:localhost:{GDB_PORT}", "-S"] if options.gdb else []),
    ]
    say(f"starting QEMU with {'KVM' if kvm else 'its own emulation (no VT-x)'}: {size_of(options)}"
        f"{options.why}")
    line = os.open(console, os.O_RDWR | os.O_NOCTTY)
    try:
        process = subprocess.Popen(command, stdin=line, stdout=line, cwd=work,
                                   stderr=subprocess.PIPE)
        return process, Log(process.stderr, options.log)
    finally:
        os.close(line)


def words_of_bochs(options):
    """The options given that no other emulator has. (--real-time is what QEMU does anyway.)"""
    return [word for given, word in ((options.model_given, "--model"), (options.strict, "--strict"),
                                     (options.real_time is False, "--no-real-time")) if given]


def pick(options, text):
    """The emulator that fits, and why. Where there is no VT-x for a VM that asks for it, Bochs has it;
    where none asks, QEMU's emulation is there at once and faster."""
    if options.usb:
        return "qemu", "--usb is QEMU's"
    for word in words_of_bochs(options):
        return "bochs", f"{word} is Bochs's"
    if has_nested_kvm() and options.boot != "warm":
        return "qemu", "KVM can nest VT-x here"
    if config.wants_vtx(text):
        return "bochs", "a VM asks for engine = vtx"
    return "qemu", "no KVM here can nest VT-x, and no VM asks for engine = vtx"


def settle_boot(options):
    """How it boots, whether KVM runs it, and what its clock says. Under KVM it is firmware that allows
    VT-x."""
    options.kvm = options.on == "qemu" and options.boot != "warm" and has_nested_kvm()
    needs_firmware = (options.usb and "--usb" or options.cfg.endswith(".img") and "an image"
                      or "NADIR_EFI" in os.environ and "NADIR_EFI"
                      or options.memory > WARM_MEMORY_LIMIT and f"more memory than {WARM_MEMORY_LIMIT} MiB")
    if options.boot == "warm" and needs_firmware:
        raise ToolError(f"{needs_firmware} starts by firmware, not --boot warm")
    options.boot = options.boot or ("firmware" if needs_firmware or options.kvm else "warm")
    options.epoch = EPOCH if options.on == "bochs" else int(time.time())


def choose(options, text, is_watched):
    """Settles which emulator, how it boots, and how fast its time goes, where the user has left that
    open, and whether it can be that machine. `text`: nadir.cfg; `is_watched`: somebody looks at a
    VM's screen."""
    options.why = ""
    if options.on == "qemu" or options.usb:
        for word in words_of_bochs(options):
            raise ToolError(f"{word} is an option of Bochs's alone, and this is QEMU")
    if options.on == "auto" or options.usb:
        options.on, why = pick(options, text)
        options.why = f"; {why}"
    if options.real_time is None:
        options.real_time = is_watched
    if options.on == "bochs" and options.memory > BOCHS_MEMORY_LIMIT:
        raise ToolError(f"Bochs takes at most {BOCHS_MEMORY_LIMIT} MiB of memory")
    settle_boot(options)
    if options.native and options.cfg.endswith(".img"):
        raise ToolError(f"{options.cfg}: --native is for a configuration or a kernel; an image boots what it has")
    if options.on == "qemu" and options.cpus > QEMU_CPU_LIMIT:
        raise ToolError(f"--cpus {options.cpus}: QEMU takes at most {QEMU_CPU_LIMIT} CPUs")
    if options.on == "bochs":
        # A disk, and to sleep where Bochs would be ahead, each takes a timer: together one too many.
        most = BOCHS_CPU_LIMIT - (options.real_time and options.boot == "firmware")
        if options.cpus > most:
            raise ToolError(f"--cpus {options.cpus}: Bochs takes at most {most} CPUs"
                            + " with --real-time by firmware" * (most < BOCHS_CPU_LIMIT))
        if options.gdb and options.cpus > 1:
            raise ToolError("Bochs with gdb has one CPU")
        options.bochs = find_bochs("gdb" if options.gdb else "fast")
        if options.model_given:
            check_model(options.bochs[0], options.model)


def start(medium, console, reports, work, options):
    """Starts the emulator that choose() has settled on; returns process and log."""
    return (qemu if options.on == "qemu" else bochs)(medium, console, reports, work, options)


def stop(process):
    """Ends an emulator that may have ended already."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
