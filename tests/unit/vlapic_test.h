/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM of local APICs without anything that runs: what its vCPUs would be told is counted. The test
 * says what time it is, in read_clock(). */
#pragma once

#include "guest/vm/vcpu.h"
#include "mm/page_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CPUS    4
#define APIC(i) (&vcpu[i].apic)

uint64_t read_clock(void);

uint64_t physmap_base;
static struct vm vm;
static struct vcpu vcpu[CPUS + 1];
static struct timers *const timers __attribute__((unused)) = &vcpu[0].timers;
static unsigned silents[CPUS + 1], changes[CPUS + 1], nmis[CPUS + 1], inits[CPUS + 1];
static unsigned sipi[CPUS + 1];
static unsigned pages_left, pages_out;
static uint64_t clock_hz;

enum status page_alloc(uint64_t pages, uint64_t align_pages, hpa_t *out)
{
    assert_int_equal(align_pages, 1);
    if (pages > pages_left)
        return ERR_NO_MEMORY;
    pages_left -= (unsigned)pages;
    pages_out += (unsigned)pages;
    *out = ptr_to_hpa(aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE));
    memset(hpa_to_ptr(*out), 0xa5, pages * PAGE_SIZE); /* what a reset does not clear is seen */
    return OK;
}

void page_free(hpa_t base, uint64_t pages)
{
    pages_out -= (unsigned)pages;
    free(hpa_to_ptr(base));
}

void vcpu_interrupts_changed(struct vcpu *of)
{
    changes[of->index]++;
}

void vcpu_posted(struct vcpu *of, bool silent, uint64_t *later)
{
    (void)later;
    silents[of->index] += silent;
    changes[of->index]++;
}

void vcpu_kick_all(struct vm *of, uint64_t which)
{
    (void)of;
    (void)which;
}

void vcpu_request_nmi(struct vcpu *of, uint64_t *later)
{
    (void)later;
    nmis[of->index]++;
}

void vcpu_request_init(struct vcpu *of, uint64_t *later)
{
    (void)later;
    inits[of->index]++;
    vlapic_reset(&of->apic, true);
}

void vcpu_request_sipi(struct vcpu *of, unsigned vector, uint64_t *later)
{
    (void)later;
    sipi[of->index] = vector;
}

static void start_vm(uint64_t hz)
{
    memset(&vm, 0, sizeof(vm));
    memset(vcpu, 0, sizeof(vcpu));
    memset(silents, 0, sizeof(silents));
    memset(changes, 0, sizeof(changes));
    memset(inits, 0, sizeof(inits));
    memset(sipi, 0, sizeof(sipi));
    memset(nmis, 0, sizeof(nmis));
    pages_left = 2 * (CPUS + 1);
    clock_hz = hz;
}

static void __attribute__((unused))
add_apic(unsigned index, uint32_t id, unsigned (*pic_acknowledge)(void *pic), void *pic)
{
    struct vcpu *v = &vcpu[index];
    v->vm = &vm;
    v->index = index;
    v->apic_id = id;
    v->phys_bits = 39;
    v->timers = (struct timers){.read = read_clock, .hz = clock_hz, .next = TIMER_NEVER};
    vm.vcpu[index] = v;
    vm.vcpu_count++;
    assert_int_equal(vlapic_init(APIC(index), pic_acknowledge, pic), OK);
}

/* Whoever has made an APIC gives all of it back. */
static void end_vm(void)
{
    for (unsigned i = 0; i < vm.vcpu_count; i++)
        vlapic_destroy(APIC(i));
    assert_int_equal(pages_out, 0);
}
