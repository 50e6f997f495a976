/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir.cfg -> struct nadir_config: reads the text line by line and stops at the first mistake. */
#include "guest/config.h"

#include <stdarg.h>

#define MAX_LINE   4096
#define MIN_MEMORY 16        /* MiB: less boots nothing */
#define MAX_MEMORY (1 << 20) /* MiB; what the machine really has is looked at later */
#define MAX_PORT   0xfff8    /* a 16550 has eight ports */
#define COM1       0x3f8
#define MEMORY     256 /* MiB, unless named */
#define FLAT_LOAD  0x7c00
#define BYTE_MARK  "\xef\xbb\xbf"

/* The first is [nadir]'s, all others are [vm NAME]'s. */
enum key {
    KEY_SERIAL, /* of [nadir] */
    KEY_AT_END,
    KEY_KERNEL,
    KEY_FIRMWARE,
    KEY_VGA_ROM,
    KEY_FIRMWARE_LOG,
    KEY_RAMDISK,
    KEY_MODULE,
    KEY_DISK,
    KEY_TYPE,
    KEY_LOAD,
    KEY_ENTRY,
    KEY_MODE,
    KEY_CONSOLE,
    KEY_CMDLINE,
    KEY_MEMORY,
    KEY_VCPUS,
    KEY_ON_POWEROFF,
    KEY_ON_REBOOT,
    KEY_ON_CRASH,
    KEY_CPUS, /* from here on: xl.cfg has them, and we shall */
    KEY_VIF,
    KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
    "serial",    "at_end",   "kernel",  "firmware", "vga_rom", "firmware_log",
    "ramdisk",   "module",   "disk",    "type",     "load",    "entry",
    "mode",      "console",  "cmdline", "memory",   "vcpus",   "on_poweroff",
    "on_reboot", "on_crash", "cpus",    "vif",
};

struct parser {
    const char *text;
    size_t left;
    uint32_t number;      /* of the line */
    char line[MAX_LINE];  /* a copy, cut into key and value */
    const char *section;  /* its name for messages; NULL before the first */
    struct vm_config *vm; /* NULL in [nadir] */
    uint32_t seen;        /* bit i: that key was met in this section */
    bool nadir_seen;
    struct nadir_config *out;
    struct config_error *error;
};

