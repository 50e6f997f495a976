/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on a domain as a whole, which hardly change anything: what Xen is, what memory there
 * is, early text. */
#include "guest/pv/mmu.h"

#include "arch/format.h"
#include "mm/host_paging.h"

void pv_crash(struct pv_vcpu *v, const char *format, ...)
{
    char why[120];
    va_list args;
    va_start(args, format);
    (void)format_text_va(why, sizeof(why), format, args);
    va_end(args);
    vm_end_format(v->vcpu.vm, VM_CRASH, 0, "vCPU %u: %s", v->vcpu.index, why);
}

/* --- xen_version --- */

/* Versions whose interface is this one; Linux prints them. */
enum { XEN_MAJOR = 4, XEN_MINOR = 17 };

/* What a kernel may count on (XENFEAT_...): entries keep A and D where asked (5), and grants have
 * bits of their own in entries (7), which kernels want to hear, though there are no grants. */
#define FEATURES (1u << 5 | 1u << 7)

enum version_op {
    VERSION = 0,
    EXTRA_VERSION = 1,
    CAPABILITIES = 3,
    CHANGESET = 4,
    PLATFORM = 5,
    GET_FEATURES = 6,
    PAGE_BYTES = 7,
    GUEST_HANDLE = 8,
    COMMAND_LINE = 9,
};

static int64_t put_text(struct pv_vcpu *v, uint64_t at, const char *text, unsigned bytes)
{
    char out[1024] = {0};
    for (unsigned i = 0; text[i] != 0 && i + 1 < bytes; i++)
        out[i] = text[i];
    return pv_write(v, at, out, bytes) ? 0 : XEN_EFAULT;
}

static int64_t get_features(struct pv_vcpu *v, uint64_t at)
{
    uint32_t arg[2]; /* which 32 of them; the answer */
    if (!pv_read(v, at, arg, sizeof(arg)))
        return XEN_EFAULT;
    arg[1] = arg[0] == 0 ? FEATURES : 0;
    return pv_write(v, at, arg, sizeof(arg)) ? 0 : XEN_EFAULT;
}

static int64_t __attribute__((noinline)) other_version(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t at = call->gpr[ARG1], hole = HOST_PHYSMAP_BASE;
    switch ((uint32_t)call->gpr[ARG0]) {
    case EXTRA_VERSION: return put_text(v, at, ".0-nadir", 16);
    case CAPABILITIES: return put_text(v, at, "xen-3.0-x86_64 ", 1024);
    case CHANGESET: return put_text(v, at, "unavailable", 64);
    case PLATFORM: return pv_write(v, at, &hole, sizeof(hole)) ? 0 : XEN_EFAULT;
    case GET_FEATURES: return get_features(v, at);
    case PAGE_BYTES: return PAGE_SIZE;
    case GUEST_HANDLE: return put_text(v, at, v->vcpu.vm->name, 16);
    case COMMAND_LINE: return put_text(v, at, "", 1024);
    default: return XEN_ENOSYS;
    }
}

/* A kernel that only wants to be here for a moment, so that its events are delivered, asks for the
 * version: it does not wait for the others. */
int64_t pv_xen_version(struct pv_vcpu *v, struct pv_call *call)
{
    if ((uint32_t)call->gpr[ARG0] == VERSION)
        return XEN_MAJOR << 16 | XEN_MINOR;
    return other_version(v, call);
}

/* --- memory_op --- */

#define E820_BYTES 20u /* base, length, type */
#define E820_RAM   1u

static int64_t memory_map(struct pv_vcpu *v, uint64_t at)
{
    struct {
        uint32_t entries, pad;
        uint64_t buffer;
    } arg;
    const struct {
        uint64_t base, bytes;
        uint32_t type;
    } ram = {0, v->vcpu.vm->domain->pages * PAGE_SIZE, E820_RAM};
    if (!pv_read(v, at, &arg, sizeof(arg)))
        return XEN_EFAULT;
    if (arg.entries == 0)
        return XEN_EINVAL;
    arg.entries = 1;
    return pv_write(v, arg.buffer, &ram, E820_BYTES) && pv_write(v, at, &arg, sizeof(arg.entries))
               ? 0
               : XEN_EFAULT;
}

static int64_t machphys_mapping(struct pv_vcpu *v, uint64_t at)
{
    const struct pv_vm *own = pv_vm_of(v);
    const uint64_t out[3] = {PV_M2P_BASE, PV_M2P_BASE + own->m2p_pages * PAGE_SIZE,
                             v->vcpu.vm->domain->pages - 1};
    return pv_write(v, at, out, sizeof(out)) ? 0 : XEN_EFAULT;
}

int64_t pv_memory_op(struct pv_vcpu *v, struct pv_call *call)
{
    const int64_t pages = (int64_t)v->vcpu.vm->domain->pages;
    switch ((enum xen_memory_op)(uint32_t)call->gpr[ARG0]) {
    case XEN_MEMORY_MAXIMUM_RAM_PAGE: return pages - 1;
    case XEN_MEMORY_CURRENT_RESERVATION:
    case XEN_MEMORY_MAXIMUM_RESERVATION: return pages;
    case XEN_MEMORY_MAP: return memory_map(v, call->gpr[ARG1]);
    case XEN_MEMORY_MACHPHYS_MAPPING: return machphys_mapping(v, call->gpr[ARG1]);
    default: return XEN_ENOSYS;
    }
}

