/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as nadir.cfg: no fault, and what is accepted is whole and within its limits. */
// link: guest/config.c
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

static bool is_terminated(const char *s, size_t size)
{
    return memchr(s, '\0', size) != NULL;
}

static void check_vm(const struct vm_config *vm)
{
    demand(vm->name[0] != '\0' && is_terminated(vm->name, CONFIG_MAX_NAME));
    demand((vm->kernel.path[0] != '\0') != (vm->firmware.path[0] != '\0'));
    demand(is_terminated(vm->kernel.path, CONFIG_MAX_PATH));
    demand(is_terminated(vm->firmware.path, CONFIG_MAX_PATH));
    demand(vm->module_count <= CONFIG_MAX_MODULES && vm->disk_count <= CONFIG_MAX_DISKS);
    for (uint32_t i = 0; i < vm->module_count; i++) {
        demand(vm->module[i].file.path[0] != '\0');
        demand(is_terminated(vm->module[i].file.path, CONFIG_MAX_PATH));
        demand(is_terminated(vm->module[i].string, CONFIG_MAX_STRING));
    }
    for (uint32_t i = 0; i < vm->disk_count; i++)
        demand(vm->disk[i].path[0] != '\0' && is_terminated(vm->disk[i].path, CONFIG_MAX_PATH));
    demand(vm->type <= TYPE_FLAT && vm->console <= CONSOLE_VGA);
    demand(vm->load <= UINT32_MAX && vm->entry <= UINT32_MAX);
    demand(vm->mode == 16 || vm->mode == 32 || vm->mode == 64);
    demand(is_terminated(vm->ramdisk.path, CONFIG_MAX_PATH));
    demand(is_terminated(vm->cmdline, CONFIG_MAX_CMDLINE));
    demand(vm->memory_mib >= 16 && vm->memory_mib <= 1 << 20);
    demand(vm->vcpus >= 1 && vm->vcpus <= CONFIG_MAX_VCPUS);
    demand(vm->on_poweroff <= ACTION_RESTART && vm->on_reboot <= ACTION_RESTART &&
           vm->on_crash <= ACTION_RESTART);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct nadir_config config;
    struct config_error error;

    if (!config_parse((const char *)data, size, &config, &error)) {
        demand(error.text[0] != '\0' && is_terminated(error.text, sizeof(error.text)));
        return 0;
    }
    demand(config.vm_count >= 1 && config.vm_count <= CONFIG_MAX_VMS);
    demand(config.serial_port % 8 == 0);
    for (uint32_t i = 0; i < config.vm_count; i++)
        check_vm(&config.vm[i]);
    return 0;
}
