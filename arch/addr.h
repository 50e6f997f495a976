/* SPDX-License-Identifier: BSD-2-Clause */
/* The four kinds of addresses as distinct types, so that mixing them does not compile. */
#pragma once

#include <stdint.h>

#define PAGE_SIZE    4096ull
#define PAGE_SIZE_2M (2ull << 20)
#define PAGE_SIZE_1G (1ull << 30)

typedef struct { /* guest-physical */
    uint64_t v;
} gpa_t;

typedef struct { /* host-physical */
    uint64_t v;
} hpa_t;

typedef struct { /* guest-virtual (linear, in the guest) */
    uint64_t v;
} gva_t;

static inline gpa_t gpa(uint64_t v)
{
    return (gpa_t){v};
}

static inline hpa_t hpa(uint64_t v)
{
    return (hpa_t){v};
}

static inline gva_t gva(uint64_t v)
{
    return (gva_t){v};
}

/* Where host-physical memory is mapped, but guests': host virtual = physmap_base + hpa. 0 while the
 * firmware's identity map is still in use (and in host unit tests), the high half once our own page
 * tables are loaded. */
extern uint64_t physmap_base;

static inline void *hpa_to_ptr(hpa_t a)
{
    return (void *)(uintptr_t)(physmap_base + a.v); /* NOLINT(performance-no-int-to-ptr) */
}

/* The inverse; only for pointers into the physmap, not for code, globals or stacks of the image. */
static inline hpa_t ptr_to_hpa(const void *p)
{
    return hpa((uint64_t)(uintptr_t)p - physmap_base);
}
