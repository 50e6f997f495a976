/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the C side, which lays out tables in memory, and trip.asm, which uses them in 32-bit
 * protected mode. */
#pragma once

#include <stdint.h>

/* One trip: what to do in the old task, and with which tables. trip.asm knows the layout. */
struct trip {
    uint32_t action;   /* a function of trip.asm */
    uint32_t cr4, cr3; /* for paging, or 0 */
    uint32_t target_offset;
    uint16_t target_selector; /* of the far CALL or JMP */
    uint16_t leave;           /* enum leave */
    uint16_t gdt_limit, idt_limit;
    uint32_t gdt, idt;
};

/* How the new task ends. */
enum leave { LEAVE_HOME, LEAVE_IRET, LEAVE_JMP };

/* What the registers were. Written on entry of the new task, back in the old one, by a fault. */
struct record {
    uint32_t came; /* how often */
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t eflags, cr0, cr3;
    uint16_t es, cs, ss, ds, fs, gs, ldtr, tr;
};
struct fault {
    uint32_t came, vector, error, eip, eflags;
    uint16_t cs, tr, ds, es;
    uint32_t dr6, cr2, esp;
};

extern struct trip trip;
extern struct record in_new, in_old;
extern struct fault fault;

/* Makes the trip; interrupts off before and after. */
void trip_make(void);

/* Where tasks and gates point. */
void trip_new_task(void);
void trip_vm86(void);
void trip_home_gate(void);
extern const char trip_stubs[]; /* 32 entries for exceptions, 16 bytes each */

/* Actions, and the address behind the instruction of each. */
void act_call(void);
void act_jmp(void);
void act_int(void);
void act_int3(void);
void act_iret(void);
void act_load_fs(void);
void act_interrupt(void);
void act_undefined(void);
void act_nmi(void);
extern const char act_call_next[], act_load_fs_at[], act_int_next[];
