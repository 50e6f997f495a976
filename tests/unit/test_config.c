/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir.cfg: what is understood, and for each mistake the line and the words of the message. */
// link: guest/config.c guest/config_keys.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/config.h"

static struct nadir_config config;
static struct config_error error;
static void *memory; /* what the last text was parsed into */

/* A copy of exactly that length, so that the sanitizer sees a read beyond its end; and memory for
 * the parser, likewise. */
static char *prepare(const void *text, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);

    memcpy(copy, text, length);
    free(memory);
    memory = malloc(config_memory(copy, length));
    memset(memory, 0xa5, config_memory(copy, length));
    memset(&config, 0xa5, sizeof(config));
    memset(&error, 0xa5, sizeof(error));
    return copy;
}

static bool parse_bytes(const void *text, size_t length)
{
    char *copy = prepare(text, length);
    const bool ok = config_parse(copy, length, memory, &config, &error);

    free(copy);
    return ok;
}

static void accept(const char *text)
{
    if (!parse_bytes(text, strlen(text)))
        fail_msg("refused: line %u: %s", error.line, error.text);
}

static void refuse(uint32_t line, const char *words, const char *text)
{
    assert_false(parse_bytes(text, strlen(text)));
    assert_non_null(memchr(error.text, '\0', sizeof(error.text)));
    if (error.line != line || strstr(error.text, words) == NULL)
        fail_msg("line %u: \"%s\", not line %u with \"%s\"", error.line, error.text, line, words);
}

/* `head`, then `count` times `c`, then `tail`; the caller frees it. */
static char *with_run(const char *head, char c, size_t count, const char *tail)
{
    char *out = malloc(strlen(head) + count + strlen(tail) + 1);

    strcpy(out, head);
    memset(out + strlen(head), c, count);
    strcpy(out + strlen(head) + count, tail);
    return out;
}

static void test_defaults(void **state)
{
    (void)state;
    accept("[vm a]\nkernel = k\n");
    const struct vm_config *vm = &config.vm[0];
    assert_int_equal(config.serial_port, 0x3f8);
    assert_int_equal(config.vm_count, 1);
    assert_string_equal(vm->name, "a");
    assert_string_equal(vm->kernel.path, "k");
    assert_int_equal(vm->kernel.line, 2);
    assert_int_equal(vm->kernel.base, 0);
    assert_int_equal(vm->line, 1);
    assert_null(vm->ramdisk.path);
    assert_string_equal(vm->cmdline, "");
    assert_int_equal(vm->memory_mib, 256);
    assert_int_equal(vm->vcpus, 1);
    assert_int_equal(vm->on_poweroff, ACTION_DESTROY);
    assert_int_equal(vm->on_reboot, ACTION_RESTART);
    assert_int_equal(vm->on_crash, ACTION_DESTROY);
}

static void test_everything_named(void **state)
{

    (void)state;
    accept("# Nadir\r\n\r\n[nadir]\r\n\tserial = 0x2F8 # COM2\r\n"
           "[ vm  web-1.x_Y ]# a comment\r\n"
           "kernel=boot/vmlinuz\r\n"
           "  ramdisk =  boot\\initrd.gz\t# another\r\n"
           "cmdline = console=ttyS0 root=/dev/vda#1 x=\"a b\" # third\r\n"
           "memory = 0x200\r\nvcpus = 1\r\n"
           "on_poweroff = restart\r\non_reboot = destroy\r\non_crash = 'restart'\r\n"
           "[vm b]\r\nkernel = \"a # b\"   # c\r\nmemory=16\r\ncmdline = 'x  # \"y\"  '");
    assert_int_equal(config.serial_port, 0x2f8);
    assert_int_equal(config.vm_count, 2);
    assert_string_equal(config.vm->name, "web-1.x_Y");
    assert_int_equal(config.vm->line, 5);
    assert_string_equal(config.vm->kernel.path, "boot/vmlinuz");
    assert_string_equal(config.vm->ramdisk.path, "boot\\initrd.gz");
    assert_int_equal(config.vm->ramdisk.line, 7);
    assert_string_equal(config.vm->cmdline, "console=ttyS0 root=/dev/vda#1 x=\"a b\"");
    assert_int_equal(config.vm->memory_mib, 512);
    assert_int_equal(config.vm->on_poweroff, ACTION_RESTART);
    assert_int_equal(config.vm->on_reboot, ACTION_DESTROY);
    assert_int_equal(config.vm->on_crash, ACTION_RESTART);
    assert_string_equal(config.vm[1].kernel.path, "a # b");
    assert_string_equal(config.vm[1].cmdline, "x  # \"y\"  ");
    assert_int_equal(config.vm[1].memory_mib, 16);
}

static void test_serial(void **state)
{
    (void)state;
    accept("[nadir]\nserial = none\n[vm a]\nkernel = k");
    assert_int_equal(config.serial_port, 0);
    accept("[nadir]\nserial = 1016\n[vm a]\nkernel = k");
    assert_int_equal(config.serial_port, 0x3f8);
    accept("[nadir]\nserial = 0xfff8\n[vm a]\nkernel = k");
    assert_int_equal(config.serial_port, 0xfff8);
    assert_int_equal(config.report_port, 0);
    accept("[nadir]\nreport = 0x3e8\n[vm a]\nkernel = k\n[nadir]\nserial = 0x2f8\n");
    assert_int_equal(config.serial_port, 0x2f8);
    assert_int_equal(config.report_port, 0x3e8);
    accept("[nadir]\nreport = none\nserial = none\n[vm a]\nkernel = k");
    refuse(2, "serial and report are the same port", "[nadir]\nreport = 0x3f8\n[vm a]\nkernel = k");
    refuse(6, "serial and report are the same port",
           "[nadir]\nreport = 0x2f8\n[vm a]\nkernel = k\n[nadir]\nserial = 0x2f8");
    refuse(2, "report = 0x3f9: must be a multiple of 8", "[nadir]\nreport = 0x3f9");
    refuse(2, "serial = 0: out of range; 0x8 to 0xfff8, or none", "[nadir]\nserial = 0");
    refuse(2, "serial = 0x10000: out of range", "[nadir]\nserial = 0x10000");
    refuse(2, "serial = 0x3f9: must be a multiple of 8", "[nadir]\nserial = 0x3f9");
    refuse(2, "serial = com1: not a whole number", "[nadir]\nserial = com1");
}

