// SPDX-License-Identifier: BSD-2-Clause
// link: mm/shadow.c mm/shadow_verify.c mm/shadow_pool.c mm/shadow_code.c mm/shadow_stale.c mm/shadow_check.c mm/page_alloc.c mm/guestmem.c guest/cpu/guestwalk.c
/* A guest that changes its page tables and flushes as the input says, beside its shadow: what that
 * has is never more than a TLB could have (tests/unit/shadow_model.h). */
#include "tests/unit/shadow_model.h"

#include "arch/log.h"
#include "arch/panic.h"

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned modes[] = {MODE_LONG, MODE_PAE, MODE_32};
    if (size < 2)
        return 0;
    /* The tables are the first byte's, so that what follows has something to work with. */
    m.random = data[0] * 0x9e3779b97f4a7c15ull + 1;
    m.data = NULL;
    m.runs_kernel = (data[1] & 64) != 0;
    model_begin(modes[data[1] % 3], data[1] & 128 ? 0 : 32);
    for (unsigned i = 0; i < 300; i++)
        write_entry(true);
    record_all();
    m.data = data + 2;
    m.left = size - 2;
    while (m.left > 0)
        step();
    check_structure();
    m.data = NULL;
    model_end();
    return 0;
}
