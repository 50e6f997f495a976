/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's console: a ring in a page that the guest writes to and reads from, without a call for
 * each byte. What is in it is the guest's, and may be anything: counts are taken modulo the ring.
 */
#include "guest/pv/pv.h"

static uint32_t load(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

/* At most one ring full. */
bool pv_console_drain(struct vm *vm)
{
    struct xen_console *ring = pv_vm(vm)->console;
    uint32_t taken = load(&ring->out_taken);
    const uint32_t put = load(&ring->out_put);
    uint32_t waiting = put - taken;
    if (waiting > XEN_CONSOLE_OUT) { /* nonsense: as if the ring were full */
        waiting = XEN_CONSOLE_OUT;
        taken = put - waiting;
    }
    if (waiting == 0)
        return true;
    while (waiting != 0) {
        char text[128];
        uint32_t n = 0;
        for (; n < sizeof(text) && n < waiting; n++)
            text[n] = *(const volatile char *)&ring->out[(taken + n) % XEN_CONSOLE_OUT];
        const uint32_t gone = (uint32_t)vm->domain->out(vm, text, n);
        taken += gone;
        waiting -= gone;
        if (gone < n)
            break;
    }
    __atomic_store_n(&ring->out_taken, taken, __ATOMIC_RELEASE);
    pv_event_set(vm, DOMAIN_CONSOLE_PORT);
    return waiting == 0;
}

void pv_console_look(struct pv_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    vm_lock(vm);
    if (!pv_console_drain(vm))
        vm_wait_for_io(vm);
    vm_unlock(vm);
}

bool pv_console_typed(struct vm *vm, uint8_t byte)
{
    struct xen_console *ring = pv_vm(vm)->console;
    if (ring == NULL)
        return false;
    const uint32_t put = load(&ring->in_put);
    if (put - load(&ring->in_taken) >= XEN_CONSOLE_IN)
        return false;
    *(volatile char *)&ring->in[put % XEN_CONSOLE_IN] = (char)byte;
    __atomic_store_n(&ring->in_put, put + 1, __ATOMIC_RELEASE);
    pv_event_set(vm, DOMAIN_CONSOLE_PORT);
    return true;
}
