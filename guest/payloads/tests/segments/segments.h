/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of this test, the segments that they use, and how one instruction is run. */
#pragma once

#include "guest/lib/test.h"

#include <stddef.h>
#include <stdint.h>

#define HOLE     0xd0000000u /* nobody answers: ones */
#define SCRATCH  0x3ffu      /* the 16550's scratch register */
#define UNMAPPED 0xa00000u   /* the linear page of 2 MiB that this test unmaps */

/* Selectors: the first of guest/lib/start.asm, the others of this test. */
enum {
    NUL = 0,
    CODE32 = 0x08,
    FLAT = 0x10,
    CODE16 = 0x20,
    SMALL = 0x30,  /* 4 KiB of RAM */
    RAM64K = 0x38, /* 64 KiB of it */
    READ_ONLY = 0x40,
    DOWN = 0x48,      /* expand-down: from 0x1000 to 0xffff */
    HOLE64K = 0x50,   /* 64 KiB of nobody */
    CODE_READ = 0x58, /* code that may be read */
    WRAP = 0x60,      /* flat from 0xfffff000 on */
    TSS = 0x68,
    GDT_BYTES = 0x70,
};

struct registers {
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint16_t es, cs, ss, ds, fs, gs;
    uint32_t start;
};
_Static_assert(sizeof(struct registers) == 48, "call.asm knows it");

#define LIMIT "SDM: Limit Checking"
#define TYPE  "SDM: Type Checking"
#define SIZE  "SDM: Operand-Size and Address-Size Attributes"
#define REP   "SDM: REP"

/* An instruction, the registers before it, and those expected after it. */
struct row {
    const char *what, *rule;
    uint8_t length, bytes[8];
    uint16_t cs, ds, es, ss, fs;
    uint32_t eax, ecx, esi, edi; /* before */
    uint32_t vector;             /* its error code is 0; PROBE_NONE */
    uint32_t eax_after, ecx_after, esi_after, edi_after;
};

/* What the segments of RAM lie in, from its start. */
extern uint8_t ram[0x10000];

/* Runs a row's instruction; *r are the registers after it, or at its fault. */
struct probe run_row(const struct row *row, struct registers *r);
/* Runs each row and checks what it leaves in the registers. */
void check_rows(const struct row *rows, size_t count);

/* Each a part of the test, in this order. */
void check_moves(void);
void check_operands(void);
void check_port_strings(void);
void check_unmapped(void);
void check_port_data(void); /* what memory and the port have got of some rows */
void check_modes(void);
