; SPDX-License-Identifier: BSD-2-Clause
; From the BIOS's entry at 0:0x7c00 in real mode to main() in 64-bit mode, with 4 GiB identity-mapped.

%define LOADED_MARK 0x6469614e          ; first word of the second sector
%define CR0_LONG    0x80010033          ; PG, WP, NE, ET, MP, PE: caches on
%define CR4_PAE     0x20
%define MSR_EFER    0xc0000080
%define EFER_LME    0x100
%define PAGE_TABLE  3                   ; present, writable
%define PAGE_2M     0x83                ; present, writable, large

global payload_start, page_tables, gdt_pointer, gdt_start, start32
extern main, exit, bss_start, bss_end, trap_init, serial_init, image_rest_sectors

section .boot progbits alloc exec write align=16
bits 16
payload_start:
    jmp     0:.here                     ; some BIOSes come with CS = 0x7c0
.here:
    cli
    cld
    xor     ax, ax
    mov     ds, ax
    mov     es, ax
    mov     ss, ax
    mov     sp, payload_start
    cmp     dword [loaded_mark], LOADED_MARK
    je      .whole
    mov     si, disk_packet             ; a BIOS has read one sector only; DL is its drive
    mov     ah, 0x42
    int     0x13
    jc      .stop
    cmp     dword [loaded_mark], LOADED_MARK
    je      .whole
.stop:
    hlt
    jmp     .stop
.whole:
    in      al, 0x92                    ; A20 on; bit 0 would be a reset
    or      al, 2
    and     al, 0xfe
    out     0x92, al
    cli                                 ; the BIOS may have returned with interrupts on
    lgdt    [gdt_pointer]
    mov     eax, cr0
    or      al, 1
    mov     cr0, eax
    jmp     0x08:start32

align 4
disk_packet:
    db      16, 0
    dw      image_rest_sectors
    dw      0, 0x7e0                    ; to 0x7e0:0
    dq      1                           ; from sector 1

    times   510 - ($ - $$) db 0
    dw      0xaa55

section .boot2 progbits alloc exec write align=4
loaded_mark:
    dd      LOADED_MARK

section .low progbits alloc exec write align=16
align 8
gdt:
gdt_start:
    dq      0
    dq      0x00cf9b000000ffff          ; 0x08 code, 32 bits, flat
    dq      0x00cf93000000ffff          ; 0x10 data, flat
    dq      0x00af9b000000ffff          ; 0x18 code, 64 bits
    dq      0x00009b000000ffff          ; 0x20 code, 16 bits
    dq      0x000093000000ffff          ; 0x28 data, 16 bits
gdt_pointer:
    dw      gdt_pointer - gdt - 1
    dq      gdt

bits 32
start32:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    mov     ss, eax
    mov     edi, bss_start              ; a BIOS leaves rubbish there
    mov     ecx, bss_end
    sub     ecx, edi
    shr     ecx, 2
    xor     eax, eax
    rep stosd

    mov     dword [page_tables], page_tables + 0x1000 + PAGE_TABLE
    mov     edi, page_tables + 0x1000   ; page directory pointers: 4 of 1 GiB
    mov     eax, page_tables + 0x2000 + PAGE_TABLE
    mov     ecx, 4
.pointer:
    mov     [edi], eax
    add     edi, 8
    add     eax, 0x1000
    loop    .pointer
    mov     edi, page_tables + 0x2000   ; 2048 pages of 2 MiB
    mov     eax, PAGE_2M
    mov     ecx, 2048
.page:
    mov     [edi], eax
    add     edi, 8
    add     eax, 0x200000
    loop    .page

    mov     eax, CR4_PAE
    mov     cr4, eax
    mov     eax, page_tables
    mov     cr3, eax
    mov     ecx, MSR_EFER
    rdmsr
    or      eax, EFER_LME
    wrmsr
    mov     eax, CR0_LONG
    mov     cr0, eax
    jmp     0x18:start64

bits 64
start64:
    mov     esp, stack_top
    call    serial_init
    call    trap_init
    call    main
    mov     edi, eax
    call    exit

section .bss nobits alloc write align=4096
page_tables:
    resb    6 * 4096
    resb    16384
stack_top:
