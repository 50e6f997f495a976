/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's part for 32-bit code, which becomes 64-bit code: nothing yet, so the software
 * CPU does it all. */
#include "guest/bt/translate_parts.h"

enum translated translate_32(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what)
{
    (void)e;
    (void)bytes;
    (void)what;
    return TRANSLATED_NOT;
}
