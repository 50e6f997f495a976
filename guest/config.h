/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir.cfg as data: what the loader parses and the hypervisor obeys. Pure, tested on the host. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_MAX_VMS   64
#define CONFIG_MAX_VCPUS 64 /* of one VM */
#define CONFIG_MAX_PV_VCPUS \
    32 /* of one of the engine pv: Xen's shared page has places for so many */
#define CONFIG_MAX_CPUS    256 /* of the host */
#define CONFIG_MAX_MODULES 16
#define CONFIG_MAX_DISKS   2    /* as many as one ATA channel has */
#define CONFIG_MAX_STRING  256  /* of a module, with the terminator */
#define CONFIG_MAX_CMDLINE 2048 /* with the terminator: what Linux takes on x86 */
#define CONFIG_MAX_PATH    256
#define CONFIG_MAX_NAME    32
#define CONFIG_DISK_SECTOR 512
#define CONFIG_CD_SECTOR   2048
#define CONFIG_ROM_UNIT    0x10000   /* a firmware image is so many bytes, or a multiple */
#define CONFIG_MAX_ROM     0x1000000 /* 16 MiB: more would reach the IO-APIC */

/* What executes the VM: the words of `engine` in this order, which boot/main.c has a table for.
 * CONFIG_ENGINE_AUTO: the first of the others that the machine has, and that the kernel is for. */
enum config_engine {
    CONFIG_ENGINE_AUTO,
    CONFIG_ENGINE_VTX,
    CONFIG_ENGINE_BT,
    CONFIG_ENGINE_PV,
    CONFIG_ENGINES
};
#define CONFIG_ENGINE_WORDS "auto, vtx, bt or pv"

/* What the engine bt does; CHECK: each block of its translations is compared with the software CPU,
 * one vCPU's alone, as others' stores would be differences. */
enum config_bt { CONFIG_BT_TRANSLATE, CONFIG_BT_INTERPRET, CONFIG_BT_CHECK };

/* Whose interface for guests that know that they are guests is there, beside our own hypercalls. */
enum config_paravirt { PARAVIRT_KVM, PARAVIRT_NONE };

enum vm_action { ACTION_DESTROY, ACTION_RESTART };

/* What the kernel's file is; TYPE_AUTO: to be recognised. */
enum guest_type {
    TYPE_AUTO,
    TYPE_LINUX,
    TYPE_MULTIBOOT,
    TYPE_MULTIBOOT2,
    TYPE_PVH,
    TYPE_XEN,
    TYPE_FLAT
};

/* Whose way of starting a multiboot or PVH kernel is followed where their specifications leave it
 * open. */
enum guest_loader { LOADER_QEMU, LOADER_GRUB2 };

/* Which of the guest's two the user sees and types to. */
/* The last: the screen and its keyboard, and COM1's lines beside it. */
enum guest_console { CONSOLE_SERIAL, CONSOLE_VGA, CONSOLE_VGA_SERIAL };

/* A file that a section names. The parser knows path and line only; where the loader has read it to
 * (page-aligned, kept memory) is filled in afterwards. */
struct loaded_file {
    const char *path;   /* as the user has written it; NULL: none is named */
    const char *stored; /* the name that it has beside nadir.cfg instead; NULL: the path is one */
    bool unpacked;      /* what is stored is the kernel out of the bzImage that the path names */
    uint64_t base;      /* host-physical; 0: not loaded */
    uint64_t size;      /* bytes */
    uint32_t line;      /* of nadir.cfg, for messages */
};

struct config_module {
    struct loaded_file file;
    const char *string; /* never NULL */
};

/* A section [vm NAME]. Its texts lie in the memory that was given to the parser. */
struct vm_config {
    const char *name;
    struct loaded_file kernel; /* either this or firmware */
    struct loaded_file firmware;
    uint64_t
        firmware_variables; /* bytes from its start: firmware_variable_bytes(), filled in once */
    struct loaded_file vga_rom; /* with firmware: the screen's option ROM */
    bool debugcon;              /* port 0xe9 is there, and goes where COM1 does, or to: */
    const char *debugcon_file;  /* a file of whoever has started the machine; NULL: none */
    bool firmware_log;          /* with firmware: the console shows what port 0x402 is told */
    struct loaded_file ramdisk;
    struct config_module module[CONFIG_MAX_MODULES];
    uint32_t module_count;
    struct loaded_file disk[CONFIG_MAX_DISKS];
    uint32_t disk_count;
    struct loaded_file cdrom;
    enum guest_type type;
    enum guest_loader loader;
    uint64_t load, entry; /* of TYPE_FLAT: guest-physical */
    uint32_t mode;        /* of TYPE_FLAT: 16, 32 or 64 */
    enum guest_console console;
    const char *cmdline; /* never NULL */
    uint64_t memory_mib;
    uint32_t vcpus;
    enum config_engine engine;
    enum config_bt bt;
    enum config_paravirt paravirt;
    const char *pc_key; /* the first key that only a PC has a use for; NULL: there is none */
    uint64_t cpus[CONFIG_MAX_CPUS / 64]; /* bit i % 64 of [i / 64]: may run on host CPU i */
    uint32_t cpus_line; /* where they are listed; 0: nowhere, and all are allowed */
    uint32_t weight;    /* 1 to 1000: share of the time that VMs compete for */
    uint32_t cap;       /* percent of one CPU at most; 0: no limit */
    uint32_t limit;     /* seconds of its clock until it is ended; 0: none */
    bool start;         /* at start; else when somebody asks for it */
    enum vm_action on_poweroff, on_reboot, on_crash;
    uint32_t line; /* of its [vm NAME] */
};

