/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether the VMs' kernels are any, by the hypervisor's own loaders on memory that is borrowed for
 * it: a mistake is told in the same words, but while the firmware is still there. */
#include "arch/string.h"
#include "boot/efi_loader.h"
#include "guest/load/kernel.h"

uint64_t physmap_base; /* of arch/addr.h: the firmware maps memory where it is */

/* What the loaders call; GNU-EFI has memcpy() and memset() only. */
int memcmp(const void *a, const void *b, size_t n)
{
    return (int)CompareMem(a, b, n);
}

void *memmove(void *to, const void *from, size_t n)
{
    BS->CopyMem(to, (void *)(uintptr_t)from, n); /* may overlap, says UEFI */
    return to;
}

size_t strlen(const char *s)
{
    return strlena((const CHAR8 *)s);
}

static bool kernel_check(struct loader *l, const struct vm_config *vm, const struct guestmem *mem)
{
    static struct program program; /* with the state, too large for the stack of some firmware */
    static struct cpu_state state;
    const struct kernel_kind *kind;
    program = kernel_program(vm, mem, vm->memory_mib << 20);
    if (kernel_load(&program, vm->type, &state, &kind) == OK)
        return true;
    return loader_config_error(l, vm->kernel.line, L"%a: %a", vm->kernel.path, program.why);
}

bool kernels_check(struct loader *l)
{
    bool good = true;
    for (uint32_t i = 0; i < l->config.vm_count && good; i++) {
        struct vm_config *vm = &l->config.vm[i];
        struct config_error error;
        if (!kernel_settle_engine(vm, &error))
            return loader_config_error(l, error.line, L"%a", error.text);
        const bool is_pc = vm->engine != CONFIG_ENGINE_PV;
        const uint64_t bytes = vm->memory_mib << 20, shared = xen_shared_info_at(bytes).v;
        const uint64_t ram = is_pc ? layout_below_4g(bytes) : bytes;
        const uint64_t taken = is_pc ? ram : shared + XEN_BEHIND_PAGES * PAGE_SIZE;
        EFI_PHYSICAL_ADDRESS base = 0;
        struct guestmem mem = {0};
        /* Where there is not so much in one piece, the hypervisor is who finds out. */
        if (vm->kernel.path == NULL ||
            EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiLoaderData, EFI_SIZE_TO_PAGES(taken),
                                        &base)))
            continue;
        good = guestmem_add(&mem, gpa(0), ram, (void *)base) == OK;
        if (!is_pc)
            good = good && guestmem_add(&mem, gpa(shared), XEN_BEHIND_PAGES * PAGE_SIZE,
                                        (void *)(base + shared)) == OK;
        good = good && kernel_check(l, vm, &mem);
        BS->FreePages(base, EFI_SIZE_TO_PAGES(taken));
    }
    return good;
}
