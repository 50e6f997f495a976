/* SPDX-License-Identifier: BSD-2-Clause */
/* A small kernel as others write them: started by multiboot 1 at 4 MiB, told what to do by the
 * lines KEY=VALUE of its only module, it finds out about its machine by fw_cfg and ACPI, uses page
 * 0, starts all CPUs at once, and leaves as EXIT says: 1, 2 or 4 bytes to the debug-exit port, or
 * `Shutdown` to port 0x8900 (EXIT=0). CPUS and MEMORY (MiB) are what it expects to find. */
#include "bringup.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

extern const volatile uint32_t boot_info;

static const char *settings = "";

static bool starts_with(const char *text, const char *begin)
{
    while (*begin != 0 && *text == *begin) {
        text++;
        begin++;
    }
    return *begin == 0;
}

static unsigned length_of(const char *text)
{
    unsigned n = 0;
    while (text[n] != 0)
        n++;
    return n;
}

uint64_t setting(const char *key, uint64_t otherwise)
{
    for (const char *line = settings; *line != 0;) {
        const char *value = line + length_of(key);
        if (starts_with(line, key) && *value++ == '=') {
            uint64_t number = 0;
            for (; *value >= '0' && *value <= '9'; value++)
                number = 10 * number + (uint64_t)(*value - '0');
            return number;
        }
        while (*line != 0 && *line++ != '\n') {}
    }
    return otherwise;
}

/* Copies the module: what lies behind the kernel is its heap. */
static void read_settings(void)
{
    static char copy[1024];
    const uint64_t flags = peek(boot_info, 4), modules = peek(boot_info + 24, 4);
    if (!test_check((flags & 8) != 0 && peek(boot_info + 20, 4) == 1, "one module",
                    "Multiboot Specification: mods_count"))
        return;
    const uint64_t from = peek(modules, 4), bytes = peek(modules + 4, 4) - from;
    if (!test_check(bytes < sizeof(copy), "of the file's size", "Multiboot Specification: modules"))
        return;
    memcpy(copy, (const void *)from, bytes);
    settings = copy;
    test_check(setting("CPUS", 0) != 0 && setting("MEMORY", 0) != 0, "its lines are settings",
               "Multiboot Specification: modules");
}

static void check_memory(void)
{
    test_equal(peek(boot_info + 8, 4), setting("MEMORY", 0) * 1024 - 1024,
               "the memory from 1 MiB on", "Multiboot Specification: mem_upper");
    volatile uint32_t *page = (volatile uint32_t *)0;
    __asm__("" : "+r"(page));
    bool kept = true;
    for (uint32_t i = 0; i < 1024; i++)
        page[i] = i * 0x01010101u;
    for (uint32_t i = 0; i < 1024; i++)
        kept = kept && page[i] == i * 0x01010101u;
    test_check(kept, "page 0 is RAM", "memory map");
}

/* A kernel that takes no arguments sees its own name only. */
static void check_cmdline(void)
{
    const char *line = (const char *)peek(boot_info + 16, 4);
    while (*line != 0 && *line != ' ')
        line++;
    test_check(starts_with(line, " first second") && length_of(line) == 13,
               "name and arguments, parted by spaces", "Multiboot Specification: cmdline");
}

static void leave(int code)
{
    serial_drain();
    switch (setting("EXIT", 4)) {
    case 1: port_out8(0xf4, (uint8_t)code); break;
    case 2: port_out16(0xf4, (uint16_t)code); break;
    case 4: port_out32(0xf4, (uint32_t)code); break;
    default:
        for (const char *word = code == 0 ? "Shutdown" : "Shut up"; *word != 0; word++)
            port_out8(0x8900, (uint8_t)*word);
    }
}

int main(void)
{
    test_begin("bringup", "a kernel finds its machine and starts it");
    read_settings();
    check_cmdline();
    check_memory();
    check_fwcfg();
    check_acpi();
    check_cpus();
    check_lines();
    check_apic_modes();
    leave(test_end() != 0 ? 1 : (int)setting("CODE", 0));
    return 99; /* still there: none of the ways has led out */
}
