/* SPDX-License-Identifier: BSD-2-Clause */
/* A storm of interrupts between several CPUs and from devices to each of them, counted one by one.
 */
#pragma once

/* Starts the other CPUs and blows so many interrupts in each mode of the local APICs. */
void stormsmp(unsigned interrupts);
