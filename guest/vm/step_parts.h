/* SPDX-License-Identifier: BSD-2-Clause */
/* What a step has of its own, between step.c and step_device.c: pages, and what is known of the
 * instruction's operands. */
#pragma once

#include "guest/vm/vcpu.h"

/* Pages for the operands (a gather has 16, each of which may be in two), and beside them of
 * descriptors, a stack, code or page tables. */
#define STEP_OPERAND_PAGES 32
#define STEP_PAGES         (STEP_OPERAND_PAGES + 8)
#define STEP_PIECES        STEP_PAGES
#define STEP_KEPT          4 /* of the pages, from one step to the next */

enum step_write {
    STEP_UNWRITTEN,
    STEP_WRITTEN, /* all of it, once the instruction has been executed */
    STEP_CHANGED, /* if it is another one afterwards: the CPU marks a descriptor */
    STEP_SPARSE,  /* those elements that are not what they were filled with */
};

#define STEP_DESCRIPTOR 8u /* bytes; in long mode those of the system's are twice as long */

/* Between pages and devices. */
enum step_work { STEP_FILLS, STEP_WRITES };

/* Bytes of an operand among a device's registers. */
struct step_piece {
    gpa_t at;
    uint64_t chosen;
    uint16_t bytes, first; /* first: how many bytes of the operand lie before them */
    uint16_t before;       /* where in before[] they are, if they are read or compared */
    uint8_t element;       /* 0, or bytes of an element, of which bit i of chosen selects the i-th;
                              all are, if it is sparse */
    uint8_t page;          /* the copy that stands for the device's page, once it is shown */
    bool shown, filled, read;
    uint8_t write; /* enum step_write */
};

struct step_parts {
    hpa_t copy[STEP_PAGES]; /* 0: not needed yet */
    struct step_piece piece[STEP_PIECES];
    uint64_t filling;    /* what stands where something sparse has not been written */
    enum step_work work; /* and where it has come to: */
    uint32_t at_piece, at_byte;
    bool executed;        /* the instruction has been: it is written back */
    uint32_t before_used; /* of what the pieces held before the instruction: */
    uint8_t before[1024];
};
_Static_assert(sizeof(struct step_parts) <= PAGE_SIZE, "one page");

/* There are parts, and a page of ones is shown at a page, as copy number vcpu->step.count - 1 of
 * the vCPU. False: the VM ends. With the VM's lock held. */
bool step_has_parts(struct vcpu *vcpu);
bool step_show_ones(struct vcpu *vcpu, gpa_t page);

/* Begins to fill the pieces that are shown, and not filled; or to write back. Where there is much
 * to do, vcpu->step.unfinished is set: step_continue(). With the lock held. */
void step_work(struct vcpu *vcpu, enum step_work kind);

/* Nothing is left of the step. */
void step_forget(struct vcpu *vcpu);
