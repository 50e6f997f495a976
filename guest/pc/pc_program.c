/* SPDX-License-Identifier: BSD-2-Clause */
/* What a PC without firmware starts with: ACPI and MP tables, BIOS data, and the program. */
#include "guest/pc/pc_program.h"

#include "arch/bytes.h"
#include "arch/log.h"
#include "guest/cpu/delivery.h"
#include "guest/load/kernel.h"
#include "guest/pc/acpi.h"
#include "guest/pc/mptable.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"

#define TABLE_PAGES    2u
#define ADVICE_SECONDS 10 /* a kernel has its own segments by then, or will never */

extern const uint8_t dsdt_aml_start[], dsdt_aml_end[]; /* dsdt_aml.asm */

/* What programs look up in the BIOS data area; all else in it is 0. */
static const struct {
    uint16_t at;
    uint8_t bytes;
    uint16_t value;
} bios_data[] = {
    {0x400, 2, 0x3f8},                       /* the first serial port */
    {0x40e, 2, LAYOUT_EBDA >> 4},            /* extended BIOS data area: its segment */
    {0x410, 2, 1u << 1 | 2u << 4 | 1u << 9}, /* equipment: FPU, 80x25 in colour, a serial port */
    {0x413, 2, LAYOUT_EBDA / 1024},          /* base memory in KiB */
    {0x41a, 2, 0x1e},                        /* keyboard buffer: first and next, both its start */
    {0x41c, 2, 0x1e},
    {0x449, 1, 3}, /* video mode: 80x25 text */
    {0x44a, 2, 80},
    {0x44c, 2, 0x1000}, /* bytes of a page */
    {0x460, 2, 0x0d0e}, /* cursor's lines */
    {0x463, 2, 0x3d4},  /* CRTC's port */
    {0x465, 1, 0x29},   /* CGA's mode register, as programs expect it in mode 3 */
    {0x466, 1, 0x30},
    {0x480, 2, 0x1e}, /* keyboard buffer, from and to */
    {0x482, 2, 0x3e},
    {0x484, 1, 24},   /* rows less one */
    {0x485, 1, 16},   /* lines of a character */
    {0x487, 1, 0x60}, /* EGA: 256 KiB, colour */
    {0x488, 1, 0xf9},
    {0x489, 1, 0x51}, /* VGA is there, 400 lines */
    {0x496, 1, 0x10}, /* a keyboard of 101 keys */
};

/* There is no BIOS: a call of one returns with the carry flag set, as for an unknown function. An
 * interrupt that nobody has taken is ended as a BIOS ends it, so that the next one can come. */
