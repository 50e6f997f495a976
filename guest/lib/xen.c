/* SPDX-License-Identifier: BSD-2-Clause */
/* What paravirtual kernels share: text, and an end. */
#include "guest/lib/xen.h"

#include "guest/lib/lib.h"

static void put(char c)
{
    static char line[120];
    static unsigned length;
    line[length++] = c;
    if (c != '\n' && length < sizeof(line))
        return;
    (void)xen_call(XEN_CONSOLE_IO, 0, length, (uint64_t)line, 0);
    length = 0;
}

void xen_print(void)
{
    print_to(put);
}

_Noreturn void xen_end(bool well)
{
    enum { SHUTDOWN = 2, POWEROFF = 0, CRASH = 3 };
    const uint32_t reason = well ? POWEROFF : CRASH;
    for (;;)
        (void)xen_call(XEN_SCHED_OP, SHUTDOWN, (uint64_t)&reason, 0, 0);
}
