/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as nadir.cfg: no fault, and what is accepted is whole and within its limits. */
// link: guest/config.c guest/config_keys.c
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* A text within the memory that the parser was given. */
static bool is_text(const char *s, size_t size)
{
    return s != NULL && memchr(s, '\0', size) != NULL;
}

static bool is_file(const struct loaded_file *file)
{
    return is_text(file->path, CONFIG_MAX_PATH) && file->path[0] != '\0' && file->base == 0 &&
           (file->stored == NULL || is_text(file->stored, CONFIG_MAX_PATH));
}

static bool is_file_or_none(const struct loaded_file *file)
{
    return file->path == NULL || is_file(file);
}

static void check_vm(const struct vm_config *vm)
{
    demand(is_text(vm->name, CONFIG_MAX_NAME) && vm->name[0] != '\0');
    demand((vm->kernel.path != NULL) != (vm->firmware.path != NULL));
    demand(is_file_or_none(&vm->kernel) && is_file_or_none(&vm->firmware));
    demand(is_file_or_none(&vm->ramdisk) && is_file_or_none(&vm->vga_rom) &&
           is_file_or_none(&vm->cdrom));
    demand(vm->module_count <= CONFIG_MAX_MODULES && vm->disk_count <= CONFIG_MAX_DISKS);
    for (uint32_t i = 0; i < vm->module_count; i++)
        demand(is_file(&vm->module[i].file) && is_text(vm->module[i].string, CONFIG_MAX_STRING));
    for (uint32_t i = 0; i < vm->disk_count; i++)
        demand(is_file(&vm->disk[i]));
    demand(vm->type <= TYPE_FLAT && vm->loader <= LOADER_GRUB2 &&
           vm->console <= CONSOLE_VGA_SERIAL);
    demand(vm->load <= UINT32_MAX && vm->entry <= UINT32_MAX);
    demand(vm->mode == 16 || vm->mode == 32 || vm->mode == 64);
    demand(is_text(vm->cmdline, CONFIG_MAX_CMDLINE));
    demand(vm->debugcon_file == NULL ||
           (vm->debugcon && is_text(vm->debugcon_file, CONFIG_MAX_PATH)));
    demand(vm->memory_mib >= 16 && vm->memory_mib <= 1 << 20);
    demand(vm->engine < CONFIG_ENGINES && vm->cap <= 6400);
    demand(vm->weight >= 1 && vm->weight <= 1000);
    demand(vm->vcpus >= 1 && vm->vcpus <= CONFIG_MAX_VCPUS);
    demand(vm->on_poweroff <= ACTION_RESTART && vm->on_reboot <= ACTION_RESTART &&
           vm->on_crash <= ACTION_RESTART);
}

static void check_config(const struct nadir_config *config)
{
    struct config_files walk = {.config = config};
    struct config_error error;
    struct loaded_file *file;
    demand(config->vm_count >= 1 && config->vm_count <= CONFIG_MAX_VMS);
    demand(config->serial_port % 8 == 0 && config->report_port % 8 == 0);
    demand(config->report_port == 0 || config->report_port != config->serial_port);
    for (uint32_t i = 0; i < config->vm_count; i++)
        check_vm(&config->vm[i]);
    demand(config->max_vms >= 1 && config->max_vms <= CONFIG_MAX_VMS);
    demand(config_check_cpus(config, CONFIG_MAX_CPUS, &error));
    while ((file = config_next_file(&walk)) != NULL)
        demand(is_file(file) && walk.what != NULL);
}

/* The first byte decides whether it is a file or one section. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nadir_config config;
    struct vm_config *vm;
    struct config_error error;
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    const bool alone = data[0] % 2 != 0;
    void *memory = malloc(config_memory(text, --size));
    demand(memory != NULL);
    const bool good = alone ? config_parse_vm(text, size, memory, &vm, &error)
                            : config_parse(text, size, memory, &config, &error);
    if (!good)
        demand(error.text[0] != '\0' && is_text(error.text, sizeof(error.text)));
    else if (alone)
        check_vm(vm);
    else
        check_config(&config);
    free(memory);
    return 0;
}
