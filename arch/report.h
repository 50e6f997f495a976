/* SPDX-License-Identifier: BSD-2-Clause */
/* What the hypervisor tells the program that has started the machine, by a way that guests do not
 * have: how it all ended, what each VM cost. A line is one object of JSON. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Takes a whole line, without waiting; false: it has no room for it. On any CPU. of: whose it is,
 * as in arch/log.h: a VM's come in their order. */
typedef bool report_sink_fn(unsigned of, const char *line, size_t length);

/* Where lines go from now on. None yet: they are dropped, as nobody has asked for them. */
void report_set_sink(report_sink_fn *sink);

/* Reports a line, which ends in "\n". False: it is lost, as the sink has no room. Any CPU, any
 * state. */
bool report_line(unsigned of, const char *line, size_t length);

/* The same of Nadir's own, formatted as log_line() does; at most 511 bytes. No text of a guest may
 * be in it but through report_string(). */
bool report_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The longest text for report_string() that surely fits into so many bytes. */
static inline size_t report_string_fits(size_t size)
{
    return (size - 1) / 6; /* a byte becomes at most \u0000 */
}

/* Makes the inside of a JSON string of any bytes, as if they were ISO 8859-1, so that each byte can
 * be had back: out has room for it (report_string_fits()), and is terminated. Returns the length.
 * Pure. */
size_t report_string(char *out, const char *text, size_t length);
