# SPDX-License-Identifier: BSD-2-Clause
"""For gdb on a machine that runs guests (tools/gdb.sh loads it): the remote protocol's registers do not tell in
which mode the CPU is. At each stop the emulator is asked; the control registers become $cr0, $cr2, $cr3, $cr4
and $efer, the base of CS $csbase, and instructions of 16- and 32-bit code are disassembled as what they are."""

import re
import subprocess
import tempfile

import gdb
import gdb.unwinder
from gdb.unwinder import Unwinder

NAMES = {64: "64-bit", 32: "32-bit", 16: "16-bit"}
HYPERVISOR = 1 << 63  # its own code is above, and 64-bit, wherever the CPU stands
LONGEST = 15


class Mode:
    """What the emulator last told of the CPU."""

    bits, guest, known = 64, False, {}

    def ask(self):
        try:
            text = gdb.execute("monitor mode", to_string=True)  # Bochs, as tools/bochs_build.sh makes it
            if "BITS=" not in text:
                text = gdb.execute("monitor info registers", to_string=True)  # QEMU
        except gdb.error:
            text = ""
        self.known = {name: int(value, 16) for name, value in
                      re.findall(r"\b(CR[0234]|EFER|CSBASE|GUEST)=([0-9a-f]+)", text)}
        base = re.search(r"^CS =[0-9a-f]+ ([0-9a-f]+)", text, re.M)
        if base:
            self.known["CSBASE"] = int(base[1], 16)
        bits = re.search(r"\bBITS=(16|32|64)", text) or re.search(r"\bCS(16|32|64)\b", text)
        self.bits = int(bits[1]) if bits else 64
        self.guest = self.known.get("GUEST", 0) == 1
        for name, value in self.known.items():
            gdb.set_convenience_variable(name.lower(), value)


MODE = Mode()


def disassemble(code, address, bits):
    """The first instruction of some bytes: (length, text), or None."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(code)
        file.flush()
        done = subprocess.run(
            ["objdump", "-D", "-b", "binary", "-m", "i386", "-M", "i8086" if bits == 16 else "i386",
             f"--adjust-vma={address:#x}", file.name], capture_output=True, text=True)
    found = re.search(rf"^\s*{address:x}:\t((?:[0-9a-f]{{2}} )+)\s*\t?(.*)((?:\n\s*[0-9a-f]+:\t(?:[0-9a-f]{{2}} ?)+\s*$)*)",
                      done.stdout, re.M)
    if not found:
        return None
    more = re.findall(r":\t((?:[0-9a-f]{2} ?)+)", found[3])
    return len((found[1] + " " + " ".join(more)).split()), found[2].strip()


def stopped(event):
    before = MODE.bits
    MODE.ask()
    if MODE.bits != before:
        gdb.invalidate_cached_frames()  # which have been taken for another mode's
    if MODE.bits != 64:
        linear = (MODE.known.get("CSBASE", 0) + int(gdb.parse_and_eval("(unsigned long)$pc"))) & 0xffffffff
        print(f"{NAMES[MODE.bits]} code{' of a guest' * MODE.guest}, at linear address {linear:#x}; "
              f"x/4i {linear:#x} shows it")
    elif MODE.guest:
        print("64-bit code of a guest")


gdb.events.stop.connect(stopped)


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Callers(Unwinder):
    """The callers of 32-bit code with flat segments, by EBP: gdb takes words to have 64 bits. Of the innermost
    function there may be no frame yet, or no longer. For 16-bit code, with its segments, there are none."""

    PUSH_EBP, MOV_EBP_ESP, RETURNS = b"\x55", (b"\x89\xe5", b"\x8b\xec"), b"\xc2\xc3"
    ENDBR = b"\xf3\x0f\x1e\xfb"

    def __init__(self):
        super().__init__("nadir")

    @staticmethod
    def _read(at, size):
        try:
            return bytes(gdb.selected_inferior().read_memory(at & 0xffffffff, size))
        except gdb.MemoryError:
            return b""

    def _word(self, at):
        return int.from_bytes(self._read(at, 4), "little")

    def _place(self, pc, esp, ebp):
        """Where the return address is, and EBP of the caller."""
        code, before = self._read(pc, 6), self._read(pc - 1, 1)
        known = re.match(r"(\S+)( \+ \d+)? in section", gdb.execute(f"info symbol {pc:#x}", to_string=True))
        first = known is not None and not known[2]
        body = code[4:] if code.startswith(self.ENDBR) else code
        if first or body.startswith(self.PUSH_EBP) or code[:1] and code[:1] in self.RETURNS:
            return esp, ebp
        if before == self.PUSH_EBP and code[:2] in self.MOV_EBP_ESP:
            return esp + 4, self._word(esp)
        return ebp + 4, self._word(ebp)

    def __call__(self, frame):
        pc, esp, ebp = (int(frame.read_register(name)) & 0xffffffffffffffff for name in ("rip", "rsp", "rbp"))
        if MODE.bits == 64 or pc >= HYPERVISOR:
            return None
        place, caller = (ebp + 4, self._word(ebp)) if frame.level() else self._place(pc, esp, ebp)
        # A frame that is its own caller is where gdb's back-trace ends.
        at, before = place + 4, (self._word(place), place + 4, caller)
        if MODE.bits == 16:
            at, before = esp, (pc, esp, ebp)
        elif place == 4:  # EBP is 0: the outermost
            before = pc, esp, ebp
        info = frame.create_unwind_info(FrameId(gdb.Value(at), gdb.Value(pc)))
        for name, value in zip(("rip", "rsp", "rbp"), before):
            info.add_saved_register(name, gdb.Value(value).cast(frame.read_register(name).type))
        return info


gdb.unwinder.register_unwinder(None, Callers(), True)

try:
    from gdb.disassembler import Disassembler, DisassemblerResult, register_disassembler
except ImportError:  # before gdb 13
    Disassembler = None

if Disassembler:
    class ByMode(Disassembler):
        """Goes by the mode of the CPU, and not by that of the program that gdb has loaded."""

        def __init__(self):
            super().__init__("nadir")

        def __call__(self, info):
            if MODE.bits == 64 or info.address >= HYPERVISOR:
                return None
            for length in range(LONGEST, 0, -1):
                try:
                    code = bytes(info.read_memory(length))
                except gdb.MemoryError:
                    continue
                found = disassemble(code, info.address, MODE.bits)
                return DisassemblerResult(*found) if found else None
            return None

    register_disassembler(ByMode())
