/* SPDX-License-Identifier: BSD-2-Clause */
/* nadir.cfg as data: what the loader parses and the hypervisor obeys. Pure, tested on the host. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_MAX_VMS     8
#define CONFIG_MAX_VCPUS   16 /* vCPUs of one VM */
#define CONFIG_MAX_MODULES 16
#define CONFIG_MAX_DISKS   2    /* as many as one ATA channel has */
#define CONFIG_MAX_STRING  256  /* of a module, with the terminator */
#define CONFIG_MAX_CMDLINE 2048 /* with the terminator: what Linux takes on x86 */
#define CONFIG_MAX_PATH    256
#define CONFIG_MAX_NAME    32

enum vm_action { ACTION_DESTROY, ACTION_RESTART };

/* What the kernel's file is; TYPE_AUTO: to be recognised. */
enum guest_type { TYPE_AUTO, TYPE_LINUX, TYPE_MULTIBOOT, TYPE_MULTIBOOT2, TYPE_PVH, TYPE_FLAT };

/* Which of the guest's two the user sees and types to. */
enum guest_console { CONSOLE_SERIAL, CONSOLE_VGA };

/* A file that the loader has read (page-aligned, LoaderData); base 0 where none was named. */
struct loaded_file {
    char path[CONFIG_MAX_PATH];
    uint64_t base; /* host-physical */
    uint64_t size; /* bytes */
    uint32_t line; /* of nadir.cfg, for messages */
};

struct config_module {
    struct loaded_file file;
    char string[CONFIG_MAX_STRING];
};

struct vm_config {
    char name[CONFIG_MAX_NAME];
    struct loaded_file kernel; /* either this or firmware */
    struct loaded_file firmware;
    struct loaded_file vga_rom; /* with firmware: the screen's option ROM */
    bool firmware_log;          /* with firmware: the console shows what port 0x402 is told */
    struct loaded_file ramdisk;
    struct config_module module[CONFIG_MAX_MODULES];
    uint32_t module_count;
    struct loaded_file disk[CONFIG_MAX_DISKS];
    uint32_t disk_count;
    enum guest_type type;
    uint64_t load, entry; /* of TYPE_FLAT: guest-physical */
    uint32_t mode;        /* of TYPE_FLAT: 16, 32 or 64 */
    enum guest_console console;
    char cmdline[CONFIG_MAX_CMDLINE];
    uint64_t memory_mib;
    uint32_t vcpus;
    enum vm_action on_poweroff, on_reboot, on_crash;
    uint32_t line; /* of its [vm NAME] */
};

/* The section [nadir]: itself. */
struct nadir_config {
    uint16_t serial_port; /* I/O base of the host's 16550; 0 = none */
    bool reset_at_end;    /* the host, when the last VM has ended; else it is powered off */
    uint32_t vm_count;
    struct vm_config vm[CONFIG_MAX_VMS];
};

struct config_error {
    uint32_t line; /* 0: the file as a whole */
    char text[224];
};

/* Parses the text of a nadir.cfg (UTF-8 or ASCII, LF or CRLF, need not be terminated) into *out,
 * with defaults for what is not named. Returns false with *error filled in at the first thing that
 * is wrong. Called by the loader and tests.
 *
 *   [nadir]
 *   serial = 0x3f8            # I/O port of the host's 16550, or none
 *   at_end = poweroff         # or reset: what becomes of the host after the last VM
 *
 *   [vm debian]               # letters, digits and - _ .
 *   kernel = vmlinuz          # or firmware = FILE; relative to nadir.cfg, / or \ between names
 *   vga_rom = FILE            # these two with firmware only
 *   firmware_log = no         # or yes
 *   ramdisk = initrd.gz
 *   module = FILE [STRING]    # may be repeated
 *   disk = FILE               # once or twice
 *   type = linux              # or multiboot, multiboot2, pvh, flat; else recognised from the file
 *   load = 0x7c00             # these three with type = flat only
 *   entry = 0x7c00            # as load, unless named
 *   mode = 16                 # or 32, 64
 *   console = serial          # or vga
 *   cmdline = console=ttyS0 quiet
 *   memory = 256              # MiB, decimal or 0x
 *   vcpus = 1
 *   on_poweroff = destroy     # or restart
 *   on_reboot = restart
 *   on_crash = destroy
 *
 * The values above are the defaults in [nadir], of firmware_log, and from memory on. A # at the
 * start of a line or value, or behind white space, begins a comment, unless it is quoted: a value
 * may stand in
 * "..." or '...', with no escapes. Each key but module and disk at most once in a section. */
bool config_parse(const char *text, size_t length, struct nadir_config *out,
                  struct config_error *error);
