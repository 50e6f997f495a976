/* SPDX-License-Identifier: BSD-2-Clause */
/* Text into a buffer: printf's smaller sibling, with the conversions that log.h lists. Pure. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/* Formats into a buffer, always terminated; returns the length that was written. */
size_t format_text(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for callers that hold a va_list. */
size_t format_text_va(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
