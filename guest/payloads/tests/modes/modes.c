/* SPDX-License-Identifier: BSD-2-Clause */
/* Every mode of the CPU, entered and left again, twice. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

void modes_trip(void);
extern char modes_marks[32];

static const struct {
    char mark;
    const char *what;
} stations[] = {
    {'6', "64-bit mode"},
    {'c', "compatibility mode"},
    {'3', "32-bit protected mode"},
    {'P', "PAE paging, its third level loaded"},
    {'2', "two-level paging with 4 MiB pages"},
    {'p', "16-bit protected mode"},
    {'r', "real mode"},
    {'b', "a 4 GiB segment in real mode"},
    {'i', "INT n through the IVT"},
    {'d', "divide error through the IVT"},
    {'e', "IRET from it"},
    {'t', "timer interrupt and HLT in real mode"},
    {'3', "32-bit protected mode again"},
    {'6', "64-bit mode again"},
};

int main(void)
{
    test_begin("modes", "every mode of the CPU, and back");
    apic_enable(false);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT); /* the 8259's way to the CPU */
    for (unsigned round = 0; round < 2; round++) {
        print("modes: marks ");
        serial_drain(); /* the trip sends without looking */
        modes_trip();
        serial_drain();
        print("\n");
        for (unsigned i = 0; i < sizeof(stations) / sizeof(stations[0]); i++)
            test_equal((uint8_t)modes_marks[i], (uint8_t)stations[i].mark, stations[i].what,
                       round == 0 ? "first trip" : "second trip");
        test_equal((uint8_t)modes_marks[sizeof(stations) / sizeof(stations[0])], 0,
                   "no station beyond", "the end");
    }
    return test_end();
}
