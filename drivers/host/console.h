/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's console: serial port and screen behind rings, so that nobody waits for a baud. */
#pragma once

#include "arch/status.h"
#include "drivers/host/fbconsole.h"

#define CONSOLE_MAX_VMS    64
#define CONSOLE_RING_BYTES 65536 /* of each */

/* Opens the serial port (base 0: none) and the screen, and with it the PC's own keyboard, and
 * becomes a sink of the log. Boot CPU, first of all. */
void console_init(uint16_t serial_base, const struct fbconsole_screen *screen);

/* The screen's pixels have another address from here on. Boot CPU, at start. */
void console_move_screen(volatile void *pixels);

/* The TSC's rate, once measured, for the periods below. */
void console_set_tsc_hz(uint64_t hz);

/*
 * Each VM (by its index) has a ring of its own, and Nadir one of 16 KiB. Writing puts text there,
 * whole, and waits for nothing: where there is no room it is left out, and a line says so in front
 * of the next. Whoever may write without end looks at console_held(), and waits by himself. One
 * place sends from all rings in turn, line by line, to serial port and screen, each VM's text in
 * its order. What the log says of a VM goes by that VM's ring. Any CPU.
 */

/* A VM begins: gives it its ring, or the one that it had before. ERR_NO_MEMORY: there is none. */
enum status console_open(uint32_t vm);

/* The VM has ended for good. Its ring of output stays until the last of its text has left, and is
 * then freed by whoever moves the port. */
void console_close(uint32_t vm);

/* Text as it is (the log's own newlines become \r\n, these do not). name: what is to stand in front
 * of it where it begins a line; NULL: nothing. */
void console_write(uint32_t vm, const char *name, const char *text, size_t length);

/* Bytes of it that have not left. */
uint32_t console_held(uint32_t vm);

/* Whether its last line stands at the end of all that has left, without an end. */
bool console_is_last(uint32_t vm);

/* Counts the texts that have left, which spoil a picture on the screen. */
uint32_t console_texts(void);

/* The sink of reports (arch/report.h): what has no room at the port waits in its VM's ring. */
bool console_report(unsigned of, const char *line, size_t length);

/* Moves what needs no waiting: output to the port, input from it and the keyboard, text to the
 * screen. */
void console_poll(void);

/* The next byte that was typed, or -1. */
int console_read(void);

/* The same as keys that go down and up (typing.h), for whoever wants those: the next one, or -1. It
 * is `now` (host TSC): an escape that nothing has followed for a while is a key of its own. */
int console_read_key(uint64_t now);

/* Drops all that has been typed up to now. */
void console_forget_keys(void);

/* How often the user has asked where the VMs stand: by Ctrl-], three times in a row. Any CPU. */
uint32_t console_dump_requests(void);

/* Whether no key has come since: what he has asked for is to be read, and not drawn over. */
bool console_dump_is_read(void);

/* For a guest's screen, which goes to the serial port as text and to the host's screen as cells
 * (fbconsole_show()). Whoever sends pictures waits with the next until his last has left. */
void console_write_serial(uint32_t vm, const char *text, size_t length);
void console_draw(const uint16_t *cells, unsigned columns, unsigned rows, unsigned cursor,
                  bool blinks);

/* How often to poll, in TSC ticks: the time in which the serial port's FIFOs empty or fill, so that
 * no key is lost and output never pauses; 10 ms without one. */
uint64_t console_period_ticks(void);

/* Leaves the screen, if there is one, to its reader for so long, with a countdown: the machine is
 * about to go off, or to be reset. A key of its keyboard decides before. Any CPU, in a panic too.
 */
enum console_wish { CONSOLE_POWER_OFF, CONSOLE_RESET };
enum console_wish console_linger(uint32_t seconds, bool reset);

/* Waits until all has left, reports too; not where the port takes nothing for 10 s. It sleeps
 * between polls where the local APIC's timer is ready, and leaves that timer disarmed. */
void console_flush(void);
