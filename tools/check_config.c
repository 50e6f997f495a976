/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loader and the hypervisor will say of a nadir.cfg, said beforehand by their own code:
 * the parser, and the loaders of kernels, which are pure. For tools/nadir: reads the text from
 * stdin; where something is wrong prints `LINE TEXT` (line 0: the file as a whole) and ends with
 * status 1.
 * --folder DIR: its files are there, and are looked at (those that are missing are left to the
 * caller). --cpus N, --memory MIB: what the machine has. A kernel that is none ends it with status
 * 3. --tell: with status 0, what each VM's kernel is. --packed: `LINE PATH` of each kernel that is
 * to be taken out of its bzImage, and nothing of what is wrong. With --table it prints the keys, as
 * README.md has them. */
#define _DEFAULT_SOURCE /* memory without a file, which POSIX lacks */
#include "guest/config.h"
#include "guest/load/kernel.h"
#include "guest/load/linux.h"
#include "guest/load/xen_domain.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_REFUSED 3
#define NADIR_MIB      6 /* what hypervisor and firmware keep for themselves, at least */

uint64_t physmap_base; /* a "physical" address is a pointer here */

static void print_table(void)
{
    const struct config_key *key;
    puts("| key | value | default | |\n|---|---|---|---|");
    for (uint32_t i = 0; (key = config_key(i)) != NULL; i++) {
        if (key->help == NULL)
            continue;
        if (i == 0 || key->of_nadir != config_key(i - 1)->of_nadir)
            puts(key->of_nadir
                     ? "| **[nadir]** | | | *Nadir itself; may be left out* |"
                     : "| **[vm NAME]** | | | *a VM, one section each; letters, digits, - _ .* |");
        printf("| `%s` | %s | %s | %s%s |\n", key->name, key->values,
               key->initial != NULL ? key->initial : "", key->repeatable ? "repeatable: " : "",
               key->help);
    }
}

/* Maps a file. False: it cannot be read, and *error says so. */
static bool map_file(struct loaded_file *file, int fd, struct config_error *error)
{
    struct stat s;
    error->line = file->line;
    if (fd < 0 || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
        snprintf(error->text, sizeof(error->text), "%s is %s", file->path,
                 fd >= 0 && S_ISDIR(s.st_mode) ? "a directory" : "no file that can be read");
        return false;
    }
    file->size = (uint64_t)s.st_size;
    if (file->size == 0)
        return true;
    void *data = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    file->base = data != MAP_FAILED ? (uint64_t)data : 0;
    return true;
}

/* All files of all sections; their sizes are added to *bytes. */
static bool check_files(const struct nadir_config *config, struct config_error *error,
                        uint64_t *bytes)
{
    struct config_files walk = {.config = config};
    struct loaded_file *file;
    while ((file = config_next_file(&walk)) != NULL) {
        const char *name = config_file_name(file);
        if (access(name, F_OK) != 0)
            continue;
        const int fd = open(name, O_RDONLY);
        const bool good =
            map_file(file, fd, error) && config_check_size(&walk, file, error) &&
            (file->base == 0 || config_check_content(&walk, file, (void *)file->base, error));
        if (fd >= 0)
            close(fd);
        if (!good)
            return false;
        *bytes += file->size;
    }
    return true;
}

/* Has the VM's kernel loaded, into memory that costs nothing where nothing is put: what a PC has
 * below 4 GiB, or all of a Xen PV domain's, with what lies behind it. */