static void test_at_end(void **state)
{
    (void)state;
    accept("[nadir]\n[vm a]\nkernel = k");
    assert_false(config.reset_at_end);
    accept("[nadir]\nat_end = reset\n[vm a]\nkernel = k");
    assert_true(config.reset_at_end);
    accept("[nadir]\nat_end = poweroff\n[vm a]\nkernel = k");
    assert_false(config.reset_at_end);
    refuse(2, "at_end = sleep: must be poweroff or reset", "[nadir]\nat_end = sleep");
    refuse(2, "unknown key at_end", "[vm a]\nat_end = reset");
    assert_false(config.share_cores);
    accept("[nadir]\nsmt = share\n[vm a]\nkernel = k");
    assert_true(config.share_cores);
    accept("[nadir]\nsmt = apart\n[vm a]\nkernel = k");
    assert_false(config.share_cores);
    refuse(2, "smt = on: must be apart or share", "[nadir]\nsmt = on");
}

static void test_sections(void **state)
{
    (void)state;
    refuse(0, "no [vm NAME] in it", "");
    refuse(0, "no [vm NAME] in it", "# nothing\n\n");
    refuse(0, "no [vm NAME] in it", "[nadir]\nserial = none\n");
    refuse(2, "unknown section [dom0]", "\n[dom0]\n");
    refuse(1, "unknown section [vmx]", "[vmx]\n");
    refuse(1, "unknown section []", "[]\n");
    refuse(1, "a section without its ]", "[vm a\n");
    refuse(1, "text after the ]", "[vm a] b\n");
    refuse(6, "serial is there twice in [nadir]",
           "[nadir]\nserial = none\n[vm a]\nkernel = k\n[nadir]\nserial = none\n");
    refuse(3, "key memory stands before the first", "\n\nmemory = 3\n");
    refuse(1, "has neither kernel nor firmware", "[vm a]\nmemory = 32\n");
    refuse(3, "[vm b] has neither kernel", "[vm a]\nkernel = k\n[vm b]\n\n[vm c]\nkernel = k\n");
    refuse(3, "[vm b] has neither kernel", "[vm a]\nkernel = k\n[vm b]\n\n[nadir]\n");
}

static void test_names(void **state)
{
    char *text;

    (void)state;
    refuse(1, "[vm NAME] without a name", "[vm]\n");
    refuse(1, "[vm NAME] without a name", "[vm  ]\n");
    refuse(1, "bad VM name 'a b'", "[vm a b]\n");
    refuse(1, "bad VM name 'a/b'; letters a-z and A-Z, digits and - _ . are", "[vm a/b]\n");
    refuse(1, "bad VM name 'caf\xc3\xa9'; letters a-z", "[vm caf\xc3\xa9]\n");
    refuse(1, "bad VM name '\xf0\x9f\x98\x80'", "[vm \xf0\x9f\x98\x80]\n");
    /* No UTF-8: Latin-1, too long for what it is, a surrogate; and a control character. */
    refuse(1, "bad VM name 'caf?'", "[vm caf\xe9]\n");
    refuse(1, "bad VM name '?\?'", "[vm \xc1\xa9]\n");
    refuse(1, "bad VM name '?\?\?'", "[vm \xed\xa0\x80]\n");
    refuse(1, "bad VM name '?\?'", "[vm \xc2\x9b]\n");
    /* What does not fit is left out by whole characters. */
    char many[2 * sizeof(error.text) + 16] = "[vm x";
    for (unsigned i = 0; i < sizeof(error.text); i++)
        strcat(many, "\xc3\xa9");
    refuse(1, "bad VM name 'x\xc3\xa9", strcat(many, "]\n"));
    assert_in_range(strlen(error.text), sizeof(error.text) - 2, sizeof(error.text) - 1);
    refuse(3, "two VMs are named a", "[vm a]\nkernel = k\n[vm a]\n");
    accept("[vm a]\nkernel = k\n[vm A]\nkernel = k\n");
    text = with_run("[vm ", 'n', CONFIG_MAX_NAME - 1, "]\nkernel = k");
    accept(text);
    free(text);
    text = with_run("[vm ", 'n', CONFIG_MAX_NAME, "]\nkernel = k");
    refuse(1, "too long: at most 31", text);
    free(text);
}

static void test_number_of_vms(void **state)
{
    char text[CONFIG_MAX_VMS * 32] = "";

    (void)state;
    for (int i = 0; i < CONFIG_MAX_VMS; i++)
        sprintf(text + strlen(text), "[vm v%d]\nkernel = k\n", i);
    accept(text);
    assert_int_equal(config.vm_count, CONFIG_MAX_VMS);
    strcat(text, "[vm more]\nkernel = k\n");
    refuse(2 * CONFIG_MAX_VMS + 1, "too many VMs: at most 64", text);
}

