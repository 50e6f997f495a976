; SPDX-License-Identifier: BSD-2-Clause
; The hypervisor, whole, inside the UEFI application.

global nadir_elf_start, nadir_elf_end

section .rodata
align 4096
nadir_elf_start:
    incbin "nadir.stripped.elf"
nadir_elf_end:

section .note.GNU-stack noalloc noexec nowrite progbits
