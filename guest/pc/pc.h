/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual PC: a struct vm with its memory, devices and policies, and a kernel loaded. */
#pragma once

#include "drivers/virt/vchipset.h"
#include "drivers/virt/vdebug.h"
#include "drivers/virt/vferr.h"
#include "drivers/virt/vfwcfg.h"
#include "drivers/virt/vi8042.h"
#include "drivers/virt/vide.h"
#include "drivers/virt/vioapic.h"
#include "drivers/virt/vpci.h"
#include "drivers/virt/vpic.h"
#include "drivers/virt/vpit.h"
#include "drivers/virt/vpm.h"
#include "drivers/virt/vrtc.h"
#include "drivers/virt/vtestdev.h"
#include "drivers/virt/vuart.h"
#include "drivers/virt/vvga.h"
#include "guest/config.h"
#include "guest/cpu/state.h"
#include "guest/pc/cpuid_policy.h"
#include "guest/pc/firmware.h"
#include "guest/pc/msr_policy.h"
#include "guest/pc/screen.h"
#include "guest/vm/domain.h"
#include "guest/vm/vcpu.h"
#include "guest/vm/vm.h"

#define PC_PM_BASE 0x600 /* first port of the power management block */

/* The VM's end of a console. All called with the VM's lock held, from an exit of a vCPU or from a
 * timer of the VM, on whichever CPU that is. */
struct pc_console {
    void *ctx;
    void (*out)(void *ctx, uint8_t byte); /* must not wait while `ready` */
    bool (*ready)(void *ctx); /* for more; false: who writes waits, without loss, until it is */
    /* Whether the next life may begin. False: so much text of the lives before still waits that
     * what this one prints would be left out. */
    bool (*may_begin)(void *ctx);
    int (*in)(void *ctx); /* the next typed byte, or -1 */
    /* With both, the user sees the VGA and not COM1: `screen` is called some times a second, to
     * take and show the picture, and `key` tells the next key that goes down or up (vps2kbd.h), or
     * -1. Then `in` is not used. */
    void (*screen)(void *ctx, struct screen *picture, const struct vvga *vga);
    int (*key)(void *ctx, uint64_t now);
    /* What the guest has written to a debug console that has a file of its own, up to
     * PC_DEBUG_TEXT bytes. False: no room now, try again. */
    bool (*debug)(void *ctx, const char *text, size_t length);
    /* Moves what is buffered; returns the host TSC at which it wants to be called again. */
    uint64_t (*poll)(void *ctx, uint64_t now);
};

#define PC_COM1_PORT 0x3f8

/* For how long a guest's reads are watched before pc_dump() tells of them: 10 ms, in which a guest
 * that polls does so thousands of times. */
#define PC_WATCHES_PER_SECOND 100

/* A line of the debug console, collected: behind so many bytes the vCPU waits for room, and there
 * is space for a byte of each other one. */
#define PC_DEBUG_LINE 128
#define PC_DEBUG_TEXT (PC_DEBUG_LINE + VM_MAX_VCPUS)

/* An engine, and what this machine lets it do. */
struct pc_engine {
    const struct engine *engine;
    struct engine_facts facts;
    struct run_cpus cpus; /* where it is on, and can run vCPUs */
};

/* What the machine below offers, the same for all its VMs. */
struct pc_host {
    cpuid_fn *cpuid;
    uint64_t (*read_tsc)(void);
    uint64_t tsc_hz;
    uint64_t epoch;     /* time of day when the TSC was 0: seconds since 1970 (UTC) */
    uint64_t microcode; /* IA32_BIOS_SIGN_ID */
    const struct pc_engine *engine[CONFIG_ENGINES]; /* by what a VM asks for; NULL: not probed */
    struct run_queues *queues;                      /* one for each CPU */
};

#define PC_RAM_PIECES 12

struct pc_ram {
    hpa_t base;
    uint64_t pages; /* 0: none */
    bool mapped;    /* else nothing has been written there */
};

/* RAM, and the page tables in which the host has it. All zero: there is none yet. */
struct pc_memory {
    hpa_t root;
    struct pc_ram piece[PC_RAM_PIECES]; /* in their order, from address 0 on */
    uint32_t count;
    struct pc_ram
        rom; /* beside the RAM below 1 MiB: firmware.c's; a domain's shared_info and grants */
};

