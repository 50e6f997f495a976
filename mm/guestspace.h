/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's page tables while it works for one VM: its own, and that VM's RAM. So what a CPU may
 * be led to read by mistake or by a guess of its own (Spectre, L1TF, MDS) is never another VM's.
 *
 * The physmap holds no guest's memory (mm/page_alloc.h). Each VM has a root of its own, whose high
 * half is the hypervisor's but for HOST_GUESTS_BASE, where its RAM is, and HOST_WINDOW_BASE
 * (host_map_user()): the frame at host-physical x is at HOST_GUESTS_BASE + x. Two VMs have no frame
 * in common, so no address either: who is in the wrong VM's tables does not touch the wrong VM's
 * RAM, but takes a page fault, which is a panic.
 *
 * A CPU is in the tables of the VM whose vCPU is loaded there: vcpu_load() enters them, before the
 * vCPU that was there is given free, and with it, perhaps, its VM; vcpu_put_away() leaves them. In
 * between, a VM exit loads the same root again from the VMCS, which costs no instruction. It drops
 * no translations either, where there are VPIDs, and need not: the CPU has none of another root,
 * since only a MOV to CR3 changes that, which drops them (host translations are not global).
 *
 * Elsewhere, who touches a VM's memory enters and leaves by himself, the VM's lock held or before
 * the VM runs or behind its end: its making (pc_create()), its devices' timers and its console,
 * which the CPU fires that is the home of its vCPU 0, whatever is loaded there, and what is told
 * and cleaned up behind its end. While such a CPU lends itself to others (sched_lend()), it is in
 * their tables.
 *
 * What stays mapped, and is of guests nonetheless: the files that the loader has read, with disks
 * and flash, registers of vCPUs that wait, and pages that one instruction is stepped on.
 */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"

#include <stdbool.h>

/* From an address in the physmap to where the same frame would be as a guest's. 0 as long as the
 * firmware's tables are in use: host_paging_load(). */
extern uint64_t guestspace_offset;

/* A guest's RAM: to be touched after guestspace_enter(). */
static inline void *guestspace_ptr(hpa_t a)
{
    return (uint8_t *)hpa_to_ptr(a) + guestspace_offset;
}

static inline hpa_t guestspace_hpa(const void *p)
{
    return hpa(ptr_to_hpa(p).v - guestspace_offset);
}

/* The frame of what may be a guest's RAM or the hypervisor's own memory, a ROM that it shows. */
static inline hpa_t guestspace_frame(const void *p)
{
    return ptr_to_hpa(p).v >= guestspace_offset ? guestspace_hpa(p) : ptr_to_hpa(p);
}

/* Makes the tables of a VM, and gives their memory back (hpa(0): there are none): no CPU is in
 * them. After host_paging_init(), on any CPU. */
enum status guestspace_create(hpa_t *root);
void guestspace_destroy(hpa_t root);

/* Maps frames of page_alloc_guest(), which are freed after guestspace_destroy(). Before a vCPU
 * runs. */
enum status guestspace_map(hpa_t root, hpa_t base, uint64_t pages);

/* Puts this CPU into the tables of a VM, or by hpa(0) into the hypervisor's own. Returns the root
 * that it was in, to go back to, which nobody may have destroyed meanwhile. */
hpa_t guestspace_enter(hpa_t root);

/* Zeroes frames that are mapped there. Many GiB take a second: between() is told how many bytes are
 * done, behind each GUESTSPACE_ZERO_PORTION; it may be NULL. */
#define GUESTSPACE_ZERO_PORTION (1ull << 17)
void guestspace_zero(hpa_t root, hpa_t base, uint64_t pages, void (*between)(uint64_t done));

/* Whether a frame of a guest's can be read on this CPU, by whatever address. */
bool guestspace_is_readable(hpa_t frame);
