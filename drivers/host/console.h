/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's console: serial port and screen behind one buffer, so that nobody waits for a baud. */
#pragma once

#include "arch/ring.h"
#include "drivers/host/fbconsole.h"

#define CONSOLE_OUT_BYTES 65536 /* may be pending */

/* Opens the serial port (base 0: none) and the screen, and with it the PC's own keyboard, and
 * becomes a sink of the log. Boot CPU, first of all. */
void console_init(uint16_t serial_base, const struct fbconsole_screen *screen);

/* The screen's pixels have another address from here on. Boot CPU, at start. */
void console_move_screen(volatile void *pixels);

/* The TSC's rate, once measured, for the periods below. */
void console_set_tsc_hz(uint64_t hz);

/* Queues text for output, as it is (the log's own newlines become \r\n, a guest's do not). Never
 * waits: where CONSOLE_OUT_BYTES would be pending, the text is left out, and a line says so.
 * Whoever may write without end keeps account of his share (ring_share_put()), and waits by
 * himself, with no lock held. Any CPU. */
void console_write(const char *text, size_t length);

/* How much of a writer's share is still pending. */
uint32_t console_held(struct ring_share *share);

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

/* The same, if the log has not written since console_log_count() was `count`; else false, and
 * nothing is written. Any CPU. */
bool console_write_behind(uint32_t count, const char *text, size_t length);

/* Bytes that have ever been queued, counted on and on. Any CPU. */
uint32_t console_written(void);

/* Bytes that have not left yet. Any CPU. */
uint32_t console_pending(void);

/* How often the user has asked where the VMs stand: by Ctrl-], three times in a row. Any CPU. */
uint32_t console_dump_requests(void);

/* Whether no key has come since: what he has asked for is to be read, and not drawn over. */
bool console_dump_is_read(void);

/* For a guest's screen, which goes to the serial port as text and to the host's screen as cells
 * (fbconsole_show()). Whoever sends pictures waits with the next until his last has left. */
void console_write_serial(const char *text, size_t length);
void console_draw(const uint16_t *cells, unsigned columns, unsigned rows, unsigned cursor,
                  bool blinks);

/* Counts what the log has written, which spoils a picture on the screen. */
uint32_t console_log_count(void);

/* How often to poll, in TSC ticks: the time in which the serial port's FIFOs empty or fill, so that
 * no key is lost and output never pauses; 10 ms without one. */
uint64_t console_period_ticks(void);

/* Leaves the screen, if there is one, to its reader for so long, with a countdown: the machine is
 * about to go off, or to be reset. A key of its keyboard decides before. Any CPU, in a panic too.
 */
enum console_wish { CONSOLE_POWER_OFF, CONSOLE_RESET };
enum console_wish console_linger(uint32_t seconds, bool reset);

/* Waits until all has left, at most 10 s. It sleeps between polls where the local APIC's timer is
 * ready, and leaves that timer disarmed. */
void console_flush(void);
