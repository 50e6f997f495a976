/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of several guests, kept apart; the keyboard belongs to the first VM that runs. */
#include "guest/monitor/vm_console.h"
#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/report.h"
#include "arch/string.h"
#include "guest/config.h"
#include "guest/monitor/ansi.h"
#include "guest/monitor/plain_text.h"

#define LINE_MAX 200

/* Of a VM's ring its guest may fill this part; the rest is for what the hypervisor says of it. */
#define GUESTS_PART 4

#define STILL_POLLS 100 /* after so many a part of a line is shown */

struct guest_line {
    const char *name;
    const char *debug_file; /* of the debug console, or NULL */
    uint32_t length;
    uint32_t seen, still; /* the length at the last poll, and for how many polls so */
    bool part;            /* a part of a line has gone out, without its end */
    bool vga, open, counted;
    bool named;        /* beside its screen: in lines with its name, also where it is the only VM */
    uint32_t most;     /* of its guest's text that may be in the ring: not less than is */
    uint32_t answered; /* of host_console.dump_requests() */
    uint32_t told;     /* of host_console.asked() */
    uint32_t dumps_left;                        /* of its vCPUs, the last ones */
    uint64_t next_dump;                         /* when the next of them may be asked for */
    char mark[CONFIG_MAX_NAME + sizeof("[] ")]; /* in front of its lines */
    struct vm *vm;
    struct plain_text plain; /* what is to stand among other VMs' lines */
    char text[LINE_MAX + sizeof("\r\n")];
};

static struct guest_line lines[CONFIG_MAX_VMS];
static uint32_t line_count; /* of VMs that run, will, or did */
static const struct host_console *host;

/* What stands on the terminal: the screen of the VM that the keyboard belongs to. Only that VM uses
 * it, as it does the keyboard, so it needs no lock beside the VM's. */
static struct {
    const struct guest_line *of;
    uint32_t texts;
    bool complete;
    struct ansi terminal;
} display;

void vm_console_init(const struct host_console *console)
{
    memset(lines, 0, sizeof(lines));
    line_count = 0;
    host = console;
}

void vm_console_expect(uint32_t index)
{
    if (!lines[index].counted)
        __atomic_add_fetch(&line_count, 1, __ATOMIC_RELAXED);
    lines[index].counted = true;
}

static uint32_t count(void)
{
    return __atomic_load_n(&line_count, __ATOMIC_RELAXED);
}

/* Whether what it says goes out as it is. */
static bool is_raw(const struct guest_line *line)
{
    return count() == 1 && !line->named;
}

static uint32_t index_of(const struct guest_line *line)
{
    return (uint32_t)(line - lines);
}

/* What has been collected goes to the VM's ring: of a VM that is alone as it is, of others as a
 * line, or a part of one, with the VM's name. whole: its end has come. */
static void line_out(struct guest_line *line, bool whole)
{
    const bool raw = is_raw(line);
    if (!raw && whole && (line->length != 0 || line->part)) {
        memcpy(line->text + line->length, "\r\n", 2);
        line->length += 2;
    }
    if (line->length != 0)
        host->write(index_of(line), raw ? NULL : line->mark, line->text, line->length);
    line->part = !raw && !whole && (line->part || line->length != 0);
    line->most += line->length;
    line->length = 0;
}

/* A byte by itself would cost the guest more than what it has written it for: a line, or what has
 * come until the next poll(), goes out at once. */
static void out(void *ctx, uint8_t byte)
{
    struct guest_line *line = ctx;
    if (is_raw(line))
        line->text[line->length++] = (char)byte;
    else if (byte == '\n')
        plain_text_end(&line->plain);
    else
        line->length += plain_text_byte(&line->plain, byte, line->text + line->length);
    if (byte == '\n' || line->length > LINE_MAX - PLAIN_TEXT_MAX)
        line_out(line, byte == '\n');
}

static bool has_room(void *ctx)
{
    struct guest_line *line = ctx;
    const uint32_t part = host->ring_bytes / GUESTS_PART;
    if (line->most >= part)
        line->most = host->held(index_of(line));
    return line->most < part;
}

