/* SPDX-License-Identifier: BSD-2-Clause */
/* The kinds of kernels, in one table. */
#include "guest/load/kernel.h"

#include "arch/format.h"
#include "guest/load/elf.h"
#include "guest/load/flat.h"
#include "guest/load/foreign.h"
#include "guest/load/linux.h"
#include "guest/load/multiboot.h"
#include "guest/load/multiboot2.h"
#include "guest/load/pvh.h"
#include "guest/load/xen.h"

/* In the order in which a file is tried: a program that fits several is what comes first. */
static const struct kernel_kind kinds[] = {
    {TYPE_LINUX, "Linux", linux_recognize, linux_load, 1, false},
    {TYPE_MULTIBOOT2, "multiboot 2", multiboot2_recognize, multiboot2_load, PROGRAM_MAX_FILES,
     true},
    {TYPE_MULTIBOOT, "multiboot", multiboot_recognize, multiboot_load, PROGRAM_MAX_FILES, true},
    {TYPE_PVH, "PVH", pvh_recognize, pvh_load, PROGRAM_MAX_FILES, true},
    {TYPE_XEN, "Xen PV", xen_recognize, xen_load, 1, false},
    {TYPE_FLAT, "flat", flat_recognize, flat_load, 0, false},
};

static struct program_file file_of(const struct loaded_file *file, const char *string)
{
    return (struct program_file){hpa_to_ptr(hpa(file->base)), file->size, file->path, string};
}

struct program kernel_program(const struct vm_config *config, const struct guestmem *mem,
                              uint64_t memory_bytes)
{
    struct program p = {
        .mem = mem,
        .memory_bytes = memory_bytes,
        .rsdp = gpa(LAYOUT_ACPI),
        .kernel = file_of(&config->kernel, ""),
        .cmdline = config->cmdline,
        .load = config->load,
        .entry = config->entry,
        .mode = config->mode,
        .loader = config->loader,
        .paravirtual = config->engine == CONFIG_ENGINE_PV,
        .keeps_info = true,
        .keeps_tables = true,
    };
    if (config->ramdisk.base != 0)
        p.file[p.file_count++] = file_of(&config->ramdisk, "");
    for (uint32_t i = 0; i < config->module_count; i++)
        p.file[p.file_count++] = file_of(&config->module[i].file, config->module[i].string);
    return p;
}

static const struct kernel_kind *find_kind(struct program *p, enum guest_type type)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (p->between != NULL)
            p->between();
        if ((kinds[i].type == TYPE_XEN) != p->paravirtual)
            continue;
        if (type == TYPE_AUTO ? kinds[i].recognize(p) : kinds[i].type == type)
            return &kinds[i];
    }
    return NULL;
}

/* Of what is known about a file that is no kernel, what helps its owner most. */
static enum status refuse(struct program *p)
{
    if (p->paravirtual)
        return xen_refuse(p);
    if (multiboot2_explain(p) || multiboot_explain(p) || elf_explain(p) || foreign_explain(p))
        return ERR_BAD_INPUT;
    return program_refuse(p, ERR_BAD_INPUT,
                          "neither Linux bzImage, multiboot, multiboot 2 or PVH kernel, nor boot "
                          "sector; type = flat takes any file");
}

/* What a section has that a Xen domain, which is no PC, cannot have; NULL: nothing. Where the
 * engine is named, the parser itself has looked. */
static const char *misfit_of_domain(const struct vm_config *config)
{
    if (config->console != CONSOLE_SERIAL)
        return "console must be serial";
    if (config->vcpus > CONFIG_MAX_PV_VCPUS)
        return "vcpus is 32 at most";
    return config->bt != CONFIG_BT_TRANSLATE ? "bt is for the engine bt" : NULL;
}
_Static_assert(CONFIG_MAX_PV_VCPUS == 32, "as it says");

bool kernel_settle_engine(struct vm_config *config, struct config_error *error)
{
    struct program p = kernel_program(config, NULL, 0);
    if (config->kernel.base == 0 || config->type != TYPE_AUTO ||
        config->engine != CONFIG_ENGINE_AUTO || !xen_recognize(&p) ||
        find_kind(&p, TYPE_AUTO) != NULL)
        return true;
    config->engine = CONFIG_ENGINE_PV;
    const char *misfit = config->pc_key != NULL ? "is for a PC" : misfit_of_domain(config);
    if (misfit == NULL)
        return true;
    error->line = config->kernel.line;
    format_text(error->text, sizeof(error->text),
                "[vm %s]: %s is a Xen PV kernel and nothing else, for engine = pv, where %s%s%s",
                config->name, config->kernel.path, config->pc_key != NULL ? config->pc_key : "",
                config->pc_key != NULL ? " " : "", misfit);
    return false;
}

enum status kernel_load(struct program *p, enum guest_type type, struct cpu_state *state,
                        const struct kernel_kind **kind)
{
    p->type_named = type != TYPE_AUTO;
    const struct kernel_kind *found = find_kind(p, type);
    *kind = found;
    if (found == NULL)
        return refuse(p);
    if (!p->type_named && found->type == TYPE_FLAT && foreign_explain(p))
        return ERR_BAD_INPUT;
    if (p->file_count > found->max_files)
        return program_refuse(p, ERR_BAD_INPUT, "a %s kernel takes %s", found->name,
                              found->max_files == 0 ? "neither ramdisk nor modules"
                                                    : "a ramdisk, but no modules");
    return found->load(p, state);
}
