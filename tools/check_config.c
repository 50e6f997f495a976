/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's parser of nadir.cfg as a program, for tools/nadir: reads stdin; where something is
 * wrong prints `LINE TEXT` (line 0: the file as a whole) and ends with status 1. --cpus N: that is
 * how many CPUs the machine has. With --table it prints the keys, as README.md has them. */
#include "guest/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_table(void)
{
    const struct config_key *key;
    puts("| key | value | default | |\n|---|---|---|---|");
    for (uint32_t i = 0; (key = config_key(i)) != NULL; i++) {
        if (key->help == NULL)
            continue;
        if (i == 0 || key->of_nadir != config_key(i - 1)->of_nadir)
            puts(key->of_nadir
                     ? "| **[nadir]** | | | *Nadir itself; may be left out* |"
                     : "| **[vm NAME]** | | | *a VM, one section each; letters, digits, - _ .* |");
        printf("| `%s` | %s | %s | %s%s |\n", key->name, key->values,
               key->initial != NULL ? key->initial : "", key->repeatable ? "repeatable: " : "",
               key->help);
    }
}

int main(int argc, char **argv)
{
    struct nadir_config config;
    struct config_error error;
    char *text = NULL;
    size_t length = 0, room = 0;
    uint32_t cpus = CONFIG_MAX_CPUS;
    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        print_table();
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--cpus") == 0)
        cpus = (uint32_t)strtoul(argv[2], NULL, 10);
    for (size_t got = 1; got != 0; length += got) {
        if (length == room)
            text = realloc(text, room = 2 * room + 4096);
        if (text == NULL)
            return 2;
        got = fread(text + length, 1, room - length, stdin);
    }
    void *memory = malloc(config_memory(text, length));
    if (memory == NULL)
        return 2;
    bool good = config_parse(text, length, memory, &config, &error) &&
                config_check_cpus(&config, cpus, &error);
    if (!good)
        printf("%u %s\n", error.line, error.text);
    free(memory);
    free(text);
    return good ? 0 : 1;
}
