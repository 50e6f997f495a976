/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended page tables: guest-physical to host-physical, in the largest pages that fit. */
#pragma once

#include "arch/status.h"
#include "mm/mtrr.h"

#include <stdbool.h>

enum ept_perms { EPT_R = 1, EPT_W = 2, EPT_X = 4, EPT_RW = EPT_R | EPT_W, EPT_RWX = 7 };

enum ept_leaf { EPT_LEAF_4K, EPT_LEAF_2M, EPT_LEAF_1G };

/* From IA32_VMX_EPT_VPID_CAP and CPUID; the caller has checked 4-level walks and type WB. */
struct ept_caps {
    bool pages_2m, pages_1g;
    uint8_t phys_bits; /* MAXPHYADDR */
};

struct ept {
    hpa_t root;
    struct ept_caps caps;
    uint64_t leaves[3];   /* by enum ept_leaf: what is mapped now */
    uint64_t table_pages; /* memory of the tables themselves, in pages, root included */
};

/* An empty EPT. ept_destroy() gives its tables back, not the memory that they map; between() is
 * called behind each one, as there may be many. */
enum status ept_init(struct ept *ept, const struct ept_caps *caps);
void ept_destroy(struct ept *ept, void (*between)(void));

/* The EPT pointer for the VMCS: write-back, 4 levels; nothing here reads accessed and dirty flags.
 */
uint64_t ept_root_pointer(hpa_t root);

/* Maps bytes at guest to host with perms (enum ept_perms) and type (enum memory_type), whatever
 * the guest's PAT says: RAM that it uses uncached would slow others down. All multiples of 4 KiB.
 * ERR_BAD_INPUT: misaligned, beyond 48 or phys_bits bits, perms that are a misconfiguration, or
 * something is mapped there already. After a failure part of it may be mapped. Where the EPT has
 * been in use, the caller has cached translations dropped on each CPU (INVEPT):
 * vm_memory_changed(). */
enum status ept_map(struct ept *ept, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms,
                    enum memory_type type);

/* How much of such a range one ept_map() is to be about, at most: it takes up to some thousand
 * instructions, and the pages are as large as in one go. */
uint64_t ept_portion(const struct ept *ept, gpa_t guest, hpa_t host, uint64_t bytes);

/* Changes the permissions of what is mapped at [guest, guest + bytes); perms 0: nothing is to be
 * reached there, until they are changed again. ERR_BAD_INPUT: not mapped, or an entry maps more
 * than the range. Translations: as for ept_map(). */
enum status ept_protect(struct ept *ept, gpa_t guest, uint64_t bytes, unsigned perms);

/* Makes the 4 KiB page at guest another host page, the type being as it was. ERR_BAD_INPUT: not
 * mapped, or as part of a larger page. Translations: as for ept_map(). */
enum status ept_redirect(struct ept *ept, gpa_t guest, hpa_t host, unsigned perms);

/* What the 4 KiB page at guest is. False: not mapped, or hidden. */
bool ept_find(const struct ept *ept, gpa_t guest, hpa_t *host, unsigned *perms);

/* Unmaps the 4 KiB page at guest, where it is mapped, and not as part of a larger one; the tables
 * stay. Translations: as above. */
void ept_unmap(struct ept *ept, gpa_t guest);

/* Walks all tables by the rules of the SDM's "EPT Misconfigurations", and that the leaf counts are
 * right. False with the first wrong entry and the address it stands for (where may be NULL). */
struct ept_error {
    gpa_t guest;
    uint64_t entry;
    unsigned level; /* 4 = PML4E … 1 = PTE; 0 = the counts are wrong */
};
bool ept_check(const struct ept *ept, struct ept_error *where);
