// link: guest/linux.c guest/flat.c mm/guestmem.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file as a guest's kernel: the loaders refuse it or place it, and touch nothing else. The
 * first byte decides how much memory the guest has. */
#include "guest/flat.h"
#include "guest/layout.h"
#include "guest/linux.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY (34u << 20)

uint64_t physmap_base;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *ram;
    if (ram == NULL)
        ram = malloc(MEMORY);
    if (ram == NULL || size < 1)
        return 0;
    /* 1 to 32 MiB: the rest is there to show overruns by its poison. */
    const uint64_t bytes = (1u + (data[0] & 31u)) << 20;
    memset(ram + bytes, 0x5a, 4096);
    struct guestmem mem = {0};
    guestmem_add(&mem, gpa(0), bytes, ram);

    uint8_t *file =
        malloc(size - 1 != 0 ? size - 1 : 1); /* exact, so that ASan sees one byte too far */
    if (file == NULL)
        return 0;
    memcpy(file, data + 1, size - 1);
    const struct linux_image image = {file,    size - 1, file,       (size - 1) / 2,
                                      "quiet", bytes,    LAYOUT_ACPI};
    struct boot_state state;
    char why[160];
    if (linux_recognize(file, size - 1))
        linux_load(&mem, &image, &state, why, sizeof(why));
    else
        flat_load(&mem, file, size - 1, &state, why, sizeof(why));
    free(file);
    for (unsigned i = 0; i < 4096; i++) {
        if (ram[bytes + i] != 0x5a)
            abort();
    }
    return 0;
}
