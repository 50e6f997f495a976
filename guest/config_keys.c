/* SPDX-License-Identifier: BSD-2-Clause */
/* The keys of nadir.cfg: one table, and how each kind of value is read. */
#include "guest/config_parser.h"

#define MIN_MEMORY 16      /* MiB: less boots nothing */
#define MAX_MEMORY 1048576 /* MiB; what the machine really has is looked at later */
#define MAX_PORT   0xfff8  /* a 16550 has eight ports */

/* A message about a value. */
static bool fail_value(struct config_parser *p, const struct config_key *key, const char *value,
                       const char *what, const char *more)
{
    return config_fail(p, key->name, " = ", value, ": ", what, more, NULL);
}

/* The field of the section that the key is for. */
static void *field_of(struct config_parser *p, const struct config_key *key)
{
    return (char *)(key->of_nadir ? (void *)p->out : (void *)p->vm) + key->offset;
}

static void store(struct config_parser *p, const struct config_key *key, uint64_t n)
{
    uint8_t *field = field_of(p, key);
    for (unsigned i = 0; i < key->size; i++)
        field[i] = (uint8_t)(n >> (8 * i));
}

/* A decimal or 0x number within the key's bounds. */
static bool set_number(struct config_parser *p, const struct config_key *key, const char *value)
{
    const char *s = value;
    unsigned base = 10;
    uint64_t n = 0;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
    }
    if (*s == '\0')
        return fail_value(p, key, value, "not a whole number; ", key->values);
    for (; *s != '\0'; s++) {
        char c = (char)(*s | 0x20); /* lower case; digits stay as they are */
        unsigned digit = base;
        if (*s >= '0' && *s <= '9')
            digit = (unsigned)(*s - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        if (digit >= base)
            return fail_value(p, key, value, "not a whole number; ", key->values);
        if (n <= key->high) /* beyond, more digits cannot help */
            n = n * base + digit;
    }
    if (n < key->low || n > key->high)
        return fail_value(p, key, value, "out of range; ", key->values);
    store(p, key, n);
    return true;
}

static bool set_number_or_none(struct config_parser *p, const struct config_key *key,
                               const char *value)
{
    if (!text_equal(value, "none"))
        return set_number(p, key, value);
    store(p, key, 0);
    return true;
}

static bool set_serial(struct config_parser *p, const struct config_key *key, const char *value)
{
    if (!set_number_or_none(p, key, value))
        return false;
    return p->out->serial_port % 8 == 0 ||
           fail_value(p, key, value, "must be a multiple of 8, such as 0x3f8", NULL);
}

/* Stores the number of one of the words that key->values lists as "a, b or c"; the first is
 * key->low. */
static bool set_word(struct config_parser *p, const struct config_key *key, const char *value)
{
    const size_t length = text_length(value);
    uint64_t number = key->low;
    for (const char *word = key->values; *word != '\0'; number++) {
        size_t n = 0;
        bool same = true;
        for (; word[n] != '\0' && word[n] != ',' && word[n] != ' '; n++)
            same = same && n < length && word[n] == value[n];
        if (same && n == length) {
            store(p, key, number);
            return true;
        }
        word += n;
        word += *word == ',' ? sizeof(", ") - 1 : *word == ' ' ? sizeof(" or ") - 1 : 0;
    }
    return fail_value(p, key, value, "must be ", key->values);
}

static bool set_action(struct config_parser *p, const struct config_key *key, const char *value)
{
    if (text_equal(value, "preserve"))
        return config_fail(p, key->name, " = preserve is not supported yet; destroy or restart",
                           NULL);
    return set_word(p, key, value);
}

static bool set_mode(struct config_parser *p, const struct config_key *key, const char *value)
{
    if (!set_word(p, key, value))
        return false;
    p->vm->mode = 16u << p->vm->mode;
    return true;
}

/* Whether a text is not too long; size counts its terminator. */
static bool check_length(struct config_parser *p, const char *what, const char *text, size_t size)
{
    char limit[8];
    size_t at = sizeof(limit) - 1;
    if (text_length(text) < size)
        return true;
    limit[at] = '\0';
    for (size_t n = size - 1; n > 0; n /= 10)
        limit[--at] = (char)('0' + n % 10);
    return config_fail(p, what, " is too long: at most ", limit + at, " characters", NULL);
}

static bool set_text(struct config_parser *p, const struct config_key *key, const char *value)
{
    *(const char **)field_of(p, key) = value;
    return check_length(p, key->name, value, (size_t)key->high);
}

static bool name_file(struct config_parser *p, const char *key, const char *path,
                      struct loaded_file *file)
{
    if (*path == '\0')
        return config_fail(p, key, " names no file", NULL);
    for (const char *s = path; *s != '\0'; s++)
        if (*s < ' ' || *s > '~')
            return config_fail(p, key, " = ", path, ": only ASCII file names are supported", NULL);
    *file = (struct loaded_file){.path = path, .line = p->number};
    return check_length(p, key, path, CONFIG_MAX_PATH);
}

static bool set_file(struct config_parser *p, const struct config_key *key, const char *value)
{
    return name_file(p, key->name, value, field_of(p, key));
}

