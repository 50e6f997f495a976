/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: one lock, up to four sinks, and a buffer for what is said before the first one. */
#include "arch/log.h"
#include "arch/format.h"
#include "arch/panic.h"
#include "arch/spinlock.h"
#include "arch/string.h"

#define LOG_MAX_SINKS  4
#define LOG_LINE_BYTES 512

static struct spinlock lock;
static log_sink_fn *sinks[LOG_MAX_SINKS];
static unsigned sink_count;
static char early[4096];
static size_t early_length;

/* Once a panic is under way, the lock's holder may be a CPU that is stopped: then go without. */
void log_bytes(const char *text, size_t length)
{
    uint64_t flags = panic_is_active() ? 0 : spinlock_lock_irqsave(&lock); /* RFLAGS is never 0 */
    for (unsigned i = 0; i < sink_count; i++)
        sinks[i](text, length);
    if (sink_count == 0) {
        size_t room = sizeof(early) - early_length;
        memcpy(early + early_length, text, length < room ? length : room);
        early_length += length < room ? length : room;
    }
    if (flags != 0)
        spinlock_unlock_irqrestore(&lock, flags);
}

void log_add_sink(log_sink_fn *sink)
{
    uint64_t flags = spinlock_lock_irqsave(&lock);
    if (sink_count < LOG_MAX_SINKS) {
        sinks[sink_count++] = sink;
        sink(early, early_length);
    }
    spinlock_unlock_irqrestore(&lock, flags);
}

void log_line(const char *format, ...)
{
    char line[LOG_LINE_BYTES] = "nadir: ";
    size_t start = strlen(line);
    va_list args;
    va_start(args, format);
    size_t length = start + format_text_va(line + start, sizeof(line) - start, format, args);
    va_end(args);
    line[length] = '\n'; /* over the terminator */
    log_bytes(line, length + 1);
}

void log_text(const char *format, ...)
{
    char text[LOG_LINE_BYTES];
    va_list args;
    va_start(args, format);
    size_t length = format_text_va(text, sizeof(text), format, args);
    va_end(args);
    log_bytes(text, length);
}
