/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/full.efi, in the place of boot/main.c: a hypervisor that starts no VMs, but has more to
 * say of one than its ring holds, twice, and then panics with Nadir's own ring nearly full.
 * tests/system/test_astray.py reads what follows. */
#define vms_start fill_rings
#include "boot/main.c"

enum { OF_VM = 2000, OWN = 200 };

static void fill_ring(const char *name)
{
    for (unsigned i = 0; i < OF_VM; i++)
        log_line_of(log_of_vm(0), "%s: line %u of a VM whose ring becomes full", name, i);
}

void fill_rings(void)
{
    if (console_open(0) != OK)
        return;
    fill_ring("first");
    console_flush(); /* and nothing more is said of that VM */
    log_line("all of the first has left");
    fill_ring("second");
    for (unsigned i = 0; i < OWN; i++)
        log_line("own line %u before the panic", i);
    panic("with full rings");
}
