/* SPDX-License-Identifier: BSD-2-Clause */
/* The keys of nadir.cfg: one table, and how each kind of value is read. */
#include "guest/config_parser.h"

#include "arch/bytes.h"

#define MIN_MEMORY 16      /* MiB: less boots nothing */
#define MAX_MEMORY 1048576 /* MiB; what the machine really has is looked at later */
#define MAX_CAP    6400    /* percent: 64 CPUs in full */
#define MAX_LIMIT  1000000
#define MAX_PORT   0xfff8 /* a 16550 has eight ports */

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
    put_le(field_of(p, key), key->size, n);
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

static bool set_uart(struct config_parser *p, const struct config_key *key, const char *value)
{
    p->port_line = p->number;
    if (!set_number_or_none(p, key, value))
        return false;
    return get_le(field_of(p, key), key->size) % 8 == 0 ||
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
    char limit[CONFIG_DIGITS];
    return text_length(text) < size ||
           config_fail(p, what, " is too long: at most ", config_digits(limit, size - 1),
                       " characters", NULL);
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
    *file = (struct loaded_file){.path = path, .line = p->number};
    return check_length(p, key, path, CONFIG_MAX_PATH);
}

static bool set_file(struct config_parser *p, const struct config_key *key, const char *value)
{
    return name_file(p, key->name, value, field_of(p, key));
}

static bool set_debugcon(struct config_parser *p, const struct config_key *key, const char *value)
{
    struct loaded_file file;
    p->vm->debugcon = !text_equal(value, "no");
    p->vm->debugcon_file = NULL;
    if (!p->vm->debugcon || text_equal(value, "yes"))
        return true;
    p->vm->debugcon_file = value;
    return name_file(p, key->name, value, &file);
}

