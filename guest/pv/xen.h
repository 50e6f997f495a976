/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Xen's interface for paravirtualised guests on x86-64, as far as it is offered here: numbers and
 * layouts of Xen's public headers, which name them so (xen/include/public). Pure.
 *
 * A hypercall is SYSCALL in the guest's kernel: number in EAX, arguments in RDI, RSI, RDX, R10, R8,
 * R9, result in RAX; RCX and R11 are lost. Frames are numbers of pages of 4 KiB; those of the
 * machine are those that the guest counts by itself ("pseudo-physical"): there is one kind.
 */
#pragma once

#include <stdint.h>

/* X(number, name); the gaps are calls for others than guests, or of other machines. */
#define XEN_CALLS(X)               \
    X(0, set_trap_table)           \
    X(1, mmu_update)               \
    X(2, set_gdt)                  \
    X(3, stack_switch)             \
    X(4, set_callbacks)            \
    X(5, fpu_taskswitch)           \
    X(6, sched_op_compat)          \
    X(8, set_debugreg)             \
    X(9, get_debugreg)             \
    X(10, update_descriptor)       \
    X(12, memory_op)               \
    X(13, multicall)               \
    X(14, update_va_mapping)       \
    X(15, set_timer_op)            \
    X(16, event_channel_op_compat) \
    X(17, xen_version)             \
    X(18, console_io)              \
    X(20, grant_table_op)          \
    X(21, vm_assist)               \
    X(23, iret)                    \
    X(24, vcpu_op)                 \
    X(25, set_segment_base)        \
    X(26, mmuext_op)               \
    X(29, sched_op)                \
    X(30, callback_op)             \
    X(32, event_channel_op)        \
    X(33, physdev_op)              \
    X(34, hvm_op)                  \
    X(40, xenpmu_op)
#define XEN_CALL_COUNT 41u

enum xen_error {
    XEN_EPERM = -1,
    XEN_ENOENT = -2,
    XEN_EFAULT = -14,
    XEN_EBUSY = -16,
    XEN_EEXIST = -17,
    XEN_EINVAL = -22,
    XEN_ENOSPC = -28,
    XEN_ENOSYS = -38,
    XEN_ETIME = -62,
};

#define XEN_DOMID_SELF 0x7ff0u

/* Selectors of Xen's own, which each guest finds in its GDT: flat segments of CPL 3. */
#define XEN_GDT_ENTRIES 7168u /* those below are the guest's */
#define XEN_CODE32      0xe023u
#define XEN_DATA        0xe02bu
#define XEN_CODE64      0xe033u

/* --- memory --- */

enum xen_mmu_kind { XEN_MMU_PTE = 0, XEN_MMU_M2P = 1, XEN_MMU_PTE_KEEP_AD = 2, XEN_MMU_TYPE = 3 };

struct xen_mmu_update {
    uint64_t ptr; /* machine address of the entry; the low bits say what is done */
    uint64_t val;
};

enum xen_mmuext {
    XEN_PIN_L1 = 0,
    XEN_PIN_L4 = 3,
    XEN_UNPIN = 4,
    XEN_NEW_BASEPTR = 5,
    XEN_TLB_FLUSH_LOCAL = 6,
    XEN_INVLPG_LOCAL = 7,
    XEN_TLB_FLUSH_MULTI = 8,
    XEN_INVLPG_MULTI = 9,
    XEN_TLB_FLUSH_ALL = 10,
    XEN_INVLPG_ALL = 11,
    XEN_FLUSH_CACHE = 12,
    XEN_SET_LDT = 13,
    XEN_NEW_USER_BASEPTR = 15,
};

struct xen_mmuext_op {
    uint32_t cmd, pad;
    uint64_t arg1; /* a frame, or a linear address */
    uint64_t arg2; /* a count, or the linear address of a bitmap of vCPUs */
};
_Static_assert(sizeof(struct xen_mmuext_op) == 24, "Xen's layout");

/* The last argument of update_va_mapping: what is flushed, and where: here, on all vCPUs, or those
 * of a bitmap whose address the other bits are. */
enum { XEN_UVMF_NONE = 0, XEN_UVMF_TLB_FLUSH = 1, XEN_UVMF_INVLPG = 2, XEN_UVMF_WHAT = 3 };
enum { XEN_UVMF_ALL = 4 };

struct xen_multicall {
    uint64_t op, result, args[6];
};
_Static_assert(sizeof(struct xen_multicall) == 64, "Xen's layout");

