/* SPDX-License-Identifier: BSD-2-Clause */
/* How a domain is put together, and how its console reaches the user's. */
#include "guest/pc/domain.h"

#include "arch/log.h"
#include "guest/load/kernel.h"
#include "guest/vm/sched.h"

_Static_assert(DOMAIN_CONSOLE_PORT == XEN_CONSOLE_PORT, "the loader names the engine's port");
_Static_assert(DOMAIN_GRANT_PAGES == XEN_GRANT_PAGES, "the loader clears the engine's pages");

static size_t out(struct vm *vm, const char *text, size_t bytes)
{
    struct pc *pc = pc_of(vm);
    size_t n = 0;
    for (; n < bytes && pc->console.ready(pc->console.ctx); n++)
        pc->console.out(pc->console.ctx, (uint8_t)text[n]);
    return n;
}

void domain_poll(struct pc *pc)
{
    struct vm *vm = &pc->vm;
    const struct vm_domain *domain = &pc->domain;
    if (domain->typed == NULL) /* its engine has not begun */
        return;
    for (;;) {
        if (pc->typed < 0)
            pc->typed = pc->console.in(pc->console.ctx);
        if (pc->typed < 0 || !domain->typed(vm, (uint8_t)pc->typed))
            break;
        pc->typed = -1;
    }
    (void)domain->drain(vm);
}

static uint32_t read_zero(void *dev, uint16_t port, unsigned bytes)
{
    (void)dev;
    (void)port;
    (void)bytes;
    return 0;
}

/* Where nothing is, all ones are read, as on a bus. But Linux measures its clock by the PIT of a PC
 * before it knows better, and takes long to see by all ones that there is none. */
static enum status make_ports(struct pc *pc, const struct vm_config *config)
{
    const struct power_line power = {vm_end_request, &pc->vm};
    const struct port_range pit = {0x42, 0x42, 1, pc, read_zero, NULL};
    const enum status s = bus_add_ports(&pc->vm.bus, &pit);
    return s != OK ? s
                   : vdebug_init(&pc->debug, pc_debug_sink(config), pc, config->debugcon,
                                 config->firmware_log, &pc->vm.bus, power);
}

static enum status load(struct pc *pc, const struct vm_config *config)
{
    struct vm *vm = &pc->vm;
    struct program program = kernel_program(config, &vm->mem, vm->memory_bytes);
    program.between = sched_look;
    const enum status s = kernel_load(&program, config->type, &pc->boot, &pc->kind);
    if (s != OK) {
        log_line_of(vm->log, "error: nadir.cfg:%u: %s: %s", config->kernel.line,
                    config->kernel.path, program.why);
        return s;
    }
    log_line_of(vm->log, "%s: %s: %s, entry 0x%lx", config->name, config->kernel.path,
                pc->kind->name, pc->boot.rip);
    pc->domain.pages = program.xen.pages;
    pc->domain.shared_info = program.xen.shared_info;
    pc->domain.grants = program.xen.grants;
    pc->domain.console = program.xen.console;
    pc->domain.store = program.xen.store;
    pc->domain.tables = program.xen.kernel_tables.first;
    return OK;
}

enum status domain_make(struct pc *pc, const struct vm_config *config, const struct pc_host *host)
{
    enum status s = make_ports(pc, config);
    if (s != OK) {
        log_line_of(pc->vm.log, "vm %s: cannot make its ports: %s", config->name, status_text(s));
        return s;
    }
    pc->domain = (struct vm_domain){.epoch = host->epoch, .out = out};
    s = load(pc, config);
    if (s != OK)
        return s;
    pc->vm.domain = &pc->domain;
    /* A kernel there cannot reach its local APIC, but uses it by Nadir's own calls. */
    for (uint32_t i = 0; i < pc->vm.vcpu_count; i++)
        (void)vlapic_write(&pc->vm.vcpu[i]->apic, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    return OK;
}
