/* SPDX-License-Identifier: BSD-2-Clause */
/* A paravirtual kernel that leaves a pattern wherever it can, or looks for that of another one. */
#pragma once

#include "guest/lib/hold.h"
#include "guest/lib/lib.h"
#include "guest/lib/xen.h"

#include <stdbool.h>

#define PAGE     4096ull
#define WORDS    512u
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

enum { PTE_P = 1, PTE_W = 2 };
enum { XEN_GET_DEBUGREG = 9, XEN_SET_LDT = 13, XEN_GRANTS = 4 };
enum { XEN_MACHPHYS_MAPPING = 12, XEN_M2P_UPDATE = 1 };
enum { FIRST_MAPPED = 0x200, END_MAPPED = 0x400 }; /* frames: of the image, and of what is mapped */
/* Of the console's and the store's page: the rings, without the indices behind them. */
enum { CONSOLE_WORDS = (1024 + 2048) / 8, STORE_WORDS = 2 * 1024 / 8 };
/* Of the shared page: behind the words of events, masks and the clock. */
enum { SHARED_EVENTS = 2048 / 8, SHARED_EVENTS_END = 3072 / 8, SHARED_REST = 3136 / 8 };

/* start.asm: what was in the registers at the start. */
extern uint64_t start_gpr[16];
extern uint8_t start_extended[512];
bool read_word(uint64_t linear, uint64_t *word);
void entry_page_fault(void);

/* main.c */
extern const struct xen_start_info *start;
/* A frame's words; NULL: it is not to be had. */
uint64_t *window(uint64_t frame);
struct cpuid ask_cpuid(uint32_t leaf, uint32_t subleaf);

/* find.c: looks everywhere, and prints of each place how much of it was looked at, and what was
 * found. Then, again and again, at what the CPU may have of another one; in the end it returns how
 * much was found of all. */
void find(void);
void find_meanwhile(void);
unsigned find_meanwhile_end(void);

/* leave.c: the pattern is left everywhere but in the registers that hold() loads; or a word of it
 * in each place where find() looks. */
void leave(void);
unsigned leave_lost(void); /* how many of the bases and debug registers have another value by now */
void plant(void);
