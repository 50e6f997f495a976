# SPDX-License-Identifier: BSD-2-Clause
"""The command line of `nadir`, as data: for its parser, its --help, its manual page and its
completion in bash (tools/manual.py), which so cannot differ."""

import argparse
import re

from . import TOP

DESCRIPTION = "Runs Nadir with virtual machines in an emulator, or makes a boot image of it."

EXAMPLES = (
    ("run build/demo/nadir.cfg", "boot the demo; Ctrl-A x ends it"),
    ("run vmlinuz --append console=ttyS0", "a kernel, without a configuration file"),
    ("run my.cfg --cpus 4 --timeout 60", "four CPUs, at most a minute"),
    ("run my.cfg --model tigerlake", "another of Bochs's CPUs"),
    ("run my.cfg --stats stats.json", "save what each VM cost"),
    ("run my.cfg --log bochs.log", "say why, when a VM entry fails"),
    ("run my.cfg --on bochs", "by VT-x, and time counted in instructions"),
    ("run my.cfg --boot firmware", "by UEFI and the loader, as on a PC"),
    ("run my.cfg --native", "its first VM's boot sector on the bare machine"),
    ("check my.cfg", "what is wrong with it, in a moment"),
    ("image my.cfg -o stick.img", "then: dd if=stick.img of=/dev/sdX bs=4M"),
)
STATUSES = (
    ("0", "every VM ended well; check: there is nothing wrong"),
    ("1", "a VM ended badly, or Ctrl-A x was typed"),
    ("2", "the configuration, a file that it names, or the usage is wrong"),
    ("3", "Nadir panicked or refused to start"),
    ("124", "it took longer than --timeout"),
    ("130, 143", "a signal ended it: SIGINT, SIGTERM"),
)
# What a VM's table names when it ends, and --stats saves: of the engines bt and pv; vtx has the exit reasons of Intel's manual.
COUNTS = (
    ("attention, timer, interrupt", "the vCPU was asked to look at something; its next timer was due; an interrupt of the "
     "guest's own was delivered"),
    ("exception", "an exception was delivered to the guest"),
    ("cpuid, rdmsr, wrmsr, control_register_accesses, xsetbv, hlt, hypercall, task_switch", "such instructions"),
    ("io_instruction, device_memory", "a device was reached by a port, or in memory"),
    ("executed_singly", "an instruction of the FPU or of vectors, which the processor carried out alone"),
    ("shadow_page_faults", "a page was missing in the shadow page tables, or is not to be written"),
    ("translations, blocks", "kernel code was to be translated, and blocks of code that this made"),
    ("user_code", "user code, which runs as it is, was left"),
    ("interpreted", "instructions that the software CPU took"),
    ("cache_entries, direct_entries", "how often translated code was entered, and user code"),
    ("instructions, bytes_in, bytes_out", "of the guest's, that were translated, and what they have become"),
    ("lookups_missed, links", "indirect branches whose target was looked for, and other branches led to their block"),
    ("flushes, code_pages_dropped", "all translations were dropped, and those of one page, as code may have changed"),
    ("shadow_fills, shadow_drops", "entries of shadow page tables made, and how often all of them were dropped"),
    ("sweeps", "shadow page tables were gone through, to have a page with code written to no more unseen"),
    ("checked, unchecked", "with bt = check: instructions that were compared, and blocks that were not"),
)
# What the file of --stats has beside them.
COUNTS_JSON = (
    ("tsc_first_entry, tsc_end", "the host's time-stamp counter when the VM was first entered, and at its end"),
    ("tsc_hlt, tsc_wait_io, tsc_wait_x87, tsc_wait_sleep, tsc_wait_sipi",
     "ticks that its vCPUs have waited, all together: in HLT, for a device to take more, at errors of the x87, by "
     "hypercall, for a start-up IPI; tsc_idle is their sum"),
    ("tsc_root, tsc_guest_or_ready",
     "ticks in the hypervisor for this VM; and those that are neither this nor waiting"),
    ("exits, classes, counters", "events by name, and the same by class; what else the engine counts"),
)

