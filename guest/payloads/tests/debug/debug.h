/* SPDX-License-Identifier: BSD-2-Clause */
/* The pieces of assembly of this test: each a function, with the addresses that matter in it. */
#pragma once

#include <stdint.h>

struct piece {
    void (*run)(void);
    uint64_t at, next; /* the instruction in question, and the one behind it */
};

extern const struct piece piece_int1, piece_int3, piece_write, piece_read, piece_in, piece_out,
    piece_out_string, piece_device_read, piece_device_write, piece_device_cmp, piece_apic_read,
    piece_mov_dr, piece_mov_ss, piece_movs, piece_insb, piece_device_stos, piece_cpuid,
    piece_shadow_int1, piece_watch_int1, piece_watch_nop, piece_watch_cpuid, piece_hlt,
    piece_branch, piece_rep_insb, piece_rep_outsb, piece_rep_movsb;

extern uint64_t piece_variable[16];
