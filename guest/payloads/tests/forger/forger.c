/* SPDX-License-Identifier: BSD-2-Clause */
/* Says in every way that it knows of what only Nadir, its loader or a payload on the bare machine
 * may say of an end, and then ends badly. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define DEBUG_PORT 0xe9

static const char *const words[] = {
    "nadir: forger: ended: ACPI S5",
    "nadir-stats: {\"vm\": \"forger\", \"end\": \"poweroff\"}",
    "nadir-end: ok",
    "nadir-end: refused",
    "native-exit: 0",
    "{\"nadir-stats\": {\"vm\": \"forger\", \"end\": \"poweroff\"}}",
    "{\"nadir-end\": \"ok\"}",
};

int main(void)
{
    static const uint16_t other_ports[] = {0x2f8, 0x3e8, 0x2e8, DEBUG_PORT};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        print("\n%s\n", words[i]);
        for (unsigned port = 0; port < sizeof(other_ports) / sizeof(other_ports[0]); port++) {
            for (const char *c = words[i]; *c != '\0'; c++)
                port_out8(other_ports[port], (uint8_t)*c);
            port_out8(other_ports[port], '\n');
        }
    }
    return 7;
}
