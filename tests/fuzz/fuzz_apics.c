// link: drivers/virt/vioapic.c guest/vm/vlapic.c guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c
// link: drivers/bus/timers.c guest/vm/vcpu_pv_eoi.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that does anything to its IO-APIC and its CPUs' local APICs, in xAPIC and x2APIC mode, by
 * memory and by MSR, with jumps in time and devices that assert their lines. */
#include "drivers/virt/vioapic.h"
#include "guest/vm/vcpu.h"
#include "mm/page_alloc.h"

#include <stdlib.h>
#include <string.h>

enum { CPUS = 4, SEND_ROUNDS = 64 };

uint64_t physmap_base;
static struct vm vm;
static struct vcpu vcpu[CPUS];
static struct vioapic ioapic;
static uint64_t clock_now;
static unsigned inits, nested;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

enum status page_alloc(uint64_t pages, uint64_t align_pages, hpa_t *out)
{
    void *memory = aligned_alloc(align_pages * PAGE_SIZE, pages * PAGE_SIZE);
    require(memory != NULL);
    memset(memory, 0xa5, pages * PAGE_SIZE);
    *out = ptr_to_hpa(memory);
    return OK;
}

void page_free(hpa_t base, uint64_t pages)
{
    (void)pages;
    free(hpa_to_ptr(base));
}

void vcpu_interrupts_changed(struct vcpu *of)
{
    require(of >= vcpu && of < vcpu + CPUS);
}

void vcpu_posted(struct vcpu *of, bool silent, uint64_t *later)
{
    (void)later;
    (void)silent;
    require(of >= vcpu && of < vcpu + CPUS);
}

void vcpu_kick_all(struct vm *of, uint64_t which)
{
    (void)of;
    (void)which;
}

void vcpu_request_nmi(struct vcpu *of, uint64_t *later)
{
    (void)later;
    (void)of;
}

void vcpu_request_init(struct vcpu *of, uint64_t *later)
{
    (void)later;
    inits |= 1u << of->index; /* it is its own CPU's to do, later */
}

void vcpu_request_sipi(struct vcpu *of, unsigned vector, uint64_t *later)
{
    (void)later;
    (void)of;
    require(vector < 256);
}

static uint64_t read_clock(void)
{
    return clock_now;
}

static unsigned pic_acknowledge(void *pic)
{
    (void)pic;
    return 0x31;
}

/* A level that stays asserted is sent again at each EOI, but not from within one for ever. */
static void on_eoi(void *chip, unsigned vector)
{
    require(vector < 256 && ++nested < SEND_ROUNDS);
    vioapic_eoi(chip, vector);
    nested--;
}

static void start(uint64_t hz, bool assisted)
{
    memset(&vm, 0, sizeof(vm));
    memset(vcpu, 0, sizeof(vcpu));
    clock_now = 1000;
    inits = nested = 0;
    vioapic_init(&ioapic, (struct msi_sink){vlapic_receive_msi, &vm});
    vm.ioapic = (struct msi_source){on_eoi, vioapic_may_send_nmi, &ioapic};
    for (unsigned i = 0; i < CPUS; i++) {
        struct vcpu *v = &vcpu[i];
        v->vm = &vm;
        v->index = i;
        v->apic_id = i == 3 ? 254 : i; /* one that logical IDs of a cluster reach differently */
        v->phys_bits = 39;
        v->assisted = assisted;
        v->timers = (struct timers){.read = read_clock, .hz = hz, .next = TIMER_NEVER};
        vm.vcpu[i] = v;
        vm.vcpu_count++;
        require(vlapic_init(&v->apic, pic_acknowledge, NULL) == OK);
    }
}

/* As a vCPU does before it enters the guest. */
static void settle(struct vcpu *v)
{
    if ((inits & 1u << v->index) != 0)
        vlapic_reset(&v->apic, true);
    inits &= ~(1u << v->index);
    vlapic_collect(&v->apic);
    if (v->assisted)
        return;
    const int vector = vlapic_pending(&v->apic);
    require(vector == -1 || (vector >= 16 && vector < 256));
    if (vector != -1) {
        vlapic_accept(&v->apic, (unsigned)vector);
        require(vlapic_pending(&v->apic) != vector);
    }
}

/* Eight bytes of input are one step: what, whose, where, and a value. */
static void step(const uint8_t *data)
{
    struct vcpu *v = &vcpu[data[1] & 3];
    const unsigned bytes = 1u << (data[1] >> 2 & 3);
    const unsigned offset = data[2] << 4 & 0xff0;
    uint32_t value;
    uint64_t wide;
    memcpy(&value, data + 3, sizeof(value));
    wide = (uint64_t)data[7] << 56 | (uint64_t)(data[7] & 3) << 32 | value;
    switch (data[0] & 15) {
    case 0: clock_now += (uint64_t)value << (data[7] & 31); break;
    case 1:
        if (v->timers.next != TIMER_NEVER && v->timers.next > clock_now)
            clock_now = v->timers.next;
        timers_run(&v->timers, clock_now);
        break;
    case 2: vioapic_set(&ioapic, data[2] & 31, (value & 1) != 0); break;
    case 3:
        (void)vlapic_receive_msi(&vm, MSI_ADDRESS | (value & 0xffffc), data[7] | (value & 0xff00));
        break;
    case 4: vlapic_set_lint0(&v->apic, 0, (value & 1) != 0); break;
    case 5: settle(v); break;
    case 6:
        (void)vlapic_write_base(&v->apic, wide & 1 ? VLAPIC_DEFAULT_BASE | (value & 0xfff) : wide);
        break;
    case 7: vlapic_write_deadline(&v->apic, wide); break;
    case 8: vioapic_write(&ioapic, gpa(VIOAPIC_BASE), 4, data[7] & 63); break;
    case 9: vioapic_write(&ioapic, gpa(VIOAPIC_BASE + offset), bytes, wide); break;
    case 10: (void)vioapic_read(&ioapic, gpa(VIOAPIC_BASE + offset), bytes); break;
    case 11: (void)vlapic_mmio_read(&v->apic, gpa(VLAPIC_DEFAULT_BASE + offset), bytes); break;
    case 12:
        if ((v->apic.base & APIC_BASE_X2APIC) != 0)
            (void)vlapic_write(&v->apic, offset, wide);
        break;
    case 13:
        if (vlapic_extint_pending(&v->apic))
            (void)vlapic_extint_acknowledge(&v->apic);
        (void)vlapic_device_may_wake(&v->apic);
        break;
    default: vlapic_mmio_write(&v->apic, gpa(VLAPIC_DEFAULT_BASE + offset), bytes, value); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    start((data[0] & 1) != 0 ? 100000000 : 3500000000, (data[0] & 2) != 0);
    for (size_t i = 1; i + 8 <= size && i < 6000; i += 8)
        step(data + i);
    for (unsigned i = 0; i < CPUS; i++)
        vlapic_destroy(&vcpu[i].apic);
    return 0;
}
