/* SPDX-License-Identifier: BSD-2-Clause */
/* Leaves by the debug-exit port with a code that means failure. */
#include "guest/lib/lib.h"

int main(void)
{
    print("debugexit7: now\n");
    return 7;
}
