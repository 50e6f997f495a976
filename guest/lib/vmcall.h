/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction by which a payload asks Nadir for something: guest/hypercall.h. */
#pragma once

#include "guest/hypercall.h"

/* What an array's registers hold behind a call. */
struct vmcall_rest {
    uint64_t at, count;
};

static inline int64_t vmcall_rest(uint64_t number, uint64_t a, uint64_t b, uint64_t c,
                                  struct vmcall_rest *rest)
{
    int64_t result;
    __asm__ volatile("vmcall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                     : "0"(number)
                     : "memory", "cc");
    *rest = (struct vmcall_rest){a, b};
    return result;
}

static inline int64_t vmcall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    struct vmcall_rest rest;
    return vmcall_rest(number, a, b, c, &rest);
}
