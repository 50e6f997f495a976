/* SPDX-License-Identifier: BSD-2-Clause */
/* Text output of the hypervisor itself: formatted lines that go to every registered sink. */
#pragma once

#include "arch/format.h"

/* Whose text it is: what is said of a VM counts as that VM's, and comes in the order of its own. */
enum { LOG_OF_NADIR = 0 };
static inline unsigned log_of_vm(unsigned index)
{
    return index + 1;
}

/* A place where text goes. Called with the log's lock held, on any CPU: it is not to wait. */
typedef void log_sink_fn(unsigned of, const char *text, size_t length);

/* Registers a sink, at most four. It gets the log from its beginning, as far as that is kept, which
 * are the last 16 KiB; a line says how much is not. */
void log_add_sink(log_sink_fn *sink);

/* Prints one line, "nadir: " before and "\n" behind it. Any CPU, any state, interrupts off.
 * Conversions: %s %c %d %u %x %p %%, widths, zero padding, '-', l and ll and z; longer than 511
 * bytes is cut. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same about a VM, `of` being log_of_vm(): the line goes by that VM's ring of output, so that
 * it keeps its place among what the VM itself prints. */
void log_line_of(unsigned of, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same without the prefix and the newline. */
void log_text_of(unsigned of, const char *format, ...) __attribute__((format(printf, 2, 3)));