/* What its programs have to say fills no more than their part. Of a VM that shows its screen alone,
 * COM1 goes nowhere. */
static bool ready(void *ctx)
{
    const struct guest_line *line = ctx;
    return (line->vga && !line->named) || has_room(ctx);
}

/* What is said of lives that are short fills the ring, too. */
static bool may_begin(void *ctx)
{
    struct guest_line *line = ctx;
    line->most = host->held(index_of(line));
    return has_room(ctx);
}

static bool has_keyboard(const struct guest_line *line)
{
    const struct guest_line *first = lines;
    while (first != line && !__atomic_load_n(&first->open, __ATOMIC_ACQUIRE))
        first++;
    return line == first;
}

/* What was typed for a VM is not for the next one. */
static void forget_keys(const struct guest_line *line)
{
    if (has_keyboard(line))
        host->forget_keys();
}

static int in(void *ctx)
{
    return has_keyboard(ctx) ? host->read() : -1;
}

static int key(void *ctx, uint64_t now)
{
    return has_keyboard(ctx) ? host->read_key(now) : -1;
}

/* To the program that has started the machine, for the file that nadir.cfg names. Where there is
 * none, nobody keeps it. */
static bool debug(void *ctx, const char *text, size_t length)
{
    const struct guest_line *line = ctx;
    char quoted[6 * PC_DEBUG_TEXT + 1], name[6 * CONFIG_MAX_PATH + 1];
    char report[sizeof(quoted) + sizeof(name) + 64];
    if (!host->may_report() && !vm_has_ended(line->vm)) /* behind the end there is no other time */
        return false;
    (void)report_string(name, line->debug_file, strlen(line->debug_file));
    (void)report_string(quoted, text, length);
    const size_t bytes =
        format_text(report, sizeof(report),
                    "{\"nadir-debugcon\": {\"file\": \"%s\", \"text\": \"%s\"}}\n", name, quoted);
    return report_line(log_of_vm(index_of(line)), report, bytes);
}

static void drop(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)byte;
}

static void write_serial(void *ctx, const char *text, size_t length)
{
    host->write_serial(index_of(ctx), text, length);
}

static void screen(void *ctx, struct screen *picture, const struct vvga *vga)
{
    struct guest_line *line = ctx;
    if (!has_keyboard(line) || host->held(index_of(line)) != 0 || host->dump_is_read())
        return;
    bool draw = screen_take(picture, vga) || !display.complete;
    if (display.of != line || display.texts != host->texts()) {
        display.of = line;
        display.texts = host->texts();
        display.terminal.known = false;
        draw = true;
    }
    if (!draw)
        return;
    host->draw(picture->cells, picture->columns, picture->rows, picture->cursor, picture->blinks);
    display.complete = ansi_draw(&display.terminal, picture, write_serial, line);
}

/* The host's own screen, if there is one, still has the picture of a VM that is alone. */
static void print_line(struct guest_line *line, const char *text)
{
    if (count() > 1) {
        log_text_of(log_of_vm(index_of(line)), "%s%s\n", line->mark, text);
        return;
    }
    write_serial(line, text, strlen(text));
    write_serial(line, "\r\n", 2);
}

static void print_screen(struct guest_line *line, const struct screen *picture, const char *when)
{
    static const char clear[] = "\033[0m\033[?25h\033[2J\033[H\r\n";
    char text[SCREEN_LINE_BYTES];
    unsigned rows = picture->rows;
    while (rows > 0 && screen_line(picture, rows - 1, text) == 0)
        rows--;
    if (display.of == line) {
        write_serial(line, clear, sizeof(clear) - 1);
        display.of = NULL;
    }
    format_text(text, sizeof(text), "nadir: %s: its screen%s, %u x %u:", line->name, when,
                picture->columns, picture->rows);
    print_line(line, text);
    for (unsigned row = 0; row < rows; row++) {
        screen_line(picture, row, text);
        print_line(line, text);
    }
}