static void test_keys(void **state)
{
    (void)state;
    refuse(2, "unknown key memroy", "[vm a]\nmemroy = 3\n");
    refuse(
        2,
        "known in [vm NAME]: kernel firmware vga_rom firmware_log ramdisk module disk cdrom type "
        "loader "
        "load entry mode console debugcon cmdline memory vcpus engine bt paravirt cpus weight cap "
        "limit start on_poweroff on_reboot on_crash",
        "[vm a]\na_key_of_thirty_two_characters__ = 3\n");
    refuse(2, "unknown key kernel; known in [nadir]: serial report at_end smt max_vms",
           "[nadir]\nkernel = k\n");
    refuse(2, "unknown key serial", "[vm a]\nserial = none\n");
    refuse(2, "unknown key Kernel", "[vm a]\nKernel = k\n");
    refuse(4, "memory is there twice in [vm a]", "[vm a]\nmemory = 32\nkernel = k\nmemory = 32\n");
    refuse(3, "serial is there twice in [nadir]", "[nadir]\nserial = none\nserial = none\n");
    refuse(2, "neither a [section], nor key = value", "[vm a]\nkernel\n");
    refuse(2, "neither a [section], nor key = value", "[vm a]\n= k\n");
    refuse(2, "vif is not supported yet", "[vm a]\nvif = 1\n");
    accept("[vm a]\nkernel = k\nmemory = 32\n[vm b]\nmemory = 64\nkernel = k\n");
}

static void test_memory(void **state)
{
    static const char *const junk[] = {"",    "x",  "256M", "-1",  "+1",  "1.5",
                                       "2 5", "0x", "0xg1", "12a", "a12", "0b1"};
    static const char *const out_of_range[] = {"0",
                                               "0x0",
                                               "15",
                                               "1048577",
                                               "18446744073709551616",
                                               "99999999999999999999999999999",
                                               "0x10000000000000010"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        sprintf(text, "[vm a]\nmemory = %s\n", junk[i]);
        refuse(2, ": not a whole number; 16 to 1048576 (MiB)", text);
    }
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]); i++) {
        sprintf(text, "[vm a]\nmemory = %s\n", out_of_range[i]);
        refuse(2, ": out of range; 16 to 1048576 (MiB)", text);
    }
    accept("[vm a]\nkernel = k\nmemory = 1048576\n");
    assert_int_equal(config.vm[0].memory_mib, 1048576);
    accept("[vm a]\nkernel = k\nmemory = 0000000000000000000000000000032\n");
    assert_int_equal(config.vm[0].memory_mib, 32);
}

static void test_guest_kinds(void **state)
{

    (void)state;
    accept("[vm a]\nkernel = k\n");
    assert_int_equal(config.vm->type, TYPE_AUTO);
    assert_int_equal(config.vm->console, CONSOLE_SERIAL);
    assert_int_equal(config.vm->module_count, 0);
    assert_int_equal(config.vm->disk_count, 0);
    accept("[vm a]\nkernel = k\ntype = flat\n");
    assert_int_equal(config.vm->load, 0x7c00);
    assert_int_equal(config.vm->entry, 0x7c00);
    assert_int_equal(config.vm->mode, 16);
    accept("[vm a]\nkernel = k\ntype = flat\nload = 0x100000\nmode = 64\nconsole = vga");
    assert_int_equal(config.vm->type, TYPE_FLAT);
    assert_int_equal(config.vm->load, 0x100000);
    assert_int_equal(config.vm->entry, 0x100000);
    assert_int_equal(config.vm->mode, 64);
    assert_int_equal(config.vm->console, CONSOLE_VGA);
    accept("[vm a]\nkernel = k\nconsole = vga+serial");
    assert_int_equal(config.vm->console, CONSOLE_VGA_SERIAL);
    accept("[vm a]\nkernel = k\ntype = flat\nload = 4096\nentry = 0xffffffff\nmode = 32");
    assert_int_equal(config.vm->entry, 0xffffffff);
    assert_int_equal(config.vm->mode, 32);
    accept("[vm a]\nfirmware = bios.bin\ndisk = a.img\ndisk = b.img\n");
    assert_string_equal(config.vm->firmware.path, "bios.bin");
    assert_false(config.vm->firmware_log);
    assert_true(config.vm->debugcon);
    assert_null(config.vm->kernel.path);
    assert_int_equal(config.vm->disk_count, 2);
    assert_string_equal(config.vm->disk[1].path, "b.img");
    assert_int_equal(config.vm->disk[1].line, 4);
    accept("[vm a]\nfirmware = b\nvga_rom = v.bin\nfirmware_log = yes\ndebugcon = no\n");
    assert_false(config.vm->debugcon);
    assert_null(config.vm->debugcon_file);
    assert_string_equal(config.vm->vga_rom.path, "v.bin");
    assert_true(config.vm->firmware_log);
    accept("[vm a]\nkernel = k\ndebugcon = said.txt\n");
    assert_true(config.vm->debugcon);
    assert_string_equal(config.vm->debugcon_file, "said.txt");
    accept("[vm a]\nkernel = k\ndebugcon = yes\n");
    assert_true(config.vm->debugcon && config.vm->debugcon_file == NULL);
    refuse(3, "[vm a]: firmware_log needs firmware", "[vm a]\nkernel = k\nfirmware_log = no\n");
    refuse(2, "vga_rom needs firmware", "[vm a]\nvga_rom = v\nkernel = k\nfirmware_log = no\n");
    refuse(3, "cmdline needs kernel", "[vm a]\nfirmware = f\ncmdline = x\n[vm b]\nkernel = k\n");
    refuse(3, "ramdisk needs kernel", "[vm a]\nfirmware = f\nramdisk = r\n");
    refuse(3, "no or yes", "[vm a]\nfirmware = f\nfirmware_log = 1\n");
    refuse(1, "[vm a] has both kernel and firmware", "[vm a]\nkernel = k\nfirmware = f\n");
    refuse(3, "mode needs type = flat", "[vm a]\nkernel = k\nmode = 32\n");
    refuse(3, "load needs type = flat", "[vm a]\nkernel = k\nload = 0\ntype = linux\n");
    refuse(5, "entry needs type = flat",
           "[vm a]\nkernel = k\n[vm b]\nkernel = k\nentry = 0\n[vm c]\nkernel = k\nload = 0\n");
    refuse(4, "cmdline means nothing with type = flat",
           "[vm a]\nkernel = k\ntype = flat\ncmdline = x\nramdisk = r\n");
    refuse(2, "loader means nothing with type = flat",
           "[vm a]\nloader = qemu\nkernel = k\ntype = flat\n");
    refuse(2, "module means nothing", "[vm a]\nmodule = m\nkernel = k\ntype = flat\n");
    refuse(3, "type = elf: must be linux, multiboot, multiboot2, pvh, xen or flat",
           "[vm a]\nkernel = k\ntype = elf\n");
    refuse(4, "mode = 8: must be 16, 32 or 64", "[vm a]\nkernel = k\ntype = flat\nmode = 8");
    refuse(2, "load = 0x100000000: out of range", "[vm a]\nload = 0x100000000\n");
    refuse(2, "console = tty: must be serial, vga or vga+serial", "[vm a]\nconsole = tty\n");
    refuse(4, "cdrom is there twice in [vm a]", "[vm a]\nkernel = k\ncdrom = a\ncdrom = b\n");
    refuse(2, "cdrom names no file", "[vm a]\ncdrom =\n");
    refuse(4, "more than 2 disks", "[vm a]\ndisk = a\ndisk = b\ndisk = c\n");
}

