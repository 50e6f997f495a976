; SPDX-License-Identifier: BSD-2-Clause
; The guests' DSDT as iasl made it of guest/pc/dsdt.asl.

global dsdt_aml_start, dsdt_aml_end

section .rodata
align 16
dsdt_aml_start:
    incbin "dsdt.aml"
dsdt_aml_end:

section .note.GNU-stack noalloc noexec nowrite progbits
