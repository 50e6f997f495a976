; SPDX-License-Identifier: BSD-2-Clause
; Stands in the firmware's place where Bochs or QEMU starts warm: a ROM of 64 KiB whose code takes all CPUs from reset to the
; state that boot/handoff.h describes. What the loader would have put into memory is there already: tools/warm/ram.c
; has written it to a file, which is loaded to RAM_AT.

ROM_BYTES      equ 0x10000
LINEAR         equ 0xffff0000           ; where the ROM stands
RAM_AT         equ 0x100000             ; struct warm_start of ram.c, in this order:
START_MAGIC    equ RAM_AT
START_END      equ RAM_AT + 8           ; where the magic stands a second time
START_ENTRY    equ RAM_AT + 16
START_CR3      equ RAM_AT + 24
START_HANDOFF  equ RAM_AT + 28
START_OTHERS   equ RAM_AT + 32          ; CPUs beside the boot CPU
START_PM_BASE  equ RAM_AT + 36          ; where power management goes to, in the chipset that QEMU has
MAGIC          equ 0x6d726177           ; "warm"

ARRIVED        equ 0x500                ; how many other CPUs have come by here
OTHERS_WAIT    equ 1 << 20              ; loops; they need a few dozen instructions

MTRR_PHYS_BASE equ 0x200
MTRR_PHYS_MASK equ 0x201
MTRR_FIX_64K   equ 0x250
MTRR_FIX_80000 equ 0x258
MTRR_DEFAULT   equ 0x2ff
MTRR_VALID     equ 0x800
WRITE_BACK     equ 6
ALL_ENABLED    equ 0xc00                ; fixed ranges, and all
HOLE           equ 0x80000000           ; from the highest that RAM may reach, up to 4 GiB: no RAM
EFER           equ 0xc0000080
EFER_LME       equ 0x100
CR0_PE         equ 1
CR0_CD_NW      equ 0x60000000
CR0_PG         equ 0x80000000
CR4_PAE        equ 0x20
APIC           equ 0xfee00000
APIC_SVR       equ APIC + 0xf0
APIC_ICR       equ APIC + 0x300
APIC_LINT0     equ APIC + 0x350
APIC_LINT1     equ APIC + 0x360
INIT_OTHERS    equ 0xc4500
STARTUP_OTHERS equ 0xc4600 | OTHERS_PAGE
OTHERS_PAGE    equ 0xff                 ; of 4 KiB: the ROM's last, which is below 1 MiB too
COM1           equ 0x3f8
COM1_LINE      equ COM1 + 3
COM1_STATUS    equ COM1 + 5
EIGHT_BITS     equ 3
CAN_SEND       equ 0x20
END_OF_BOCHS   equ 0x8900
RESET          equ 0xcf9                ; which ends QEMU
RESET_NOW      equ 6
PCI_ADDRESS    equ 0xcf8
PCI_DATA       equ 0xcfc
LPC_PM_BASE    equ 0x8000f840           ; of device 0:1f.0 (ICH9's data sheet)
LPC_ACPI       equ 0x8000f844
LPC_ENABLE     equ 0x80

bits 16
org 0
; As firmware leaves them on each CPU: caches on; RAM is write-back, devices are not. SI = where to go on, for there is
; no stack: the first RAM that is touched must be that of the file.
prepare_cpu:
    mov     eax, cr0
    and     eax, ~CR0_CD_NW
    mov     cr0, eax
    mov     eax, WRITE_BACK * 0x01010101
    mov     edx, eax
    mov     ecx, MTRR_FIX_64K
    wrmsr
    mov     ecx, MTRR_FIX_80000         ; what is from 0xa0000 on stays as it is, uncached
    wrmsr
    mov     eax, HOLE                   ; uncached
    xor     edx, edx
    mov     ecx, MTRR_PHYS_BASE
    wrmsr
    mov     eax, 0x80000008             ; how wide physical addresses are
    cpuid
    mov     cl, al
    sub     cl, 32
    mov     edx, 1
    shl     edx, cl
    dec     edx
    mov     eax, ~(HOLE - 1) & 0xffffffff | MTRR_VALID
    mov     ecx, MTRR_PHYS_MASK
    wrmsr
    mov     eax, ALL_ENABLED | WRITE_BACK
    xor     edx, edx
    mov     ecx, MTRR_DEFAULT
    wrmsr
    jmp     si

boot_cpu:
    cli
    cld
    mov     si, .prepared
    jmp     prepare_cpu
.prepared:
    o32 lgdt [cs:gdt_pointer]
    mov     eax, cr0
    or      al, CR0_PE
    mov     cr0, eax
    jmp     dword 0x08:LINEAR + boot_cpu_32

other_cpu:
    cli
    mov     si, .prepared
    jmp     prepare_cpu
.prepared:
    xor     ax, ax
    mov     ds, ax
    lock inc word [ARRIVED]
.sleep:
    hlt
    jmp     .sleep

bits 32
boot_cpu_32:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     fs, eax
    mov     gs, eax
    mov     ss, eax
    ; Bochs takes a block of its own memory for the first block of the file, reads the whole into that and those
    ; behind it, and gives each block of RAM the next one when it is touched: so they are touched in this order.
    mov     esi, START_MAGIC
    mov     edi, wrong
    mov     eax, [esi]
    test    eax, eax                    ; a reset, when the machine was to end
    jz      end_machine
    cmp     eax, MAGIC
    jne     say
    mov     ecx, [START_END]
.touch:
    mov     al, [esi]
    add     esi, 4096
    cmp     esi, ecx
    jb      .touch
    cmp     dword [ecx], MAGIC
    jne     say
    mov     dword [START_MAGIC], 0
    mov     ebx, [START_PM_BASE]
    test    ebx, ebx
    jz      .no_pm
    mov     edx, PCI_ADDRESS
    mov     eax, LPC_PM_BASE
    out     dx, eax
    mov     edx, PCI_DATA
    mov     eax, ebx
    out     dx, eax
    mov     edx, PCI_ADDRESS
    mov     eax, LPC_ACPI
    out     dx, eax
    mov     edx, PCI_DATA
    mov     al, LPC_ENABLE
    out     dx, al
.no_pm:
    mov     dword [APIC_SVR], 0x10f     ; on; the 8259 is wired through
    mov     dword [APIC_LINT0], 0x700
    mov     dword [APIC_LINT1], 0x400
    mov     edx, [START_OTHERS]
    test    edx, edx
    jz      .alone
    mov     word [ARRIVED], 0
    mov     dword [APIC_ICR], INIT_OTHERS
    mov     dword [APIC_ICR], STARTUP_OTHERS
    mov     ecx, OTHERS_WAIT            ; one that does not come is missed by Nadir, which starts it again
.wait:
    pause
    cmp     [ARRIVED], dx
    loopne  .wait
.alone:
    mov     eax, CR4_PAE
    mov     cr4, eax
    mov     eax, [START_CR3]
    mov     cr3, eax
    mov     ecx, EFER
    mov     eax, EFER_LME
    xor     edx, edx
    wrmsr
    mov     eax, cr0
    or      eax, CR0_PG
    mov     cr0, eax
    jmp     0x18:LINEAR + .long_mode
bits 64
.long_mode:
    mov     edi, [abs START_HANDOFF]
    mov     rax, [abs START_ENTRY]
    jmp     rax

bits 32
; EDI = a text of the ROM
say:
    mov     edx, COM1_LINE
    mov     al, EIGHT_BITS
    out     dx, al
.next:
    mov     edx, COM1_STATUS
    in      al, dx
    test    al, CAN_SEND
    jz      .next
    mov     al, [LINEAR + edi]
    inc     edi
    test    al, al
    jz      end_machine
    mov     edx, COM1
    out     dx, al
    jmp     .next

end_machine:
    mov     edx, COM1_STATUS            ; what was said is to be on the line first
    in      al, dx
    test    al, CAN_SEND << 1
    jz      end_machine
    mov     esi, LINEAR + last_word
    mov     edx, END_OF_BOCHS
    mov     ecx, last_word_end - last_word
    rep outsb
    mov     edx, RESET
    mov     al, RESET_NOW
    out     dx, al
    hlt

wrong: db 13, 10, "nadir: error: the warm start's memory is not as expected; --boot firmware may help", 13, 10
       db "nadir-end: refused", 13, 10, 0
last_word: db "Shutdown"
last_word_end:

align 8
gdt:
    dq      0
    dq      0x00cf9b000000ffff          ; 0x08 code, 32 bits
    dq      0x00cf93000000ffff          ; 0x10 data
    dq      0x00af9b000000ffff          ; 0x18 code, 64 bits
gdt_pointer:
    dw      gdt_pointer - gdt - 1
    dd      LINEAR + gdt

    times ROM_BYTES - 4096 - ($ - $$) db 0xff
bits 16
    jmp     0xf000:other_cpu            ; the start-up IPI leads here
    times ROM_BYTES - 16 - ($ - $$) db 0xff
    jmp     boot_cpu                    ; and reset here
    times ROM_BYTES - ($ - $$) db 0xff