enum xen_memory_op {
    XEN_MEMORY_MAXIMUM_RAM_PAGE = 2,
    XEN_MEMORY_CURRENT_RESERVATION = 3,
    XEN_MEMORY_MAXIMUM_RESERVATION = 4,
    XEN_MEMORY_MAP = 9,
    XEN_MEMORY_MACHPHYS_MAPPING = 12,
};

/* --- traps --- */

struct xen_trap_info {
    uint8_t vector, flags; /* flags: bits 1:0 the DPL, bit 2: events are masked */
    uint16_t cs;
    uint32_t pad;
    uint64_t address; /* 0: the end of a list */
};
_Static_assert(sizeof(struct xen_trap_info) == 16, "Xen's layout");
enum { XEN_TRAP_DPL = 3, XEN_TRAP_MASKS_EVENTS = 4 };

/* What the kernel has on its stack for the call iret. */
struct xen_iret {
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};
enum { XEN_IRET_IN_SYSCALL = 0x100 }; /* of flags: RCX and R11 stay */

enum xen_callback {
    XEN_CALLBACK_EVENT = 0,
    XEN_CALLBACK_FAILSAFE = 1,
    XEN_CALLBACK_SYSCALL = 2,
    XEN_CALLBACK_NMI = 4,
    XEN_CALLBACK_SYSENTER = 5,
    XEN_CALLBACK_SYSCALL32 = 7,
    XEN_CALLBACKS
};

struct xen_callback_register {
    uint16_t type, flags; /* flags: bit 0: events are masked */
    uint32_t pad;
    uint64_t address;
};
enum { XEN_CALLBACK_MASKS_EVENTS = 1 };

enum xen_segment_base {
    XEN_BASE_FS = 0,
    XEN_BASE_GS_USER = 1,
    XEN_BASE_GS_KERNEL = 2,
    XEN_BASE_GS_USER_SELECTOR = 3,
};

/* --- events and time --- */

struct xen_time {
    uint32_t version, pad; /* odd: it is being written */
    uint64_t tsc, ns;      /* system time was ns when the TSC was tsc */
    uint32_t mul;          /* ns = (ticks << shift) * mul >> 32 */
    int8_t shift;
    uint8_t flags; /* XEN_TIME_STABLE */
    uint8_t pad2[2];
};
_Static_assert(sizeof(struct xen_time) == 32, "Xen's layout");
enum { XEN_TIME_STABLE = 1 };

struct xen_vcpu_info {
    uint8_t pending, mask, pad[6];
    uint64_t pending_words; /* words of xen_shared_info.pending with a bit that is for this vCPU */
    uint64_t cr2, pad2;
    struct xen_time time;
};
_Static_assert(sizeof(struct xen_vcpu_info) == 64, "Xen's layout");

#define XEN_LEGACY_VCPUS 32u
struct xen_shared_info {
    struct xen_vcpu_info vcpu[XEN_LEGACY_VCPUS];
    uint64_t pending[64], mask[64];
    uint32_t clock_version, clock_seconds, clock_ns, clock_seconds_high;
};
_Static_assert(sizeof(struct xen_shared_info) == 3088, "Xen's layout");
#define XEN_PORTS 4096u

enum xen_event_op {
    XEN_EVENT_BIND_VIRQ = 1,
    XEN_EVENT_CLOSE = 3,
    XEN_EVENT_SEND = 4,
    XEN_EVENT_STATUS = 5,
    XEN_EVENT_ALLOC_UNBOUND = 6,
    XEN_EVENT_BIND_IPI = 7,
    XEN_EVENT_BIND_VCPU = 8,
    XEN_EVENT_UNMASK = 9,
};

enum xen_virq { XEN_VIRQ_TIMER = 0, XEN_VIRQ_DEBUG = 1, XEN_VIRQS = 24 };

enum xen_vcpu_op {
    XEN_VCPU_INITIALISE = 0,
    XEN_VCPU_UP = 1,
    XEN_VCPU_DOWN = 2,
    XEN_VCPU_IS_UP = 3,
    XEN_VCPU_RUNSTATE = 4,
    XEN_VCPU_REGISTER_RUNSTATE = 5,
    XEN_VCPU_STOP_PERIODIC = 7,
    XEN_VCPU_SET_SINGLESHOT = 8,
    XEN_VCPU_STOP_SINGLESHOT = 9,
    XEN_VCPU_REGISTER_INFO = 10,
    XEN_VCPU_SEND_NMI = 11,
    XEN_VCPU_REGISTER_TIME = 13,
};
#define XEN_RUNSTATE_BYTES 48u /* state, 4 unused, when it began, time in each of four: ns */

