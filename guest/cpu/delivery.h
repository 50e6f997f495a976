/* SPDX-License-Identifier: BSD-2-Clause */
/* Why a guest's CPU could not deliver an exception or interrupt: what its IDT, its GDT, its TSS or
 * its stack lack, in words. For the report of a VM's end; what is looked at stays as it is. Pure.
 */
#pragma once

#include "guest/cpu/event.h"
#include "guest/cpu/guestwalk.h"
#include "guest/cpu/state.h"

/* "#PF" for 14; "vector" for what is no exception of the SDM's ("Protected-Mode Exceptions and
 * Interrupts"). */
const char *delivery_exception_name(unsigned vector);

/* The paging of a state, to look at its memory as its supervisor sees it. */
struct guest_paging delivery_paging(const struct cpu_state *state, uint8_t phys_bits);

/*
 * Writes why the delivery of event fails in *state ("the IDT at 0x0 (limit 0x0) has no entry for
 * it: LIDT was never executed"); the text is always terminated. first: IDTR as the VM was started
 * with. False: nothing is found that would make it fail, and the text is empty.
 */
bool delivery_explain(const struct guestmem *mem, const struct cpu_state *state, uint8_t phys_bits,
                      const struct cpu_table_register *first, const struct event *event, char *text,
                      size_t size);

/* The selector in the GDT, without its RPL, that event's gate names for the handler's code, where
 * the delivery fails because there is no such code segment; 0: it does not. */
uint16_t delivery_bad_selector(const struct guestmem *mem, const struct cpu_state *state,
                               uint8_t phys_bits, const struct event *event);

/*
 * The same of what an exception's error code refers to, by the SDM's "Error Code": which entry of
 * which table, and what stands there ("selector 0x54, entry 10 of the LDT: there is no LDT").
 * False: this exception's code refers to nothing.
 */
bool delivery_explain_error(const struct guestmem *mem, const struct cpu_state *state,
                            uint8_t phys_bits, const struct event *event, char *text, size_t size);
