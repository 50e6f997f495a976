/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loader would leave in memory, as a file for tools/warm/rom.asm: the handoff, page
 * tables, the hypervisor, the configuration (stdin) and the files that it names, relative to the
 * working directory. warm_ram CPUS MIB EPOCH bochs|qemu ELF OUT Hides how a machine without a
 * firmware gets its handoff. Where the configuration is wrong it prints `LINE TEXT` as
 * tools/check_config does, and ends with status 1. */
#define _DEFAULT_SOURCE /* ftruncate(), which C lacks */
#include "arch/addr.h"
#include "boot/efi_elf.h"
#include "boot/efi_regions.h"
#include "guest/config.h"
#include "tools/warm/acpi.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM_AT     0x100000ull /* where the file stands in the machine's memory */
#define IMAGE_AT   0x200000ull
#define TRAMPOLINE 0x8000ull
#define LOW_END    0x9f000ull
#define MAGIC      0x6d726177u /* "warm" */
#define MIB        (1ull << 20)

/* Where rom.asm finds what it needs. */
struct warm_start {
    uint64_t magic;
    uint64_t end; /* where the magic stands again: all has arrived in the right order */
    uint64_t entry;
    uint32_t cr3;
    uint32_t handoff;
    uint32_t others;  /* CPUs beside the boot CPU */
    uint32_t pm_base; /* where the ports of power management go to; 0: they are nowhere */
};
_Static_assert(offsetof(struct warm_start, entry) == 16 &&
                   offsetof(struct warm_start, pm_base) == 36,
               "rom.asm knows the layout");

/* The memory of the machine from RAM_AT on, as the output file has it. */
struct ram {
    int out;
    uint64_t end; /* host-physical: what has been given out */
    uint64_t limit;
};

static _Noreturn void fail(uint32_t line, const char *what, const char *name)
{
    printf("%u %s%s\n", line, name, what);
    exit(1);
}

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(2);
}

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

/* Zeroed pages of the machine, to be written to here; where they are there is *at. */
static void *ram_take(struct ram *ram, uint64_t bytes, uint64_t *at)
{
    bytes = page_up(bytes);
    *at = ram->end;
    if (bytes > ram->limit - ram->end)
        fail(0, "the machine has too little memory for the files", "");
    ram->end += bytes;
    /* A hole in the file would be filled at the first write, where a full disk is a SIGBUS. */
    if (posix_fallocate(ram->out, (off_t)(*at - RAM_AT), (off_t)bytes) != 0)
        fail(0, "there is no room for the machine's memory in the folder for temporary files", "");
    void *here =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ram->out, (off_t)(*at - RAM_AT));
    if (here == MAP_FAILED)
        give_up("the memory's file");
    return here;
}

static void read_whole(int in, void *to, uint64_t size, const char *name)
{
    for (uint64_t done = 0; done < size;) {
        const ssize_t got = read(in, (char *)to + done, size - done);
        if (got <= 0)
            give_up(name);
        done += (uint64_t)got;
    }
}

static void load_file(struct ram *ram, const struct config_files *walk, struct loaded_file *file,
                      struct handoff_file *out)
{
    struct stat facts;
    struct config_error error;
    const int in = open(config_file_name(file), O_RDONLY);
    if (in < 0 || fstat(in, &facts) != 0)
        fail(file->line, " cannot be read", file->path);
    if (S_ISDIR(facts.st_mode))
        fail(file->line, " is a directory", file->path);
    out->size = file->size = (uint64_t)facts.st_size;
    if (!config_check_size(walk, file, &error))
        fail(error.line, error.text, "");
    void *here = ram_take(ram, out->size, &out->base);
    read_whole(in, here, out->size, file->path);
    if (!config_check_content(walk, file, here, &error))
        fail(error.line, error.text, "");
    munmap(here, page_up(out->size));
    close(in);
}

static void load_image(struct ram *ram, const char *name, struct elf_span *span, struct handoff *h)
{
    struct stat facts;
    const Elf64_Phdr *s;
    const int in = open(name, O_RDONLY);
    if (in < 0 || fstat(in, &facts) != 0)
        give_up(name);
    void *elf = malloc((size_t)facts.st_size);
    if (elf == NULL)
        give_up(name);
    read_whole(in, elf, (uint64_t)facts.st_size, name);
    if (!elf_measure(elf, (uint64_t)facts.st_size, span))
        fail(0, " is damaged", name);
    h->image_bytes = page_up(span->high - span->low);
    uint8_t *image = ram_take(ram, h->image_bytes, &h->image_base);
    for (unsigned i = 0; (s = elf_segment(elf, i)) != NULL; i++)
        if (s->p_type == PT_LOAD)
            memcpy(image + (s->p_vaddr - span->low), (char *)elf + s->p_offset, s->p_filesz);
    free(elf);
    close(in);
}

