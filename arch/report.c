/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of JSON to the one sink there is. */
#include "arch/report.h"
#include "arch/format.h"
#include "arch/log.h"

#include <stdint.h>

#define REPORT_LINE_BYTES 512

static report_sink_fn *sink;

void report_set_sink(report_sink_fn *new_sink)
{
    __atomic_store_n(&sink, new_sink, __ATOMIC_RELEASE);
}

bool report_line(unsigned of, const char *line, size_t length)
{
    report_sink_fn *to = __atomic_load_n(&sink, __ATOMIC_ACQUIRE);
    return to == NULL || to(of, line, length);
}

bool report_format(const char *format, ...)
{
    char line[REPORT_LINE_BYTES];
    va_list args;
    va_start(args, format);
    const size_t length = format_text_va(line, sizeof(line), format, args);
    va_end(args);
    return report_line(LOG_OF_NADIR, line, length);
}

size_t report_string(char *out, const char *text, size_t length)
{
    static const char digit[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        const uint8_t c = (uint8_t)text[i];
        if (c >= ' ' && c <= '~' && c != '"' && c != '\\') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'u';
        out[n++] = '0';
        out[n++] = '0';
        out[n++] = digit[c >> 4];
        out[n++] = digit[c & 15];
    }
    out[n] = '\0';
    return n;
}
