/* SPDX-License-Identifier: BSD-2-Clause */
/* Exits on memory and string I/O, decoded by the engine and handled alike under each. The engine
 * has filled in a struct emulate_context, and takes over what they have changed in it. Not with the
 * VM's lock held. */
#pragma once

#include "guest/vm/linear.h"

struct memory_access {
    gpa_t address;
    bool read, write; /* what the CPU was about to do at the address */
    bool has_linear;  /* linear is known: where the VM has several vCPUs, which need it */
    gva_t linear;
};

/* An instruction has touched memory that is not mapped so: device memory, or nothing. *ctx has
 * been filled in. By the time that the instruction is fetched, another CPU of the guest may have
 * put another there: it is carried out if it, too, is about this address. */
enum exit_action exit_memory_access(struct emulate_context *ctx,
                                    const struct memory_access *access);

/* The same for a fetch. Where nothing answers, the bytes read as ones, and FF FF is no instruction:
 * #UD. A device's plain memory is executed, by guest/vm/step.h. */
enum exit_action exit_memory_fetch(struct vcpu *vcpu, gpa_t address);

/* An event's delivery (stack, IDT, TSS), which vcpu->event holds, has met such memory: the CPU goes
 * through with it, on what is read there. write: it pushes. */
void exit_memory_delivery(struct vcpu *vcpu, gpa_t address, bool write);

/* The same for the CPU's own walk of the guest's page tables. */
enum exit_action exit_memory_walk(struct vcpu *vcpu, gpa_t address);

/* INS and OUTS. */
struct string_access {
    uint16_t port;
    uint8_t bytes; /* of an element */
    bool in, rep;
    uint8_t segment, addr_bytes;
};
enum exit_action exit_string_io(struct emulate_context *ctx, const struct string_access *access);
