// link: tests/unit/fake_vmx.c tests/unit/vmx_fixture.c vmx/state.c vmx/vmcs.c vmx/vm.c vmx/a20.c vmx/ept.c
// link: vmx/step.c vmx/ept_overlay.c
// link: vmx/inject.c vmx/caps.c vmx/fields.c vmx/vmcs_check.c vmx/vmcs_check_guest.c arch/format.c
// link: guest/cpu/event.c guest/vm/vcpu_inject.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c drivers/bus/timers.c mm/page_alloc.c mm/guestmem.c
// link: guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which event enters the guest next: events again after an exit in their delivery, exceptions,
 * NMIs, interrupts, and the windows for what has to wait. */
#include "vmx/inject.h"

#include "arch/fault.h"
#include "tests/unit/vmx_fixture.h"
#include "vmx/vmcs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define UNDEFINED_BIT (1u << 12)
#define PIC_VECTOR    0x71

#define INTERRUPT(vector) (EVENT_VALID | EVENT_INTERRUPT | (vector))
#define EXCEPTION(vector) (EVENT_VALID | EVENT_EXCEPTION | (vector))
#define NMI               (EVENT_VALID | EVENT_NMI | VECTOR_NMI)

static unsigned pic_acknowledged;

static unsigned acknowledge_pic(void *pic)
{
    assert_ptr_equal(pic, &pic_acknowledged);
    pic_acknowledged++;
    return PIC_VECTOR;
}

static struct vlapic *apic(void)
{
    return &fixture_vcpu()->apic;
}

/* 64-bit code with interrupts on, and a local APIC that is. */
static void start(bool assisted)
{
    fake_vmx_reset();
    fixture_make(assisted);
    struct cpu_state s = cpu_state_long_mode(0x1000, 0x5000);
    s.rflags = 0x202;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    apic()->pic_acknowledge = acknowledge_pic;
    apic()->pic = &pic_acknowledged;
    pic_acknowledged = 0;
    vlapic_set_virtual_wire(apic());
    fixture_vcpu()->attention = false;
}

static int setup_software(void **state)
{
    (void)state;
    start(false);
    return 0;
}

static int setup_assisted(void **state)
{
    (void)state;
    start(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

/* One entry: what is injected, with the VMCS as the CPU demands it. */
static uint32_t enter(void)
{
    const char *why;
    fake_vmx_set(VMCS_CTRL_ENTRY_EVENT, 0); /* each exit clears its valid bit */
    inject_prepare(fixture_vcpu());
    if (fake_vmx_check(&why) != 0)
        fail_msg("%s", why);
    return (uint32_t)vmread(VMCS_CTRL_ENTRY_EVENT);
}

/* Which windows are open. */
static uint32_t windows(void)
{
    const uint32_t proc = (uint32_t)vmread(VMCS_CTRL_PROC);
    assert_int_equal(proc, fixture.v.proc);
    return proc & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);
}

static uint64_t blocked(void)
{
    return vmread(VMCS_GUEST_INTERRUPTIBILITY);
}

static void block(uint64_t by)
{
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, by);
}

static void set_interrupt_flag(bool on)
{
    vmwrite(VMCS_GUEST_RFLAGS, on ? 0x202 : 0x2);
}

static void post(uint8_t vector, bool level)
{
    const struct vlapic_message message = {
        .destination = VLAPIC_BROADCAST, .vector = vector, .level = level};
    assert_true(vlapic_take(apic(), &message, NULL));
}

/* An exit in the delivery of an event. */
static void exit_in_delivery(uint32_t info, uint32_t error, uint32_t length)
{
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, info);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING_ERROR, error);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_LENGTH, length);
    inject_again(fixture_vcpu());
}