struct pc {
    struct vm vm;
    struct cpu_state boot;
    const struct kernel_kind *kind; /* of its kernel; NULL: it has firmware */
    bool paravirtual;               /* it is a domain (domain.h), with none of a PC's devices */
    struct vm_domain domain;        /* then: vm.domain */
    int typed;                      /* a byte that the domain has no room for yet; -1: none */
    struct pc_console console;
    struct run_alarm start_alarm;
    bool started;
    struct run_alarm console_alarm; /* by itself, as it comes more often than any device's timer */
    struct timer screen_timer;
    struct timer limit_timer;
    uint64_t limit; /* ticks from its first entry on; pc_set_limit() */

    struct vpic pic;
    uint64_t pic_taken[16]; /* host TSC when each input was acknowledged last, for pc_dump.c */
    struct vpit pit;
    struct vrtc rtc;
    struct vuart com1;
    struct vferr ferr;
    struct vi8042 keyboard;
    struct vvga vga;
    struct screen picture; /* of it, the console's */
    struct vpm pm;
    struct vpci pci;
    struct vchipset chipset;
    struct vide ide;
    struct vdebug debug;
    char debug_text[PC_DEBUG_TEXT]; /* where that has a file */
    uint32_t debug_length;
    struct vtestdev testdev; /* where there is no firmware, which may have its ROM there */
    struct vfwcfg fwcfg;
    struct vioapic ioapic;
    struct msr_policy msr;
    struct firmware firmware;

    struct pc_memory memory;
    uint64_t pages; /* of this struct */
};

/*
 * What a PC's reset line does not reach: RAM, the clock with its memory, and what firmware has
 * below 1 MiB. (A disk is no part of the PC.) All else is as at power-up, so that a reset is a new
 * PC that begins with what the one before has left: pc_destroy() and pc_create(). All zero: nothing
 * is kept.
 */
struct pc_kept {
    struct pc_memory memory;
    struct vrtc rtc;
    struct firmware_kept firmware;
};

/* Makes VM number index as *config says: RAM, tables, vCPUs in run queues, devices at power-up,
 * kernel loaded; pc_start() runs it. config must stay where it is. RAM is that of *kept, which is
 * all zero afterwards, in each case; or new and zeroed. On failure everything is given back, and a
 * line in the log says why. */
enum status pc_create(const struct vm_config *config, unsigned index, const struct pc_host *host,
                      const struct pc_console *console, struct pc_kept *kept, struct pc **out);

/* vm->dump: prints what stands at the interrupt controllers, which ports and addresses the guest
 * reads again and again though nothing answers there, and which since bus_watch_begin() though the
 * answer stays. *state: of a vCPU. With the VM's lock held, or behind its end. */
void pc_dump(struct vm *vm, const struct cpu_state *state);

/* Where a byte of the debug console goes: to the user, or to a file of its own. */
void (*pc_debug_sink(const struct vm_config *config))(void *pc, uint8_t byte);

/* Gives what its debug console has collected to its file, as far as there is room. With the VM's
 * lock held. */
void pc_flush_debug(struct pc *pc);

/* Before pc_start(): so many ticks after its first entry the VM is ended (VM_LIMIT). */
void pc_set_limit(struct pc *pc, uint64_t ticks);

/* Lets it run from a time of the host's TSC on, or at once, if that has passed; pc->vm.stopped is
 * set. From any CPU. */
void pc_start(struct pc *pc, uint64_t tsc);

/* Has one that pc_start() has let wait run now. As long as it cannot be destroyed; any CPU. */
void pc_start_now(struct pc *pc);

static inline struct pc *pc_of(struct vm *vm)
{
    return (struct pc *)((uint8_t *)vm - offsetof(struct pc, vm));
}

/* A device of it (dev: the struct pc) works on what a CPU has asked for, or does no longer: the one
 * whose access it is waits. With the VM's lock held. */
void pc_device_works(void *dev, bool busy);

/* Gives all memory back, but what a reset keeps where that goes to *kept; NULL: it does not. Its
 * vCPUs are loaded nowhere. */
void pc_destroy(struct pc *pc, struct pc_kept *kept);

/* Gives back what has been kept, where no reset follows. */
void pc_forget(struct pc_kept *kept);