/* Joins the texts up to a NULL into the message; what is not plain ASCII in them becomes '?'. */
static bool fail(struct parser *p, const char *first, ...)
{
    size_t used = 0;
    va_list more;
    va_start(more, first);
    for (const char *s = first; s != NULL; s = va_arg(more, const char *))
        for (; *s != '\0' && used < sizeof(p->error->text) - 1; s++)
            p->error->text[used++] = (char)(*s >= ' ' && *s <= '~' ? *s : '?');
    va_end(more);
    p->error->text[used] = '\0';
    p->error->line = p->number;
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

static bool text_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static size_t text_length(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

static void text_copy(char *out, const char *s)
{
    while ((*out++ = *s++) != '\0') {}
}

static char *skip_space(char *s)
{
    while (is_space(*s))
        s++;
    return s;
}

/* Whether nothing but white space or a comment follows. */
static bool is_blank(char *s)
{
    s = skip_space(s);
    return *s == '\0' || *s == '#';
}

static void cut_trailing_space(char *s)
{
    size_t n = text_length(s);
    while (n > 0 && is_space(s[n - 1]))
        n--;
    s[n] = '\0';
}

/* Copies `value` out, or says that it is too long. */
static bool take_text(struct parser *p, const char *key, const char *value, char *out, size_t size)
{
    char limit[8];
    size_t at = sizeof(limit) - 1;
    if (text_length(value) < size) {
        text_copy(out, value);
        return true;
    }
    limit[at] = '\0';
    for (size_t n = size - 1; n > 0; n /= 10)
        limit[--at] = (char)('0' + n % 10);
    return fail(p, key, " is too long: at most ", limit + at, " characters", NULL);
}

/* A decimal or 0x number within bounds; `range` says them in words. */
static bool take_number(struct parser *p, const char *key, const char *value, const char *range,
                        uint64_t low, uint64_t high, uint64_t *out)
{
    const char *s = value;
    unsigned base = 10;
    uint64_t n = 0;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
    }
    if (*s == '\0')
        return fail(p, key, " = ", value, ": not a whole number; ", range, NULL);
    for (; *s != '\0'; s++) {
        char c = (char)(*s | 0x20); /* lower case; digits stay as they are */
        unsigned digit = base;
        if (*s >= '0' && *s <= '9')
            digit = (unsigned)(*s - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        if (digit >= base)
            return fail(p, key, " = ", value, ": not a whole number; ", range, NULL);
        if (n <= high) /* beyond, more digits cannot help */
            n = n * base + digit;
    }
    if (n < low || n > high)
        return fail(p, key, " = ", value, ": out of range; ", range, NULL);
    *out = n;
    return true;
}

static bool set_serial(struct parser *p, const char *key, const char *value)
{
    uint64_t port = 0;
    if (!text_equal(value, "none") &&
        !take_number(p, key, value, "0x8 to 0xfff8, or none", 8, MAX_PORT, &port))
        return false;
    if (port % 8 != 0)
        return fail(p, key, " = ", value, ": must be a multiple of 8, such as 0x3f8", NULL);
    p->out->serial_port = (uint16_t)port;
    return true;
}

static bool set_file(struct parser *p, const char *key, const char *value, struct loaded_file *file)
{
    if (*value == '\0')
        return fail(p, key, " names no file", NULL);
    for (const char *s = value; *s != '\0'; s++)
        if (*s < ' ' || *s > '~')
            return fail(p, key, " = ", value, ": only ASCII file names are supported", NULL);
    file->line = p->number;
    return take_text(p, key, value, file->path, sizeof(file->path));
}

static bool set_action(struct parser *p, const char *key, const char *value, enum vm_action *out)
{
    if (text_equal(value, "preserve"))
        return fail(p, key, " = preserve is not supported yet; destroy or restart", NULL);
    if (!text_equal(value, "destroy") && !text_equal(value, "restart"))
        return fail(p, key, " = ", value, ": must be destroy or restart", NULL);
    *out = text_equal(value, "restart") ? ACTION_RESTART : ACTION_DESTROY;
    return true;
}

static bool set_at_end(struct parser *p, const char *key, const char *value)
{
    if (!text_equal(value, "poweroff") && !text_equal(value, "reset"))
        return fail(p, key, " = ", value, ": must be poweroff or reset", NULL);
    p->out->reset_at_end = text_equal(value, "reset");
    return true;
}

static bool set_vcpus(struct parser *p, const char *key, const char *value)
{
    uint64_t n = 0;
    if (!take_number(p, key, value, "1 to 16", 1, CONFIG_MAX_VCPUS, &n))
        return false;
    p->vm->vcpus = (uint32_t)n;
    return true;
}

_Static_assert(CONFIG_MAX_VCPUS == 16, "number in the message");

/* FILE [STRING]: the name ends at the first white space. */
static bool set_module(struct parser *p, const char *key, const char *value)
{
    struct vm_config *vm = p->vm;
    char name[MAX_LINE];
    size_t n = 0;
    if (vm->module_count == CONFIG_MAX_MODULES)
        return fail(p, "more than 16 modules", NULL);
    struct config_module *module = &vm->module[vm->module_count];
    while (value[n] != '\0' && !is_space(value[n])) {
        name[n] = value[n];
        n++;
    }
    name[n] = '\0';
    while (is_space(value[n]))
        n++;
    if (!set_file(p, key, name, &module->file) ||
        !take_text(p, "the string of a module", value + n, module->string, sizeof(module->string)))
        return false;
    vm->module_count++;
    return true;
}

static bool set_disk(struct parser *p, const char *key, const char *value)
{
    struct vm_config *vm = p->vm;
    if (vm->disk_count == CONFIG_MAX_DISKS)
        return fail(p, "more than 2 disks", NULL);
    if (!set_file(p, key, value, &vm->disk[vm->disk_count]))
        return false;
    vm->disk_count++;
    return true;
}

_Static_assert(CONFIG_MAX_MODULES == 16 && CONFIG_MAX_DISKS == 2, "numbers in the messages");

/* One of a list of words: its number in *out. choices: what to say where it is none of them. */
static bool take_word(struct parser *p, const char *key, const char *value,
                      const char *const *words, uint32_t count, const char *choices, uint32_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        if (words[i] != NULL && text_equal(value, words[i])) {
            *out = i;
            return true;
        }
    }
    return fail(p, key, " = ", value, ": must be ", choices, NULL);
}

static bool set_type(struct parser *p, const char *key, const char *value)
{
    static const char *const words[] = {
        [TYPE_LINUX] = "linux", [TYPE_MULTIBOOT] = "multiboot", [TYPE_MULTIBOOT2] = "multiboot2",
        [TYPE_PVH] = "pvh",     [TYPE_FLAT] = "flat",
    };
    uint32_t type = 0;
    if (!take_word(p, key, value, words, sizeof(words) / sizeof(words[0]),
                   "linux, multiboot, multiboot2, pvh or flat", &type))
        return false;
    p->vm->type = (enum guest_type)type;
    return true;
}

static bool set_mode(struct parser *p, const char *key, const char *value)
{
    static const char *const words[] = {"16", "32", "64"};
    uint32_t mode = 0;
    if (!take_word(p, key, value, words, 3, "16, 32 or 64", &mode))
        return false;
    p->vm->mode = 16u << mode;
    return true;
}

static bool set_console(struct parser *p, const char *key, const char *value)
{
    static const char *const words[] = {[CONSOLE_SERIAL] = "serial", [CONSOLE_VGA] = "vga"};
    uint32_t console = 0;
    if (!take_word(p, key, value, words, 2, "serial or vga", &console))
        return false;
    p->vm->console = (enum guest_console)console;
    return true;
}

static bool set_firmware_log(struct parser *p, const char *key, const char *value)
{
    static const char *const words[] = {"no", "yes"};
    uint32_t log = 0;
    if (!take_word(p, key, value, words, 2, "no or yes", &log))
        return false;
    p->vm->firmware_log = log != 0;
    return true;
}

static bool set_address(struct parser *p, const char *key, const char *value, uint64_t *out)
{
    return take_number(p, key, value, "an address below 4 GiB", 0, UINT32_MAX, out);
}

static bool set_key(struct parser *p, enum key key, const char *name, const char *value)
{
    struct vm_config *vm = p->vm;
    switch (key) {
    case KEY_SERIAL: return set_serial(p, name, value);
    case KEY_AT_END: return set_at_end(p, name, value);
    case KEY_KERNEL: return set_file(p, name, value, &vm->kernel);
    case KEY_FIRMWARE: return set_file(p, name, value, &vm->firmware);
    case KEY_VGA_ROM: return set_file(p, name, value, &vm->vga_rom);
    case KEY_FIRMWARE_LOG: return set_firmware_log(p, name, value);
    case KEY_RAMDISK: return set_file(p, name, value, &vm->ramdisk);
    case KEY_MODULE: return set_module(p, name, value);
    case KEY_DISK: return set_disk(p, name, value);
    case KEY_TYPE: return set_type(p, name, value);
    case KEY_LOAD: return set_address(p, name, value, &vm->load);
    case KEY_ENTRY: return set_address(p, name, value, &vm->entry);
    case KEY_MODE: return set_mode(p, name, value);
    case KEY_CONSOLE: return set_console(p, name, value);
    case KEY_CMDLINE: return take_text(p, name, value, vm->cmdline, sizeof(vm->cmdline));
    case KEY_MEMORY:
        return take_number(p, name, value, "16 to 1048576 (MiB)", MIN_MEMORY, MAX_MEMORY,
                           &vm->memory_mib);
    case KEY_VCPUS: return set_vcpus(p, name, value);
    case KEY_ON_POWEROFF: return set_action(p, name, value, &vm->on_poweroff);
    case KEY_ON_REBOOT: return set_action(p, name, value, &vm->on_reboot);
    case KEY_ON_CRASH: return set_action(p, name, value, &vm->on_crash);
    default: return fail(p, name, " is not supported yet", NULL);
    }
}

static bool parse_key(struct parser *p, const char *key, const char *value)
{
    const char *where = p->vm == NULL ? "" : "vm ";
    if (p->section == NULL)
        return fail(p, "key ", key, " stands before the first [vm NAME] or [nadir]", NULL);
    for (enum key i = 0; i < KEY_COUNT; i++) {
        if ((i > KEY_AT_END) != (p->vm != NULL) || !text_equal(key, key_names[i]))
            continue;
        if ((p->seen & (1u << i)) != 0 && i != KEY_MODULE && i != KEY_DISK)
            return fail(p, key, " is there twice in [", where, p->section, "]", NULL);
        p->seen |= 1u << i;
        return set_key(p, i, key, value);
    }
    return fail(
        p, "unknown key ", key, "; known in [", where, p->vm == NULL ? "nadir" : "NAME",
        p->vm == NULL
            ? "]: serial at_end"
            : "]: kernel firmware vga_rom firmware_log ramdisk module disk type load entry mode "
              "console cmdline memory vcpus on_poweroff on_reboot on_crash",
        NULL);
}

/* The end of a [vm NAME]: does it have all that it must have? */
static bool finish_vm(struct parser *p)
{
    const uint32_t of_flat = 1u << KEY_LOAD | 1u << KEY_ENTRY | 1u << KEY_MODE;
    struct vm_config *vm = p->vm;
    if (vm == NULL)
        return true;
    const uint32_t of_firmware = 1u << KEY_VGA_ROM | 1u << KEY_FIRMWARE_LOG;
    const uint32_t of_kernel =
        1u << KEY_RAMDISK | 1u << KEY_MODULE | 1u << KEY_TYPE | 1u << KEY_CMDLINE;
    const bool has_kernel = (p->seen & 1u << KEY_KERNEL) != 0;
    const bool has_firmware = (p->seen & 1u << KEY_FIRMWARE) != 0;
    const char *wrong = NULL;
    if (!has_kernel && !has_firmware)
        wrong = "] has neither kernel nor firmware";
    else if (has_kernel && has_firmware)
        wrong = "] has both kernel and firmware";
    else if ((p->seen & of_firmware) != 0 && !has_firmware)
        wrong = "]: vga_rom and firmware_log need firmware";
    else if ((p->seen & of_kernel) != 0 && !has_kernel)
        wrong = "]: ramdisk, module, type and cmdline need kernel";
    else if ((p->seen & of_flat) != 0 && vm->type != TYPE_FLAT)
        wrong = "]: load, entry and mode need type = flat";
    if (wrong != NULL) {
        p->number = vm->line;
        return fail(p, "[vm ", vm->name, wrong, NULL);
    }
    if ((p->seen & 1u << KEY_ENTRY) == 0)
        vm->entry = vm->load;
    return true;
}

static bool start_vm(struct parser *p, const char *name)
{
    if (*name == '\0')
        return fail(p, "[vm NAME] without a name", NULL);
    for (const char *s = name; *s != '\0'; s++)
        if (!is_name_char(*s))
            return fail(p, "bad VM name '", name, "'; letters, digits and - _ . are allowed", NULL);
    if (text_length(name) >= CONFIG_MAX_NAME)
        return fail(p, "VM name ", name, " is too long: at most 31 characters", NULL);
    for (uint32_t i = 0; i < p->out->vm_count; i++)
        if (text_equal(name, p->out->vm[i].name))
            return fail(p, "two VMs are named ", name, NULL);
    if (p->out->vm_count == CONFIG_MAX_VMS)
        return fail(p, "too many VMs: at most 8", NULL);
    struct vm_config *vm = &p->out->vm[p->out->vm_count++];
    text_copy(vm->name, name);
    vm->line = p->number;
    vm->memory_mib = MEMORY;
    vm->vcpus = 1;
    vm->load = FLAT_LOAD;
    vm->mode = 16;
    vm->on_poweroff = ACTION_DESTROY;
    vm->on_reboot = ACTION_RESTART;
    vm->on_crash = ACTION_DESTROY;
    p->vm = vm;
    p->section = vm->name;
    return true;
}

_Static_assert(CONFIG_MAX_VMS == 8 && CONFIG_MAX_NAME == 32, "numbers in the messages");

/* `s` is behind the opening bracket. */
static bool parse_section(struct parser *p, char *s)
{
    char *end = s;
    while (*end != '\0' && *end != ']')
        end++;
    if (*end == '\0')
        return fail(p, "a section without its ]", NULL);
    if (!is_blank(end + 1))
        return fail(p, "text after the ] of a section", NULL);
    *end = '\0';
    s = skip_space(s);
    cut_trailing_space(s);
    if (!finish_vm(p))
        return false;
    p->seen = 0;
    if (text_equal(s, "nadir")) {
        if (p->nadir_seen)
            return fail(p, "[nadir] is there twice", NULL);
        p->nadir_seen = true;
        p->section = "nadir";
        p->vm = NULL;
        return true;
    }
    if (s[0] == 'v' && s[1] == 'm' && (s[2] == '\0' || is_space(s[2])))
        return start_vm(p, skip_space(s + 2));
    return fail(p, "unknown section [", s, "]; there are [nadir] and [vm NAME]", NULL);
}

/* Cuts quotes and comments off a value, in place; NULL where the quotes are wrong. */
static char *clean_value(struct parser *p, char *s)
{
    s = skip_space(s);
    char *end = s;
    if (*s == '"' || *s == '\'') {
        for (end = s + 1; *end != '\0' && *end != *s; end++) {}
        if (*end == '\0' || !is_blank(end + 1)) {
            fail(p, *end == '\0' ? "a quote without its end" : "text after the closing quote",
                 NULL);
            return NULL;
        }
        *end = '\0';
        return s + 1;
    }
    while (*end != '\0' && (*end != '#' || (end != s && !is_space(end[-1]))))
        end++;
    *end = '\0';
    cut_trailing_space(s);
    return s;
}

static bool parse_line(struct parser *p)
{
    char *s = skip_space(p->line), *equals, *value;
    if (is_blank(s))
        return true;
    if (*s == '[')
        return parse_section(p, s + 1);
    for (equals = s; *equals != '\0' && *equals != '='; equals++) {}
    if (*equals == '\0' || equals == s)
        return fail(p, "neither a [section], nor key = value, nor a # comment", NULL);
    *equals = '\0';
    cut_trailing_space(s);
    value = clean_value(p, equals + 1);
    return value != NULL && parse_key(p, s, value);
}

/* Copies the next line without its end to p->line. */
static bool read_line(struct parser *p)
{
    size_t n = 0;
    p->number++;
    while (p->left > 0) {
        char c = *p->text++;
        p->left--;
        if (c == '\r' && (p->left == 0 || *p->text == '\n'))
            continue;
        if (c == '\n')
            break;
        if ((c >= 0 && c < ' ' && c != '\t') || c == 0x7f)
            return fail(p, "a control character (is this a text file in UTF-8?)", NULL);
        if (n == MAX_LINE - 1)
            return fail(p, "the line is too long: at most 4095 characters", NULL);
        p->line[n++] = c;
    }
    p->line[n] = '\0';
    return true;
}

_Static_assert(MAX_LINE == 4096, "number in the message");

bool config_parse(const char *text, size_t length, struct nadir_config *out,
                  struct config_error *error)
{
    struct parser p = {.text = text, .left = length, .out = out, .error = error};
    *out = (struct nadir_config){.serial_port = COM1};
    *error = (struct config_error){0};
    if (length >= 3 && text[0] == BYTE_MARK[0] && text[1] == BYTE_MARK[1] &&
        text[2] == BYTE_MARK[2]) {
        p.text += 3;
        p.left -= 3;
    }
    while (p.left > 0)
        if (!read_line(&p) || !parse_line(&p))
            return false;
    if (!finish_vm(&p))
        return false;
    p.number = 0;
    return out->vm_count > 0 || fail(&p, "no [vm NAME] in it", NULL);
}
