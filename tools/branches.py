#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The last step of linking the hypervisor. What objdump reads in it is changed in two ways:
- Each call and jump by way of a thunk (arch/thunks.asm) becomes an indirect one, padded to the same length; where
  the address has just been loaded from memory into RAX, by one that loads it. What was there is kept in
  branch_sites, for thunks_harden() to put it back.
- A direct call or jump to an ENDBR64 goes behind it: only indirect ones need it (arch/cet.h), and pay for it.
It fails where there are other indirect branches, and where an address is taken at which no ENDBR64 is."""

import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

THUNK = re.compile(r"<__x86_indirect_thunk_(\w+)>$")
INDIRECT = re.compile(r"\b(?:call|jmp) +\*")
DIRECT = re.compile(r"([0-9a-f]+) <")
TAKES = re.compile(r"(?:mov\w*|push\w*) \$(0x[0-9a-f]+)(?:,|$)|lea\b.* # ([0-9a-f]+) ")
# Addresses that no indirect call or jump goes to: of the whole text, of code that is patched by way of them, of the
# VMCS's host RIP, from which no ENDBR64 is asked, and one that faults are compared with. A table of where IRET goes to.
NO_TARGETS = re.compile(r"__text_start|vmx_enter_(?:first|next)(?:_hardened)?|vmx_exit_(?:point|hardened)"
                        r"|ring3_iretq|ring3_(?:go|leave)(?:_hardened)?")
FIXUPS = "fixup_table", "fixup_table_end"

REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
ENDBR64 = bytes.fromhex("f30f1efa")
CS_PREFIX, REX, REX_W, LOAD, GROUP = 0x2e, 0x40, 0x48, 0x8b, 0xff  # the first means nothing in 64-bit mode
MODRM = {"call": 0x10, "jmp": 0x20}
TO_REGISTER, REGISTER_FIELD, RIP_RELATIVE = 0xc0, 0x38, 0x05
REL32 = {"call": 0xe8, "jmp": 0xe9}
LOADED, EXECUTE = 1, 1  # a segment's kind, and one of its flags


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Image:
    """The file's bytes by their addresses, and its symbols."""

    def __init__(self, path):
        self.file = bytearray(Path(path).read_bytes())
        table, = struct.unpack_from("<Q", self.file, 32)
        size, count = struct.unpack_from("<HH", self.file, 54)
        headers = [struct.unpack_from("<IIQQQQ", self.file, table + size * i) for i in range(count)]
        self.segments = [(flags, offset, address, in_file)
                         for kind, flags, offset, address, _, in_file in headers if kind == LOADED]
        self.symbol = {line.split()[2]: int(line.split()[0], 16) for line in run("nm", path).splitlines()}

    def _offset(self, address):
        return next(address - base + offset for _, offset, base, size in self.segments
                    if base <= address < base + size)

    def get(self, address, form):
        return struct.unpack_from(form, self.file, self._offset(address))[0]

    def put(self, address, form, *values):
        struct.pack_into(form, self.file, self._offset(address), *values)

    def is_target(self, address):
        return self.get(address, "4s") == ENDBR64


class Instruction(NamedTuple):
    """As objdump has it."""

    at: int
    length: int
    mnemonic: str
    operands: str

    def __str__(self):
        return f"{self.mnemonic} {self.operands}"


def instructions(path):
    """All but the last."""
    lines = re.findall(r"^ *([0-9a-f]+):\t(.*)$", run("objdump", "-d", "--no-show-raw-insn", path), re.M)
    for (at, text), (after, _) in zip(lines, lines[1:]):
        mnemonic, _, operands = " ".join(text.split()).partition(" ")
        yield Instruction(int(at, 16), int(after, 16) - int(at, 16), mnemonic, operands)


def by_register(mnemonic, register):
    number = REGISTERS.index(register)
    return bytes([REX | number // 8, GROUP, TO_REGISTER | MODRM[mnemonic] | number % 8])


def by_memory(mnemonic, load):
    """Of what `mov MEMORY, %rax` loads; None: it is no such instruction."""
    if load[0] & ~3 != REX_W or load[1] != LOAD:
        return None
    modrm = load[2]
    if modrm & REGISTER_FIELD or modrm & TO_REGISTER == TO_REGISTER or modrm & ~REGISTER_FIELD == RIP_RELATIVE:
        return None
    return bytes([REX | load[0] & 3, GROUP, modrm | MODRM[mnemonic]]) + load[3:]


def replace(image, branch, register, before):
    """Returns what stood there, as branch_sites has it."""
    at, end, code = branch.at, branch.at + branch.length, by_register(branch.mnemonic, register)
    if before is not None and register == "rax" and before.length >= 3:
        loading = by_memory(branch.mnemonic, image.get(before.at, f"{before.length}s"))
        at, code = (before.at, loading) if loading else (at, code)
    was = image.get(at, f"{end - at}s")
    image.put(at, f"{end - at}s", code.rjust(end - at, bytes([CS_PREFIX])))
    return struct.pack("<IB", at - image.symbol["__text_start"], len(was)) + was


def skip_endbranch(image, branch, target):
    form = "<i" if branch.length >= 5 else "<b"
    end = branch.at + branch.length
    distance = image.get(end - struct.calcsize(form), form)
    if image.is_target(target) and end + distance == target and distance not in range(124, 128):
        image.put(end - struct.calcsize(form), form, distance + 4)


def change(image, code):
    """Changes the branches; returns what is wrong with them."""
    sites, before = [], None
    reached = {int(direct[1], 16) for direct in (DIRECT.match(line.operands) for line in code) if direct}
    for line in code:
        thunk, direct = THUNK.search(line.operands), DIRECT.match(line.operands)
        if thunk and image.get(line.at, "B") == REL32.get(line.mnemonic):
            sites.append(replace(image, line, thunk[1], None if line.at in reached else before))
        elif thunk or INDIRECT.search(str(line)):
            yield f"{line.at:x}: {line}: an indirect branch that is no call or jump by a thunk"
        elif direct:
            skip_endbranch(image, line, int(direct[1], 16))
        before = line
    table = b"".join(sites) + bytes(5)
    room = image.symbol["branch_sites_end"] - image.symbol["branch_sites"]
    if len(table) > room:
        yield f"{len(sites)} indirect branches take {len(table)} bytes of branch_sites (arch/thunks.asm), not {room}"
    else:
        image.put(image.symbol["branch_sites"], f"{len(table)}s", table)


def taken(image, code):
    """What stands in data, or is a constant in an instruction, with where."""
    fixups = range(*(image.symbol[name] for name in FIXUPS))
    for flags, _, base, size in image.segments:
        if not flags & EXECUTE:
            yield from ((image.get(at, "<Q"), at) for at in range(base, base + size - 7, 4)
                        if at not in fixups)
    for line in code:
        match = TAKES.match(str(line))
        if match:
            yield int(match[1] or match[2], 16), line.at


def check(image, code):
    """What is wrong with the addresses that are taken."""
    text = range(image.symbol["__text_start"], image.symbol["__text_end"])
    known = {address for name, address in image.symbol.items() if NO_TARGETS.fullmatch(name)}
    for value, at in taken(image, code):
        if value in text and value not in known and not image.is_target(value):
            yield f"{at:x}: takes the address {value:x}, where no ENDBR64 is"


def main():
    path = sys.argv[1]
    image = Image(path)
    code = list(instructions(path))
    wrong = [*change(image, code), *check(image, code)]
    if wrong:
        sys.exit("\n".join(f"{path}: {text}" for text in wrong))
    Path(path).write_bytes(image.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
