/* SPDX-License-Identifier: BSD-2-Clause */
/* The chip set that firmware for virtual machines expects: Intel's 82441FX host bridge at 00:00.0
 * and the 82371SB (PIIX3) ISA bridge at 00:01.0. Power management (00:01.3) is vpm's, the
 * IDE function (00:01.1) the disk's. */
#pragma once

#include "drivers/virt/vpci.h"

#define VCHIPSET_HOST  VPCI_DEVFN(0, 0)
#define VCHIPSET_ISA   VPCI_DEVFN(1, 0)
#define VCHIPSET_PAM0  0x59 /* of the host bridge: 7 registers */
#define VCHIPSET_PAMS  7
#define VCHIPSET_PIRQA 0x60 /* of the ISA bridge: 4 registers */

/* What the PAM registers say of one piece of [0xc0000, 0x100000): does the CPU read RAM there, or
 * what is on the bus (ROM)? And do its writes reach RAM? */
struct vchipset_shadow {
    bool read_ram, write_ram;
};
#define VCHIPSET_PIECES 13 /* twelve of 16 KiB from 0xc0000 on, then one of 64 KiB */

/* Where piece number i begins, and the one before ends. */
static inline uint64_t vchipset_piece_start(unsigned i)
{
    return i < VCHIPSET_PIECES ? 0xc0000u + i * 0x4000u : 0x100000u;
}

struct vchipset {
    struct vpci_function host, isa;
    void (*shadow_changed)(void *ctx);
    void *shadow_ctx;
};

enum status vchipset_init(struct vchipset *chipset, struct vpci *pci);

/* piece: below VCHIPSET_PIECES. After shadow_changed() has said that some piece may have changed.
 */
struct vchipset_shadow vchipset_shadow(const struct vchipset *chipset, unsigned piece);
