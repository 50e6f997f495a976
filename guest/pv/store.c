/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A domain's store: a page with a ring of requests, and one of replies. Xen keeps names and values
 * there, by which devices are found. A domain here has none of those, so that whatever is asked for
 * is not there. No port leads to it (start_info has 0), which tells most kernels not to ask; those
 * that do yield until the reply has come, and it is given then. What is in the rings is the
 * guest's, and may be anything: counts are taken modulo the ring.
 */
#include "guest/pv/pv.h"

#include "arch/bytes.h"
#include "arch/string.h"

static const char not_there[] = "ENOENT";
#define REPLY_BYTES ((uint32_t)(sizeof(struct xen_store_header) + sizeof(not_there)))

static uint32_t load(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

static uint32_t read_word(const struct xen_store *ring, uint32_t at)
{
    uint32_t word = 0;
    for (uint32_t i = 0; i < sizeof(word); i++) {
        const uint8_t byte = *(const volatile uint8_t *)&ring->requests[(at + i) % XEN_STORE_RING];
        word |= (uint32_t)byte << 8 * i;
    }
    return word;
}

static struct xen_store_header read_header(const struct xen_store *ring, uint32_t at)
{
    return (struct xen_store_header){read_word(ring, at), read_word(ring, at + 4),
                                     read_word(ring, at + 8), read_word(ring, at + 12)};
}

/* False: there is no room for the reply. */
static bool reply(struct xen_store *ring, const struct xen_store_header *request)
{
    const uint32_t at = load(&ring->replies_put);
    uint8_t bytes[REPLY_BYTES];
    if (at - load(&ring->replies_taken) > XEN_STORE_RING - REPLY_BYTES)
        return false;
    put_le(bytes, 4, XEN_STORE_ERROR);
    put_le(bytes + 4, 4, request->request);
    put_le(bytes + 8, 4, request->transaction);
    put_le(bytes + 12, 4, sizeof(not_there));
    memcpy(bytes + sizeof(*request), not_there, sizeof(not_there));
    for (uint32_t i = 0; i < REPLY_BYTES; i++)
        *(volatile uint8_t *)&ring->replies[(at + i) % XEN_STORE_RING] = bytes[i];
    __atomic_store_n(&ring->replies_put, at + REPLY_BYTES, __ATOMIC_RELEASE);
    return true;
}

/* At most one ring full. A request's text is not looked at, and may be longer than the ring. */
static void answer(struct pv_vm *own)
{
    struct xen_store *ring = own->store;
    const uint32_t put_by_guest = load(&ring->requests_put);
    uint32_t taken = load(&ring->requests_taken), waiting = put_by_guest - taken;
    if (waiting > XEN_STORE_RING) { /* nonsense: as if the ring were full */
        waiting = XEN_STORE_RING;
        taken = put_by_guest - waiting;
    }
    while (waiting != 0) {
        uint32_t n = own->store_skip < waiting ? own->store_skip : waiting;
        own->store_skip -= n;
        if (n == 0) {
            const struct xen_store_header header = read_header(ring, taken);
            n = sizeof(header);
            if (waiting < n || !reply(ring, &header))
                break;
            own->store_skip = header.bytes;
        }
        taken += n;
        waiting -= n;
    }
    __atomic_store_n(&ring->requests_taken, taken, __ATOMIC_RELEASE);
}

void pv_store_look(struct pv_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    struct pv_vm *own = pv_vm(vm);
    if (load(&own->store->requests_put) == load(&own->store->requests_taken))
        return;
    vm_lock(vm);
    answer(own);
    vm_unlock(vm);
}