static void test_modules(void **state)
{
    char text[2048] = "[vm a]\n";

    (void)state;
    accept("[vm a]\nkernel = k\nmodule = dir/a.bin\nmodule = b  x=1 y # comment\n"
           "module = 'c  a \"b\" # c'\n");
    assert_int_equal(config.vm->module_count, 3);
    assert_string_equal(config.vm->module[0].file.path, "dir/a.bin");
    assert_string_equal(config.vm->module[0].string, "");
    assert_string_equal(config.vm->module[1].file.path, "b");
    assert_int_equal(config.vm->module[1].file.line, 4);
    assert_string_equal(config.vm->module[1].string, "x=1 y");
    assert_string_equal(config.vm->module[2].file.path, "c");
    assert_string_equal(config.vm->module[2].string, "a \"b\" # c");
    accept("[vm a]\nkernel = k\nmodule = \"a b.bin\"  x=1 y # comment\n"
           "module = 'c d' \"e # f\nmodule = '\"g h\"'\nmodule = '\"g h\" \"i\" # j' # k\n");
    assert_string_equal(config.vm->module[0].file.path, "a b.bin");
    assert_string_equal(config.vm->module[0].string, "x=1 y");
    assert_string_equal(config.vm->module[1].file.path, "c d");
    assert_string_equal(config.vm->module[1].string, "\"e");
    assert_string_equal(config.vm->module[2].file.path, "g h");
    assert_string_equal(config.vm->module[2].string, "");
    assert_string_equal(config.vm->module[3].file.path, "g h");
    assert_string_equal(config.vm->module[3].string, "\"i\" # j");
    refuse(2, "module names no file", "[vm a]\nmodule = \n");
    refuse(2, "module names no file", "[vm a]\nmodule = '' x\n");
    refuse(2, "a quote without its end", "[vm a]\nmodule = \"a b\n");
    refuse(2, "text after the closing quote", "[vm a]\nmodule = \"a b\"c\n");
    refuse(2, "text after the closing quote", "[vm a]\nkernel = \"a b\" c\n");
    refuse(2, "the quotes are to be around FILE, or around all", "[vm a]\nmodule = '\"a b'\n");
    for (unsigned i = 0; i <= CONFIG_MAX_MODULES; i++)
        strcat(text, "module = m\n");
    refuse(CONFIG_MAX_MODULES + 2, "more than 16 modules", text);
    char *line = with_run("[vm a]\nmodule = m ", 's', CONFIG_MAX_STRING, "\n");
    refuse(2, "the string of a module is too long: at most 255 characters", line);
    free(line);
}

static void test_vcpus(void **state)
{
    char text[64];

    (void)state;
    refuse(2, "vcpus = 0: out of range; 1 to 64", "[vm a]\nvcpus = 0\n");
    sprintf(text, "[vm a]\nvcpus = %d\n", CONFIG_MAX_VCPUS + 1);
    refuse(2, ": out of range; ", text);
    refuse(2, "vcpus = 65: out of range; 1 to ", "[vm a]\nvcpus = 65\n");
    refuse(2, "vcpus = two: not a whole number", "[vm a]\nvcpus = two\n");
}

/* What is said of line 2 in an otherwise empty section, or "". */
static const char *said_of(bool in_nadir, const char *key, const char *value)
{
    char text[128];

    sprintf(text, "%s\n%s = %s\n", in_nadir ? "[nadir]" : "[vm a]", key, value);
    return !parse_bytes(text, strlen(text)) && error.line == 2 ? error.text : "";
}

/* Each key is known in its section alone, is listed there, and takes the value that it has by
 * itself. */
static void test_table(void **state)
{
    const struct config_key *key;
    char words[64];
    uint32_t count = 0;

    (void)state;
    for (; (key = config_key(count)) != NULL; count++) {
        for (uint32_t i = 0; i < count; i++)
            assert_string_not_equal(key->name, config_key(i)->name);
        assert_null(strstr(said_of(key->of_nadir, key->name, "?"), "unknown key"));
        assert_non_null(strstr(said_of(!key->of_nadir, key->name, "?"), "unknown key"));
        sprintf(words, " %s", key->name);
        assert_int_equal(strstr(said_of(key->of_nadir, "?", "?"), words) != NULL,
                         key->help != NULL);
        if (key->initial != NULL)
            assert_string_equal(said_of(key->of_nadir, key->name, key->initial), "");
    }
    assert_in_range(count, 20, 64);
}

