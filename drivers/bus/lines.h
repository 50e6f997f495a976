/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual PC's wires: how a device raises an interrupt pin and asks for the end of its VM. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An output pin of a device, connected to an input of a chip at start. */
struct irq_line {
    void (*set)(void *chip, unsigned pin, bool high); /* NULL: not connected */
    void *chip;
    unsigned pin;
};

static inline void irq_line_set(const struct irq_line *line, bool high)
{
    if (line->set != NULL)
        line->set(line->chip, line->pin, high);
}

/* The gate of address line 20, which the keyboard controller switches: off, the CPUs' addresses
 * lose that bit, as an 8086's wrap at 1 MiB. */
struct a20_line {
    void (*set)(void *vm, bool on); /* NULL: not connected */
    void *vm;
};

static inline void a20_line_set(const struct a20_line *line, bool on)
{
    if (line->set != NULL)
        line->set(line->vm, on);
}

/* FERR#, an output of the CPU, and IGNNE#, an input: how a PC hears of x87 errors where CR0.NE is
 * 0. Returns whether IGNNE# is asserted then. */
struct ferr_line {
    bool (*set)(void *chip, bool asserted); /* NULL: not connected */
    void *chip;
};

static inline bool ferr_line_set(const struct ferr_line *line, bool asserted)
{
    return line->set != NULL && line->set(line->chip, asserted);
}

/* How a device that works on what a CPU has asked for has that CPU wait: busy from its access on,
 * and at last not. */
struct work_line {
    void (*busy)(void *dev, bool busy);
    void *dev;
};

enum vm_end {
    VM_RUNS,
    VM_POWEROFF,
    VM_RESET,
    VM_DEBUG_EXIT,
    VM_CRASH,
    VM_TRIPLE_FAULT, /* a crash, too; a PC's chip set answers it by a reset */
    VM_DESTROYED,
    VM_LIMIT,
};

static inline bool vm_end_is_crash(enum vm_end end)
{
    return end == VM_CRASH || end == VM_TRIPLE_FAULT;
}

/* How a device ends its VM, once the current exit has been handled; the first request wins. */
struct power_line {
    void (*request)(void *vm, enum vm_end end, uint32_t code, const char *why);
    void *vm;
};

static inline void power_line_request(const struct power_line *line, enum vm_end end, uint32_t code,
                                      const char *why)
{
    if (line->request != NULL)
        line->request(line->vm, end, code, why);
}
