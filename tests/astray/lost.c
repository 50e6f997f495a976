/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/astray.efi, in the place of mm/host_cpu.c: a hypervisor that enters no VM's page
 * tables. tests/system/test_astray.py reads what follows. */
#define guestspace_enter enter_really
#include "mm/host_cpu.c"
#undef guestspace_enter

hpa_t guestspace_enter(hpa_t root);

hpa_t guestspace_enter(hpa_t root)
{
    (void)root;
    return hpa(cpu_read_cr3());
}
