/* SPDX-License-Identifier: BSD-2-Clause */
/* For a person, or a test that types: shows each scan code. First by polling, on 25 lines, up to
 * Enter; then by IRQ1, in set 2 without translation, on 50 lines, up to Esc. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/trap.h"

#include <stdbool.h>

enum { DATA = 0x60, STATUS = 0x64, CRTC = 0x3d4, COLUMNS = 80, PIC_BASE = 0x20, IRQ = 1 };
enum { ENTER_RELEASED = 0x9c, ESCAPE_SET_2 = 0x76, BREAK = 0xf0 };
enum { GREY = 0x07, YELLOW_ON_BLUE = 0x1e, RED = 0x0c };

static volatile uint16_t *const screen = (volatile uint16_t *)0xb8000;
static unsigned at;
static volatile bool ended;

static void set(uint8_t index, uint8_t value)
{
    port_out8(CRTC, index);
    port_out8(CRTC + 1, value);
}

static void put(char c, uint8_t attribute)
{
    screen[at++] = (uint16_t)(attribute << 8 | (uint8_t)c);
    set(14, (uint8_t)(at >> 8)); /* the cursor follows */
    set(15, (uint8_t)at);
}

static void say(unsigned line, const char *text, uint8_t attribute)
{
    at = line * COLUMNS;
    while (*text != 0)
        put(*text++, attribute);
}

static void show(uint8_t code)
{
    put("0123456789abcdef"[code >> 4], GREY);
    put("0123456789abcdef"[code & 15], GREY);
    put(' ', GREY);
}

static uint8_t read_key(void)
{
    while ((port_in8(STATUS) & 1) == 0)
        ;
    return port_in8(DATA);
}

static void on_key(struct trap_frame *frame)
{
    static uint8_t before;
    (void)frame;
    const uint8_t code = port_in8(DATA);
    show(code);
    ended = code == ESCAPE_SET_2 && before == BREAK;
    before = code;
    pic_eoi(IRQ);
}

static void send(uint16_t port, uint8_t byte)
{
    while ((port_in8(STATUS) & 2) != 0)
        ;
    port_out8(port, byte);
}

static void by_polling(void)
{
    for (at = 0; at < 50 * COLUMNS; at++)
        screen[at] = GREY << 8 | ' ';
    say(0, " \xc9\xcd Nadir's typing test \xcd\xbb ", YELLOW_ON_BLUE);
    say(2, "Polled, set 1; Enter ends it:", RED);
    at = 3 * COLUMNS;
    uint8_t code;
    do
        show(code = read_key());
    while (code != ENTER_RELEASED);
    send(DATA, 0xed); /* all LEDs on: two acknowledgements */
    (void)read_key();
    send(DATA, 0x07);
    say(4, read_key() == 0xfa ? "LEDs on" : "no LEDs", GREY);
}

static void by_interrupt(void)
{
    set(9, 0x47); /* 8 lines a character: 50 rows */
    set(10, 0x06);
    set(11, 0x07);
    send(STATUS, 0x60); /* interrupts, no translation */
    send(DATA, 0x05);
    pic_init(PIC_BASE);
    trap_set_handler(PIC_BASE + IRQ, on_key);
    pic_set_mask((uint16_t) ~(1u << IRQ));
    say(47, "By IRQ1, set 2; Esc ends it:", RED);
    at = 48 * COLUMNS;
    while (!ended)
        __asm__ volatile("sti; hlt; cli");
}

int main(void)
{
    by_polling();
    by_interrupt();
    say(49, "The end.", GREY);
    return 0;
}