# What the engine pv has beside names above.
COUNTS_PV = (
    ("host_interrupt, block", "the host's own interrupt came; the domain waited"),
    ("hypercall, page_table_calls", "hypercalls; those on page tables (mmu_update, update_va_mapping, mmuext_op, multicall)"),
    ("system_call, iret_call", "a system call of user code, led to its kernel; the kernel's way back, by the call iret"),
    ("guest_page_fault, privileged_instruction", "a page fault that the guest's kernel gets; an instruction of its that CPL "
     "3 may not execute"),
    ("mmu_update, iret, sched_op and so on", "hypercalls by Xen's names, those within a multicall too; a batch in portions counts "
     "with each"),
    ("other_calls, nadir_calls", "calls with any other number, refused with ENOSYS; Nadir's own"),
    ("table_updates, mmuext_operations", "entries written by mmu_update; operations of mmuext_op"),
    ("calls_in_batches, upcalls", "calls that were part of a multicall; events delivered"),
    ("tables_opened, shadow_verified", "page tables that the guest's kernel wrote to directly; shadow entries looked at anew "
     "after a flush"),
)
# What README.md has no room for.
GUESTS = (
    ("console = vga", "A terminal is sent what has changed, up to 15 times a second, in colour and as UTF-8, on its second page; "
     "the first has what the others say. A pipe gets no screens. Cursor and function keys, Ctrl, Alt and Esc work; what no US "
     "keyboard has is not typed. Of several VMs, the screen is that of the one with the keyboard; a VM's last screen is printed "
     "as text. guest/payloads/tests/typing shows it."),
    ("firmware", "With console = serial SeaBIOS speaks on COM1. Of several disks, a CD among them, it boots one by its menu: Esc, "
     "then the number; Bochs shortens its wait without --real-time. The x87 is as after RESET: FCW 0x40."),
    ("type = multiboot, multiboot2, pvh", "CS is 0x08 and data 0x10, in a GDT at 0xf1f00; there is a stack, and lines of kernel "
     "and modules begin with the file's name. loader = grub2 means CS 0x10, data 0x18, no names. A 64-bit ELF file with a "
     "multiboot 1 header starts in 32-bit mode, and only with type = multiboot (QEMU refuses it). ELF kernels are told their "
     "section headers, with symbols where there is room."),
    ("type = flat", "BIOS calls set the carry flag, but 8259s, 8254 and IF are as SeaBIOS leaves them, and INT 08h and 09h come. "
     "In 32- and 64-bit mode a flat program has flat segments, in the latter 4 GiB identity-mapped."),
    ("tables and devices", "ACPI tables stand at 0xe0000, an MP table at 0xf0000. There are IDE channels without drives, too, "
     "QEMU's fw_cfg and pc-testdev: ports 0x2000 and 0xe0, a page at 0xff000000."),
    ("device memory", "Nadir emulates moves, arithmetic, strings and all that can have a lock; the CPU executes the rest, up to "
     "AVX-512 and XSAVE, on what the device has answered, and reads descriptors and page tables there likewise."),
)
ENVIRONMENT = (
    ("BOCHS", "the Bochs to use"),
    ("OVMF", "the UEFI firmware to use"),
    ("NADIR_EFI", "the loader to boot instead of build/nadir.efi"),
    ("NADIR_KVM=0", "leave KVM alone even where it could nest VT-x"),
    ("NO_COLOR", "no colours, if it is set to anything"),
)
FILE_HELP = ("a configuration, its file names relative to it; a kernel, as nadir.cfg's `kernel` "
             "takes it; or an image to boot, FILE.img")


def version():
    text = (TOP / "boot" / "handoff.h").read_text()
    return "nadir " + re.search(r'NADIR_VERSION\s+"(.*)"', text).group(1)


def section(title, rows):
    width = max(len(left) for left, _ in rows) + 2
    return f"{title}:\n" + "".join(f"  {left:{width}}{right}\n" for left, right in rows)


def epilog():
    return "\n".join((section("examples", [(f"tools/nadir {command}", what)
                                            for command, what in EXAMPLES]),
                      section("exit status", STATUSES), section("environment", ENVIRONMENT)))


