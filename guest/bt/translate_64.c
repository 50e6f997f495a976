/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's part for 64-bit code. */
#include "guest/bt/translate_parts.h"

enum translated translate_64(struct emitter *e, const uint8_t *bytes,
                             const struct translate_decoded *what)
{
    (void)e;
    (void)bytes;
    (void)what;
    return TRANSLATED_NOT;
}
