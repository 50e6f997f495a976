/* SPDX-License-Identifier: BSD-2-Clause */
/* The items and files of fw_cfg, named as in QEMU, since firmware asks for those. */
#include "guest/firmware_files.h"
#include "guest/pc.h"

#include "arch/string.h"
#include "guest/layout.h"

enum { CMOS_BOOT_ORDER = 0x3d, CMOS_LAST_CPU = 0x5f, BOOT_FROM_DISK = 2 };
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

static uint32_t write_e820(uint8_t *out, uint64_t memory_bytes)
{
    const uint64_t ranges[][2] = {{0, layout_below_4g(memory_bytes)},
                                  {LAYOUT_4GIB, layout_above_4g(memory_bytes)}};
    const uint32_t type = E820_RAM;
    uint32_t bytes = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (ranges[i][1] == 0)
            continue;
        memcpy(out + bytes, ranges[i], 16);
        memcpy(out + bytes + 16, &type, 4);
        bytes += E820_ENTRY;
    }
    return bytes;
}

enum status firmware_facts_init(struct pc *pc, const struct vm_config *config)
{
    struct vfwcfg *f = &pc->fwcfg;
    const enum status s = vfwcfg_init(f, &pc->vm.bus, &pc->vm.mem);
    if (s != OK)
        return s;
    vfwcfg_add_number(f, VFWCFG_RAM_BYTES, pc->vm.memory_bytes, 8);
    vfwcfg_add_number(f, VFWCFG_CPUS, config->vcpus, 2);
    vfwcfg_add_number(f, VFWCFG_MAX_CPUS, config->vcpus, 2);
    vfwcfg_add_file(f, "etc/e820", pc->firmware.e820,
                    write_e820(pc->firmware.e820, pc->vm.memory_bytes));
    pc->rtc.ram[CMOS_LAST_CPU] = (uint8_t)(config->vcpus - 1);
    pc->rtc.ram[CMOS_BOOT_ORDER] = BOOT_FROM_DISK;
    return OK;
}

/* The disks in their order, by their paths in Open Firmware's tree, a line each, and a NUL. */
static uint64_t write_boot_order(char *out, uint32_t disks)
{
    static const char path[] = "/pci@i0cf8/ide@1,1/drive@0/disk@0\n";
    enum { PATH = sizeof(path) - 1, UNIT = PATH - 2 };
    _Static_assert(CONFIG_MAX_DISKS * PATH + 1 <= FIRMWARE_BOOT_ORDER_BYTES, "all paths");
    for (uint32_t i = 0; i < disks; i++) {
        memcpy(out + i * PATH, path, PATH);
        out[i * PATH + UNIT] = (char)('0' + i);
    }
    out[disks * PATH] = '\0';
    return disks * PATH + 1ull;
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
    if (config->disk_count != 0)
        vfwcfg_add_file(f, "bootorder", firmware->boot_order,
                        write_boot_order(firmware->boot_order, config->disk_count));
    vfwcfg_add_file(f, "etc/system-states", system_states, sizeof(system_states));
    if (config->vga_rom.base != 0)
        vfwcfg_add_file(f, "vgaroms/vga.bin", hpa_to_ptr(hpa(config->vga_rom.base)),
                        config->vga_rom.size);
    if (config->console == CONSOLE_SERIAL) /* a BIOS's screen and keyboard are COM1 too */
        vfwcfg_add_file_number(f, "etc/sercon-port", PC_COM1_PORT, 8);
    return OK;
}