/* FILE [STRING]: the name ends at the first white space, unless it stands in quotes of its own. */
static bool set_module(struct config_parser *p, const struct config_key *key, const char *value)
{
    struct vm_config *vm = p->vm;
    if (vm->module_count == CONFIG_MAX_MODULES)
        return config_fail(p, "more than " DIGITS(CONFIG_MAX_MODULES) " modules", NULL);
    struct config_module *module = &vm->module[vm->module_count++];
    char *string = (char *)value; /* of our copy, which is for cutting */
    const char quote = *value == '"' || *value == '\'' ? *value++ : '\0';
    for (string += quote != '\0'; *string != '\0'; string++)
        if (quote != '\0' ? *string == quote : is_space(*string))
            break;
    if (quote != '\0' && (*string == '\0' || (string[1] != '\0' && !is_space(string[1]))))
        return config_fail(p, key->name, ": the quotes are to be around FILE, or around all", NULL);
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

/* A number at *s, which moves behind it; CONFIG_MAX_CPUS or more: whatever is too much. */
static bool take_cpu(const char **s, uint32_t *out)
{
    const char *digits = *s;
    *out = 0;
    for (; **s >= '0' && **s <= '9'; (*s)++)
        if (*out < CONFIG_MAX_CPUS)
            *out = *out * 10 + (uint32_t)(**s - '0');
    return *s != digits;
}

/* N or N-M, and more of them behind commas. */
static bool set_cpus(struct config_parser *p, const struct config_key *key, const char *value)
{
    struct vm_config *vm = p->vm;
    const bool all = text_equal(value, "all");
    for (size_t i = 0; i < sizeof(vm->cpus) / sizeof(vm->cpus[0]); i++)
        vm->cpus[i] = all ? UINT64_MAX : 0;
    if (all)
        return true;
    vm->cpus_line = p->number;
    const char *s = value;
    do {
        uint32_t first, last;
        bool good = take_cpu(&s, &first);
        last = first;
        if (good && *s == '-') {
            s++;
            good = take_cpu(&s, &last);
        }
        if (!good || (*s != ',' && *s != '\0'))
            return fail_value(p, key, value, "must be ", key->values);
        if (first >= CONFIG_MAX_CPUS || last >= CONFIG_MAX_CPUS)
            return fail_value(p, key, value, "out of range; CPUs are 0 to 255", NULL);
        if (first > last)
            return fail_value(p, key, value, "a range begins with its lower number", NULL);
        for (uint32_t i = first; i <= last; i++)
            vm->cpus[i / 64] |= 1ull << (i % 64);
    } while (*s++ == ',');
    return true;
}

_Static_assert(CONFIG_MAX_CPUS == 256 && CONFIG_MAX_CMDLINE == 2048, "numbers in the texts");

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
     .set = set_uart, OF_NADIR(serial_port), .low = 8, .high = MAX_PORT},
    {"report", "0x8 to 0xfff8, or none", "none", "another 16550: for programs, how it ended and what it cost",
     .set = set_uart, OF_NADIR(report_port), .low = 8, .high = MAX_PORT},
    {"at_end", "poweroff or reset", "poweroff", "what becomes of the host after the last VM",
     .set = set_word, OF_NADIR(reset_at_end)},
    {"smt", "apart or share", "apart", "whether two VMs may share a core; apart: one thread of each is used",
     .set = set_word, OF_NADIR(share_cores)},
    {"max_vms", "1 to " DIGITS(CONFIG_MAX_VMS), DIGITS(CONFIG_MAX_VMS),
     "how many VMs may exist at a time",
     .set = set_number, OF_NADIR(max_vms), .low = 1, .high = CONFIG_MAX_VMS},

    {"kernel", "FILE", NULL, "this or `firmware` must be there; \"Kinds of kernels\" says which",
     .set = set_file, OF_VM(kernel)},
    {"firmware", "FILE", NULL, "a BIOS or UEFI image of 64 KiB to 16 MiB, which the VM starts in",
     .set = set_file, OF_VM(firmware), .needs = NEEDS_PC},
    {"vga_rom", "FILE", NULL, "with `firmware`: SeaBIOS's screen driver, for `console = vga`",
     .set = set_file, OF_VM(vga_rom), .needs = NEEDS_FIRMWARE},
    {"firmware_log", "no or yes", "no",
     "with `firmware`: whether what it tells port 0x402 is shown with COM1",
     .set = set_word, OF_VM(firmware_log), .needs = NEEDS_FIRMWARE},
    {"ramdisk", "FILE", NULL, "for a kernel",
     .set = set_file, OF_VM(ramdisk), .needs = NEEDS_LOADER},
    {"module", "FILE [STRING]", NULL, "for multiboot and PVH, behind the ramdisk; at most "
     DIGITS(CONFIG_MAX_MODULES) "; quotes around a FILE with blanks", .repeatable = true, .set = set_module, .needs = NEEDS_LOADER},
    {"disk", "FILE", NULL, "an ATA disk; the primary master, then the slave",
     .repeatable = true, .set = set_disk, .needs = NEEDS_PC},
    {"cdrom", "FILE", NULL, "a CD drive, the secondary master, with this ISO image in it",
     .set = set_file, OF_VM(cdrom), .needs = NEEDS_PC},
    {"type", "linux, multiboot, multiboot2, pvh, xen or flat", NULL,
     "what the kernel is; unless named, the file tells",
     .set = set_word, OF_VM(type), .low = TYPE_LINUX, .needs = NEEDS_KERNEL},
    {"loader", "qemu or grub2", "qemu",
     "for multiboot and PVH: whose way of starting is followed; \"Kinds of kernels\" says how",
     .set = set_word, OF_VM(loader), .needs = NEEDS_LOADER},
    {"load", "an address below 4 GiB", "0x7c00", "with `type = flat`: where the file goes to",
     .set = set_number, OF_VM(load), .high = UINT32_MAX, .needs = NEEDS_FLAT},
    {"entry", "an address below 4 GiB", NULL, "likewise: where it starts; as `load`, unless named",
     .set = set_number, OF_VM(entry), .high = UINT32_MAX, .needs = NEEDS_FLAT},
    {"mode", "16, 32 or 64", "16", "likewise: the mode in which it starts",
     .set = set_mode, OF_VM(mode), .needs = NEEDS_FLAT},
    {"console", "serial, vga or vga+serial", "serial",
     "which of the guest's two you see, and type to; the last: the screen, and COM1's lines",
     .set = set_word, OF_VM(console), .needs = NEEDS_SCREEN},
    {"debugcon", "no, yes or FILE", "yes",
     "whether port 0xe9 goes where COM1 goes, or to a file that `tools/nadir run` writes",
     .set = set_debugcon},
    {"cmdline", "text", "", "at most 2047 characters",
     .set = set_text, OF_VM(cmdline), .high = CONFIG_MAX_CMDLINE, .needs = NEEDS_LOADER},
    {"memory", DIGITS(MIN_MEMORY) " to " DIGITS(MAX_MEMORY) " (MiB)", "256",
     "decimal or 0x, as all numbers",
     .set = set_number, OF_VM(memory_mib), .low = MIN_MEMORY, .high = MAX_MEMORY},
    {"vcpus", "1 to " DIGITS(CONFIG_MAX_VCPUS), "1",
     "virtual CPUs; with `engine = pv` " DIGITS(CONFIG_MAX_PV_VCPUS) " at most",
     .set = set_number, OF_VM(vcpus), .low = 1, .high = CONFIG_MAX_VCPUS, .needs = NEEDS_FEW_VCPUS},
    {"engine", CONFIG_ENGINE_WORDS, "auto",
     "what executes the VM: VT-x; without it, a translation of its kernel's code (bt), or a kernel "
     "that asks by hypercalls (pv): \"Three ways\"; auto: vtx, else bt, and pv for what is `xen` alone",
     .set = set_word, OF_VM(engine)},
    {"bt", "translate, interpret or check", "translate",
     "with the engine bt, for tests; interpret: the processor runs nothing of the guest, so a Linux "
     "takes hours; check: what kernel code does is compared with that the first times, and a "
     "difference ends the VM",
     .set = set_word, OF_VM(bt), .needs = NEEDS_ONE_VCPU | NEEDS_BT},
    {"paravirt", "kvm or none", "kvm", "what Linux finds of a hypervisor: KVM's clock, steal time, IPIs, locks; or a mere PC; not with `engine = pv`",
     .set = set_word, OF_VM(paravirt), .needs = NEEDS_PC},
    {"cpus", "a list such as 0-3,5, or all", "all", "host CPUs on which its vCPUs may run",
     .set = set_cpus},
    {"weight", "1 to 1000", "100", "its share of CPU time where VMs compete",
     .set = set_number, OF_VM(weight), .low = 1, .high = 1000},
    {"cap", "1 to " DIGITS(MAX_CAP) ", or none", "none", "CPU time at most, in percent of one CPU",
     .set = set_number_or_none, OF_VM(cap), .low = 1, .high = MAX_CAP},
    {"limit", "1 to " DIGITS(MAX_LIMIT) " (seconds), or none", "none",
     "time on its own clock after which it is ended, whatever it does",
     .set = set_number_or_none, OF_VM(limit), .low = 1, .high = MAX_LIMIT},
    {"start", "no or yes", "yes", "whether it runs from the start",
     .set = set_word, OF_VM(start)},
    {"on_poweroff", DESTROY, "destroy",
     "what becomes of the VM; ports 0xf4 and 0x8900 power it off, too",
     .set = set_action, OF_VM(on_poweroff)},
    {"on_reboot", DESTROY, "restart",
     "likewise; a reset keeps RAM, CMOS memory and the clock, as a PC's does", .set = set_action, OF_VM(on_reboot)},
    {"on_crash", DESTROY, "destroy", "likewise; a triple fault is a reset, if restart", .set = set_action, OF_VM(on_crash)},
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