/* --- grant_table_op --- */

/* A table of version 1, which the guest writes to by itself. Nobody reads it: there is no other
 * domain that could use a grant. Linux counts on two pages at least. */
#define GRANT_VERSION 1u

static int64_t setup_table(struct pv_vcpu *v, uint64_t at)
{
    struct xen_grant_setup arg;
    uint64_t frame[DOMAIN_GRANT_PAGES];
    for (unsigned i = 0; i < DOMAIN_GRANT_PAGES; i++)
        frame[i] = v->vcpu.vm->domain->grants.v / PAGE_SIZE + i;
    if (!pv_read(v, at, &arg, sizeof(arg)))
        return XEN_EFAULT;
    arg.status = arg.domain != XEN_DOMID_SELF      ? XEN_GRANT_BAD_DOMAIN
                 : arg.frames > DOMAIN_GRANT_PAGES ? XEN_GRANT_ERROR
                                                   : XEN_GRANT_OKAY;
    if (arg.status == XEN_GRANT_OKAY &&
        !pv_write(v, arg.list, frame, arg.frames * sizeof(frame[0])))
        return XEN_EFAULT;
    return pv_write(v, at, &arg, sizeof(arg)) ? 0 : XEN_EFAULT;
}

static int64_t query_size(struct pv_vcpu *v, uint64_t at)
{
    struct xen_grant_size arg;
    if (!pv_read(v, at, &arg, sizeof(arg)))
        return XEN_EFAULT;
    arg.status = arg.domain == XEN_DOMID_SELF ? XEN_GRANT_OKAY : XEN_GRANT_BAD_DOMAIN;
    arg.frames = arg.max_frames = DOMAIN_GRANT_PAGES;
    return pv_write(v, at, &arg, sizeof(arg)) ? 0 : XEN_EFAULT;
}

/* The guest asks for one, and finds there which it has. */
static int64_t set_version(struct pv_vcpu *v, uint64_t at)
{
    const uint32_t has = GRANT_VERSION;
    uint32_t wanted;
    if (!pv_read(v, at, &wanted, sizeof(wanted)) || !pv_write(v, at, &has, sizeof(has)))
        return XEN_EFAULT;
    return wanted == GRANT_VERSION ? 0 : wanted == 2 ? XEN_ENOSYS : XEN_EINVAL;
}

/* {domain, version} */
static int64_t get_version(struct pv_vcpu *v, uint64_t at)
{
    uint32_t arg[2];
    if (!pv_read(v, at, arg, sizeof(arg)))
        return XEN_EFAULT;
    if ((uint16_t)arg[0] != XEN_DOMID_SELF)
        return XEN_EPERM;
    arg[1] = GRANT_VERSION;
    return pv_write(v, at, arg, sizeof(arg)) ? 0 : XEN_EFAULT;
}

int64_t pv_grant_table_op(struct pv_vcpu *v, struct pv_call *call)
{
    const uint32_t op = (uint32_t)call->gpr[ARG0], count = (uint32_t)call->gpr[ARG2];
    const uint64_t at = call->gpr[ARG1];
    if ((op == XEN_GRANT_SETUP_TABLE || op == XEN_GRANT_QUERY_SIZE) && count != 1)
        return XEN_EINVAL;
    switch (op) {
    case XEN_GRANT_SETUP_TABLE: return setup_table(v, at);
    case XEN_GRANT_QUERY_SIZE: return query_size(v, at);
    case XEN_GRANT_SET_VERSION: return set_version(v, at);
    case XEN_GRANT_GET_VERSION: return get_version(v, at);
    default: return XEN_ENOSYS;
    }
}

/* --- console_io, physdev_op --- */

int64_t pv_console_io(struct pv_vcpu *v, struct pv_call *call)
{
    enum { WRITE = 0 };
    char text[128];
    struct vm *vm = v->vcpu.vm;
    uint64_t left = (uint32_t)call->gpr[ARG1];
    if ((uint32_t)call->gpr[ARG0] != WRITE)
        return 0; /* nothing is typed there: the ring has it */
    const uint64_t n = left < sizeof(text) ? left : sizeof(text);
    if (!pv_read(v, call->gpr[ARG2], text, n))
        return XEN_EFAULT;
    vm_lock(vm);
    const uint64_t taken = vm->domain->out(vm, text, n);
    if (taken < n)
        vm_wait_for_io(vm);
    vm_unlock(vm);
    if (taken < left) {
        call->again = true;
        call->gpr[ARG1] = left - taken;
        call->gpr[ARG2] += taken;
    }
    return 0;
}

/* Ports: none is there that could be opened, and none faults in the kernel. */
int64_t pv_physdev_op(struct pv_vcpu *v, struct pv_call *call)
{
    enum { SET_IOPL = 6, SET_IOBITMAP = 7 };
    const uint32_t op = (uint32_t)call->gpr[ARG0];
    (void)v;
    return op == SET_IOPL || op == SET_IOBITMAP ? 0 : XEN_ENOSYS;
}
