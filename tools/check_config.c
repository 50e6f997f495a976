/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's parser of nadir.cfg as a program, for tools/nadir: reads stdin; where something is
 * wrong prints `LINE TEXT` (line 0: the file as a whole) and ends with status 1. */
#include "guest/config.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    static struct nadir_config config;
    struct config_error error;
    char *text = NULL;
    size_t length = 0, room = 0;
    for (size_t got = 1; got != 0; length += got) {
        if (length == room)
            text = realloc(text, room = 2 * room + 4096);
        if (text == NULL)
            return 2;
        got = fread(text + length, 1, room - length, stdin);
    }
    bool good = config_parse(text, length, &config, &error);
    if (!good)
        printf("%u %s\n", error.line, error.text);
    free(text);
    return good ? 0 : 1;
}