static void test_event_again(void **state)
{
    (void)state;
    static const struct {
        uint32_t info, error, length;
    } events[] = {
        {INTERRUPT(0x30), 0, 0},
        {EXCEPTION(VECTOR_INVALID_OPCODE), 0, 0},
        {EXCEPTION(VECTOR_PAGE_FAULT) | EVENT_ERROR_CODE, 0x15, 0},
        {EXCEPTION(VECTOR_GENERAL_PROTECTION) | EVENT_ERROR_CODE, 0xfff8, 0},
        {EVENT_VALID | EVENT_SOFTWARE_INTERRUPT | 0x80, 0, 2},
        {EVENT_VALID | EVENT_SOFTWARE_EXCEPTION | VECTOR_BREAKPOINT, 0, 1},
        {EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG, 0, 1},
        {EVENT_VALID | EVENT_SOFTWARE_INTERRUPT | 0x80, 0, 15}, /* with prefixes */
    };
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        for (unsigned undefined = 0; undefined < 2; undefined++) {
            fixture_vcpu()->attention = false;
            vmwrite(VMCS_CTRL_ENTRY_EVENT_ERROR, 0xdead);
            vmwrite(VMCS_CTRL_ENTRY_EVENT_LENGTH, 7);
            exit_in_delivery(events[i].info | (undefined != 0 ? UNDEFINED_BIT : 0), events[i].error,
                             events[i].length);
            assert_true(fixture_vcpu()->attention);
            assert_int_equal(enter(), events[i].info);
            const bool error = (events[i].info & EVENT_ERROR_CODE) != 0;
            assert_int_equal(vmread(VMCS_CTRL_ENTRY_EVENT_ERROR), error ? events[i].error : 0xdead);
            assert_int_equal(vmread(VMCS_CTRL_ENTRY_EVENT_LENGTH),
                             events[i].length != 0 ? events[i].length : 7);
            assert_int_equal(enter(), 0); /* once */
        }
    }
}

static void test_no_event_again(void **state)
{
    (void)state;
    exit_in_delivery(INTERRUPT(0x30) & ~EVENT_VALID, 0, 0);
    assert_false(fixture_vcpu()->attention);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), 0);
}

/* What is delivered again goes before all that waits, which has to wait for a window. */
static void test_event_again_goes_first(void **state)
{
    (void)state;
    post(0x40, false);
    fixture_vcpu()->nmis_pending = 1;
    exit_in_delivery(EXCEPTION(VECTOR_PAGE_FAULT) | EVENT_ERROR_CODE, 2, 0);
    assert_int_equal(enter(), EXCEPTION(VECTOR_PAGE_FAULT) | EVENT_ERROR_CODE);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);
    assert_int_equal(fixture_vcpu()->nmis_pending, 1);
    assert_int_equal(enter(), NMI);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    assert_int_equal(enter(), INTERRUPT(0x40));
    assert_int_equal(windows(), 0);
}

static void test_nmi_again(void **state)
{
    (void)state;
    block(BLOCKED_BY_NMI); /* as the CPU leaves it: the delivery has begun */
    fixture_vcpu()->nmis_pending = 1;
    exit_in_delivery(NMI, 0, 0);
    assert_int_equal(blocked(), 0); /* the entry would refuse it otherwise */
    assert_int_equal(enter(), NMI);
    assert_int_equal(fixture_vcpu()->nmis_pending, 1); /* not two at once */
    assert_int_equal(windows(), PROC_NMI_WINDOW);
    /* Other events leave the blocking as it is. */
    block(BLOCKED_BY_NMI);
    exit_in_delivery(EXCEPTION(VECTOR_INVALID_OPCODE), 0, 0);
    assert_int_equal(blocked(), BLOCKED_BY_NMI);
}

static void test_iret_again(void **state)
{
    (void)state;
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, 0);
    inject_iret_again();
    assert_int_equal(blocked(), BLOCKED_BY_NMI);
    block(0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, INTERRUPT(0x20)); /* then the bit tells nothing */
    inject_iret_again();
    assert_int_equal(blocked(), 0);
}

static void inject(uint32_t info, uint32_t error)
{
    const struct event event = {.info = info, .error = error, .length = 0};
    vmx_inject(fixture_vcpu(), &event);
}

static void test_exception(void **state)
{
    (void)state;
    inject(EXCEPTION(VECTOR_GENERAL_PROTECTION) | EVENT_ERROR_CODE, 0x1234);
    assert_true(fixture_vcpu()->attention);
    assert_int_equal(enter(), EXCEPTION(VECTOR_GENERAL_PROTECTION) | EVENT_ERROR_CODE);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_EVENT_ERROR), 0x1234);
    assert_int_equal(blocked(), 0);
}

