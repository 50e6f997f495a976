/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's address space as the processor itself goes by it while code of the guest's runs at CPL 3
 * (mm/shadow.h): which root is in CR3, what a page fault makes of it, and where the guest's flushes
 * come to it. What the software CPU keeps of walks (guest/ring3/tlb.h) is flushed together with it.
 * The window, where instructions are executed singly, is not in SHADOW_USER.
 */
#pragma once

#include "guest/ring3/roots.h"

struct bt_vcpu;
struct vm;

struct bt_space {
    struct ring3_roots roots;
    /* False: there are no shadow page tables, and the software CPU executes all of the guest. */
    bool exists;
    uint64_t fault_at; /* with BT_FAULT_GUEST */
    uint32_t fault_error;
};

/* What is to be done about a page fault. */
enum bt_fault {
    BT_FAULT_MAPPED, /* nothing: go on */
    /* Go on, too; but what waits is to be looked at before (vcpu->attention, the end of the turn),
     * as some longer work is not done yet, and the same fault may come again. */
    BT_FAULT_LATER,
    /* The guest's own, by what its tables say: bt_space_raise(), once v->state is before the
     * instruction. */
    BT_FAULT_GUEST,
    /* No RAM, or code: the software CPU carries the instruction out. */
    BT_FAULT_INTERPRET,
};

/* The vCPU is being loaded. The first time its roots are made, and those of the VM's shadow that
 * all its vCPUs share: memory is complete by now. */
void bt_space_load(struct bt_vcpu *v);
/* Before the VM's memory and page tables go. */
void bt_space_destroy(struct bt_vcpu *v);
void bt_space_destroy_vm(struct vm *vm);

/* ring3_roots_run(), counted. Loaded. */
unsigned bt_space_run(struct bt_vcpu *v, enum shadow_root root, struct ring3_frame *frame);

/* The CPU is in page tables with the window in them: before an instruction is executed there. */
void bt_space_need_window(struct bt_vcpu *v);

/* Code at CPL 3 has met a page fault in a root; error: its error code. user: the guest is at CPL 3
 * as well. */
enum bt_fault bt_space_fault(struct bt_vcpu *v, enum shadow_root root, uint64_t linear,
                             uint32_t error, bool user);

/* The guest gets the page fault that was BT_FAULT_GUEST last. */
void bt_space_raise(struct bt_vcpu *v);

/* Flush points. The guest's CR0, CR3, CR4, EFER or PDPTE registers have changed, in v->state
 * already; flush: what the CPU flushes then. */
void bt_space_switch(struct bt_vcpu *v, enum shadow_flush flush);
/* INVLPG. */
void bt_space_invalidate(struct bt_vcpu *v, uint64_t linear);
/* A page fault that the guest gets, at that address. */
void bt_space_guest_fault(struct bt_vcpu *v, uint64_t linear);
/* The VM's memory has changed: where a page leads to, or what may be done with it. */
void bt_space_memory_changed(struct vm *vm);
