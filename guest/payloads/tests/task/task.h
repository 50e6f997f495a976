/* SPDX-License-Identifier: BSD-2-Clause */
/* The pieces of assembly of this test. */
#pragma once

#include <stdint.h>

/* Where the far CALL and JMP lead: the selector at its end counts. */
extern struct __attribute__((packed)) far_pointer {
    uint32_t offset;
    uint16_t selector;
} target;

/* How the new task ends. */
enum leave { LEAVE_HOME, LEAVE_IRET, LEAVE_JMP };

/* What the registers were. Written on entry of the new task, back in the old one, by a fault. */
struct record {
    uint32_t came; /* how often */
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t eflags, cr0, cr3;
    uint16_t es, cs, ss, ds, fs, gs, ldtr, tr;
};
extern uint16_t leave_by; /* enum leave */
extern struct record in_new, in_old;

/* Where new tasks begin. */
void task_new(void);
void task_vm86(void);
void task_vm86_undefined(void);
void task_user(void); /* counts, and returns */
extern uint32_t task_user_came;

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
void act_call_twice(void);
void act_into(void);
void act_int1(void);
void act_touch(void); /* writes to ABSENT_PAGE */
#define ABSENT_PAGE 0xc00000u
extern const char act_call_next[], act_load_fs_at[], act_into_next[], act_int1_next[],
    act_touch_at[];
