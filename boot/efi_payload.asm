; SPDX-License-Identifier: BSD-2-Clause
; The hypervisor, whole, inside the UEFI application.

%defstr CARRIED_FILE CARRIED           ; nadir.stripped.elf, or another program that takes the handoff

global nadir_elf_start, nadir_elf_end

section .rodata
align 4096
nadir_elf_start:
    incbin CARRIED_FILE
nadir_elf_end:

section .note.GNU-stack noalloc noexec nowrite progbits
