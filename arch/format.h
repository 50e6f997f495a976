/* SPDX-License-Identifier: BSD-2-Clause */
/* The formatter behind log.h, for callers that hold a va_list. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

size_t format_text_va(char *out, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
