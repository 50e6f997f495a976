/* SPDX-License-Identifier: BSD-2-Clause */
/* The items and files of fw_cfg, named as in QEMU, since firmware asks for those. */
#include "guest/pc/firmware_files.h"
#include "guest/pc/pc.h"

#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/pc/layout.h"

enum { CMOS_BOOT_ORDER = 0x3d, CMOS_LAST_CPU = 0x5f, BOOT_FROM_DISK = 2, THEN_FROM_CD = 0x30 };
/* Of the disks, as IBM's AT and its clones have it: the types of both, a nibble each; the types
 * beyond 14; for type 47 the geometry; and, from Bochs, what a BIOS makes of it, two bits each. */
enum { CMOS_DISKS = 0x12, CMOS_TYPE = 0x19, CMOS_GEOMETRY = 0x1b, CMOS_TRANSLATION = 0x39 };
enum { TYPE_BEYOND = 0xf, TYPE_TOLD = 47, TRANSLATE_LBA = 1, GEOMETRY_BYTES = 9 };
enum { BIOS_CYLINDERS = 1024 }; /* more, and a BIOS makes a geometry up */
enum { E820_RAM = 1, E820_ENTRY = 20 };

extern const uint8_t dsdt_aml_start[], dsdt_aml_end[]; /* dsdt_aml.asm */

static enum status build_acpi(struct pc *pc, size_t *used)
{
    return acpi_build_unplaced(pc->firmware.acpi, FIRMWARE_ACPI_BYTES, pc->pm.io_base,
                               pc->firmware.vcpus, dsdt_aml_start,
                               (size_t)(dsdt_aml_end - dsdt_aml_start), used);
}

/* The FADT names the ports of power management, which the firmware has chosen meanwhile. */
static void refresh(void *ctx)
{
    size_t used;
    (void)build_acpi(ctx, &used); /* it has succeeded before */
}

static void write_cmos_disk(uint8_t *cmos, unsigned i, const struct vata_drive *disk)
{
    const uint8_t low = (uint8_t)disk->cylinders, high = (uint8_t)(disk->cylinders >> 8);
    const uint8_t geometry[GEOMETRY_BYTES] = {low,
                                              high,
                                              disk->heads,
                                              0xff,
                                              0xff, /* no precompensation */
                                              (uint8_t)(disk->heads > 8 ? 0xc8 : 0xc0),
                                              low,
                                              high,
                                              disk->track_sectors};
    if (disk->data == NULL)
        return;
    cmos[CMOS_DISKS] |= (uint8_t)(TYPE_BEYOND << (i == 0 ? 4 : 0));
    cmos[CMOS_TYPE + i] = TYPE_TOLD;
    memcpy(cmos + CMOS_GEOMETRY + (size_t)i * GEOMETRY_BYTES, geometry, sizeof(geometry));
    if (disk->cylinders > BIOS_CYLINDERS)
        cmos[CMOS_TRANSLATION] |= (uint8_t)(TRANSLATE_LBA << (2 * i));
}

static uint32_t write_e820(uint8_t *out, uint64_t memory_bytes)
{
    const uint64_t ranges[][2] = {{0, layout_below_4g(memory_bytes)},
                                  {LAYOUT_4GIB, layout_above_4g(memory_bytes)}};
    uint32_t bytes = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (ranges[i][1] == 0)
            continue;
        put_le(out + bytes, 8, ranges[i][0]);
        put_le(out + bytes + 8, 8, ranges[i][1]);
        put_le(out + bytes + 16, 4, E820_RAM);
        bytes += E820_ENTRY;
    }
    return bytes;
}

/* What there is to boot from. */
static uint32_t drives(const struct vm_config *config)
{
    return config->disk_count + (config->cdrom.base != 0);
}

