/* SPDX-License-Identifier: BSD-2-Clause */
/* Text output of the hypervisor itself: formatted lines that go to every registered sink. */
#pragma once

#include "arch/format.h"

/* A place where text goes (serial port, screen). Called with the log's lock held, on any CPU. */
typedef void log_sink_fn(const char *text, size_t length);

/* Registers a sink, at most four. Text logged before the first (4 KiB at most) is replayed. */
void log_add_sink(log_sink_fn *sink);

/* Prints one line, "nadir: " before and "\n" behind it. Any CPU, any state, interrupts on or off.
 * Conversions: %s %c %d %u %x %p %%, widths, zero padding, '-', l and ll and z; longer than 511
 * bytes is cut. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same without prefix and newline, for text that is built in pieces. */
void log_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text of any length in one piece: nothing of another CPU comes in between. */
void log_bytes(const char *text, size_t length);