/* The file as a whole, with the section [nadir]. */
struct nadir_config {
    uint16_t serial_port; /* I/O base of the host's 16550; 0 = none */
    uint16_t report_port; /* of another one, for reports (arch/report.h); 0 = none */
    bool reset_at_end;    /* the host, when the last VM has ended; else it is powered off */
    bool share_cores;     /* vCPUs of two VMs may run on the threads of one core */
    uint32_t max_vms;     /* may exist at a time; at least as many as start */
    uint32_t vm_count;
    struct vm_config *vm;
};

struct config_error {
    uint32_t line; /* 0: the file as a whole */
    char text[288];
};

/* Bytes of memory that the parser needs for a text: for its sections and a copy of it. */
size_t config_memory(const char *text, size_t length);

/* Parses the text of a nadir.cfg (UTF-8 or ASCII, LF or CRLF, need not be terminated) into *out,
 * with defaults for what is not named. memory: config_memory() bytes, aligned for any type, which
 * *out points into from then on; the text itself is not needed any more. Returns false with *error
 * filled in at the first thing that is wrong. Called by the loader, the hypervisor and tools. The
 * keys are those of config_key(); README.md says how a line is written. */
bool config_parse(const char *text, size_t length, void *memory, struct nadir_config *out,
                  struct config_error *error);

/* The same for one section [vm NAME] alone, to be added to a machine that runs. Whether the name is
 * taken there is for the caller to see. The memory is in use as long as the VM is. */
bool config_parse_vm(const char *text, size_t length, void *memory, struct vm_config **out,
                     struct config_error *error);

/* Whether a machine with so many CPUs has all that a section lists; else *error says which not. For
 * the loader, which knows how many there are, and tools. */
bool config_check_cpus(const struct nadir_config *config, uint32_t count,
                       struct config_error *error);

/* The name to look for, beside nadir.cfg. */
static inline const char *config_file_name(const struct loaded_file *file)
{
    return file->stored != NULL ? file->stored : file->path;
}

static inline bool config_allows_cpu(const struct vm_config *vm, uint32_t cpu)
{
    return (vm->cpus[cpu / 64] >> (cpu % 64) & 1) != 0;
}

/* A walk over the files that a configuration names: the loader reads them, and the hypervisor finds
 * them, in this one order. The first is the first VM's kernel or firmware. */
struct config_files {
    const struct nadir_config *config;
    uint32_t vm, next;
    const char *what; /* the last one, for messages */
    bool is_disk, is_cd, is_firmware;
};

/* The next file, NULL behind the last. Begins with *walk all zero but for the configuration. */
struct loaded_file *config_next_file(struct config_files *walk);

/* Whether a file's size is one that can be: the loader and tools know it. walk: at that file. */
bool config_check_size(const struct config_files *walk, const struct loaded_file *file,
                       struct config_error *error);

/* Likewise of what is in it: at least file->size bytes at data. Behind config_check_size(). */
bool config_check_content(const struct config_files *walk, const struct loaded_file *file,
                          const void *data, struct config_error *error);

struct config_parser;

/* A key of nadir.cfg: for the parser, for its messages, and for the table in README.md. */
struct config_key {
    const char *name;
    const char *values;  /* what it may say, in words */
    const char *initial; /* what it says where it is not there; NULL: nothing */
    const char *help;    /* NULL: known, and not supported yet */
    bool of_nadir;       /* it belongs to [nadir], else to [vm NAME] */
    bool repeatable;

    /* The parser's own: how the value gets into which field, within which bounds. */
    bool (*set)(struct config_parser *p, const struct config_key *key, const char *value);
    uint16_t offset, size;
    uint64_t low, high;
    uint32_t needs;
};

/* Key number i, from 0; NULL behind the last. */
const struct config_key *config_key(uint32_t i);
