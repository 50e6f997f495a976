/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a vCPU stands, for its user: when it ends badly, or is asked. */
#include "arch/log.h"
#include "guest/vm/vcpu.h"

void cpu_state_print(const char *vm, const struct cpu_state *state)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    const struct cpu_state s = *state;
    log_line("%s: RIP %016lx  RFLAGS %08lx  CS %04x (base %lx, access %x)", vm, s.rip, s.rflags,
             s.cs.selector, s.cs.base, s.cs.access);
    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        log_line("%s: %s %016lx  %s %016lx  %s %016lx  %s %016lx", vm, names[i], s.gpr[i],
                 names[i + 1], s.gpr[i + 1], names[i + 2], s.gpr[i + 2], names[i + 3],
                 s.gpr[i + 3]);
    log_line("%s: CR0 %lx  CR2 %lx  CR3 %lx  CR4 %lx  EFER %lx", vm, s.cr0, s.cr2, s.cr3, s.cr4,
             s.efer);
    log_line("%s: IDT %lx (limit %x)  GDT %lx (limit %x)", vm, s.idtr.base, s.idtr.limit,
             s.gdtr.base, s.gdtr.limit);
}
