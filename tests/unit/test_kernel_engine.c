// link: guest/load/kernel.c guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/foreign.c
// link: guest/load/linux.c guest/load/multiboot.c guest/load/multiboot2.c guest/load/pvh.c guest/load/flat.c
// link: guest/load/segments.c guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c guest/cpu/guestwalk.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which engine a VM gets by its kernel's file, where nadir.cfg leaves it open. */
#include "tests/unit/xen_test.h"

#include "guest/load/kernel.h"

static struct config_error error;

/* A section with that file as its kernel, and nothing that a domain could not have. */
static struct vm_config section(const void *file, size_t bytes)
{
    return (struct vm_config){
        .name = "a",
        .kernel = {.path = "k", .base = (uintptr_t)file, .size = bytes, .line = 2},
        .cmdline = "",
        .vcpus = 1,
    };
}

static enum config_engine settled(struct vm_config config)
{
    assert_true(kernel_settle_engine(&config, &error));
    return config.engine;
}

static void test_files(void **state)
{
    (void)state;
    static uint8_t none[4096], sector[512] = {[510] = 0x55, 0xaa};
    linux_like();
    assert_int_equal(settled(section(elf, sizeof(elf))), CONFIG_ENGINE_PV);
    assert_int_equal(settled(section(none, sizeof(none))), CONFIG_ENGINE_AUTO);
    assert_int_equal(settled(section(sector, sizeof(sector))), CONFIG_ENGINE_AUTO);
    /* One that a PC can start, too, as Linux's vmlinux: it is a PC's. */
    add_number(18, LOAD);
    assert_int_equal(settled(section(elf, sizeof(elf))), CONFIG_ENGINE_AUTO);
}

static void test_what_is_named(void **state)
{
    (void)state;
    linux_like();
    for (enum config_engine engine = CONFIG_ENGINE_VTX; engine <= CONFIG_ENGINE_PV; engine++) {
        struct vm_config named = section(elf, sizeof(elf));
        named.engine = engine;
        named.disk_count = 1; /* the parser has looked at that */
        assert_int_equal(settled(named), engine);
    }
    struct vm_config flat = section(elf, sizeof(elf));
    flat.type = TYPE_FLAT;
    assert_int_equal(settled(flat), CONFIG_ENGINE_AUTO);
    struct vm_config firmware = section(elf, sizeof(elf));
    firmware.kernel = (struct loaded_file){0};
    assert_int_equal(settled(firmware), CONFIG_ENGINE_AUTO);
}

static void refuses(struct vm_config config, const char *why)
{
    memset(&error, 0, sizeof(error));
    assert_false(kernel_settle_engine(&config, &error));
    assert_int_equal(error.line, 2);
    assert_string_equal(error.text, why);
}

#define IS_XEN "[vm a]: k is a Xen PV kernel and nothing else, for engine = pv, where "

/* As with engine = pv itself. */
static void test_misfits(void **state)
{
    (void)state;
    linux_like();
    const struct vm_config good = section(elf, sizeof(elf));
    struct vm_config bad = good;
    bad.pc_key = "cdrom";
    refuses(bad, IS_XEN "cdrom is for a PC");
    bad = good;
    bad.console = CONSOLE_VGA_SERIAL;
    refuses(bad, IS_XEN "console must be serial");
    bad = good;
    bad.vcpus = CONFIG_MAX_PV_VCPUS;
    assert_int_equal(settled(bad), CONFIG_ENGINE_PV);
    bad.vcpus++;
    refuses(bad, IS_XEN "vcpus is 32 at most");
    bad = good;
    bad.bt = CONFIG_BT_INTERPRET;
    refuses(bad, IS_XEN "bt is for the engine bt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_what_is_named),
        cmocka_unit_test(test_misfits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
