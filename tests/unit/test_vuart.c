// link: drivers/virt/vuart.c drivers/bus/bus.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests of the 16550A against its data sheet, and against what drivers probe for. */
#include "drivers/virt/vuart.h"

#include "tests/unit/device_test.h"

enum { RBR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR, IRQ = 4, OUT2 = 8 };

static struct vuart uart;

static int setup(void **state)
{
    (void)state;
    start_machine();
    assert_int_equal(vuart_init(&uart, RBR, output_byte, NULL, &bus, pin_line(IRQ)), OK);
    return 0;
}

static void power_on_state(void **state)
{
    (void)state;
    assert_int_equal(in(IER), 0);
    assert_int_equal(in(IIR), 0x01);
    assert_int_equal(in(LCR), 0);
    assert_int_equal(in(MCR), 0);
    assert_int_equal(in(LSR), 0x60);
    assert_int_equal(in(MSR), 0xb0);
    assert_int_equal(vuart_init(&uart, 0x3f9, output_byte, NULL, &bus, pin_line(IRQ)),
                     ERR_BAD_INPUT);
}

static void linux_detects_a_16550a(void **state)
{
    (void)state;
    out(IER, 0xff);
    assert_int_equal(in(IER), 0x0f);
    out(IER, 0);
    out(SCR, 0x5a);
    assert_int_equal(in(SCR), 0x5a);
    out(MCR, 0x1a);
    assert_int_equal(in(MSR)&0xf0, 0x90);
    out(MCR, 0);
    out(IIR, 0x01);
    assert_int_equal(in(IIR), 0xc1);
    out(IIR, 0x21); /* not a 16750's 64 bytes */
    assert_int_equal(in(IIR), 0xc1);
    out(IIR, 0x00);
    assert_int_equal(in(IIR), 0x01);
}

static void divisor_latch(void **state)
{
    (void)state;
    out(LCR, 0x83);
    out(RBR, 0x0c);
    out(IER, 0x12);
    assert_int_equal(in(RBR), 0x0c);
    assert_int_equal(in(IER), 0x12);
    out(LCR, 0x03);
    assert_int_equal(in(IER), 0);
    assert_int_equal(output_size, 0);
}

static void output_and_its_interrupt(void **state)
{
    (void)state;
    out(RBR, 'a');
    assert_int_equal(output_size, 1);
    assert_int_equal(output[0], 'a');
    assert_false(pin_high[IRQ]);
    out(IER, 2);
    assert_true(pin_high[IRQ]); /* enabling it while empty */
    assert_int_equal(in(IIR), 0x02);
    assert_false(pin_high[IRQ]); /* reading IIR acknowledges */
    assert_int_equal(in(IIR), 0x01);
    out(RBR, 'b');
    assert_true(pin_high[IRQ]);
    const unsigned rises = pin_rises[IRQ];
    out(RBR, 'c'); /* writing acknowledges, too: a new edge, when it is empty again */
    assert_int_equal(pin_rises[IRQ], rises + 1);
    out(MCR, OUT2);
    out(MCR, 0);
    assert_true(pin_high[IRQ]); /* OUT2 is no gate */
    assert_int_equal(pin_rises[IRQ], rises + 1);
    (void)in(IIR);
    assert_int_equal(in(IIR), 0x01);
    out(IER, 2); /* no change, no event */
    assert_int_equal(in(IIR), 0x01);
    out(IER, 0);
    out(IER, 2);
    assert_int_equal(in(IIR), 0x02);
    out(RBR, 'c');
    out(MCR, 0x10);
    assert_true(pin_high[IRQ]); /* nor does loop-back mode take the pin away */
}

static void input_interrupts_without_out2(void **state)
{
    (void)state;
    out(IER, 1);
    assert_true(vuart_receive(&uart, 'x'));
    assert_true(pin_high[IRQ]);
    assert_int_equal(in(RBR), 'x');
    assert_false(pin_high[IRQ]);
    out(MCR, 0x10);
    out(RBR, 'y'); /* what loop-back mode sends to itself */
    assert_true(pin_high[IRQ]);
}