static void test_scheduling(void **state)
{
    (void)state;
    accept("[vm a]\nkernel = k\nengine = bt\n");
    assert_int_equal(config.vm->engine, CONFIG_ENGINE_BT);
    assert_int_equal(config.vm->bt, CONFIG_BT_TRANSLATE);
    accept("[vm a]\nkernel = k\nbt = interpret\n");
    assert_int_equal(config.vm->bt, CONFIG_BT_INTERPRET);
    accept("[vm a]\nkernel = k\nbt = translate\nvcpus = 2\n");
    assert_int_equal(config.vm->bt, CONFIG_BT_TRANSLATE);
    accept("[vm a]\nkernel = k\nbt = check\nvcpus = 1\n");
    assert_int_equal(config.vm->bt, CONFIG_BT_CHECK);
    accept("[vm a]\nkernel = k\nparavirt = none\n");
    assert_int_equal(config.vm->paravirt, PARAVIRT_NONE);
    accept("[vm a]\nkernel = k\n");
    assert_int_equal(config.vm->paravirt, PARAVIRT_KVM);
    assert_int_equal(config.max_vms, 64);
    assert_int_equal(config.vm->engine, CONFIG_ENGINE_AUTO);
    assert_int_equal(config.vm->weight, 100);
    assert_int_equal(config.vm->cap, 0);
    assert_true(config.vm->start);
    accept("[vm a]\nkernel = k\nengine = vtx\nweight = 1000\ncap = 6400\nstart = yes\n"
           "[nadir]\nmax_vms = 1\n[vm b]\nkernel = k\nweight = 1\ncap = 1\nstart = no\n");
    assert_int_equal(config.max_vms, 1);
    assert_int_equal(config.vm->engine, CONFIG_ENGINE_VTX);
    assert_int_equal(config.vm[0].weight, 1000);
    assert_int_equal(config.vm[0].cap, 6400);
    assert_true(config.vm[0].start);
    assert_int_equal(config.vm[1].weight, 1);
    assert_int_equal(config.vm[1].cap, 1);
    assert_false(config.vm[1].start);
    accept("[vm a]\nkernel = k\ncap = none\n");
    assert_int_equal(config.vm->cap, 0);
    refuse(2, "bt = yes: must be translate, interpret or check", "[vm a]\nbt = yes\n");
    refuse(3,
           "[vm a]: bt = check needs vcpus = 1: what other vCPUs write would look like a "
           "difference",
           "[vm a]\nkernel = k\nbt = check\nvcpus = 2\n");
    refuse(4, "[vm a]: bt is for the engine bt, and engine = vtx leaves no place for it",
           "[vm a]\nkernel = k\nengine = vtx\nbt = interpret\n");
    refuse(3, "[vm a]: bt is for the engine bt, and engine = vtx leaves no place for it",
           "[vm a]\nkernel = k\nbt = translate\nengine = vtx\n[vm b]\nkernel = k\n");
    accept("[vm a]\nkernel = k\nengine = bt\nbt = check\n[vm b]\nkernel = k\nengine = vtx\n");
    refuse(2, "engine = kvm: must be auto, vtx, bt or pv", "[vm a]\nengine = kvm\n");
    refuse(2, "weight = 0: out of range; 1 to 1000", "[vm a]\nweight = 0\n");
    refuse(2, "weight = 1001: out of range; 1 to 1000", "[vm a]\nweight = 1001\n");
    refuse(2, "cap = 0: out of range; 1 to 6400, or none", "[vm a]\ncap = 0\n");
    refuse(2, "cap = 6401: out of range", "[vm a]\ncap = 6401\n");
    refuse(2, "start = maybe: must be no or yes", "[vm a]\nstart = maybe\n");
    refuse(2, "max_vms = 0: out of range; 1 to 64", "[nadir]\nmax_vms = 0\n");
    refuse(2, "max_vms = 65: out of range; 1 to 64", "[nadir]\nmax_vms = 65\n");
}

