/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of several guests, kept apart; the keyboard belongs to the first VM that runs. */
#include "boot/vm_console.h"
#include "arch/log.h"
#include "boot/config.h"
#include "drivers/host/console.h"

#define LINE_MAX 200

struct guest_line {
    const char *name;
    uint32_t length;
    bool closed;
    char text[LINE_MAX + 1];
};

static struct guest_line lines[CONFIG_MAX_VMS];
static uint32_t line_count;

void vm_console_init(uint32_t vm_count)
{
    line_count = vm_count;
}

static void line_out(struct guest_line *line)
{
    line->text[line->length] = '\0';
    if (line->length != 0)
        log_text("[%s] %s\n", line->name, line->text);
    line->length = 0;
}

static void out_alone(void *ctx, uint8_t byte)
{
    (void)ctx;
    const char c = (char)byte;
    console_write(&c, 1);
}

static void out_in_lines(void *ctx, uint8_t byte)
{
    struct guest_line *line = ctx;
    if (byte == '\r')
        return;
    if (byte != '\n')
        line->text[line->length++] = (char)byte;
    if (byte == '\n' || line->length == LINE_MAX)
        line_out(line);
}

static int in(void *ctx)
{
    const struct guest_line *line = ctx;
    for (uint32_t i = 0; i < line_count; i++)
        if (!lines[i].closed)
            return &lines[i] == line ? console_read() : -1;
    return -1;
}

static uint64_t poll(void *ctx, uint64_t now)
{
    (void)ctx;
    console_poll();
    return now + console_period_ticks();
}

struct pc_console vm_console_of(uint32_t index, const char *name)
{
    struct guest_line *line = &lines[index];
    line->name = name;
    return (struct pc_console){line, line_count == 1 ? out_alone : out_in_lines, in, poll};
}

void vm_console_flush(uint32_t index)
{
    line_out(&lines[index]);
}

void vm_console_close(uint32_t index)
{
    __atomic_store_n(&lines[index].closed, true, __ATOMIC_RELEASE);
}