static void input_without_fifo(void **state)
{
    (void)state;
    out(MCR, OUT2);
    out(IER, 1);
    assert_int_equal(vuart_room(&uart), 1);
    assert_true(vuart_receive(&uart, 'x'));
    assert_false(vuart_receive(&uart, 'y'));
    assert_true(pin_high[IRQ]);
    assert_int_equal(in(IIR), 0x04);
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(RBR), 'x');
    assert_int_equal(in(LSR), 0x60);
    assert_false(pin_high[IRQ]);
}

static void fifo_keeps_order_and_times_out_below_the_trigger(void **state)
{
    (void)state;
    out(IIR, 0x81); /* trigger at 8 */
    out(MCR, OUT2);
    out(IER, 1);
    for (unsigned i = 0; i < VUART_FIFO_SIZE; i++) {
        assert_true(vuart_receive(&uart, (uint8_t)('A' + i)));
        assert_int_equal(in(IIR), i + 1 < 8 ? 0xcc : 0xc4);
    }
    assert_false(vuart_receive(&uart, '!'));
    assert_int_equal(vuart_room(&uart), 0);
    for (unsigned i = 0; i < VUART_FIFO_SIZE; i++)
        assert_int_equal(in(RBR), 'A' + i);
    assert_false(pin_high[IRQ]);
    assert_true(vuart_receive(&uart, 'z'));
    out(IIR, 0x83); /* reset of the receive FIFO */
    assert_int_equal(in(LSR), 0x60);
    assert_true(vuart_receive(&uart, 'z'));
    out(IIR, 0x00); /* turning it off empties it too */
    assert_int_equal(in(LSR), 0x60);
}

static void priorities(void **state)
{
    (void)state;
    out(MCR, 0x10); /* loop-back: an overrun can be made there */
    (void)in(MSR);
    out(RBR, 1);
    out(RBR, 2);
    out(MCR, 0x12); /* CTS changes */
    out(IER, 0x0f);
    assert_int_equal(in(IIR), 0x06);
    assert_int_equal(in(LSR), 0x63);
    assert_int_equal(in(IIR), 0x04);
    assert_int_equal(in(RBR), 2); /* the holding register was overwritten */
    assert_int_equal(in(IIR), 0x02);
    assert_int_equal(in(IIR), 0x00);
    assert_int_equal(in(MSR), 0x11);
    assert_int_equal(in(IIR), 0x01);
}

static void loop_back(void **state)
{
    (void)state;
    out(LCR, 0x03);
    out(MCR, 0x1f);
    assert_int_equal(in(MSR), 0xf0); /* RI rose, and that is no event */
    out(IIR, 0x01);
    for (unsigned i = 0; i < 17; i++)
        out(RBR, (uint8_t)i);
    assert_int_equal(output_size, 0);
    assert_false(vuart_receive(&uart, 'x'));
    assert_int_equal(in(LSR)&2, 2);
    assert_int_equal(in(LSR)&2, 0);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(RBR), i);
    out(LCR, 0x00); /* five bits a character */
    out(RBR, 0xff);
    assert_int_equal(in(RBR), 0x1f);
    out(MCR, 0x1b);
    assert_int_equal(in(MSR), 0xb4); /* RI fell */
    assert_int_equal(in(MSR), 0xb0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(power_on_state, setup),
        cmocka_unit_test_setup(linux_detects_a_16550a, setup),
        cmocka_unit_test_setup(divisor_latch, setup),
        cmocka_unit_test_setup(output_and_its_interrupt, setup),
        cmocka_unit_test_setup(input_interrupts_without_out2, setup),
        cmocka_unit_test_setup(input_without_fifo, setup),
        cmocka_unit_test_setup(fifo_keeps_order_and_times_out_below_the_trigger, setup),
        cmocka_unit_test_setup(priorities, setup),
        cmocka_unit_test_setup(loop_back, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