/* The engine pv and the kernels that it is for belong together, whichever of them is named. */
static void test_paravirtual(void **state)
{
    (void)state;
    accept("[vm a]\nkernel = k\nengine = pv\n");
    assert_int_equal(config.vm->engine, CONFIG_ENGINE_PV);
    assert_int_equal(config.vm->type, TYPE_AUTO);
    accept("[vm a]\nkernel = k\nengine = pv\ntype = xen\nramdisk = r\n");
    assert_int_equal(config.vm->type, TYPE_XEN);
    accept("[vm a]\ntype = xen\nkernel = k\n[vm b]\nkernel = k\ntype = flat\nengine = bt\n");
    assert_int_equal(config.vm->engine, CONFIG_ENGINE_PV);
    assert_int_equal(config.vm[1].engine, CONFIG_ENGINE_BT);
    refuse(1, "[vm a]: type = xen needs engine = pv",
           "[vm a]\nkernel = k\ntype = xen\nengine = bt\n");
    refuse(1, "[vm a]: type = xen needs engine = pv",
           "[vm a]\nkernel = k\nengine = vtx\ntype = xen\n[vm b]\nkernel = k\n");
    refuse(2, "[vm a]: firmware is for a PC, and a VM with engine = pv is none",
           "[vm a]\nfirmware = f\nengine = pv\n");
    refuse(3, "[vm a]: disk is for a PC, and a VM with engine = pv is none",
           "[vm a]\nkernel = k\ndisk = d\nengine = pv\n[vm b]\nkernel = k\n");
    accept("[vm a]\nkernel = k\nvcpus = 2\ncdrom = d\ndisk = e\n[vm b]\nkernel = k\n");
    assert_string_equal(config.vm->pc_key, "cdrom"); /* kernel_settle_engine() looks at it */
    assert_null(config.vm[1].pc_key);
    refuse(3, "[vm a]: cdrom is for a PC, and a VM with engine = pv is none",
           "[vm a]\nkernel = k\ncdrom = d\nengine = pv\n");
    refuse(4, "[vm a]: console must be serial with engine = pv, which has no screen",
           "[vm a]\nkernel = k\nengine = pv\nconsole = vga+serial\n");
    accept("[vm a]\nkernel = k\nengine = pv\nconsole = serial\nvcpus = 32\n");
    refuse(3, "[vm a]: vcpus is 32 at most with engine = pv",
           "[vm a]\nkernel = k\nvcpus = 33\ntype = xen\n");
    accept("[vm a]\nkernel = k\nengine = bt\nconsole = vga\nvcpus = 33\ndisk = d\n");
    refuse(3, "[vm a]: paravirt is for a PC, and a VM with engine = pv is none",
           "[vm a]\nkernel = k\nparavirt = kvm\nengine = pv\n");
    refuse(1, "[vm a]: engine = pv needs type = xen, or no type: it starts Xen PV kernels alone",
           "[vm a]\nkernel = k\nengine = pv\ntype = linux\n");
    refuse(3, "[vm a]: bt is for the engine bt, and engine = pv leaves no place for it",
           "[vm a]\ntype = xen\nbt = check\nkernel = k\n");
}

static void test_cpus(void **state)
{
    static const char *const junk[] = {"",     ",", "0,",  ",0",  "-",     "1-",   "-1",
                                       "0--1", "x", "0 1", "0x1", "1-2-3", "all,0"};
    static const char *const out_of_range[] = {"256", "0-256", "256-1", "99999999999999999999"};
    char text[64];

    (void)state;
    accept("[vm a]\nkernel = k\n[vm b]\nkernel = k\ncpus = all\n");
    for (uint32_t i = 0; i < CONFIG_MAX_CPUS; i++)
        assert_true(config_allows_cpu(&config.vm[0], i) && config_allows_cpu(&config.vm[1], i));
    assert_true(config_check_cpus(&config, 1, &error));
    accept("[vm a]\nkernel = k\ncpus = 0-3,5,2,64-64,255\n");
    for (uint32_t i = 0; i < CONFIG_MAX_CPUS; i++)
        assert_int_equal(config_allows_cpu(config.vm, i), i <= 3 || i == 5 || i == 64 || i == 255);
    assert_int_equal(config.vm->cpus_line, 3);
    assert_true(config_check_cpus(&config, 256, &error));
    assert_false(config_check_cpus(&config, 255, &error));
    assert_int_equal(error.line, 3);
    assert_string_equal(error.text, "cpus: there is no CPU 255 here; the last one is 254");
    assert_false(config_check_cpus(&config, 5, &error));
    assert_string_equal(error.text, "cpus: there is no CPU 5 here; the last one is 4");
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        sprintf(text, "[vm a]\ncpus = %s\n", junk[i]);
        refuse(2, ": must be a list such as 0-3,5, or all", text);
    }
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]); i++) {
        sprintf(text, "[vm a]\ncpus = %s\n", out_of_range[i]);
        refuse(2, ": out of range; CPUs are 0 to 255", text);
    }
    refuse(2, "cpus = 3-1: a range begins with its lower number", "[vm a]\ncpus = 3-1\n");
}

static void test_starts(void **state)
{
    (void)state;
    refuse(0, "nothing to run: start = no in each [vm NAME]",
           "[vm a]\nkernel = k\nstart = no\n[vm b]\nkernel = k\nstart = no\n");
    refuse(6, "[vm c] is one more than max_vms allows to start",
           "[vm a]\nkernel = k\nstart = no\n[vm b]\nkernel = k\n[vm c]\nkernel = k\n"
           "[nadir]\nmax_vms = 1\n");
    accept("[vm a]\nkernel = k\nstart = no\n[vm b]\nkernel = k\n[nadir]\nmax_vms = 1\n");
}

/* A section alone, for a VM that is added later. */
static void test_one_section(void **state)
{
    static const struct {
        uint32_t line;
        const char *words, *text;
    } wrong[] = {
        {0, "no [vm NAME] in it", ""},
        {1, "[nadir]: one [vm NAME] is expected here", "[nadir]\n"},
        {3, "[vm b]: one [vm NAME] is expected here", "[vm a]\nkernel = k\n[vm b]\nkernel = k\n"},
        {3, "[nadir]: one [vm NAME] is expected here", "[vm a]\nkernel = k\n[nadir]\n"},
        {1, "[vm a] has neither kernel nor firmware", "[vm a]\nmemory = 32\n"},
        {1, "key kernel stands before the first", "kernel = k"},
    };
    static const char good[] = "# one\n[vm late]\nkernel = k\nstart = no\nmodule = m a b";
    struct vm_config *vm;
    char *copy = prepare(good, strlen(good));

    (void)state;
    assert_true(config_parse_vm(copy, strlen(good), memory, &vm, &error));
    free(copy); /* it is not needed any more */
    assert_string_equal(vm->name, "late");
    assert_int_equal(vm->line, 2);
    assert_string_equal(vm->kernel.path, "k");
    assert_string_equal(vm->module[0].string, "a b");
    assert_int_equal(vm->memory_mib, 256);
    assert_false(vm->start);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        copy = prepare(wrong[i].text, strlen(wrong[i].text));
        assert_false(config_parse_vm(copy, strlen(wrong[i].text), memory, &vm, &error));
        assert_int_equal(error.line, wrong[i].line);
        assert_non_null(strstr(error.text, wrong[i].words));
        free(copy);
    }
}

