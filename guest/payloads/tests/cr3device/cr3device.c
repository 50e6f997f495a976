/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables where no RAM is: the CPU itself cannot go on. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

int main(void)
{
    print("cr3device: now\n");
    write_cr3(0xd0000000);
    return 1;
}