static const uint8_t bios_code[] = {
    /* RETURN, for exceptions */
    0xcf, /* iret */
    /* UNKNOWN */
    0x55,                   /* push bp */
    0x89, 0xe5,             /* mov bp, sp */
    0x80, 0x4e, 0x06, 0x01, /* or byte [bp + 6], 1: the caller's flags */
    0x5d,                   /* pop bp */
    0xcf,                   /* iret */
    /* TICK, IRQ 0: counts, to midnight, and calls INT 1Ch */
    0x1e, 0x50,                         /* push ds; push ax */
    0x31, 0xc0,                         /* xor ax, ax */
    0x8e, 0xd8,                         /* mov ds, ax */
    0xff, 0x06, 0x6c, 0x04,             /* inc word [0x46c] */
    0x75, 0x04,                         /* jnz same */
    0xff, 0x06, 0x6e, 0x04,             /* inc word [0x46e] */
    0x83, 0x3e, 0x6e, 0x04, 0x18,       /* same: cmp word [0x46e], 0x18 */
    0x75, 0x12,                         /* jne told */
    0x81, 0x3e, 0x6c, 0x04, 0xb0, 0x00, /* cmp word [0x46c], 0xb0 */
    0x75, 0x0a,                         /* jne told */
    0xa3, 0x6c, 0x04,                   /* mov [0x46c], ax */
    0xa3, 0x6e, 0x04,                   /* mov [0x46e], ax */
    0xfe, 0x06, 0x70, 0x04,             /* inc byte [0x470] */
    0xcd, 0x1c,                         /* told: int 0x1c */
    0xeb, 0x21,                         /* jmp eoi */
    /* X87, IRQ 13: takes the error back, and calls INT 02h */
    0x1e, 0x50, /* push ds; push ax */
    0x30, 0xc0, /* xor al, al */
    0xe6, 0xf0, /* out 0xf0, al */
    0xb0, 0x20, /* mov al, 0x20 */
    0xe6, 0xa0, /* out 0xa0, al */
    0xe6, 0x20, /* out 0x20, al */
    0xcd, 0x02, /* int 2 */
    0x58, 0x1f, /* pop ax; pop ds */
    0xcf,       /* iret */
    /* KEY, IRQ 1: takes the code and forgets it */
    0x1e, 0x50, /* push ds; push ax */
    0xe4, 0x60, /* in al, 0x60 */
    0xeb, 0x0a, /* jmp eoi */
    /* SLAVE, IRQ 8 to 15 */
    0x1e, 0x50, /* push ds; push ax */
    0xb0, 0x20, /* mov al, 0x20 */
    0xe6, 0xa0, /* out 0xa0, al */
    0xeb, 0x02, /* jmp eoi */
    /* MASTER, IRQ 2 to 7 */
    0x1e, 0x50, /* push ds; push ax */
    0xb0, 0x20, /* eoi: mov al, 0x20 */
    0xe6, 0x20, /* out 0x20, al */
    0x58, 0x1f, /* pop ax; pop ds */
    0xcf,       /* iret */
};
enum {
    BIOS_RETURN = 0,
    BIOS_UNKNOWN = 1,
    BIOS_TICK = 0x0a,
    BIOS_X87 = 0x37,
    BIOS_KEY = 0x48,
    BIOS_SLAVE = 0x4e,
    BIOS_MASTER = 0x56
};

static uint16_t bios_handler(unsigned vector)
{
    switch (vector) {
    case 0x08: return BIOS_TICK;
    case 0x09: return BIOS_KEY;
    case 0x75: return BIOS_X87;
    case 0x1c: return BIOS_RETURN; /* a user's own part of each tick */
    default:
        return vector < 0x08                      ? BIOS_RETURN
               : vector < 0x10                    ? BIOS_MASTER
               : vector >= 0x70 && vector <= 0x77 ? BIOS_SLAVE
                                                  : BIOS_UNKNOWN;
    }
}

static enum status write_bios_data(const struct guestmem *mem)
{
    uint16_t vectors[256][2];
    for (unsigned i = 0; i < 256; i++) {
        vectors[i][0] = bios_handler(i);
        vectors[i][1] = LAYOUT_BIOS_CODE >> 4;
    }
    bool ok = guestmem_write(mem, gpa(0), vectors, sizeof(vectors)) &&
              guestmem_zero(mem, gpa(sizeof(vectors)), LAYOUT_BIOS_DATA_END - sizeof(vectors)) &&
              guestmem_zero(mem, gpa(LAYOUT_EBDA), LAYOUT_LOW_RAM_END - LAYOUT_EBDA) &&
              guestmem_write(mem, gpa(LAYOUT_BIOS_CODE), bios_code, sizeof(bios_code));
    for (size_t i = 0; i < sizeof(bios_data) / sizeof(bios_data[0]); i++)
        ok = ok &&
             guestmem_write(mem, gpa(bios_data[i].at), &bios_data[i].value, bios_data[i].bytes);
    const uint8_t ebda_kib = (LAYOUT_LOW_RAM_END - LAYOUT_EBDA) / 1024;
    return ok && guestmem_write(mem, gpa(LAYOUT_EBDA), &ebda_kib, 1) ? OK : ERR_NO_MEMORY;
}