/* The order in which loader and hypervisor count: kernel first, whatever the lines' order. */
static void test_files(void **state)
{
    static const struct {
        const char *what, *path;
        bool is_disk;
    } expected[] = {{"kernel", "k", false},  {"ramdisk", "r", false},  {"module", "m", false},
                    {"module", "n", false},  {"disk", "d", true},      {"firmware", "f", false},
                    {"VGA ROM", "v", false}, {"CD image", "c", false}, {"disk", "e", true},
                    {"disk", "g", true},     {"kernel", "l", false}};
    struct loaded_file *file;

    (void)state;
    accept(
        "[vm a]\ndisk = d\nmodule = m 1\nramdisk = r\nmodule = n\nkernel = k\n"
        "[vm b]\nvga_rom = v\ndisk = e\ncdrom = c\ndisk = g\nfirmware = f\n[vm c]\nkernel = l\n");
    struct config_files walk = {.config = &config};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        file = config_next_file(&walk);
        assert_non_null(file);
        assert_string_equal(file->path, expected[i].path);
        assert_string_equal(walk.what, expected[i].what);
        assert_int_equal(walk.is_disk, expected[i].is_disk);
        assert_int_equal(walk.is_cd, strcmp(expected[i].path, "c") == 0);
        file->base = 4096 * (i + 1);
    }
    assert_null(config_next_file(&walk));
    assert_null(config_next_file(&walk));
    assert_int_equal(config.vm[0].kernel.base, 4096);
    assert_int_equal(config.vm[2].kernel.base, 4096 * 11);
}

/* What tools/nadir writes behind the user's lines: names in the image, which change none of the
 * user's own. */
static void test_image(void **state)
{
    (void)state;
    accept("[vm a]\nkernel = ../a b\nmodule = /m x\n[vm b]\nkernel = k\nramdisk = ../a b\n"
           "[image]\nstored = \"file1 ../a b\"\nstored = file2 /m\n");
    assert_string_equal(config.vm[0].kernel.path, "../a b");
    assert_string_equal(config.vm[0].kernel.stored, "file1");
    assert_string_equal(config.vm[0].module[0].file.stored, "file2");
    assert_null(config.vm[1].kernel.stored);
    assert_string_equal(config.vm[1].ramdisk.stored, "file1");
    accept("[image]\nstored = f other\n[vm a]\nkernel = k\n");
    assert_null(config.vm[0].kernel.stored);
    accept("[vm a]\nkernel = k\nengine = bt\n[vm b]\nkernel = k\nengine = pv\nramdisk = k\n"
           "[vm c]\nkernel = ../k\ntype = xen\n"
           "[image]\nstored = file1 ../k\nunpacked = vmlinux1 k\nunpacked = vmlinux2 ../k\n");
    assert_null(config.vm[0].kernel.stored);
    assert_string_equal(config.vm[1].kernel.stored, "vmlinux1");
    assert_string_equal(config_file_name(&config.vm[1].kernel), "vmlinux1");
    assert_true(config.vm[1].kernel.unpacked);
    assert_null(config.vm[1].ramdisk.stored);
    assert_string_equal(config_file_name(&config.vm[1].ramdisk), "k");
    assert_string_equal(config.vm[2].kernel.stored, "vmlinux2");
    refuse(4, "[image] has lines `stored = NAME PATH` and `unpacked = NAME PATH` only",
           "[vm a]\nkernel = k\n[image]\nkernel = k\n");
    refuse(4, "[image] has lines", "[vm a]\nkernel = k\n[image]\nstored = k\n");
    refuse(1, "has neither kernel nor firmware", "[vm a]\n[image]\n");
}

static void size_refused(const struct config_files *walk, uint64_t size, const char *words)
{
    const struct loaded_file file = {.path = "../file", .size = size, .line = 7};
    memset(&error, 0xa5, sizeof(error));
    assert_false(config_check_size(walk, &file, &error));
    assert_int_equal(error.line, 7);
    if (strstr(error.text, words) == NULL)
        fail_msg("%llu: %s", (unsigned long long)size, error.text);
}

static void test_sizes(void **state)
{
    static const struct config_files kernel = {.what = "kernel"}, disk = {.is_disk = true},
                                     cd = {.is_cd = true}, firmware = {.is_firmware = true};
    struct loaded_file file = {.path = "f", .size = 1};
    (void)state;
    assert_true(config_check_size(&kernel, &file, &error));
    size_refused(&kernel, 0, "../file is empty");
    file.size = 1024;
    assert_true(config_check_size(&disk, &file, &error));
    size_refused(&disk, 0, "../file is empty");
    size_refused(&disk, 12345678901,
                 "../file has 12345678901 bytes, and a disk is a multiple of 512");
    size_refused(&cd, 0, "../file is empty");
    size_refused(&cd, 1024, "../file has 1024 bytes, and a CD is a multiple of 2048");
    file.size = 2048;
    assert_true(config_check_size(&cd, &file, &error));
    file.size = 16 << 20;
    assert_true(config_check_size(&firmware, &file, &error));
    size_refused(&firmware, 0, "../file is empty");
    size_refused(&firmware, 0x10001,
                 "../file has 65537 bytes: a firmware image has a multiple of 64");
    size_refused(&firmware, (16 << 20) + 0x10000, "16 MiB at most");
}

