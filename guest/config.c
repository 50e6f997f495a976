/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir.cfg -> struct nadir_config: cuts a copy of the text into sections, keys and values, line by
 * line, and stops at the first mistake. */
#include "guest/config_parser.h"

#include "arch/utf8.h"

#include <stdarg.h>

#define MAX_LINE  4096
#define BYTE_MARK "\xef\xbb\xbf"

/* Adds to the message; what is no UTF-8, or none that can be seen, becomes '?', and what does not
 * fit is left out. */
static void say(struct config_parser *p, const char *s)
{
    size_t used = text_length(p->error->text);
    while (*s != '\0') {
        uint32_t c;
        const unsigned bytes = utf8_next(s, &c);
        if (used + (bytes != 0 ? bytes : 1) >= sizeof(p->error->text))
            break;
        for (unsigned i = 0; i < bytes; i++)
            p->error->text[used++] = *s++;
        if (bytes == 0) {
            p->error->text[used++] = '?';
            s++;
        }
    }
    p->error->text[used] = '\0';
}

/* The texts up to a NULL are the message. */
bool config_fail(struct config_parser *p, const char *first, ...)
{
    va_list more;
    va_start(more, first);
    p->error->text[0] = '\0';
    for (const char *s = first; s != NULL; s = va_arg(more, const char *))
        say(p, s);
    va_end(more);
    p->error->line = p->number;
    return false;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
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

static bool fail_unknown(struct config_parser *p, const char *name)
{
    const bool of_nadir = p->vm == NULL;
    const struct config_key *key;
    config_fail(p, "unknown key ", name, "; known in ", of_nadir ? "[nadir]:" : "[vm NAME]:", NULL);
    for (uint32_t i = 0; (key = config_key(i)) != NULL; i++) {
        if (key->of_nadir != of_nadir || key->help == NULL)
            continue;
        say(p, " ");
        say(p, key->name);
    }
    return false;
}

/* `stored = NAME PATH`: the file that sections call PATH lies beside nadir.cfg as NAME, as its path
 * leads out of there. So a VM and all messages have the names that the user has given.
 * `unpacked = NAME PATH`, behind those: NAME is the kernel out of the bzImage PATH, for the VMs
 * whose engine needs it so; others that name the same file get it as it is. */
static bool parse_stored(struct config_parser *p, const char *name, char *value)
{
    char *path = value;
    while (*path != '\0' && !is_space(*path))
        path++;
    const bool unpacked = text_equal(name, "unpacked");
    if ((!unpacked && !text_equal(name, "stored")) || *path == '\0')
        return config_fail(
            p, "[image] has lines `stored = NAME PATH` and `unpacked = NAME PATH` only", NULL);
    *path++ = '\0';
    struct config_files walk = {.config = p->out};
    struct loaded_file *file;
    while ((file = config_next_file(&walk)) != NULL) {
        const struct vm_config *vm = &p->out->vm[walk.vm];
        if (!text_equal(file->path, path) ||
            (unpacked && (file != &vm->kernel || vm->engine != CONFIG_ENGINE_PV)))
            continue;
        file->stored = value;
        file->unpacked = unpacked;
    }
    return true;
}

/* The first key that needs something is the one to be named at the end of the section. */
static void note_needs(struct config_parser *p, const struct config_key *key)
{
    for (unsigned i = 0; i < CONFIG_NEEDS; i++)
        if ((key->needs >> i & 1) != 0 && p->needs[i].key == NULL) {
            p->needs[i].key = key->name;
            p->needs[i].line = p->number;
        }
}

/* Whether a key that is there lacks what it needs; *why: what to say of it, with its line. */
static bool lacks(struct config_parser *p, unsigned need, bool there, const char *why)
{
    const struct config_need *n = &p->needs[need];
    if (n->key == NULL || there)
        return false;
    p->number = n->line;
    config_fail(p, "[vm ", p->vm->name, "]: ", n->key, " ", why, NULL);
    return true;
}

/* What a VM of the engine pv cannot have: it is a Xen domain, and no PC. */
static bool lacks_for_domain(struct config_parser *p)
{
    return lacks(p, NEED_BT, false,
                 "is for the engine bt, and engine = pv leaves no place for it") ||
           lacks(p, NEED_PC, false, "is for a PC, and a VM with engine = pv is none") ||
           lacks(p, NEED_SCREEN, p->vm->console == CONSOLE_SERIAL,
                 "must be serial with engine = pv, which has no screen") ||
           lacks(p, NEED_FEW_VCPUS, p->vm->vcpus <= CONFIG_MAX_PV_VCPUS,
                 "is " DIGITS(CONFIG_MAX_PV_VCPUS) " at most with engine = pv");
}

/* At the end of a section: the engine pv starts kernels that are made for it, and nothing else does
 * so; to name such a kernel is to ask for the engine. */
static bool settle_engine(struct config_parser *p)
{
    struct vm_config *vm = p->vm;
    const char *wrong = NULL;
    if (vm->type == TYPE_XEN && vm->engine == CONFIG_ENGINE_AUTO)
        vm->engine = CONFIG_ENGINE_PV;
    if (vm->type == TYPE_XEN && vm->engine != CONFIG_ENGINE_PV)
        wrong = "]: type = xen needs engine = pv";
    else if (vm->engine == CONFIG_ENGINE_PV && vm->type != TYPE_AUTO && vm->type != TYPE_XEN)
        wrong = "]: engine = pv needs type = xen, or no type: it starts Xen PV kernels alone";
    if (wrong == NULL)
        return true;
    p->number = vm->line;
    return config_fail(p, "[vm ", vm->name, wrong, NULL);
}

static bool parse_key(struct config_parser *p, const char *name, char *value)
{
    const struct config_key *key;
    if (p->section == NULL)
        return config_fail(p, "key ", name, " stands before the first [vm NAME] or [nadir]", NULL);
    if (p->in_image)
        return parse_stored(p, name, value);
    for (uint32_t i = 0; (key = config_key(i)) != NULL; i++) {
        if (key->of_nadir != (p->vm == NULL) || !text_equal(name, key->name))
            continue;
        uint64_t *seen = key->of_nadir ? &p->nadir_seen : &p->seen;
        if ((*seen & 1ull << i) != 0 && !key->repeatable)
            return config_fail(p, name, " is there twice in [", p->vm == NULL ? "" : "vm ",
                               p->section, "]", NULL);
        *seen |= 1ull << i;
        note_needs(p, key);
        return key->set(p, key, value);
    }
    return fail_unknown(p, name);
}

/* The end of a [vm NAME]: does it have all that it must have? */
static bool finish_vm(struct config_parser *p)
{
    struct vm_config *vm = p->vm;
    if (vm == NULL)
        return true;
    const bool has_kernel = vm->kernel.path != NULL, has_firmware = vm->firmware.path != NULL;
    const char *wrong = NULL;
    if (!has_kernel && !has_firmware)
        wrong = "] has neither kernel nor firmware";
    else if (has_kernel && has_firmware)
        wrong = "] has both kernel and firmware";
    if (wrong != NULL) {
        p->number = vm->line;
        return config_fail(p, "[vm ", vm->name, wrong, NULL);
    }
    if (lacks(p, NEED_FIRMWARE, has_firmware, "needs firmware") ||
        lacks(p, NEED_KERNEL, has_kernel, "needs kernel") ||
        lacks(p, NEED_FLAT, vm->type == TYPE_FLAT, "needs type = flat") ||
        lacks(p, NEED_OTHER, vm->type != TYPE_FLAT,
              "means nothing with type = flat: such a program is handed over nothing") ||
        lacks(p, NEED_ONE_VCPU, vm->bt != CONFIG_BT_CHECK || vm->vcpus == 1,
              "= check needs vcpus = 1: what other vCPUs write would look like a difference") ||
        lacks(p, NEED_BT, vm->engine != CONFIG_ENGINE_VTX,
              "is for the engine bt, and engine = vtx leaves no place for it") ||
        !settle_engine(p) || (vm->engine == CONFIG_ENGINE_PV && lacks_for_domain(p)))
        return false;
    vm->pc_key = p->needs[NEED_PC].key;
    if (vm->entry == CONFIG_ENTRY_AT_LOAD)
        vm->entry = vm->load;
    return true;
}

static bool start_vm(struct config_parser *p, const char *name)
{
    if (*name == '\0')
        return config_fail(p, "[vm NAME] without a name", NULL);
    for (const char *s = name; *s != '\0'; s++)
        if (!is_name_char(*s))
            return config_fail(p, "bad VM name '", name,
                               "'; letters a-z and A-Z, digits and - _ . are allowed", NULL);
    if (text_length(name) >= CONFIG_MAX_NAME)
        return config_fail(p, "VM name ", name, " is too long: at most 31 characters", NULL);
    for (uint32_t i = 0; i < p->out->vm_count; i++)
        if (text_equal(name, p->out->vm[i].name))
            return config_fail(p, "two VMs are named ", name, NULL);
    if (p->out->vm_count == CONFIG_MAX_VMS)
        return config_fail(p, "too many VMs: at most " DIGITS(CONFIG_MAX_VMS), NULL);
    p->vm = &p->out->vm[p->out->vm_count++];
    *p->vm = (struct vm_config){.name = name, .line = p->number, .entry = CONFIG_ENTRY_AT_LOAD};
    p->section = name;
    config_set_defaults(p, false);
    return true;
}

_Static_assert(CONFIG_MAX_NAME == 32, "number in the message");

/* `s` is behind the opening bracket. */
static bool parse_section(struct config_parser *p, char *s)
{
    char *end = s;
    while (*end != '\0' && *end != ']')
        end++;
    if (*end == '\0')
        return config_fail(p, "a section without its ]", NULL);
    if (!is_blank(end + 1))
        return config_fail(p, "text after the ] of a section", NULL);
    *end = '\0';
    s = skip_space(s);
    cut_trailing_space(s);
    if (!finish_vm(p))
        return false;
    p->seen = 0;
    for (unsigned i = 0; i < CONFIG_NEEDS; i++)
        p->needs[i] = (struct config_need){0};
    p->in_image = false;
    const bool is_vm = s[0] == 'v' && s[1] == 'm' && (s[2] == '\0' || is_space(s[2]));
    if (p->alone && (!is_vm || p->vm != NULL))
        return config_fail(p, "[", s, "]: one [vm NAME] is expected here, and nothing else", NULL);
    if (is_vm)
        return start_vm(p, skip_space(s + 2));
    p->in_image = text_equal(s, "image");
    if (!p->in_image && !text_equal(s, "nadir"))
        return config_fail(p, "unknown section [", s, "]; there are [nadir] and [vm NAME]", NULL);
    p->section = p->in_image ? "image" : "nadir";
    p->vm = NULL;
    return true;
}

/* Cuts quotes and comments off a value; NULL where the quotes are wrong. words: quotes may be
 * around its first word only, and stay then. */
static char *clean_value(struct config_parser *p, char *s, bool words)
{
    s = skip_space(s);
    char *end = s;
    if (*s == '"' || *s == '\'') {
        for (end = s + 1; *end != '\0' && *end != *s; end++) {}
        const bool blank = *end == '\0' || is_blank(end + 1);
        if (*end == '\0' || (!blank && !(words && is_space(end[1])))) {
            config_fail(
                p, *end == '\0' ? "a quote without its end" : "text after the closing quote", NULL);
            return NULL;
        }
        if (blank) {
            *end = '\0';
            return s + 1;
        }
        end++;
    }
    while (*end != '\0' && (*end != '#' || (end != s && !is_space(end[-1]))))
        end++;
    *end = '\0';
    cut_trailing_space(s);
    return s;
}

static bool parse_line(struct config_parser *p, char *line)
{
    char *s = skip_space(line), *equals, *value;
    if (is_blank(s))
        return true;
    if (*s == '[')
        return parse_section(p, s + 1);
    for (equals = s; *equals != '\0' && *equals != '='; equals++) {}
    if (*equals == '\0' || equals == s)
        return config_fail(p, "neither a [section], nor key = value, nor a # comment", NULL);
    *equals = '\0';
    cut_trailing_space(s);
    value = clean_value(p, equals + 1, text_equal(s, "module"));
    return value != NULL && parse_key(p, s, value);
}

/* Cuts the next line off, without its end; NULL where it cannot be one. */
static char *read_line(struct config_parser *p)
{
    char *line = p->next, *s = line;
    p->number++;
    for (; s != p->end && *s != '\n'; s++) {
        if (*s == '\r' && (s + 1 == p->end || s[1] == '\n')) {
            *s = '\0';
            continue;
        }
        if ((*s >= 0 && *s < ' ' && *s != '\t') || *s == 0x7f) {
            config_fail(p, "a control character (is this a text file in UTF-8?)", NULL);
            return NULL;
        }
        if (s - line == MAX_LINE - 1) {
            config_fail(p, "the line is too long: at most 4095 characters", NULL);
            return NULL;
        }
    }
    p->next = s == p->end ? s : s + 1;
    *s = '\0';
    return line;
}

_Static_assert(MAX_LINE == 4096, "number in the message");

/* The end of the file: can what is to start do so? */
static bool check_starts(struct config_parser *p)
{
    const struct nadir_config *config = p->out;
    uint32_t starts = 0;
    if (config->report_port != 0 && config->report_port == config->serial_port) {
        p->number = p->port_line;
        return config_fail(p, "serial and report are the same port", NULL);
    }
    for (uint32_t i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vm[i];
        p->number = vm->line;
        if (vm->start && starts++ == config->max_vms)
            return config_fail(p, "[vm ", vm->name, "] is one more than max_vms allows to start",
                               NULL);
    }
    p->number = 0;
    return starts > 0 || config_fail(p, "nothing to run: start = no in each [vm NAME]", NULL);
}

/* As many sections as there are brackets, if that many are allowed. */
static size_t max_sections(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length && count < CONFIG_MAX_VMS; i++)
        count += text[i] == '[';
    return count;
}

