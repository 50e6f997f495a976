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
#include "guest/vm/sched.h"

#define LINE_MAX 200

/* Of what may be pending, guests have this part, all together; the rest is for what the hypervisor
 * itself says. */
#define GUESTS_PART 2

#define STILL_POLLS 100 /* after so many a part of a line is shown */

/* And this part is free before the end of a VM is told, which is some KiB. */
#define FREE_FOR_END 4

struct guest_line {
    const char *name;
    const char *debug_file; /* of the debug console, or NULL */
    uint32_t length;
    uint32_t seen, still; /* the length at the last poll, and for how many polls so */
    bool part;            /* a part of a line stands on the console, without its end */
    uint32_t part_log; /* host_console.log_count() behind that: if it is another one now, something
                        * else stands there */
    bool vga, open, counted;
    bool named; /* beside its screen: in lines with its name, also where it is the only VM */
    struct ring_share share; /* of the console's output */
    uint32_t answered;       /* of host_console.dump_requests() */
    uint32_t told;           /* of host_console.asked() */
    uint32_t written;        /* of host_console.written(), when its end was about to be told */
    uint32_t dumps_left;     /* of its vCPUs, the last ones */
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
    uint32_t log_count;
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

static void print_named(struct guest_line *line, const char *text, const char *end)
{
    log_text("[%s] %s%s", line->name, text, end);
    ring_share_put(&line->share, (uint32_t)(strlen(line->name) + strlen(text) + sizeof("[] \r")));
}

/* Puts what has been collected behind the part of a line that stands on the console. False: that is
 * not the last there any more. */
static bool append(struct guest_line *line, bool whole)
{
    memcpy(line->text + line->length, "\r\n", 2);
    const uint32_t length = line->length + (whole ? 2 : 0);
    if (!line->part || !host->write_behind(line->part_log, line->text, length))
        return false;
    ring_share_put(&line->share, length);
    return true;
}

/* A line, or a part of one, with the VM's name. Another CPU may log right before or behind this:
 * then log_count() is not what is kept here, and what follows gets a name of its own. Taken
 * afterwards, it could count that other text, and a guest's words would stand there unmarked. */
static void line_out_named(struct guest_line *line, bool whole)
{
    const uint32_t count_before = host->log_count();
    if (!append(line, whole) && line->length != 0) {
        line->text[line->length] = '\0';
        print_named(line, line->text, whole ? "\n" : "");
        line->part_log = count_before + 1;
        line->part = true;
    }
    line->part = line->part && !whole;
}

/* What has been collected goes to the console: of a VM that is alone as it is, of others as a line
 * with the VM's name. whole: its end has come. */
static void line_out(struct guest_line *line, bool whole)
{
    if (is_raw(line)) {
        host->write(line->text, line->length);
        ring_share_put(&line->share, line->length);
    } else {
        line_out_named(line, whole);
    }
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

/* To each VM its part, so that what its programs have to say keeps no other VM from running. Of one
 * that shows its screen alone, COM1 goes nowhere. */
static bool ready(void *ctx)
{
    struct guest_line *line = ctx;
    const uint32_t part = host->out_bytes / GUESTS_PART / count();
    const bool drops = line->vga && !line->named;
    return drops || ring_share_most(&line->share) < part || host->held(&line->share) < part;
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
    if (!host->may_report())
        return false;
    (void)report_string(name, line->debug_file, strlen(line->debug_file));
    (void)report_string(quoted, text, length);
    const size_t bytes =
        format_text(report, sizeof(report),
                    "{\"nadir-debugcon\": {\"file\": \"%s\", \"text\": \"%s\"}}\n", name, quoted);
    return report_line(report, bytes);
}

static void drop(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)byte;
}

static void write_serial(void *ctx, const char *text, size_t length)
{
    struct guest_line *line = ctx;
    host->write_serial(text, length);
    ring_share_put(&line->share, (uint32_t)length);
}

static void screen(void *ctx, struct screen *picture, const struct vvga *vga)
{
    struct guest_line *line = ctx;
    if (!has_keyboard(line) || host->held(&line->share) != 0 || host->dump_is_read())
        return;
    bool draw = screen_take(picture, vga) || !display.complete;
    if (display.of != line || display.log_count != host->log_count()) {
        display.of = line;
        display.log_count = host->log_count();
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
        print_named(line, text, "\n");
        return;
    }
    host->write_serial(text, strlen(text));
    host->write_serial("\r\n", 2);
}

static void print_screen(struct guest_line *line, const struct screen *picture, const char *when)
{
    static const char clear[] = "\033[0m\033[?25h\033[2J\033[H\r\n";
    char text[SCREEN_LINE_BYTES];
    unsigned rows = picture->rows;
    while (rows > 0 && screen_line(picture, rows - 1, text) == 0)
        rows--;
    if (display.of == line) {
        host->write_serial(clear, sizeof(clear) - 1);
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
    const bool follows = line->part && line->part_log == host->log_count();
    return line->length != 0 && (is_raw(line) || follows || line->still > STILL_POLLS);
}

/* For whoever gives up on the VM: where it stands, what it shows, and what it has cost up to now.
 */
static void tell_all(struct guest_line *line)
{
    struct pc *pc = pc_of(line->vm);
    line->dumps_left = line->vm->vcpu_count;
    if (line->vga) {
        (void)screen_take(&pc->picture, &pc->vga);
        print_screen(line, &pc->picture, "");
    }
    stats_report(line->vm);
}

/* Of all vCPUs that are to print where they stand, one at a time asks for that, when those before
 * have left the console: there may be thousands. */
static void dump_one(struct guest_line *line, uint64_t now)
{
    static uint64_t next;
    uint64_t due = __atomic_load_n(&next, __ATOMIC_RELAXED);
    if (line->dumps_left == 0 || now < due || host->pending() > host->out_bytes / FREE_FOR_END ||
        !__atomic_compare_exchange_n(&next, &due, now + host->period_ticks() / 2, false,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
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
        line->dumps_left = line->vm->vcpu_count;
    }
    if (line->told != host->asked() && host->may_report()) {
        line->told = host->asked();
        tell_all(line);
    }
    dump_one(line, now);
    return now + host->period_ticks();
}

struct pc_console vm_console_of(uint32_t index, const struct vm_config *config)
{
    struct guest_line *line = &lines[index];
    line->name = config->name;
    line->debug_file = config->debugcon_file;
    line->vga = config->console != CONSOLE_SERIAL;
    line->named = config->console == CONSOLE_VGA_SERIAL;
    struct pc_console console = {
        .ctx = line, .ready = ready, .in = in, .debug = debug, .poll = poll};
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

/* VMs that are about to be told of, or are: each has room for that. */
static uint32_t telling;

static bool may_tell(void)
{
    const uint32_t others = __atomic_fetch_add(&telling, 1, __ATOMIC_SEQ_CST);
    if (host->pending() + (others + 1) * (host->out_bytes / FREE_FOR_END) <= host->out_bytes &&
        host->may_report())
        return true;
    __atomic_fetch_sub(&telling, 1, __ATOMIC_SEQ_CST);
    return false;
}

void vm_console_wait(uint32_t index)
{
    while (!may_tell()) {
        host->poll();
        if (!sched_lend())
            cpu_idle_until(cpu_rdtsc() + host->period_ticks());
    }
    lines[index].written = host->written();
}

/* What others have written meanwhile counts, too, which is not much. */
void vm_console_told(uint32_t index)
{
    ring_share_put(&lines[index].share, host->written() - lines[index].written);
    __atomic_fetch_sub(&telling, 1, __ATOMIC_SEQ_CST);
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
void vm_console_open(uint32_t index)
{
    vm_console_expect(index);
    lines[index].answered = host->dump_requests();
    lines[index].told = host->asked();
    __atomic_store_n(&lines[index].open, true, __ATOMIC_RELEASE);
}

void vm_console_close(uint32_t index)
{
    forget_keys(&lines[index]);
    __atomic_store_n(&lines[index].open, false, __ATOMIC_RELEASE);
}