/* An ISO 9660 or a UDF file system is what makes a file a CD; of others nothing is asked. */
static void test_content(void **state)
{
    static const struct config_files cd = {.is_cd = true}, disk = {.is_disk = true};
    static const char *const names[] = {"CD001", "BEA01", "CD00", "NSR02", "CD002", ""};
    static char data[17 * CONFIG_CD_SECTOR];
    struct loaded_file file = {.path = "../file", .size = sizeof(data), .line = 7};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        memset(data, 0, sizeof(data));
        memcpy(data + 16 * CONFIG_CD_SECTOR + 1, names[i], strlen(names[i]));
        error = (struct config_error){0};
        assert_int_equal(config_check_content(&cd, &file, data, &error), i < 2);
        assert_int_equal(error.line, i < 2 ? 0 : 7);
        assert_true(config_check_content(&disk, &file, data, &error));
    }
    assert_string_equal(error.text, "../file is no image of a CD: there is no ISO 9660 or UDF file "
                                    "system in it");
    char *small = malloc(16 * CONFIG_CD_SECTOR); /* for the sanitizer */
    memset(small, 0, 16 * CONFIG_CD_SECTOR);
    file.size = 16 * CONFIG_CD_SECTOR;
    assert_false(config_check_content(&cd, &file, small, &error));
    free(small);
}

static void test_actions(void **state)
{
    (void)state;
    refuse(2, "on_crash = preserve is not supported yet", "[vm a]\non_crash = preserve\n");
    refuse(2, "on_reboot = Restart: must be destroy or restart", "[vm a]\non_reboot = Restart\n");
    refuse(2, "on_poweroff = : must be destroy", "[vm a]\non_poweroff =\n");
}

static void test_lengths(void **state)
{
    char *text = with_run("[vm a]\nkernel = ", 'k', CONFIG_MAX_PATH - 1, "\n");

    (void)state;
    accept(text);
    assert_int_equal(strlen(config.vm[0].kernel.path), CONFIG_MAX_PATH - 1);
    free(text);
    text = with_run("[vm a]\nkernel = ", 'k', CONFIG_MAX_PATH, "\n");
    refuse(2, "kernel is too long: at most 255 characters", text);
    free(text);
    text = with_run("[vm a]\nkernel = k\ncmdline = ", 'c', CONFIG_MAX_CMDLINE - 1, "");
    accept(text);
    assert_int_equal(strlen(config.vm[0].cmdline), CONFIG_MAX_CMDLINE - 1);
    free(text);
    text = with_run("[vm a]\nkernel = k\ncmdline = ", 'c', CONFIG_MAX_CMDLINE, "");
    refuse(3, "cmdline is too long: at most 2047 characters", text);
    free(text);
    text = with_run("[vm a]\nkernel = k\n#", 'x', 4094, "\n");
    accept(text);
    free(text);
    text = with_run("[vm a]\nkernel = k\n#", 'x', 4095, "\n");
    refuse(3, "the line is too long: at most 4095", text);
    free(text);
    text = with_run("[vm a]\n", 'x', 1000, " = 1\n");
    refuse(2, "unknown key", text);
    free(text);
    text = with_run("[", 'x', 1000, "]\n");
    refuse(1, "unknown section [xxx", text);
    free(text);
}

static void test_values(void **state)
{
    (void)state;
    refuse(2, "kernel names no file", "[vm a]\nkernel =\n");
    refuse(2, "kernel names no file", "[vm a]\nkernel = # k\n");
    refuse(2, "ramdisk names no file", "[vm a]\nramdisk = \"\"\n");
    refuse(2, "a quote without its end", "[vm a]\nkernel = \"k\n");
    refuse(2, "a quote without its end", "[vm a]\nkernel = 'k\"\n");
    refuse(2, "text after the closing quote", "[vm a]\nkernel = \"k\" l\n");
    accept("[vm a]\nkernel = k=l\ncmdline =\n");
    assert_string_equal(config.vm[0].kernel.path, "k=l");
    accept("[vm a]\nkernel = ../caf\xc3\xa9\n");
    assert_string_equal(config.vm[0].kernel.path, "../caf\xc3\xa9");
    accept("[vm a]\nkernel = k\ncmdline = caf\xc3\xa9\n");
    assert_string_equal(config.vm[0].cmdline, "caf\xc3\xa9");
}

static void test_bytes(void **state)
{
    static const char with_nul[] = "[vm a]\nkernel = a\0b\n";
    char *whole = with_run("\xef\xbb\xbf[vm a]\nkernel = ", 'k', 10, "\r");

    (void)state;
    assert_false(parse_bytes(with_nul, sizeof(with_nul) - 1));
    assert_int_equal(error.line, 2);
    assert_non_null(strstr(error.text, "a control character"));
    refuse(1, "a control character", "\x01");
    refuse(2, "a control character", "[vm a]\nkernel = \x1b[31m\n");
    refuse(2, "a control character", "[vm a]\nkernel = a\x7f\n");
    refuse(1, "a control character", "[vm a]\rkernel = k\r");
    accept(whole); /* a byte-order mark, and a CR at the very end */
    assert_string_equal(config.vm[0].kernel.path, "kkkkkkkkkk");
    for (size_t n = 0; n < 20; n++) /* cut anywhere, it is an error, and nothing else */
        assert_false(parse_bytes(whole, n));
    free(whole);
    refuse(1, "neither",
           "\xef\xbb"
           "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything_named),
        cmocka_unit_test(test_serial),        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_at_end),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_number_of_vms), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_guest_kinds),   cmocka_unit_test(test_modules),
        cmocka_unit_test(test_memory),        cmocka_unit_test(test_vcpus),
        cmocka_unit_test(test_actions),       cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_values),        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_scheduling),
        cmocka_unit_test(test_paravirtual),   cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_starts),        cmocka_unit_test(test_one_section),
        cmocka_unit_test(test_files),         cmocka_unit_test(test_image),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_content),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
