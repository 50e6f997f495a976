/* SPDX-License-Identifier: BSD-2-Clause */
/* The architectural state of a virtual CPU, whole or in parts: what guest loaders decide, and what
 * an engine reads and writes. */
#pragma once

#include "arch/x86.h"

#include <stdint.h>

struct cpu_segment {
    uint16_t selector;
    uint32_t access;
    uint32_t limit;
    uint64_t base;
};

struct cpu_table_register { /* GDTR, IDTR */
    uint64_t base;
    uint16_t limit;
};

/* Segment registers by number, in the order of the CPU and of a TSS. */
enum { STATE_ES, STATE_CS, STATE_SS, STATE_DS, STATE_FS, STATE_GS, STATE_LDTR, STATE_TR };
#define STATE_SEGMENT_COUNT 8

/* All as the guest sees it, without bits that an engine adds. */
struct cpu_state {
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t pdpte[4]; /* the PDPTE registers, under PAE paging */
    union {
        struct {
            struct cpu_segment es, cs, ss, ds, fs, gs, ldtr, tr;
        };
        struct cpu_segment segment[STATE_SEGMENT_COUNT];
    };
    struct cpu_table_register gdtr, idtr;
    uint64_t dr[4], dr6, dr7, debugctl;
    uint64_t pat, sysenter_cs, sysenter_esp, sysenter_eip;
    uint32_t interruptibility; /* BLOCKED_BY_... of guest/cpu/event.h */
    uint64_t pending_debug;    /* SDM, "Guest Non-Register State": pending debug exceptions */
    /* In the hardware's order; at the end, so that an engine can have them begin what the processor
     * is given. */
    union {
        struct {
            uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
        };
        uint64_t gpr[16];
    } __attribute__((aligned(16)));
};

/* Parts of it, to be read or written by themselves. */
enum state_part {
    STATE_GPRS = 1 << 0,    /* but RSP */
    STATE_IP = 1 << 1,      /* RIP, RSP, RFLAGS */
    STATE_CONTROL = 1 << 2, /* CR0, CR3, CR4, EFER, PDPTEs */
    STATE_SEGMENTS = 1 << 3,
    STATE_TABLES = 1 << 4, /* GDTR, IDTR */
    STATE_DEBUG = 1 << 5,  /* debug registers, IA32_DEBUGCTL */
    STATE_MSRS = 1 << 6,   /* PAT and SYSENTER's */
    STATE_EVENTS = 1 << 7, /* interruptibility, pending debug exceptions */
    STATE_CR2 = 1 << 8,
    STATE_ALL = (1 << 9) - 1,
};

/* Real mode, as a boot sector finds it: CS:IP = 0:entry, data segments 0, stack below the entry,
 * interrupts off, DL = first hard disk. */
static inline struct cpu_state cpu_state_real_mode(uint16_t entry)
{
    const struct cpu_segment data = {0, SEGMENT_DATA16, 0xffff, 0};
    return (struct cpu_state){
        .rdx = 0x80,
        .rsp = entry,
        .rip = entry,
        .rflags = RFLAGS_FIXED,
        .cr0 = CR0_ET, /* caches on, as firmware leaves them */
        .cs = {0, SEGMENT_CODE16, 0xffff, 0},
        .ds = data,
        .es = data,
        .fs = data,
        .gs = data,
        .ss = data,
        .ldtr = {0, SEGMENT_UNUSABLE, 0xffff, 0},
        .tr = {0, SEGMENT_TSS_BUSY, 0xffff, 0},
        .gdtr = {0, 0xffff},
        .idtr = {0, 0x3ff},
        .dr6 = DR6_RESET,
        .dr7 = DR7_RESET,
        .pat = PAT_RESET_VALUE,
    };
}

/* As after a reset: at the reset vector, 16 bytes below 4 GiB (SDM, "Processor State After Reset").
 */
static inline struct cpu_state cpu_state_reset(uint32_t signature)
{
    struct cpu_state state = cpu_state_real_mode(0xfff0);
    state.rdx = signature;
    state.rsp = 0;
    state.cr0 = CR0_CD | CR0_NW | CR0_ET;
    state.cs = (struct cpu_segment){0xf000, SEGMENT_CODE16, 0xffff, 0xffff0000};
    state.ldtr.access = SEGMENT_LDT;
    state.idtr.limit = 0xffff;
    return state;
}

/* 32-bit protected mode without paging: flat segments CS 0x10, the others 0x18 (the GDT must hold
 * them), interrupts off. */
static inline struct cpu_state cpu_state_protected_mode(uint32_t rip)
{
    const struct cpu_segment data = {0x18, SEGMENT_DATA32, 0xffffffff, 0};
    struct cpu_state state = cpu_state_real_mode(0);
    state.rdx = 0;
    state.rip = rip;
    state.cr0 = CR0_ET | CR0_PE;
    state.cs = (struct cpu_segment){0x10, SEGMENT_CODE32, 0xffffffff, 0};
    state.ds = state.es = state.fs = state.gs = state.ss = data;
    state.gdtr.limit = 0;
    state.idtr.limit = 0xffff;
    return state;
}

/* The same in 64-bit mode, with paging. */
static inline struct cpu_state cpu_state_long_mode(uint64_t rip, uint64_t cr3)
{
    struct cpu_state state = cpu_state_protected_mode(0);
    state.rip = rip;
    state.cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
    state.cr3 = cr3;
    state.cr4 = CR4_PAE;
    state.efer = EFER_LME | EFER_LMA;
    state.cs.access = SEGMENT_CODE64;
    return state;
}

/* The descriptor of a flat segment (base 0, 4 GiB). */
static inline uint64_t cpu_segment_descriptor(const struct cpu_segment *segment)
{
    return 0x000f00000000ffff | (uint64_t)segment->access << 40;
}
