#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks who includes whom: each folder knows only those below it, and EFI stays in the loader."""

import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'^\s*[#%]\s*include\s+([<"])([^>"]+)[>"]', re.M)

# What the compiler itself brings along without an operating system.
FREESTANDING = {"stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h",
                "stdnoreturn.h", "limits.h", "float.h", "iso646.h", "cpuid.h"}
EFI = {"efi.h", "efilib.h", "elf.h"}

# From the bottom to the top: who is above may include who is below, and itself.
BUS = ("arch/", "mm/", "drivers/bus/")
CPU = (*BUS, "guest/cpu/")
VM = (*CPU, "guest/vm/")
PC = (*VM, "drivers/virt/", "guest/config.h", "guest/hypercall.h")

# Of arch, what has no instruction and no state of the host's CPU.
PURE = ("arch/x86.h", "arch/bytes.h", "arch/addr.h", "arch/nospec.h", "arch/utf8.h")

# The first rule whose pattern a file matches is its rule: what it may include, by prefix.
RULES = (
    (r"boot/efi_.*|boot/handoff\.h|tests/late/.*",
     (*PURE, "boot/efi_", "boot/handoff.h", "guest/config.h", "drivers/host/acpi.h", "vmx/caps.h",
      "arch/string.h", "guest/load/kernel.h")),
    (r"guest/config(_keys|_parser)?\.[ch]", ("arch/bytes.h", "arch/utf8.h", "guest/config.h", "guest/config_parser.h")),
    (r"boot/.*", ("arch/", "mm/", "vmx/", "drivers/", "guest/", "boot/")),
    (r"arch/.*", ("arch/",)),
    (r"mm/.*", ("arch/", "mm/")),
    (r"drivers/bus/.*", BUS),
    (r"drivers/host/.*", (*BUS, "drivers/host/")),
    (r"drivers/virt/.*", (*BUS, "drivers/virt/")),
    (r"guest/cpu/.*", (*PURE, "arch/format.h", "arch/status.h", "arch/string.h", "mm/", "drivers/bus/", "guest/cpu/")),
    (r"guest/vm/hypercall.*", (*VM, "guest/hypercall.h")),
    (r"guest/vm/.*", VM),
    (r"guest/ring3/.*", (*VM, "guest/ring3/")),
    (r"guest/pv/.*", (*VM, "guest/ring3/", "guest/pv/")),
    (r"guest/bt/.*", (*VM, "guest/ring3/", "guest/bt/")),
    (r"guest/load/.*", (*PC, "guest/load/", "guest/pc/layout.h")),
    (r"guest/pc/.*", (*PC, "guest/load/", "guest/pc/")),
    (r"guest/monitor/.*", (*PC, "guest/load/", "guest/pc/", "guest/monitor/")),
    (r"vmx/.*", (*VM, "vmx/")),
    (r"guest/(lib|payloads|labs)/.*", ("guest/hypercall.h", "guest/lib/", "guest/payloads/",
                                      "guest/labs/")),
    (r"tools/native/.*", ("arch/cpu.h", "boot/handoff.h")),
    (r"tools/warm/.*", (*PURE, "boot/efi_", "boot/handoff.h", "guest/config.h", "tools/warm/acpi.h")),
)


def allowed(path, mark, name):
    """Whether the file `path` may include `name`."""
    in_loader = path.startswith(("boot/efi_", "tests/late/"))
    if path.startswith("tools/warm/") and mark == "<":
        return True  # a program of this machine
    if mark == "<":
        return name in FREESTANDING or in_loader and name in EFI
    if "/" not in name:  # a guest program's own header, beside it
        return re.match(r"guest/(lib|payloads|labs)/", path) and (TOP / path).with_name(name).exists()
    for pattern, prefixes in RULES:
        if re.fullmatch(pattern, path):
            return name.startswith(prefixes)
    return False


def main():
    wrong = count = 0
    for folder in ("arch", "mm", "vmx", "drivers", "guest", "boot", "tools/native", "tools/warm",
                   "tests/late"):
        for file in sorted((TOP / folder).rglob("*")):
            if file.suffix not in (".c", ".h", ".asm", ".inc"):
                continue
            count += 1
            path = str(file.relative_to(TOP))
            text = file.read_text()
            for match in INCLUDE.finditer(text):
                if not allowed(path, *match.groups()):
                    line = text.count("\n", 0, match.start(2)) + 1
                    print(f"{path}:{line}: may not include {match.group(2)}")
                    wrong += 1
    print(f"include rules: {count} files, {wrong} wrong includes")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
