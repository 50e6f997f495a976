/* SPDX-License-Identifier: BSD-2-Clause */
/* What every payload has: text on the serial port, an end, memory helpers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The payload itself: called in 64-bit mode at CPL 0 with interrupts off, memory below 4 GiB
 * identity-mapped, and the IDT of trap.h loaded. What it returns goes to exit().
 */
int main(void);

/* Text to the serial port. %s %c %d %u %x, with l, a width and zero padding; "\n" is sent as CR LF.
 */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on it goes elsewhere, byte by byte. */
void print_to(void (*send)(char));

/* Ends this machine by the debug-exit port; 0 is success. Where there is none, prints the line
 * `native-exit: CODE` and powers off or stops. */
_Noreturn void exit(int code);

/* Asks for power-off (ACPI S5); returns if that did nothing. */
void power_off(void);

/* Waits until all that was printed has left, for those who use the port themselves. */
void serial_drain(void);

/* Called by start.asm. */
void serial_init(void);

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
