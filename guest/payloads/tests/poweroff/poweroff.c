/* SPDX-License-Identifier: BSD-2-Clause */
/* Powers off by the ACPI sleep state S5. */
#include "guest/lib/lib.h"

int main(void)
{
    print("poweroff: now\n");
    power_off();
    print("poweroff: still here\n");
    return 1;
}
