/* SPDX-License-Identifier: BSD-2-Clause */
/* Xen's interface, as far as payloads that are paravirtual kernels use it: its numbers and layouts
 * (xen/include/public). Such a kernel is an ELF file with the notes of xen_notes.inc. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    XEN_SET_TRAP_TABLE = 0,
    XEN_MMU_UPDATE = 1,
    XEN_SET_GDT = 2,
    XEN_STACK_SWITCH = 3,
    XEN_SET_CALLBACKS = 4,
    XEN_FPU_TASKSWITCH = 5,
    XEN_SCHED_OP_COMPAT = 6,
    XEN_SET_DEBUGREG = 8,
    XEN_UPDATE_DESCRIPTOR = 10,
    XEN_MEMORY_OP = 12,
    XEN_MULTICALL = 13,
    XEN_UPDATE_VA_MAPPING = 14,
    XEN_SET_TIMER_OP = 15,
    XEN_VERSION = 17,
    XEN_CONSOLE_IO = 18,
    XEN_IRET = 23,
    XEN_VCPU_OP = 24,
    XEN_SET_SEGMENT_BASE = 25,
    XEN_MMUEXT_OP = 26,
    XEN_SCHED_OP = 29,
    XEN_CALLBACK_OP = 30,
    XEN_EVENT_CHANNEL_OP = 32,
};
enum { XEN_VCPU_INITIALISE = 0, XEN_VCPU_UP = 1, XEN_VCPU_REGISTER_INFO = 10 };
enum {
    XEN_PIN_L1 = 0,
    XEN_PIN_L4 = 3,
    XEN_NEW_BASEPTR = 5,
    XEN_FLUSH_LOCAL = 6,
    XEN_NEW_USER_BASEPTR = 15
};
enum { XEN_FLUSH_NONE = 0, XEN_FLUSH_INVLPG = 2 }; /* of update_va_mapping */
enum { XEN_CALLBACK_EVENT, XEN_CALLBACK_FAILSAFE, XEN_CALLBACK_SYSCALL };
enum { XEN_THIS_DOMAIN = 0x7ff0, XEN_FLAT_CODE = 0xe033, XEN_FLAT_DATA = 0xe02b };
enum { XEN_MASKS_EVENTS = 4 }; /* of a trap's flags */

struct xen_start_info {
    char magic[32];
    uint64_t pages, shared_info;
    uint32_t flags;
    uint64_t store_frame;
    uint32_t store_port;
    uint64_t console_frame;
    uint32_t console_port;
    uint64_t page_tables; /* of which the kernel has been started: where they are */
    uint64_t table_count, frame_list, module, module_bytes;
    char command_line[1024];
};

struct xen_trap_info {
    uint8_t vector, flags;
    uint16_t cs;
    uint64_t address;
};

struct xen_mmuext {
    uint32_t command;
    uint64_t frame, argument;
};

/* What a vCPU shares with the hypervisor. */
struct xen_vcpu_info {
    uint8_t pending, masked;
    uint64_t pending_words, fault_address;
    uint8_t time[40];
};
_Static_assert(sizeof(struct xen_vcpu_info) == 64, "Xen's layout");

static inline int64_t xen_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t result;
    register uint64_t fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth)
                     : "0"(number)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

/* print() goes to the hypervisor's console, by lines. */
void xen_print(void);
/* The domain powers off, or has crashed. */
_Noreturn void xen_end(bool well);

/* Where the kernel is entered for a callback; events are masked for it. */
static inline void xen_tell_callback(uint16_t type, void (*entry)(void))
{
    const struct {
        uint16_t type, flags;
        uint64_t address;
    } callback = {type, 1, (uint64_t)entry};
    (void)xen_call(XEN_CALLBACK_OP, 0, (uint64_t)&callback, 0, 0);
}