def positive(text):
    """A number as nadir.cfg has them."""
    digits = re.fullmatch("0[xX]([0-9a-fA-F]+)|([0-9]+)", text, re.A)
    value = (int(digits[1], 16) if digits[1] else int(digits[2])) if digits else 0
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text}: not a whole number of at least 1")
    return value


def add_common(parser):
    parser.add_argument("-q", "--quiet", action="store_true",
                        help="say nothing of its own in [...], but errors")


def add_machine(parser):
    parser.add_argument("--cpus", type=positive, default=1, metavar="N", help="host CPUs (1)")
    parser.add_argument("--memory", type=positive, default=1024, metavar="MIB",
                        help="host memory (1024)")


def add_kernel(parser):
    """What a configuration would say; nadirlib/config.py writes one."""
    group = parser.add_argument_group("where FILE is a kernel")
    group.add_argument("--append", metavar="TEXT", help="its command line")
    group.add_argument("--initrd", metavar="FILE", help="its ramdisk")
    group.add_argument("-m", dest="guest_memory", type=positive, metavar="MIB",
                       help="the VM's memory (256)")
    group.add_argument("--vcpus", type=positive, metavar="N", help="the VM's virtual CPUs (1)")
    group.add_argument("--engine", choices=("auto", "vtx", "bt", "pv"), help="what executes the VM (auto)")
    group.add_argument("--vga", action="store_true",
                       help="show the VM's screen instead of its serial port")


def add_run(commands, more):
    run = commands.add_parser("run", help="boot a configuration or a kernel in an emulator",
                              epilog=epilog(), **more)
    run.add_argument("cfg", metavar="FILE", help=FILE_HELP)
    run.add_argument("--on", choices=("auto", "bochs", "qemu"), default="auto",
                     help="auto: Bochs if an option is one of Bochs's, else QEMU with KVM where that can nest "
                          "VT-x, else Bochs if a VM asks for engine = vtx, else QEMU's own emulation, which "
                          "has no VT-x")
    run.add_argument("--boot", choices=("warm", "firmware"),
                     help="warm (the default without KVM) starts at the hypervisor; firmware as on a PC, "
                          "a few seconds later")
    add_machine(run)
    run.add_argument("--model", metavar="BOCHS_CPU", help="Bochs: corei7_skylake_x, or another of its CPUs")
    run.add_argument("--timeout", type=positive, metavar="S",
                     help="seconds (600; no limit where you sit at a terminal)")
    run.add_argument("--log", metavar="FILE", help="save the emulator's log")
    run.add_argument("--stats", metavar="FILE.json", help="save the VMs' statistics, a JSON list")
    run.add_argument("--serial", metavar="FILE",
                     help="save what the console says, too: as text, without a VM's screen")
    run.add_argument("--usb", action="store_true", help="QEMU: boot from an emulated USB stick")
    run.add_argument("--strict", action="store_true",
                     help="Bochs: MSRs that it does not know fault, as on a real CPU")
    run.add_argument("--real-time", action=argparse.BooleanOptionalAction,
                     help="Bochs: idle time is not skipped, so that menus wait for you; the default "
                          "where a VM's screen is on a terminal")
    run.add_argument("--native", action="store_true",
                     help="without Nadir: the first VM's payload, a boot sector, on the bare machine, which has no BIOS: "
                          "INT 10h leads nowhere")
    run.add_argument("--gdb", action="store_true", help="wait for gdb on port 1234, in Bochs or QEMU: target remote :1234, hbreak nadir_entry")
    add_kernel(run)
    add_common(run)


def make_parser():
    more = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = argparse.ArgumentParser(prog="nadir", description=DESCRIPTION, epilog=epilog(), **more)
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|check|image")
    add_run(commands, more)
    check = commands.add_parser("check", help="say what is wrong with a configuration or a kernel",
                                **more)
    check.add_argument("cfg", metavar="FILE", help=FILE_HELP.partition("; or")[0])
    add_machine(check)
    add_kernel(check)
    add_common(check)
    make = commands.add_parser("image", help="make a disk image for a USB stick", **more)
    make.add_argument("cfg", metavar="CFG")
    make.add_argument("-o", dest="out", metavar="FILE", required=True, help="the image")
    add_common(make)
    return parser