/* A fault's saved RFLAGS have RF; a trap's (#DB decides for itself) and an abort's do not get it.
 */
static void test_resume_flag(void **state)
{
    (void)state;
    for (unsigned vector = 0; vector < 32; vector++) {
        if (vector == VECTOR_NMI)
            continue;
        set_interrupt_flag(true);
        inject(EXCEPTION(vector), 0);
        const bool set = (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_RF) != 0;
        assert_int_equal(set, vector != VECTOR_DEBUG && vector != VECTOR_DOUBLE_FAULT);
        assert_int_equal(vmread(VMCS_GUEST_RFLAGS) & ~RFLAGS_RF, 0x202);
    }
}

static void test_real_mode_has_no_error_codes(void **state)
{
    (void)state;
    struct cpu_state s = cpu_state_real_mode(0x7c00);
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    inject(EXCEPTION(VECTOR_GENERAL_PROTECTION) | EVENT_ERROR_CODE, 0x1234);
    assert_int_equal(enter(), EXCEPTION(VECTOR_GENERAL_PROTECTION));
}

/* An exception in the delivery of an NMI: the NMI has happened, and blocks others. */
static void test_exception_in_nmi(void **state)
{
    (void)state;
    block(BLOCKED_BY_NMI);
    exit_in_delivery(NMI, 0, 0);
    inject(EXCEPTION(VECTOR_STACK_FAULT) | EVENT_ERROR_CODE, 0);
    assert_int_equal(blocked(), BLOCKED_BY_NMI);
    assert_int_equal(enter(), EXCEPTION(VECTOR_STACK_FAULT) | EVENT_ERROR_CODE);
    /* In that of an interrupt: the interrupt is lost, nothing is blocked. */
    block(0);
    exit_in_delivery(INTERRUPT(0x33), 0, 0);
    inject(EXCEPTION(VECTOR_STACK_FAULT) | EVENT_ERROR_CODE, 0);
    assert_int_equal(blocked(), 0);
    assert_int_equal(enter(), EXCEPTION(VECTOR_STACK_FAULT) | EVENT_ERROR_CODE);
    assert_int_equal(enter(), 0);
}

static void test_nmi(void **state)
{
    (void)state;
    set_interrupt_flag(false);
    fixture_vcpu()->nmis_pending = 2;
    assert_int_equal(enter(), NMI);
    assert_int_equal(fixture_vcpu()->nmis_pending, 1);
    assert_int_equal(windows(), PROC_NMI_WINDOW); /* for the other one */
    block(BLOCKED_BY_NMI);                        /* in the handler */
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_NMI_WINDOW);
    block(0); /* IRET */
    assert_int_equal(enter(), NMI);
    assert_int_equal(windows(), 0);
    assert_int_equal(fixture_vcpu()->nmis_pending, 0);
}

static void test_nmi_waits(void **state)
{
    (void)state;
    fixture_vcpu()->nmis_pending = 1;
    /* The NMI window would open behind STI at once, so the other one serves. */
    block(BLOCKED_BY_STI);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    block(BLOCKED_BY_MOV_SS);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_NMI_WINDOW);
    block(0);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_NMI_WINDOW);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    assert_int_equal(fixture_vcpu()->nmis_pending, 1);
    assert_int_equal(enter(), NMI);
    assert_int_equal(windows(), 0);
}

static void test_nmi_before_interrupt(void **state)
{
    (void)state;
    post(0x40, false);
    fixture_vcpu()->nmis_pending = 1;
    assert_int_equal(enter(), NMI);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    assert_int_equal(enter(), INTERRUPT(0x40));
}

static void test_interrupt_window(void **state)
{
    (void)state;
    post(0x40, false);
    set_interrupt_flag(false);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    set_interrupt_flag(true);
    block(BLOCKED_BY_STI);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    block(BLOCKED_BY_MOV_SS);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    block(0);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    assert_int_equal(vlapic_pending(apic()), 0x40); /* not taken by those */
    block(BLOCKED_BY_NMI);                          /* an NMI's handler may have interrupts on */
    assert_int_equal(enter(), INTERRUPT(0x40));
    assert_int_equal(windows(), 0);
    assert_int_equal(vlapic_highest_vector(apic()->page, APIC_ISR), 0x40);
    assert_int_equal(vlapic_highest_vector(apic()->page, APIC_IRR), -1);
}