static char *read_text(size_t *length)
{
    char *text = NULL;
    size_t room = 0;
    *length = 0;
    for (size_t got = 1; got != 0; *length += got) {
        if (*length == room && (text = realloc(text, room = 2 * room + 4096)) == NULL)
            give_up("nadir.cfg");
        got = fread(text + *length, 1, room - *length, stdin);
    }
    return text;
}

static void load_config(struct ram *ram, uint32_t cpus, struct handoff *h)
{
    struct nadir_config config;
    struct config_error error;
    char *text = read_text(&h->config_size);
    void *memory = malloc(config_memory(text, h->config_size));
    if (memory == NULL)
        give_up("nadir.cfg");
    if (!config_parse(text, h->config_size, memory, &config, &error) ||
        !config_check_cpus(&config, cpus, &error))
        fail(error.line, error.text, "");
    h->serial_port = config.serial_port;
    h->report_port = config.report_port;
    memcpy(ram_take(ram, h->config_size, &h->config_base), text, h->config_size);
    struct config_files walk = {.config = &config}, again = walk;
    while (config_next_file(&walk) != NULL)
        h->file_count++;
    struct handoff_file *list = ram_take(ram, h->file_count * sizeof(*list), &h->file_base);
    for (uint32_t i = 0; i < h->file_count; i++) {
        struct loaded_file *file = config_next_file(&again);
        load_file(ram, &again, file, &list[i]);
    }
    free(memory);
    free(text);
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    const bool has_acpi = strcmp(argv[4], "qemu") == 0;
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of files' sizes is told of as a full disk is */
    const uint32_t cpus = (uint32_t)strtoul(argv[1], NULL, 10);
    const uint64_t ram_end = strtoull(argv[2], NULL, 10) * MIB;
    if (cpus == 0 || cpus > HANDOFF_MAX_CPUS || ram_end <= IMAGE_AT)
        fail(0, "no such machine", "");
    /* The last page is for the magic. */
    struct ram ram = {open(argv[6], O_RDWR | O_CREAT | O_TRUNC, 0666), RAM_AT, ram_end - PAGE_SIZE};
    if (ram.out < 0)
        give_up(argv[6]);
    uint64_t at, handoff_at, tables_at;
    struct elf_span span;
    struct warm_start *start = ram_take(&ram, sizeof(*start), &at);
    struct handoff *h = ram_take(&ram, sizeof(*h), &handoff_at);
    struct boot_map map = {.ram_end = ram_end, .image_base = IMAGE_AT};
    uint64_t *tables = ram_take(&ram, boot_tables_pages(&map) * PAGE_SIZE, &tables_at);
    *h = (struct handoff){
        .trampoline = TRAMPOLINE,
        .epoch = strtoull(argv[3], NULL, 10),
        .cpu_count = cpus,
    };
    if (has_acpi) {
        uint8_t *page = ram_take(&ram, PAGE_SIZE, &h->rsdp);
        acpi_fill(page, h->rsdp);
    }
    ram.end = IMAGE_AT;
    load_image(&ram, argv[5], &span, h);
    load_config(&ram, cpus, h);
    map.link_base = span.low;
    map.image_bytes = h->image_bytes;
    boot_tables_fill(tables, tables_at, &map);
    for (uint32_t i = 0; i < cpus; i++)
        h->cpu[i] = (struct handoff_cpu){.apic_id = i, .is_boot_cpu = i == 0};
    ram.limit += PAGE_SIZE;
    *start = (struct warm_start){MAGIC,
                                 ram.end,
                                 span.entry,
                                 (uint32_t)tables_at,
                                 (uint32_t)handoff_at,
                                 cpus - 1,
                                 has_acpi ? PM_BASE : 0};
    *(uint32_t *)ram_take(&ram, sizeof(uint32_t), &at) = MAGIC;
    regions_add(h, 0, TRAMPOLINE / PAGE_SIZE, REGION_FREE);
    regions_add(h, TRAMPOLINE, 1, REGION_KEPT);
    regions_add(h, TRAMPOLINE + PAGE_SIZE, (LOW_END - TRAMPOLINE) / PAGE_SIZE - 1, REGION_FREE);
    regions_add(h, LOW_END, (RAM_AT - LOW_END) / PAGE_SIZE, REGION_RESERVED);
    regions_add(h, RAM_AT, (ram.end - RAM_AT) / PAGE_SIZE, REGION_KEPT);
    regions_add(h, ram.end, (ram_end - ram.end) / PAGE_SIZE, REGION_FREE);
    return 0;
}
