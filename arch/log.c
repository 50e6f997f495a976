/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: one lock, up to four sinks, and the last of what was said, for sinks that come later. */
#include "arch/log.h"
#include "arch/format.h"
#include "arch/panic.h"
#include "arch/spinlock.h"
#include "arch/string.h"

#define LOG_MAX_SINKS  4
#define LOG_LINE_BYTES 512
#define KEPT_BYTES     16384 /* a power of two */

static struct spinlock lock;
static log_sink_fn *sinks[LOG_MAX_SINKS];
static unsigned sink_count;
static char kept[KEPT_BYTES];
static uint64_t said; /* bytes, in all */

/* Once a panic is under way, the lock's holder may be a CPU that is stopped: then go without. */
static bool is_locked(void)
{
    if (panic_is_active())
        return false;
    spinlock_lock(&lock);
    return true;
}

static void keep(const char *text, size_t length)
{
    const size_t at = said % KEPT_BYTES, first = KEPT_BYTES - at;
    memcpy(kept + at, text, length < first ? length : first);
    if (length > first)
        memcpy(kept, text + first, length - first);
    said += length;
}

static void give_out(unsigned of, const char *text, size_t length)
{
    const bool locked = is_locked();
    for (unsigned i = 0; i < sink_count; i++)
        sinks[i](of, text, length);
    keep(text, length);
    if (locked)
        spinlock_unlock(&lock);
}

/* Line by line, as it was said. */
static void replay(log_sink_fn *sink)
{
    char line[LOG_LINE_BYTES];
    size_t length = 0;
    uint64_t at = said > KEPT_BYTES ? said - KEPT_BYTES : 0;
    if (at > 0) {
        while (at < said && kept[at++ % KEPT_BYTES] != '\n') {}
        length = format_text(line, sizeof(line), "nadir: %lu bytes of the log are lost here\n", at);
        sink(LOG_OF_NADIR, line, length);
    }
    for (length = 0; at < said; at++) {
        line[length++] = kept[at % KEPT_BYTES];
        if (line[length - 1] == '\n' || length == sizeof(line) || at + 1 == said) {
            sink(LOG_OF_NADIR, line, length);
            length = 0;
        }
    }
}

void log_add_sink(log_sink_fn *sink)
{
    const bool locked = is_locked();
    if (sink_count < LOG_MAX_SINKS) {
        sinks[sink_count++] = sink;
        replay(sink);
    }
    if (locked)
        spinlock_unlock(&lock);
}

static void print_line(unsigned of, const char *format, va_list args)
{
    char line[LOG_LINE_BYTES] = "nadir: ";
    const size_t start = strlen(line);
    const size_t length = start + format_text_va(line + start, sizeof(line) - start, format, args);
    line[length] = '\n'; /* over the terminator */
    give_out(of, line, length + 1);
}

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(LOG_OF_NADIR, format, args);
    va_end(args);
}

void log_line_of(unsigned of, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(of, format, args);
    va_end(args);
}

void log_text_of(unsigned of, const char *format, ...)
{
    char text[LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    const size_t length = format_text_va(text, sizeof(text), format, args);
    va_end(args);
    give_out(of, text, length);
}
