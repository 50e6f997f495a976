/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Xen PV kernel's file says of itself: ELF notes, or the older section __xen_guest. Pure. */
#pragma once

#include "guest/load/program.h"

#define XEN_NOTES_CUT_SHORT "the ELF file's notes are cut short"

struct xen_notes {
    uint64_t entry; /* virtual, as all addresses here */
    uint64_t virt_base;
    uint64_t paddr_offset; /* p_paddr of what lies at virt_base */
    uint64_t hypercall_page, init_p2m;
    bool has_hypercall_page, has_init_p2m;
    bool mod_start_pfn; /* the ramdisk need not be mapped */
};

/* Whether a file says so at all, whatever it says. */
bool xen_has_notes(const struct program_file *file);

/* Whether a kernel may want something mapped there: refuses what does not begin with a page, is not
 * canonical, or belongs to the hypervisor. what: its name in the refusal. */
enum status xen_check_range(struct program *p, const char *what, uint64_t at, uint64_t bytes);

/* Of a file that has them: reads and checks them. A refusal leaves a sentence in p->why. */
enum status xen_read_notes(struct program *p, struct xen_notes *out);
