/* SPDX-License-Identifier: BSD-2-Clause */
/* Has the entries and exits of vmenter.asm do what arch/hardening.c has decided on. */
#include "vmx/entry_work.h"

#include "arch/hardening.h"
#include "arch/patch.h"

/* For vmenter.asm: bits as there. */
enum {
    WORK_FLUSH_L1D = 1,
    WORK_CLEAR_BUFFERS = 2,
    WORK_CONTROL = 4,
    WORK_REWRITE = 8,
    WORK_FILL_RETURNS = 16,
    WORK_CLEAR_HISTORY = 32,
};
extern uint32_t vmx_entry_work;
extern uint64_t vmx_root_control;
uint32_t vmx_entry_work;
uint64_t vmx_root_control; /* IA32_SPEC_CTRL in root mode */

/* vmenter.asm: no C function calls these by their names. */
extern void vmx_enter_first(void), vmx_enter_first_hardened(void), vmx_enter_next(void),
    vmx_enter_next_hardened(void), vmx_exit_point(void), vmx_exit_hardened(void);

void vmx_harden_entries(bool shadow_stacks)
{
    const struct weakness_measures *m = hardening_measures();
    if (!m->own_entry && !shadow_stacks)
        return;
    vmx_root_control = m->spec_control;
    vmx_entry_work =
        (m->flush_l1d ? WORK_FLUSH_L1D : 0u) | (m->clear_buffers ? WORK_CLEAR_BUFFERS : 0u) |
        (m->barrier ? WORK_CONTROL : 0u) | (m->rewrite_control ? WORK_REWRITE : 0u) |
        (m->fill_returns ? WORK_FILL_RETURNS : 0u) | (m->clear_history ? WORK_CLEAR_HISTORY : 0u);
    patch_jump(vmx_enter_first, vmx_enter_first_hardened);
    patch_jump(vmx_enter_next, vmx_enter_next_hardened);
    patch_jump(vmx_exit_point, vmx_exit_hardened);
}
