/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel of any kind: finds out which one a file is, and has it loaded. Pure, so that the checker
 * on the user's machine says beforehand, in the same words, what the hypervisor would. */
#pragma once

#include "guest/load/program.h"

struct kernel_kind {
    enum guest_type type;
    const char *name;
    bool (*recognize)(struct program *p);
    program_loader *load;
    uint32_t max_files; /* ramdisk and modules */
    bool has_selectors; /* those of the boot loader that nadir.cfg names */
};

/* Where neither engine nor kind of kernel are named: a file that is nothing but a Xen PV kernel is
 * for the engine pv. Others, such as Linux, start as on a PC. The kernel's `base` is filled in.
 * False: the section has what such a VM cannot, and *error says what. */
bool kernel_settle_engine(struct vm_config *config, struct config_error *error);

/* The program that a section of nadir.cfg describes, for this memory. Its files are where the
 * section's `base` fields say. */
struct program kernel_program(const struct vm_config *config, const struct guestmem *mem,
                              uint64_t memory_bytes);

/* Loads the program as the kind that `type` names, or, with TYPE_AUTO, as the first that its file
 * looks like. *kind: which one it is, or NULL. A refusal leaves a sentence in p->why. */
enum status kernel_load(struct program *p, enum guest_type type, struct cpu_state *state,
                        const struct kernel_kind **kind);