static void test_highest_interrupt_first(void **state)
{
    (void)state;
    post(0x41, false);
    post(0x93, false);
    post(0x95, false); /* of one class: it waits for the EOI, and no window is of use */
    assert_int_equal(enter(), INTERRUPT(0x95));
    assert_int_equal(windows(), 0);
    assert_true(vlapic_write(apic(), 0xb0, 0));
    assert_int_equal(enter(), INTERRUPT(0x93));
    assert_true(vlapic_write(apic(), 0xb0, 0));
    assert_int_equal(enter(), INTERRUPT(0x41));
    /* A higher one interrupts the handler. */
    post(0xe0, false);
    set_interrupt_flag(false);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    set_interrupt_flag(true);
    assert_int_equal(enter(), INTERRUPT(0xe0));
}

static void test_extint_first(void **state)
{
    (void)state;
    post(0xf0, false);
    vlapic_set_lint0(apic(), 0, true);
    set_interrupt_flag(false);
    assert_int_equal(enter(), 0);
    assert_int_equal(pic_acknowledged, 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    set_interrupt_flag(true);
    assert_int_equal(enter(), INTERRUPT(PIC_VECTOR));
    assert_int_equal(pic_acknowledged, 1);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW); /* for the APIC's, and for another of its */
    vlapic_set_lint0(apic(), 0, false);
    assert_int_equal(enter(), INTERRUPT(0xf0));
    assert_int_equal(windows(), 0);
    /* One by a message of the IO-APIC's is there once; behind it comes the APIC's. */
    const struct vlapic_message message = {.destination = 0, .mode = DELIVERY_EXTINT};
    assert_true(vlapic_write(apic(), 0xb0, 0));
    post(0x40, false);
    assert_true(vlapic_take(apic(), &message, NULL));
    assert_int_equal(enter(), INTERRUPT(PIC_VECTOR));
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    assert_int_equal(enter(), INTERRUPT(0x40));
    assert_int_equal(windows(), 0);
    assert_true(vlapic_take(apic(), &message, NULL));
    assert_int_equal(enter(), INTERRUPT(PIC_VECTOR));
    assert_int_equal(windows(), 0);
}

/* What TPR holds back comes when TPR falls to its class: the CPU exits then. */
static void test_tpr_threshold(void **state)
{
    (void)state;
    uint32_t *tpr = &apic()->page[APIC_TPR / 4];
    post(0x53, false);
    *tpr = 0x50;
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 5);
    *tpr = 0xf0;
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 5);
    *tpr = 0x40;
    set_interrupt_flag(false);
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    set_interrupt_flag(true);
    assert_int_equal(enter(), INTERRUPT(0x53));
    /* Held back by what is in service, TPR has no say. */
    post(0x51, false);
    *tpr = 0;
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 0);
    *tpr = 0x40;
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 0);
    *tpr = 0x60;
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_CTRL_TPR_THRESHOLD), 5);
}

/* The CPU delivers a vector by itself: from IRR to ISR, and PPR follows, all in the page. */
static void deliver(unsigned vector)
{
    const unsigned word = vector / 32 * 0x10;
    apic()->page[(APIC_IRR + word) / 4] &= ~(1u << vector % 32);
    apic()->page[(APIC_ISR + word) / 4] |= 1u << vector % 32;
    apic()->page[APIC_PPR / 4] = vector & 0xf0;
}

/* And ends the one in service, the only one. */
static void end(unsigned vector)
{
    apic()->page[(APIC_ISR + vector / 32 * 0x10) / 4] = 0;
    apic()->page[APIC_PPR / 4] = 0;
}

/* With virtual-interrupt delivery the CPU delivers by itself what RVI tells it. */
static void test_virtual_interrupts(void **state)
{
    (void)state;
    post(0x40, false);
    post(0x65, false);
    set_interrupt_flag(false);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x65);
    deliver(0x65);
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x6540);
    end(0x65);
    apic()->page[(APIC_IRR + 0x20) / 4] = 0;
    assert_int_equal(enter(), 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0);
}

