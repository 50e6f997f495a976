/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of start-up and resource functions; a guest's mistakes are never reported this way. */
#pragma once

enum status {
    OK = 0,
    ERR_NO_MEMORY,   /* the page allocator has nothing (contiguous) left */
    ERR_UNSUPPORTED, /* this CPU or machine lacks what was asked for */
    ERR_BAD_INPUT,   /* a file, a table or an argument is malformed */
    ERR_LIMIT,       /* a fixed-size table is full */
    ERR_DENIED,      /* firmware or the machine's owner forbids it */
    ERR_TIMEOUT,     /* the hardware did not answer in time */
};

/* A few words for a message; never NULL. */
static inline const char *status_text(enum status s)
{
    static const char *const text[] = {
        [OK] = "ok",
        [ERR_NO_MEMORY] = "out of memory",
        [ERR_UNSUPPORTED] = "not supported",
        [ERR_BAD_INPUT] = "bad input",
        [ERR_LIMIT] = "a limit is reached",
        [ERR_DENIED] = "denied",
        [ERR_TIMEOUT] = "timed out",
    };
    return (unsigned)s < sizeof(text) / sizeof(text[0]) ? text[s] : "unknown status";
}