size_t config_memory(const char *text, size_t length)
{
    return max_sections(text, length) * sizeof(struct vm_config) + length + 1;
}

static bool parse(struct config_parser *p, const char *text, size_t length, void *memory)
{
    p->out->vm = memory;
    p->next = (char *)(p->out->vm + max_sections(text, length));
    p->end = p->next + length;
    for (size_t i = 0; i < length; i++)
        p->next[i] = text[i];
    *p->end = '\0';
    if (p->next[0] == BYTE_MARK[0] && p->next[1] == BYTE_MARK[1] && p->next[2] == BYTE_MARK[2])
        p->next += 3;
    config_set_defaults(p, true);
    while (p->next != p->end) {
        char *line = read_line(p);
        if (line == NULL || !parse_line(p, line))
            return false;
    }
    if (!finish_vm(p))
        return false;
    p->number = 0;
    return p->out->vm_count > 0 || config_fail(p, "no [vm NAME] in it", NULL);
}

bool config_parse(const char *text, size_t length, void *memory, struct nadir_config *out,
                  struct config_error *error)
{
    struct config_parser p = {.out = out, .error = error};
    *out = (struct nadir_config){0};
    *error = (struct config_error){0};
    return parse(&p, text, length, memory) && check_starts(&p);
}

bool config_parse_vm(const char *text, size_t length, void *memory, struct vm_config **out,
                     struct config_error *error)
{
    struct nadir_config config = {0};
    struct config_parser p = {.alone = true, .out = &config, .error = error};
    *error = (struct config_error){0};
    *out = memory;
    return parse(&p, text, length, memory);
}

