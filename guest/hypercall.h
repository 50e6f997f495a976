/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest may ask of Nadir: its hypercalls, for kernels that know that they run on a
 * hypervisor. This file is all that hypervisor and guest programs share, and is to be read as the
 * description of the interface.
 *
 * The instruction is VMCALL under the engines vtx and bt, at CPL 0 (a kernel's level), and SYSCALL
 * under pv, from the guest's kernel. The number is in RAX, arguments are in RDI, RSI, RDX, the
 * result is in RAX. No other register changes, but that SYSCALL itself takes RCX and R11, and that
 * calls on an array move it on as said below. A 32-bit kernel uses the low halves of the same
 * registers, and gets the low half of the result. The high half of a time is in EDX there: of one
 * that it gives, and of the one that it gets.
 *
 * Whether they are there: CPUID 0x40000000 has the signature "NadirNadirVM" in EBX, ECX, EDX;
 * 0x40000001 has NADIR_VERSION in EAX and NADIR_FEATURES in EBX. A guest of the engine pv, which
 * finds Xen's signature there, asks by NADIR_CALL_VERSION, to which Xen itself gives an error. What
 * changes the meaning of a call gets a new number, and a bit of features.
 *
 * Results below 0 are errors. A pointer that the guest's kernel could not use itself is such an
 * error, and no page fault.
 *
 * Calls on an array take its linear address in RDI and the number of its elements in RSI, and work
 * as REP MOVS does: Nadir does a part, moves RDI and RSI on, and lets the guest execute the
 * instruction again; in between it takes interrupts as ever. RAX keeps the number until all is
 * done: then RSI is 0, RDI behind the array. Where an element has an error, RAX has that instead,
 * RDI and RSI say which one, and those behind it have not been looked at.
 */
#pragma once

#include <stdint.h>

/* Numbers below 0x1000 are for KVM's calls, which take their arguments in RBX, RCX, RDX, RSI: a
 * guest written for KVM gets HYPERCALL_UNKNOWN where Nadir has nothing to offer. */
#define HYPERCALL_NOP 0 /* does nothing, returns 0: measures the way there and back */

#define NADIR_VERSION 1u
#define NADIR_FEATURES \
    (NADIR_HAS_MEMORY | NADIR_HAS_INTERRUPTS | NADIR_HAS_TIME | NADIR_HAS_CONSOLE | NADIR_HAS_STATS)
enum nadir_feature {
    NADIR_HAS_MEMORY = 1,
    NADIR_HAS_INTERRUPTS = 2,
    NADIR_HAS_TIME = 4,
    NADIR_HAS_CONSOLE = 8, /* with exit and yield */
    NADIR_HAS_STATS = 16,
};

enum nadir_call {
    /* Returns NADIR_FEATURES << 8 | NADIR_VERSION. */
    NADIR_CALL_VERSION = 0x1000,
    /* RDI: an array of struct nadir_memory_op, RSI: their number. */
    NADIR_CALL_MEMORY,

    /* Interrupts of this vCPU are held back, or come. Returns 1 if they came before, else 0. Unlike
     * behind STI, one may come right behind the instruction. */
    NADIR_CALL_MASK,
    NADIR_CALL_UNMASK,
    /* An interrupt with vector RDI (16 to 255) for the vCPU with number RSI, from 0, or
     * NADIR_ALL_BUT_SELF. It comes by way of the local APIC, which has to be enabled there; under
     * pv it is. There the interrupt is the trap of its vector (Xen's set_trap_table), and where it
     * had to wait while events were masked, the kernel finds vcpu_info.pending set, too. */
    NADIR_CALL_SEND,
    /* The handler of the interrupt that came last has ended: as a write to the APIC's EOI. */
    NADIR_CALL_END,

    /* Returns the time in ns since the VM began, the same on all vCPUs; it never goes back. */
    NADIR_CALL_TIME,
    /* At time RDI (a past one: now) an interrupt with vector RSI comes to this vCPU, once, by its
     * local APIC: it is lost where that is not enabled then. RDI 0: not any more. Each vCPU has one
     * such timer, beside that of its local APIC. */
    NADIR_CALL_TIMER,
    /* Unmasks interrupts, and waits for one, or until time RDI: what comes between a look at
     * something and this call is not missed if they are masked before the look. */
    NADIR_CALL_SLEEP,

    /* RDI: an array of bytes, RSI: their number. They go to the VM's console, behind what COM1 has
     * sent. The vCPU waits where that can take no more. */
    NADIR_CALL_WRITE,
    /* The VM ends, with the low 32 bits of RDI as its exit code. Does not return. */
    NADIR_CALL_EXIT,
    /* The CPU goes to another vCPU that waits for one. */
    NADIR_CALL_YIELD,

    /* RDI: an array of struct nadir_stat, RSI: its length. It gets the accounts of this VM, all its
     * vCPUs together, for the classes of events from number RDX on (enum nadir_class), which moves
     * on, too. Ends where either does, and returns how many classes there are. */
    NADIR_CALL_STATS,
    NADIR_CALL_END_OF_LIST
};

#define NADIR_ALL_BUT_SELF (-1) /* in all bits of RSI, or ESI */

enum nadir_error {
    HYPERCALL_UNKNOWN = -1000,    /* there is no such number */
    HYPERCALL_NOT_PERMITTED = -1, /* only the guest's kernel may call */
    NADIR_BAD_ADDRESS = -2,       /* a pointer to what is not RAM, or not the kernel's to use so */
    NADIR_BAD_ARGUMENT = -3,      /* an operation, vector, vCPU or count that there is not */
    NADIR_NO_TABLE = -4, /* no leaf of 4 KiB for that address: an upper table is missing, or it maps
                            a larger page */
    NADIR_BAD_FRAME = -5,  /* the frame is outside of the VM's RAM, or reserved bits are set */
    NADIR_NOT_MAPPED = -6, /* there is no present entry to protect */
    NADIR_BAD_MODE = -7,   /* for 64-bit paging (of 4 or 5 levels) alone */
    NADIR_NOT_TAKEN = -8,  /* no local APIC was ready for that interrupt */
};

/*
 * One change of the page tables that are in use (those of CR3), at their lowest level. entry has
 * the format of the CPU's own page-table entry (SDM, "4-Level Paging"): the address of the frame,
 * and flags. What this vCPU has cached of the translation is dropped; for other vCPUs, that is the
 * guest's duty as it is with INVLPG. Tables that are missing on the way are not made.
 */
struct nadir_memory_op {
    uint32_t op;     /* enum nadir_memory */
    int32_t result;  /* out: 0, or enum nadir_error */
    uint64_t linear; /* in any byte of the page */
    uint64_t entry;  /* MAP, PROTECT: the new entry; out, but for FLUSH: the one before */
};

enum nadir_memory {
    NADIR_MAP = 1, /* entry is put there, whatever was there before */
    NADIR_UNMAP,   /* 0 is */
    NADIR_PROTECT, /* the flags of entry; the frame stays, as do the flags accessed and dirty */
    NADIR_FLUSH,   /* nothing changes in memory */
};

/* What the events of a class have cost: those that made Nadir work for the guest. Classes may be
 * added at the end. */
struct nadir_stat {
    uint64_t count;
    uint64_t ticks; /* of the TSC, in the hypervisor */
};

enum nadir_class {
    NADIR_CLASS_IO,          /* port I/O */
    NADIR_CLASS_MMIO,        /* device memory */
    NADIR_CLASS_CPU,         /* CPUID, MSRs, control registers, and what else is privileged */
    NADIR_CLASS_PAGE_TABLES, /* translations of linear addresses: dropped, or made anew */
    NADIR_CLASS_EXCEPTION,
    NADIR_CLASS_INTERRUPT,
    NADIR_CLASS_SYSCALL, /* system calls, and hypercalls */
    NADIR_CLASS_TIMER,
    NADIR_CLASS_IDLE,      /* HLT and PAUSE */
    NADIR_CLASS_TRANSLATE, /* what the engine does to carry out instructions */
    NADIR_CLASS_OTHER,
    NADIR_CLASS_COUNT
};
