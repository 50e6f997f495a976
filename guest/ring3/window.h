/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's pages for single instructions at CPL 3, in the window of its VM's page tables
 * (mm/host_paging.h): code, and what its operand is, and what comes back. */
#pragma once

#include "arch/ring3.h"
#include "arch/status.h"
#include "guest/ring3/encode.h"
#include "guest/ring3/operand.h"
#include "guest/ring3/x87.h"
#include "mm/host_paging.h"

/* Code is put into slots and stays there: an emulator translates it once. */
#define RING3_SLOT_BYTES 32u
#define RING3_CODE_PAGES 2u
#define RING3_SLOTS      (RING3_CODE_PAGES * PAGE_SIZE / RING3_SLOT_BYTES)
#define RING3_DATA_PAGES 2u
#define RING3_PAGES      (RING3_CODE_PAGES + RING3_DATA_PAGES) /* that CPL 3 has */

/* Where things are among the data. An operand has a cache line more than it needs: what it was
 * aligned to, it is here. */
#define RING3_OPERAND       0u
#define RING3_OPERAND_BYTES 4096u
#define RING3_INDEX         1024u /* behind a gather's: its index register, and its stand-in */
#define RING3_SCRATCH       2048u /* behind FXRSTOR's: FXSAVE's */
#define RING3_OPERAND_2     (RING3_OPERAND_BYTES + 64)          /* MOVDIR64B's other */
#define RING3_SPILL         (RING3_DATA_PAGES * PAGE_SIZE - 64) /* RCX and R11 */

/* What is in a slot: the guest's instruction, 0 behind it, and last its mode and where its operand
 * is. */
struct ring3_key {
    uint64_t half[2];
};

/* Operands that have been decoded, found by the instruction's bytes and mode: a search in a long
 * table is spared. */
struct ring3_decoded {
    uint64_t half[2];
    struct insn_operands insn;
    bool known;
};
#define RING3_DECODED 64u

/* What the hypervisor keeps for itself, behind the pages of CPL 3. */
struct ring3_own {
    struct ring3_key key[RING3_SLOTS];
    struct ring3_decoded decoded[RING3_DECODED];
};
#define RING3_OWN_PAGES ((sizeof(struct ring3_own) + PAGE_SIZE - 1) / PAGE_SIZE)

struct ring3_window {
    hpa_t pages; /* 0: there are none */
    hpa_t root;  /* the tables that they are mapped in */
    struct ring3_own *own;
    uint8_t *code, *data;      /* as the hypervisor reaches them */
    uint64_t code_at, data_at; /* as CPL 3 does */
    struct ring3_x87 x87;
    struct ring3_operand operand; /* of the instruction that is being executed */
    struct ring3_frame frame;
};

static inline unsigned ring3_hash(const uint64_t half[2])
{
    return (unsigned)((half[0] ^ half[1] >> 7) * 0x9e3779b97f4a7c15ull >> 32);
}

/* Maps a window into the page tables of the vCPU's VM; index: of the vCPU. ERR_NO_MEMORY. */
enum status ring3_window_create(struct ring3_window *window, hpa_t root, unsigned index);
/* Takes it away again, for the tables may outlive the vCPU (a reset of the VM keeps them with its
 * memory), and frees the pages. The tables are still there. */
void ring3_window_destroy(struct ring3_window *window);

/* Puts an instruction into a slot, unless it is there: with its operand `at` among the data.
 * False: #UD. */
bool ring3_place(struct ring3_window *window, const uint8_t *bytes, unsigned length,
                 enum insn_mode mode, unsigned at, unsigned *slot);

/* Executes what is in a slot at CPL 3, once, on those general registers, with the status flags in
 * *rflags: RING3_SYSCALL, and both are as it has left them; or the exception that it has raised,
 * and they are as before. The window's tables are loaded, and ring3_load() came before. */
unsigned ring3_single(struct ring3_window *window, unsigned slot, uint64_t gpr[16],
                      uint64_t *rflags);

/* Both, for 64-bit code that does without general registers and flags; `at` is a multiple of 64.
 * Returns as ring3_single(). */
unsigned ring3_helper(struct ring3_window *window, const uint8_t *bytes, unsigned length,
                      unsigned at);