static bool check_kernel(struct vm_config *vm, struct config_error *error, bool tell)
{
    if (!kernel_settle_engine(vm, error))
        return false;
    const bool is_pc = vm->engine != CONFIG_ENGINE_PV;
    const uint64_t bytes = vm->memory_mib << 20, shared = xen_shared_info_at(bytes).v;
    const uint64_t ram_bytes = is_pc ? layout_below_4g(bytes) : bytes;
    const uint64_t mapped = is_pc ? ram_bytes : shared + XEN_BEHIND_PAGES * PAGE_SIZE;
    const struct kernel_kind *kind;
    struct cpu_state state;
    struct guestmem mem = {0};
    uint8_t *ram = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED || guestmem_add(&mem, gpa(0), ram_bytes, ram) != OK ||
        (!is_pc &&
         guestmem_add(&mem, gpa(shared), XEN_BEHIND_PAGES * PAGE_SIZE, ram + shared) != OK))
        return true;
    struct program program = kernel_program(vm, &mem, bytes);
    const bool good = kernel_load(&program, vm->type, &state, &kind) == OK;
    munmap(ram, mapped);
    error->line = vm->kernel.line;
    if (!good)
        snprintf(error->text, sizeof(error->text), "%s: %s", vm->kernel.path, program.why);
    else if (tell)
        printf("%u %s: %s, entry 0x%" PRIx64 "\n", vm->kernel.line, vm->kernel.path, kind->name,
               state.cs.base + state.rip);
    return good;
}

/* The engine pv needs the kernel in a bzImage, and Nadir itself has no unpacker. */
static void print_packed(struct vm_config *vm)
{
    struct program program = kernel_program(vm, NULL, 0);
    if (vm->engine == CONFIG_ENGINE_PV && vm->kernel.base != 0 && linux_recognize(&program))
        printf("%u %s\n", vm->kernel.line, vm->kernel.path);
}

/* Whether a machine of so many MiB has room for the files and for what starts. */
static bool check_memory(const struct nadir_config *config, uint64_t memory, uint64_t file_bytes,
                         struct config_error *error)
{
    uint64_t needed = NADIR_MIB + (file_bytes >> 20);
    for (uint32_t i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vm[i];
        if (!vm->start)
            continue;
        needed += vm->memory_mib;
        if (needed <= memory)
            continue;
        error->line = vm->line;
        snprintf(error->text, sizeof(error->text),
                 "[vm %s] has memory = %llu (MiB): with all before it, files and Nadir's own that "
                 "makes %llu, and the machine has %llu (--memory)",
                 vm->name, (unsigned long long)vm->memory_mib, (unsigned long long)needed,
                 (unsigned long long)memory);
        return false;
    }
    return true;
}

struct options {
    const char *folder;
    uint64_t cpus, memory;
    bool tell, packed;
};

/* The status to end with. */
static int check(const char *text, size_t length, void *memory, const struct options *o,
                 struct config_error *error)
{
    struct nadir_config config;
    uint64_t bytes = 0;
    if (!config_parse(text, length, memory, &config, error) ||
        !config_check_cpus(&config, (uint32_t)o->cpus, error))
        return 1;
    if (o->folder == NULL)
        return 0;
    if (!check_files(&config, error, &bytes) ||
        (o->memory != 0 && !check_memory(&config, o->memory, bytes, error)))
        return 1;
    for (uint32_t i = 0; i < config.vm_count; i++)
        if (o->packed)
            print_packed(&config.vm[i]);
        else if (config.vm[i].kernel.base != 0 && !check_kernel(&config.vm[i], error, o->tell))
            return KERNEL_REFUSED;
    return 0;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        o->tell = o->tell || strcmp(argv[i], "--tell") == 0;
        o->packed = o->packed || strcmp(argv[i], "--packed") == 0;
        if (strcmp(argv[i], "--cpus") == 0)
            o->cpus = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--memory") == 0)
            o->memory = strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--folder") == 0)
            o->folder = value;
    }
    return o->folder == NULL || chdir(o->folder) == 0;
}

int main(int argc, char **argv)
{
    struct options options = {.cpus = CONFIG_MAX_CPUS};
    struct config_error error = {0};
    char *text = NULL;
    size_t length = 0, room = 0;
    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        print_table();
        return 0;
    }
    if (!parse_options(argc, argv, &options))
        return 2;
    for (size_t got = 1; got != 0; length += got) {
        if (length == room)
            text = realloc(text, room = 2 * room + 4096);
        if (text == NULL)
            return 2;
        got = fread(text + length, 1, room - length, stdin);
    }
    void *memory = malloc(config_memory(text, length));
    if (memory == NULL)
        return 2;
    const int status = check(text, length, memory, &options, &error);
    if (status != 0 && !options.packed)
        printf("%u %s\n", error.line, error.text);
    free(memory);
    free(text);
    return options.packed ? 0 : status;
}