/* A prompt has no end of line; what is typed behind it is shown at once. */
static bool is_to_show(struct guest_line *line)
{
    line->still = line->length == line->seen ? line->still + 1 : 0;
    line->seen = line->length;
    const bool follows = line->part && host->is_last(index_of(line));
    return line->length != 0 && (is_raw(line) || follows || line->still > STILL_POLLS);
}

/* All vCPUs are to print where they stand; and the devices, behind the first one, what the guest
 * has polled until then. */
static void ask_all(struct guest_line *line, uint64_t now)
{
    line->dumps_left = line->vm->vcpu_count;
    line->next_dump = now + line->vm->timers.hz / PC_WATCHES_PER_SECOND;
    bus_watch_begin(&line->vm->bus);
}

/* For whoever gives up on the VM: where it stands, what it shows, and what it has cost up to now.
 */
static void tell_all(struct guest_line *line, uint64_t now)
{
    struct pc *pc = pc_of(line->vm);
    ask_all(line, now);
    if (line->vga) {
        (void)screen_take(&pc->picture, &pc->vga);
        print_screen(line, &pc->picture, "");
    }
    stats_report(line->vm);
}

/* Of all vCPUs that are to print where they stand, one at a time asks for that, when those before
 * have left the console: there may be many. */
static void dump_one(struct guest_line *line, uint64_t now)
{
    if (line->dumps_left == 0 || now < line->next_dump || !may_begin(line))
        return;
    line->next_dump = now + host->period_ticks() / 2;
    vcpu_request_dump(line->vm->vcpu[line->vm->vcpu_count - line->dumps_left]);
    line->dumps_left--;
}

static uint64_t poll(void *ctx, uint64_t now)
{
    struct guest_line *line = ctx;
    if (is_to_show(line))
        line_out(line, false);
    host->poll();
    if (line->answered != host->dump_requests()) {
        line->answered = host->dump_requests();
        ask_all(line, now);
    }
    if (line->told != host->asked() && may_begin(line)) {
        line->told = host->asked();
        tell_all(line, now);
    }
    dump_one(line, now);
    return now + host->period_ticks();
}

struct pc_console vm_console_of(uint32_t index, const struct vm_config *config)
{
    struct guest_line *line = &lines[index];
    line->name = config->name;
    format_text(line->mark, sizeof(line->mark), "[%s] ", config->name);
    line->debug_file = config->debugcon_file;
    line->vga = config->console != CONSOLE_SERIAL;
    line->named = config->console == CONSOLE_VGA_SERIAL;
    struct pc_console console = {.ctx = line,
                                 .ready = ready,
                                 .may_begin = may_begin,
                                 .in = in,
                                 .debug = debug,
                                 .poll = poll};
    console.out = config->console == CONSOLE_VGA ? drop : out;
    if (line->vga) {
        console.screen = screen;
        console.key = key;
    }
    return console;
}

void vm_console_begin(uint32_t index, struct pc *pc)
{
    lines[index].vm = &pc->vm;
    lines[index].dumps_left = 0;
}

void vm_console_end(uint32_t index, struct pc *pc)
{
    struct guest_line *line = &lines[index];
    pc_flush_debug(pc);
    line_out(line, true);
    plain_text_end(&line->plain);
    if (pc->vm.end != VM_RESET)
        forget_keys(line);
    if (line->vga) {
        (void)screen_take(&pc->picture, &pc->vga);
        print_screen(line, &pc->picture, " at the end");
    }
}

/* Not with each life: what is asked for between two lives is answered by the next one. */
enum status vm_console_open(uint32_t index)
{
    const enum status s = host->open(index);
    if (s != OK)
        return s;
    vm_console_expect(index);
    lines[index].most = 0;
    lines[index].answered = host->dump_requests();
    lines[index].told = host->asked();
    __atomic_store_n(&lines[index].open, true, __ATOMIC_RELEASE);
    return OK;
}

void vm_console_close(uint32_t index)
{
    forget_keys(&lines[index]);
    __atomic_store_n(&lines[index].open, false, __ATOMIC_RELEASE);
    host->close(index);
}
