/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism #1 on ports 0xcf8-0xcff: one bus with a host bridge; and the reset
 * control register 0xcf9 among them. */
#pragma once

#include "vmx/bus.h"
#include "vmx/lines.h"

struct vpci {
    uint32_t address; /* CONFIG_ADDRESS */
    uint8_t reset_control;
    uint16_t command; /* of the host bridge */
    struct power_line power;
};

enum status vpci_init(struct vpci *pci, struct bus *bus, struct power_line power);
void vpci_reset(struct vpci *pci);
