/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's console, as far as VMs and their consoles need it. boot/main.c fills it in, so that
 * nothing here knows which hardware that is. */
#pragma once

#include "arch/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All may be called from any CPU, with a VM's lock held. Nothing waits. */
struct host_console {
    /* Output, by a ring for each VM, which is called by its index: from open() on, which may find
     * no memory, to when all has left behind close(). What has no room in it is left out, so
     * whoever may write without end looks at held(), and waits by himself, with no lock held.
     * write() is for screen and serial port, with `name` in front where the text begins a line
     * (NULL: it goes as it is), write_serial() for the latter alone. is_last(): all ends with an
     * open line of this VM. */
    uint32_t ring_bytes;
    enum status (*open)(uint32_t vm);
    void (*close)(uint32_t vm);
    void (*write)(uint32_t vm, const char *name, const char *text, size_t length);
    void (*write_serial)(uint32_t vm, const char *text, size_t length);
    uint32_t (*held)(uint32_t vm);
    bool (*is_last)(uint32_t vm);

    /* A picture for the host's screen, if there is one: cells as in the VGA's text memory. */
    void (*draw)(const uint16_t *cells, unsigned columns, unsigned rows, unsigned cursor,
                 bool blinks);
    uint32_t (*texts)(void); /* one more with each text that leaves, which spoils a picture */

    /* Input, either as the bytes of a terminal or as keys that go down and up (set
     * 1 codes with KEY_RELEASED and KEY_EXTENDED, vps2kbd.h); -1: nothing more for now. */
    int (*read)(void);
    int (*read_key)(uint64_t now);
    void (*forget_keys)(void); /* all that have been typed up to now */

    /* How often the user has asked where the VMs stand; and whether the answer is to stay on the
     * screen for now. */
    uint32_t (*dump_requests)(void);
    bool (*dump_is_read)(void);

    /* How often the program that has started the machine has asked for the same, and for the VMs'
     * accounts (arch/report.h); and whether there is room for a report. */
    uint32_t (*asked)(void);
    bool (*may_report)(void);

    /* Moves what is buffered; and how often to call it, in TSC ticks. */
    void (*poll)(void);
    uint64_t (*period_ticks)(void);
};