static void test_eoi_exits(void **state)
{
    (void)state;
    static const uint8_t vectors[] = {0x10, 0x3f, 0x40, 0x77, 0x9a, 0xc0, 0xff};
    uint64_t expected[4] = {0};
    for (size_t i = 0; i < sizeof(vectors); i++) {
        post(vectors[i], true);
        expected[vectors[i] / 64] |= 1ull << vectors[i] % 64;
    }
    assert_int_equal(enter(), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vmread(field_of(VMCS_CTRL_EOI_EXIT0, i)), expected[i]);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0xff);
    post(0x40, false); /* edge-triggered now */
    expected[1] &= ~1ull;
    assert_int_equal(enter(), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vmread(field_of(VMCS_CTRL_EOI_EXIT0, i)), expected[i]);
    for (size_t i = 0; i < sizeof(vectors); i++)
        post(vectors[i], false);
    assert_int_equal(enter(), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vmread(field_of(VMCS_CTRL_EOI_EXIT0, i)), 0);
}

static void test_extint_beside_virtual_interrupts(void **state)
{
    (void)state;
    post(0x40, false);
    vlapic_set_lint0(apic(), 0, true);
    block(BLOCKED_BY_STI);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x40); /* known to the CPU all the same */
    block(0);
    post(0x80, false);
    assert_int_equal(enter(), INTERRUPT(PIC_VECTOR));
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x80);
    assert_int_equal(windows(), PROC_INTERRUPT_WINDOW);
    vlapic_set_lint0(apic(), 0, false);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), 0);
    assert_int_equal(pic_acknowledged, 1);
}

/* Nothing comes before an instruction that is stepped; an event whose delivery is the step does. */
static void test_stepping(void **state)
{
    (void)state;
    post(0x40, false);
    set_interrupt_flag(true);
    if (fixture_vcpu()->assisted) { /* another is in service */
        deliver(0x21);
        assert_int_equal(enter(), 0);
        assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x2140);
    }
    fixture_vcpu()->nmis_pending = 1;
    fixture_vcpu()->step.count = 1;
    assert_true(vmx_step(fixture_vcpu(), true));
    assert_true(fixture_vcpu()->attention);
    assert_int_equal(enter(), 0);
    assert_int_equal(windows(), 0);
    if (fixture_vcpu()->assisted)
        assert_int_equal(vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x2100);
    assert_int_equal(vmread(VMCS_CTRL_PIN) & PIN_POSTED_INTERRUPTS, 0);
    fixture_vcpu()->event = (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | 6};
    assert_int_equal(enter(), EVENT_VALID | EVENT_EXCEPTION | 6);
    fixture_vcpu()->attention = false;
    fixture_vcpu()->step.count = 0;
    assert_true(vmx_step(fixture_vcpu(), false));
    assert_true(fixture_vcpu()->attention);
    assert_int_equal((vmread(VMCS_CTRL_PIN) & PIN_POSTED_INTERRUPTS) != 0, fixture_vcpu()->posting);
    assert_int_equal(enter(), NMI);
}

#define SOFTWARE(name) cmocka_unit_test_setup_teardown(name, setup_software, teardown)
#define ASSISTED(name) cmocka_unit_test_setup_teardown(name, setup_assisted, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOFTWARE(test_event_again),
        ASSISTED(test_event_again),
        SOFTWARE(test_no_event_again),
        SOFTWARE(test_event_again_goes_first),
        SOFTWARE(test_nmi_again),
        SOFTWARE(test_iret_again),
        SOFTWARE(test_exception),
        SOFTWARE(test_resume_flag),
        SOFTWARE(test_real_mode_has_no_error_codes),
        SOFTWARE(test_exception_in_nmi),
        SOFTWARE(test_nmi),
        ASSISTED(test_nmi),
        SOFTWARE(test_nmi_waits),
        ASSISTED(test_nmi_waits),
        SOFTWARE(test_nmi_before_interrupt),
        SOFTWARE(test_interrupt_window),
        SOFTWARE(test_highest_interrupt_first),
        SOFTWARE(test_extint_first),
        SOFTWARE(test_tpr_threshold),
        ASSISTED(test_virtual_interrupts),
        SOFTWARE(test_stepping),
        ASSISTED(test_stepping),
        ASSISTED(test_eoi_exits),
        ASSISTED(test_extint_beside_virtual_interrupts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
