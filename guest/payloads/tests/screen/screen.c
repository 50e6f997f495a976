/* SPDX-License-Identifier: BSD-2-Clause */
/* What a kernel prints on and reads from when it knows of no serial port: VGA text, 8042. */
#include "screen.h"

#include "guest/lib/test.h"

int main(void)
{
    test_begin("screen", "VGA text mode and the keyboard controller");
    check_vga();
    check_8042();
    return test_end();
}