/* FILE [STRING]: the name ends at the first white space. */
static bool set_module(struct config_parser *p, const struct config_key *key, const char *value)
{
    struct vm_config *vm = p->vm;
    if (vm->module_count == CONFIG_MAX_MODULES)
        return config_fail(p, "more than " DIGITS(CONFIG_MAX_MODULES) " modules", NULL);
    struct config_module *module = &vm->module[vm->module_count++];
    char *string = (char *)value; /* of our copy, which is for cutting */
    while (*string != '\0' && !is_space(*string))
        string++;
    if (*string != '\0')
        *string++ = '\0';
    module->string = skip_space(string);
    return name_file(p, key->name, value, &module->file) &&
           check_length(p, "the string of a module", module->string, CONFIG_MAX_STRING);
}

static bool set_disk(struct config_parser *p, const struct config_key *key, const char *value)
{
    struct vm_config *vm = p->vm;
    if (vm->disk_count == CONFIG_MAX_DISKS)
        return config_fail(p, "more than " DIGITS(CONFIG_MAX_DISKS) " disks", NULL);
    return name_file(p, key->name, value, &vm->disk[vm->disk_count++]);
}

static bool set_later(struct config_parser *p, const struct config_key *key, const char *value)
{
    (void)value;
    return config_fail(p, key->name, " is not supported yet", NULL);
}

#define FIELD(type, name) .offset = offsetof(type, name), .size = sizeof(((type *)NULL)->name)
#define OF_NADIR(name)    .of_nadir = true, FIELD(struct nadir_config, name)
#define OF_VM(name)       FIELD(struct vm_config, name)
#define DESTROY           "destroy or restart"

/* clang-format off */
static const struct config_key keys[] = {
    {"serial", "0x8 to 0xfff8, or none", "0x3f8", "I/O port of the host's 16550",
     .set = set_serial, OF_NADIR(serial_port), .low = 8, .high = MAX_PORT},
    {"at_end", "poweroff or reset", "poweroff", "what becomes of the host after the last VM",
     .set = set_word, OF_NADIR(reset_at_end)},

    {"kernel", "FILE", NULL, "this or `firmware` must be there; see \"Kinds of kernels\"",
     .set = set_file, OF_VM(kernel)},
    {"firmware", "FILE", NULL, "a BIOS or UEFI image, which the VM starts in",
     .set = set_file, OF_VM(firmware)},
    {"vga_rom", "FILE", NULL, "with `firmware`: SeaBIOS's screen driver",
     .set = set_file, OF_VM(vga_rom), .needs = NEEDS_FIRMWARE},
    {"firmware_log", "no or yes", "no", "with `firmware`: what it writes to port 0x402 is shown",
     .set = set_word, OF_VM(firmware_log), .needs = NEEDS_FIRMWARE},
    {"ramdisk", "FILE", NULL, "",
     .set = set_file, OF_VM(ramdisk), .needs = NEEDS_KERNEL},
    {"module", "FILE [STRING]", NULL, "for multiboot and PVH: behind the ramdisk; up to "
     DIGITS(CONFIG_MAX_MODULES), .repeatable = true, .set = set_module, .needs = NEEDS_KERNEL},
    {"disk", "FILE", NULL, "an ATA disk: primary master, then slave",
     .repeatable = true, .set = set_disk},
    {"type", "linux, multiboot, multiboot2, pvh or flat", NULL, "unless named, the file tells",
     .set = set_word, OF_VM(type), .low = TYPE_LINUX, .needs = NEEDS_KERNEL},
    {"load", "an address below 4 GiB", "0x7c00", "with `type = flat`: where the file goes",
     .set = set_number, OF_VM(load), .high = UINT32_MAX, .needs = NEEDS_FLAT},
    {"entry", "an address below 4 GiB", NULL, "and where it starts: at `load`, unless named",
     .set = set_number, OF_VM(entry), .high = UINT32_MAX, .needs = NEEDS_FLAT},
    {"mode", "16, 32 or 64", "16", "and in which mode",
     .set = set_mode, OF_VM(mode), .needs = NEEDS_FLAT},
    {"console", "serial or vga", "serial", "which of the guest's two you see, and type to",
     .set = set_word, OF_VM(console)},
    {"cmdline", "text", "", "", .set = set_text, OF_VM(cmdline), .high = CONFIG_MAX_CMDLINE,
     .needs = NEEDS_KERNEL},
    {"memory", DIGITS(MIN_MEMORY) " to " DIGITS(MAX_MEMORY) " (MiB)", "256", "",
     .set = set_number, OF_VM(memory_mib), .low = MIN_MEMORY, .high = MAX_MEMORY},
    {"vcpus", "1 to " DIGITS(CONFIG_MAX_VCPUS), "1", "",
     .set = set_number, OF_VM(vcpus), .low = 1, .high = CONFIG_MAX_VCPUS},
    {"on_poweroff", DESTROY, "destroy", "what becomes of the VM then",
     .set = set_action, OF_VM(on_poweroff)},
    {"on_reboot", DESTROY, "restart", "", .set = set_action, OF_VM(on_reboot)},
    {"on_crash", DESTROY, "destroy", "", .set = set_action, OF_VM(on_crash)},
    {"cpus", "", NULL, NULL, .set = set_later},
    {"vif", "", NULL, NULL, .set = set_later},
};
/* clang-format on */

enum { KEY_COUNT = sizeof(keys) / sizeof(keys[0]) };
_Static_assert(KEY_COUNT <= 64, "a bit for each in `seen`");

const struct config_key *config_key(uint32_t i)
{
    return i < KEY_COUNT ? &keys[i] : NULL;
}

void config_set_defaults(struct config_parser *p, bool of_nadir)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++)
        if (keys[i].of_nadir == of_nadir && keys[i].initial != NULL)
            (void)keys[i].set(p, &keys[i], keys[i].initial);
}
