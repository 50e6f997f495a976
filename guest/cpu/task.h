/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches, which a guest's CPU leaves to us: SDM, chapter "Task Management". Pure:
 * registers in a struct, memory behind callbacks. What a task switch checks, saves and loads, and
 * in which order, is known here alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Who switches; the numbers of the exit qualification. */
enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

/* Segment registers in the order of the TSS and of the VMCS. */
enum { TASK_ES, TASK_CS, TASK_SS, TASK_DS, TASK_FS, TASK_GS, TASK_LDTR, TASK_TR, TASK_SEGMENTS };

struct task_segment {
    uint16_t selector;
    uint32_t access; /* in the format of the VMCS */
    uint32_t limit, base;
};

/* The registers that a task switch reads or changes, but for CR3, CR0.TS and DR7. */
struct task_cpu {
    uint32_t gpr[8]; /* EAX ECX EDX EBX ESP EBP ESI EDI */
    uint32_t eip, eflags;
    struct task_segment segment[TASK_SEGMENTS];
    uint32_t gdt_base;
    uint16_t gdt_limit;
    bool paging; /* CR0.PG: the new task brings its CR3 */
};

/* The world of one switch. Callbacks that return false have queued a page fault. */
struct task_env {
    void *ctx;
    /* A linear range of at most 104 bytes, as the system reads tables. */
    bool (*read)(void *ctx, uint32_t linear, void *to, unsigned bytes);
    bool (*probe_write)(void *ctx, uint32_t linear, unsigned bytes);
    /* 1, 2 or 4 bytes; user: with the rights of CPL 3. */
    bool (*write)(void *ctx, uint32_t linear, uint32_t value, unsigned bytes, bool user);
    /* CR3 of the new task, for all accesses from here on; false, nothing queued: it is invalid. */
    bool (*load_cr3)(void *ctx, uint32_t cr3);
};

struct task_request {
    enum task_source source;
    uint16_t selector; /* of the new task's TSS */
    uint32_t next_eip; /* where the old task goes on */
    bool has_error;    /* an error code is pushed in the new task */
    uint32_t error;
};

enum task_outcome {
    TASK_REFUSED,  /* a fault in the old task, which is as it was */
    TASK_SWITCHED, /* *cpu is the new task */
    TASK_FAULTED,  /* *cpu is the new task, and begins with a fault */
};

#define TASK_FAULT_QUEUED 0xffu /* as vector: a callback has queued it */

struct task_result {
    enum task_outcome outcome;
    uint8_t vector; /* of the fault, if any, and its error code without EXT */
    uint16_t error;
    bool trap; /* the new TSS's T flag: a debug trap before its first instruction */
};

/* Switches; protected mode, not IA-32e. The caller sets CR0.TS, clears DR7's local enables. */
struct task_result task_switch(struct task_cpu *cpu, const struct task_env *env,
                               const struct task_request *request);