bool config_check_cpus(const struct nadir_config *config, uint32_t count,
                       struct config_error *error)
{
    for (uint32_t i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vm[i];
        struct config_parser p = {.number = vm->cpus_line, .error = error};
        for (uint32_t cpu = count; cpu < CONFIG_MAX_CPUS && vm->cpus_line != 0; cpu++) {
            char absent[CONFIG_DIGITS], last[CONFIG_DIGITS];
            if (config_allows_cpu(vm, cpu))
                return config_fail(&p, "cpus: there is no CPU ", config_digits(absent, cpu),
                                   " here; the last one is ", config_digits(last, count - 1), NULL);
        }
    }
    return true;
}

struct loaded_file *config_next_file(struct config_files *walk)
{
    static const char *const names[] = {"kernel", "firmware", "VGA ROM", "ramdisk", "CD image"};
    enum { SINGLE = sizeof(names) / sizeof(names[0]) };
    for (; walk->vm < walk->config->vm_count; walk->vm++, walk->next = 0) {
        struct vm_config *vm = &walk->config->vm[walk->vm];
        struct loaded_file *single[SINGLE] = {&vm->kernel, &vm->firmware, &vm->vga_rom,
                                              &vm->ramdisk, &vm->cdrom};
        const uint32_t disks = SINGLE + vm->module_count;
        while (walk->next < disks + vm->disk_count) {
            const uint32_t i = walk->next++;
            walk->is_disk = i >= disks;
            walk->is_firmware = i == 1;
            walk->is_cd = i == SINGLE - 1;
            walk->what = i < SINGLE ? names[i] : walk->is_disk ? "disk" : "module";
            struct loaded_file *file = i < SINGLE      ? single[i]
                                       : walk->is_disk ? &vm->disk[i - disks]
                                                       : &vm->module[i - SINGLE].file;
            if (file->path != NULL)
                return file;
        }
    }
    return NULL;
}

