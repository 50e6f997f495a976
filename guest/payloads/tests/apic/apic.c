/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC, in xAPIC and in x2APIC mode. */
#include "guest/lib/apic.h"
#include "guest/lib/irq.h"
#include "guest/lib/test.h"
#include "local.h"

int main(void)
{
    test_begin("apic", "interrupts arrive, in the right order");
    pic_init(PIC_BASE);
    apic_enable(false);
    check_local_apic("xAPIC");
    check_register_errors();
    check_moved_apic();
    if (apic_has_x2()) {
        test_check(apic_enable(true), "x2APIC mode is on", "IA32_APIC_BASE");
        check_local_apic("x2APIC");
        check_absent_apic("x2APIC mode");
        apic_enable(false);
        test_equal(apic_read(APIC_SVR), 0x1ff, "back in xAPIC mode", "by way of off");
    }
    return test_end();
}