enum status firmware_facts_init(struct pc *pc, const struct vm_config *config)
{
    struct vfwcfg *f = &pc->fwcfg;
    const enum status s = vfwcfg_init(f, &pc->vm.bus, &pc->vm.mem, &pc->vm.timers,
                                      (struct work_line){pc_device_works, pc});
    if (s != OK)
        return s;
    vfwcfg_add_number(f, VFWCFG_RAM_BYTES, pc->vm.memory_bytes, 8);
    vfwcfg_add_number(f, VFWCFG_CPUS, config->vcpus, 2);
    vfwcfg_add_number(f, VFWCFG_MAX_CPUS, config->vcpus, 2);
    /* Firmware waits some seconds for a key: only where there is something to choose. */
    vfwcfg_add_number(f, VFWCFG_BOOT_MENU, drives(config) > 1, 2);
    vfwcfg_add_file(f, "etc/e820", pc->firmware.e820,
                    write_e820(pc->firmware.e820, pc->vm.memory_bytes));
    pc->rtc.ram[CMOS_LAST_CPU] = (uint8_t)(config->vcpus - 1);
    pc->rtc.ram[CMOS_BOOT_ORDER] = BOOT_FROM_DISK | THEN_FROM_CD;
    for (unsigned i = 0; i < VATA_DRIVES; i++)
        write_cmos_disk(pc->rtc.ram, i, &pc->ide.ata[0].drive[i]);
    return OK;
}

/* The disks in their order, then the CD, at least one, by their paths in Open Firmware's tree:
 * lines, the last of which ends by a NUL. */
static uint64_t write_boot_order(char *out, const struct vm_config *config)
{
    static const char path[] = "/pci@i0cf8/ide@1,1/drive@0/disk@0\n";
    enum { PATH = sizeof(path) - 1, UNIT = PATH - 2, CHANNEL = UNIT - sizeof("/disk@") };
    _Static_assert((CONFIG_MAX_DISKS + 1) * PATH <= FIRMWARE_BOOT_ORDER_BYTES, "all paths");
    for (uint32_t i = 0; i < drives(config); i++) {
        const bool is_cd = i == config->disk_count;
        memcpy(out + i * PATH, path, PATH);
        out[i * PATH + CHANNEL] = is_cd ? '1' : '0';
        out[i * PATH + UNIT] = is_cd ? '0' : (char)('0' + i);
    }
    out[drives(config) * PATH - 1] = '\0';
    return drives(config) * PATH;
}

enum status firmware_files_init(struct pc *pc, const struct vm_config *config)
{
    struct firmware *firmware = &pc->firmware;
    struct vfwcfg *f = &pc->fwcfg;
    /* Per sleep state: bit 7: there is one; SLP_TYP. Only S0 and S5. */
    static const uint8_t system_states[6] = {0x80, 0, 0, 0, 0, 0x80 | VPM_SLP_TYP_S5};
    size_t acpi_bytes;
    firmware->vcpus = config->vcpus;
    const enum status s = build_acpi(pc, &acpi_bytes);
    if (s != OK)
        return s;
    acpi_loader_script(firmware->script);
    f->refresh = refresh;
    f->ctx = pc;
    vfwcfg_add_file(f, "etc/acpi/tables", firmware->acpi, acpi_bytes);
    vfwcfg_add_file(f, "etc/acpi/rsdp", firmware->acpi, ACPI_RSDP_BYTES);
    vfwcfg_add_file(f, "etc/table-loader", firmware->script, ACPI_SCRIPT_BYTES);
    if (drives(config) != 0)
        vfwcfg_add_file(f, "bootorder", firmware->boot_order,
                        write_boot_order(firmware->boot_order, config));
    vfwcfg_add_file(f, "etc/system-states", system_states, sizeof(system_states));
    if (config->vga_rom.base != 0)
        vfwcfg_add_file(f, "vgaroms/vga.bin", hpa_to_ptr(hpa(config->vga_rom.base)),
                        config->vga_rom.size);
    if (config->console == CONSOLE_SERIAL) /* a BIOS's screen and keyboard are COM1 too */
        vfwcfg_add_file_number(f, "etc/sercon-port", PC_COM1_PORT, 8);
    return OK;
}