bool config_check_size(const struct config_files *walk, const struct loaded_file *file,
                       struct config_error *error)
{
    struct config_parser p = {.number = file->line, .error = error};
    char bytes[CONFIG_DIGITS];
    if (file->size == 0)
        return config_fail(&p, file->path, " is empty", NULL);
    if (walk->is_disk && file->size % CONFIG_DISK_SECTOR != 0)
        return config_fail(&p, file->path, " has ", config_digits(bytes, file->size),
                           " bytes, and a disk is a multiple of 512", NULL);
    if (walk->is_cd && file->size % CONFIG_CD_SECTOR != 0)
        return config_fail(&p, file->path, " has ", config_digits(bytes, file->size),
                           " bytes, and a CD is a multiple of 2048", NULL);
    if (walk->is_firmware && (file->size % CONFIG_ROM_UNIT != 0 || file->size > CONFIG_MAX_ROM))
        return config_fail(&p, file->path, " has ", config_digits(bytes, file->size),
                           " bytes: a firmware image has a multiple of 64 KiB, 16 MiB at most",
                           NULL);
    return true;
}

/* Volume descriptors begin at sector 16: ISO 9660's, or UDF's alone (ECMA-167, part 2). */
bool config_check_content(const struct config_files *walk, const struct loaded_file *file,
                          const void *data, struct config_error *error)
{
    enum { FIRST = 16 * CONFIG_CD_SECTOR, NAME = FIRST + 1, LENGTH = 5 };
    struct config_parser p = {.number = file->line, .error = error};
    char name[LENGTH + 1] = "";
    for (unsigned i = 0; i < LENGTH && walk->is_cd && file->size > FIRST; i++)
        name[i] = ((const char *)data)[NAME + i];
    return !walk->is_cd || text_equal(name, "CD001") || text_equal(name, "BEA01") ||
           config_fail(&p, file->path,
                       " is no image of a CD: there is no ISO 9660 or UDF file system in it", NULL);
}

_Static_assert(CONFIG_CD_SECTOR == 2048 && CONFIG_DISK_SECTOR == 512 &&
                   CONFIG_ROM_UNIT == 64 << 10 && CONFIG_MAX_ROM == 16 << 20,
               "numbers in the messages");