static enum status write_tables(const struct vm *vm, uint32_t vcpus)
{
    const struct cpuid_entry *leaf1 = cpuid_table_find(&vm->cpuid, 1, 0);
    const struct mptable_facts facts = {vcpus, leaf1->eax, leaf1->edx};
    hpa_t pages;
    size_t used;
    enum status s = page_alloc(TABLE_PAGES, 1, &pages);
    if (s != OK)
        return s;
    uint8_t *tables = hpa_to_ptr(pages);
    s = acpi_build(tables, TABLE_PAGES * PAGE_SIZE, LAYOUT_ACPI, PC_PM_BASE, vcpus, dsdt_aml_start,
                   (size_t)(dsdt_aml_end - dsdt_aml_start), &used);
    if (s == OK && !guestmem_write(&vm->mem, gpa(LAYOUT_ACPI), tables, used))
        s = ERR_NO_MEMORY;
    if (s == OK)
        s = mptable_build(tables, TABLE_PAGES * PAGE_SIZE, LAYOUT_MP_TABLE, &facts, &used);
    if (s == OK && !guestmem_write(&vm->mem, gpa(LAYOUT_MP_TABLE), tables, used))
        s = ERR_NO_MEMORY;
    page_free(pages, TABLE_PAGES);
    return s == OK ? write_bios_data(&vm->mem) : s;
}

enum status pc_program_load(struct pc *pc, const struct vm_config *config)
{
    struct program program = kernel_program(config, &pc->vm.mem, pc->vm.memory_bytes);
    program.between = sched_look;
    enum status s = write_tables(&pc->vm, config->vcpus);
    sched_look();
    if (s != OK) {
        log_line_of(pc->vm.log, "vm %s: cannot make its ACPI and MP tables: %s", config->name,
                    status_text(s));
        return s;
    }
    s = kernel_load(&program, config->type, &pc->boot, &pc->kind);
    if (s != OK)
        log_line_of(pc->vm.log, "error: nadir.cfg:%u: %s: %s", config->kernel.line,
                    config->kernel.path, program.why);
    else
        log_line_of(pc->vm.log, "%s: %s: %s, entry 0x%lx", config->name, config->kernel.path,
                    pc->kind->name, pc->boot.cs.base + pc->boot.rip);
    return s;
}

/* A fault that names a descriptor of the GDT in its error code (SDM, "Error Code"), but not one of
 * IDT or LDT; or one that a gate names in vain. */
static uint32_t named_selector(const struct vm *vm)
{
    const struct vcpu *vcpu = vm->end_vcpu;
    const struct event *event = &vcpu->first.event;
    const unsigned vector = event->info & 0xff;
    if ((event->info & EVENT_VALID) == 0)
        return 0;
    if ((event->info & EVENT_ERROR_CODE) != 0 && vector >= VECTOR_INVALID_TSS &&
        vector <= VECTOR_GENERAL_PROTECTION && (event->error & 6) == 0 && event->error >= 8)
        return event->error & 0xfff8;
    return delivery_bad_selector(&vm->mem, &vm->end_state, vcpu->phys_bits, event);
}

const char *pc_program_advice(const struct pc *pc)
{
    const struct vm *vm = &pc->vm;
    const struct cpu_state *boot = &pc->boot;
    const bool soon = vm->tsc_end - vm->tsc_first_entry < ADVICE_SECONDS * vm->timers.hz;
    if (vm->end != VM_TRIPLE_FAULT || pc->kind == NULL || !pc->kind->has_selectors || !soon)
        return "";
    const uint32_t selector = named_selector(vm);
    if (selector != 0x08 && selector != 0x10 && selector != 0x18) /* either loader's */
        return "";
    return boot->cs.selector == 0x08
               ? " (a kernel that expects GRUB 2's selectors, CS 0x10 and data 0x18, needs "
                 "loader = grub2)"
               : " (a kernel that expects QEMU's selectors, CS 0x08 and data 0x10, needs "
                 "loader = qemu)";
}
