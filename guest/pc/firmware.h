/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual PC that starts as a real one does: at the reset vector, in a firmware image that lies
 * in ROM below 4 GiB. Holds what only such a PC has: the ROM, its shadow below 1 MiB, the flash
 * with UEFI variables, and what firmware asks of fw_cfg.
 *
 * The ROM is the loader's copy of the file, mapped read-only. Its last 128 KiB appear below 1 MiB
 * too, until the chip set's PAM registers put RAM there ("shadowing"). Both have host memory of
 * their own: the RAM is part of the first piece, and the ROM is pc->memory.rom, 256 KiB for
 * [0xc0000, 1 MiB). What the guest reads is mapped: each of the chip set's pieces is a slot of the
 * VM's memory, whose host memory and pages are the one's or the other's; nothing is copied, as a
 * guest may have this done at each exit. An engine has no pages that are written but not read: what
 * is not RAM for reads and writes both is read-only, and writes come here by exits on memory, to be
 * dropped or put into the RAM.
 *
 * Where the image begins with a UEFI firmware volume for variables, that volume is flash: what is
 * written stays for all lives of the VM, as the loader's copy is written to. The rest cannot be
 * written. */
#pragma once

#include "arch/addr.h"
#include "drivers/virt/vchipset.h"
#include "drivers/virt/vflash.h"
#include "drivers/virt/vfwcfg.h"
#include "guest/config.h"
#include "guest/pc/acpi.h"

#define FIRMWARE_ACPI_BYTES       8192
#define FIRMWARE_BOOT_ORDER_BYTES 104

struct pc;

/* What a guest meets in one of the chip set's pieces. */
enum firmware_shown { SHOWN_RAM, SHOWN_RAM_READ_ONLY, SHOWN_ROM };

struct firmware {
    bool present; /* nadir.cfg names one: all else here is for that */
    uint8_t shown[VCHIPSET_PIECES];
    struct vflash flash;
    uint32_t vcpus;
    uint8_t acpi[FIRMWARE_ACPI_BYTES]; /* from here on: files of fw_cfg */
    uint8_t script[ACPI_SCRIPT_BYTES];
    char boot_order[FIRMWARE_BOOT_ORDER_BYTES];
    uint8_t e820[2 * 20]; /* this one for every guest */
};

/* What a reset leaves as it is, of what lies below 1 MiB, beside the memory there. QEMU's chip set
 * keeps the PAM registers over a reset, and SeaBIOS, whose way through a reset begins in the RAM
 * that shadows it, counts on that. All zero: nothing has been kept. */
struct firmware_kept {
    uint8_t pam[VCHIPSET_PAMS];
};

/* How many bytes of a firmware image, from its start, are a volume for UEFI variables. Asked once,
 * of the image as the loader has read it: behind that the guest writes there, to the volume's
 * header, too, and would decide with each life what of its firmware is flash. Pure. */
uint64_t firmware_variable_bytes(const uint8_t *rom, uint64_t size);

/* Maps the image, puts the PC's devices and MTRRs into their state at power-on, fills in fw_cfg and
 * pc->boot. The PC has all its devices; *kept belongs to pc->memory, if a reset has kept that. A
 * failure has its line in the log. */
enum status firmware_load(struct pc *pc, const struct vm_config *config,
                          const struct firmware_kept *kept);
/* Copies what a reset keeps to *kept. */
void firmware_keep(const struct pc *pc, struct firmware_kept *kept);
