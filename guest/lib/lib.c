/* SPDX-License-Identifier: BSD-2-Clause */
/* Text on the serial port, and the ways for a payload to end. */
#include "guest/lib/lib.h"

#include "guest/lib/cpu.h"

#include <stdarg.h>

#define COM1           0x3f8u
#define COM1_FIFO      16 /* bytes that may be sent for each look at the line status */
#define LSR_THR_EMPTY  0x20u
#define LSR_ALL_SENT   0x40u
#define DEBUG_EXIT     0xf4u
#define BOCHS_SHUTDOWN 0x8900u
#define PM1A_CONTROL   0x604u  /* PM1a control register of the virtual PC (and of QEMU's) */
#define PM1_S5         0x2000u /* SLP_EN, SLP_TYP 0 */

void serial_init(void)
{
    port_out8(COM1 + 1, 0);    /* no interrupts */
    port_out8(COM1 + 3, 0x80); /* DLAB */
    port_out8(COM1, 1);        /* 115,200 baud */
    port_out8(COM1 + 1, 0);
    port_out8(COM1 + 3, 3); /* 8N1 */
    port_out8(COM1 + 2, 7); /* FIFOs on and empty */
    port_out8(COM1 + 4, 3); /* DTR, RTS */
}

static void serial_send(char c)
{
    static unsigned room;
    if (room == 0) {
        while ((port_in8(COM1 + 5) & LSR_THR_EMPTY) == 0)
            ;
        room = COM1_FIFO;
    }
    port_out8(COM1, (uint8_t)c);
    room--;
}

static void (*send_byte)(char) = serial_send;

void print_to(void (*send)(char))
{
    send_byte = send;
}

static void send(char c)
{
    if (c == '\n')
        send_byte('\r');
    send_byte(c);
}

static void send_number(uint64_t v, unsigned base, bool negative, unsigned width, char pad)
{
    char digits[24];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    if (negative)
        digits[n++] = '-';
    for (unsigned i = n; i < width; i++)
        send(pad);
    while (n > 0)
        send(digits[--n]);
}

static void send_string(const char *s)
{
    while (*s != 0)
        send(*s++);
}

void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    for (const char *f = format; *f != 0; f++) {
        if (*f != '%') {
            send(*f);
            continue;
        }
        char pad = *++f == '0' ? '0' : ' ';
        unsigned width = 0;
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (unsigned)(*f - '0');
        bool is_long = *f == 'l';
        if (is_long)
            f++;
        if (*f == 's') {
            send_string(va_arg(args, const char *));
        } else if (*f == 'c') {
            send((char)va_arg(args, int));
        } else if (*f == 'd') {
            int64_t v = is_long ? va_arg(args, long) : va_arg(args, int);
            send_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
        } else if (*f == 'u' || *f == 'x') {
            uint64_t v = is_long ? va_arg(args, unsigned long) : va_arg(args, unsigned);
            send_number(v, *f == 'u' ? 10 : 16, false, width, pad);
        } else {
            send(*f);
        }
    }
    va_end(args);
}

void power_off(void)
{
    port_out16(PM1A_CONTROL, PM1_S5);
}

void serial_drain(void)
{
    while ((port_in8(COM1 + 5) & LSR_ALL_SENT) == 0)
        ;
}

_Noreturn void exit(int code)
{
    serial_drain();
    port_out32(DEBUG_EXIT, (uint32_t)code);
    /* Still here: this machine has no such port, and only text can tell the code. */
    serial_init();
    print("native-exit: %d\n", code);
    serial_drain();
    for (const char *word = "Shutdown"; *word != 0; word++)
        port_out8(BOCHS_SHUTDOWN, (uint8_t)*word);
    power_off();
    for (;;)
        __asm__ volatile("cli; hlt");
}

void *memset(void *to, int byte, size_t size)
{
    void *p = to;
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(size) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    void *p = to;
    __asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(size) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < size; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}
