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
# vmx's headers that devices are built on: they know nothing of a VMCS.
VMX_FOR_DEVICES = ("vmx/bus.h", "vmx/intc.h", "vmx/lines.h", "vmx/timers.h")
# And those that only vmx/ itself may see.
VMX_PRIVATE = re.compile(r"vmx/(fields|vmcs\w*|ops|instructions|vmenter|controls)\.h")

# The first rule whose pattern a file matches is its rule: what it may include, by prefix.
RULES = (
    (r"boot/efi_.*|boot/config\.[ch]|boot/handoff\.h", ("boot/",)),
    (r"boot/.*", ("arch/", "mm/", "vmx/", "drivers/", "guest/", "boot/")),
    (r"arch/.*", ("arch/",)),
    (r"mm/.*", ("arch/", "mm/")),
    (r"vmx/.*", ("arch/", "mm/", "vmx/")),
    (r"drivers/host/.*", ("arch/", "mm/", "drivers/host/")),
    (r"drivers/virt/.*", ("arch/", "mm/", "drivers/virt/", *VMX_FOR_DEVICES)),
    (r"guest/(lib|payloads|labs)/.*", ("guest/hypercall.h", "guest/lib/", "guest/payloads/",
                                      "guest/labs/")),
    (r"tools/native/.*", ("arch/cpu.h", "arch/msr.h", "boot/handoff.h")),
    (r"guest/.*", ("arch/", "mm/", "guest/", "drivers/virt/", "boot/config.h", "vmx/")),
)
# Of the loader's own headers only these two may be seen.
LOADER_HEADERS = re.compile(r"boot/(efi_\w+|config|handoff)\.h")


def allowed(path, mark, name):
    """Whether the file `path` may include `name`."""
    in_loader = path.startswith("boot/efi_")
    if mark == "<":
        return name in FREESTANDING or in_loader and name in EFI
    if "/" not in name:  # a guest program's own header, beside it
        return re.match(r"guest/(lib|payloads|labs)/", path) and (TOP / path).with_name(name).exists()
    if in_loader or path in ("boot/config.c", "boot/config.h", "boot/handoff.h"):
        return LOADER_HEADERS.fullmatch(name) is not None
    for pattern, prefixes in RULES:
        if re.fullmatch(pattern, path):
            hidden = path.startswith("guest/") and VMX_PRIVATE.fullmatch(name)
            return name.startswith(prefixes) and not hidden
    return False


def main():
    wrong = count = 0
    for folder in ("arch", "mm", "vmx", "drivers", "guest", "boot", "tools/native"):
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
