/* SPDX-License-Identifier: BSD-2-Clause */
/* A storm of interrupts, counted one by one. */
#pragma once

/* In the local APIC's present mode, whose name mode is. */
void storm(const char *mode, unsigned interrupts);