enum xen_sched_op {
    XEN_SCHED_YIELD = 0,
    XEN_SCHED_BLOCK = 1,
    XEN_SCHED_SHUTDOWN = 2,
    XEN_SCHED_POLL = 3,
};
enum xen_shutdown { XEN_POWEROFF = 0, XEN_REBOOT = 1, XEN_SUSPEND = 2, XEN_CRASH = 3 };

/* What a vCPU starts with: places in the structure that VCPUOP_initialise is given. */
enum xen_context {
    XEN_CONTEXT_FLAGS = 512,     /* enum xen_context_flags */
    XEN_CONTEXT_REGISTERS = 520, /* R15 R14 R13 R12 RBP RBX R11 R10 R9 R8 RAX RCX RDX RSI RDI */
    XEN_CONTEXT_RIP = 648,
    XEN_CONTEXT_CS = 656,
    XEN_CONTEXT_RFLAGS = 664,
    XEN_CONTEXT_RSP = 672,
    XEN_CONTEXT_SS = 680,
    XEN_CONTEXT_SELECTORS = 688, /* ES DS FS GS, 8 bytes each */
    XEN_CONTEXT_TRAPS = 720,     /* struct xen_trap_info by vector */
    XEN_CONTEXT_LDT = 4816,      /* base, entries */
    XEN_CONTEXT_GDT = 4832,      /* 16 frames, then the number of entries */
    XEN_CONTEXT_GDT_ENTRIES = 4960,
    XEN_CONTEXT_KERNEL_SS = 4968,
    XEN_CONTEXT_KERNEL_SP = 4976,
    XEN_CONTEXT_CONTROL = 4984,   /* CR0 to CR7; CR1: the user page tables */
    XEN_CONTEXT_DEBUG = 5048,     /* DR0 to DR7 */
    XEN_CONTEXT_CALLBACKS = 5112, /* event, failsafe, syscall */
    XEN_CONTEXT_BASES = 5144,     /* FS, GS of the kernel, GS of user code */
    XEN_CONTEXT_BYTES = 5168,
};

/* Events are masked for these callbacks. */
enum xen_context_flags { XEN_CONTEXT_FAILSAFE_MASKS = 8, XEN_CONTEXT_SYSCALL_MASKS = 16 };

/* --- grants --- */

enum xen_grant_op {
    XEN_GRANT_SETUP_TABLE = 2,
    XEN_GRANT_QUERY_SIZE = 6,
    XEN_GRANT_SET_VERSION = 8,
    XEN_GRANT_GET_VERSION = 10,
};
enum xen_grant_status { XEN_GRANT_OKAY = 0, XEN_GRANT_ERROR = -1, XEN_GRANT_BAD_DOMAIN = -2 };

struct xen_grant_setup {
    uint16_t domain, pad;
    uint32_t frames;
    int16_t status; /* enum xen_grant_status */
    uint16_t pad2[3];
    uint64_t list; /* linear address of so many frame numbers */
};
_Static_assert(sizeof(struct xen_grant_setup) == 24, "Xen's layout");

struct xen_grant_size {
    uint16_t domain, pad;
    uint32_t frames, max_frames;
    int16_t status;
    uint16_t pad2;
};
_Static_assert(sizeof(struct xen_grant_size) == 16, "Xen's layout");

/* --- console and store --- */

#define XEN_CONSOLE_IN  1024u
#define XEN_CONSOLE_OUT 2048u
struct xen_console {
    char in[XEN_CONSOLE_IN], out[XEN_CONSOLE_OUT];
    uint32_t in_taken, in_put, out_taken, out_put; /* counted, not wrapped */
};

#define XEN_STORE_RING 1024u
struct xen_store {
    char requests[XEN_STORE_RING], replies[XEN_STORE_RING];
    uint32_t requests_taken, requests_put, replies_taken, replies_put; /* likewise */
};

/* Before the text of each request and reply. */
struct xen_store_header {
    uint32_t type, request, transaction, bytes;
};
enum { XEN_STORE_ERROR = 16 }; /* a reply's type: the text is the error's name */
