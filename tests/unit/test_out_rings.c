// SPDX-License-Identifier: BSD-2-Clause
// Output of several VMs on its way to one port: whose turn it is, whole lines, what has no room.
// link: drivers/host/out_rings.c arch/format.c
#include "drivers/host/out_rings.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RINGS = 4, SIZE = 4096 };

static char *bytes[RINGS]; /* exactly so much, for the sanitizer */
static struct out_ring ring[RINGS];
static struct out_rings outs;
static char sent[1 << 20];
static size_t sent_length;
static char reported[SIZE];
static bool reports_fit;

static bool report(const char *first, size_t first_length, const char *rest, size_t rest_length)
{
    if (reports_fit) {
        strncat(reported, first, first_length);
        strncat(reported, rest, rest_length);
    }
    return reports_fit;
}

static int set_up(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RINGS; i++) {
        bytes[i] = malloc(SIZE);
        /* Just before the counters wrap, and at an odd place. */
        ring[i] = (struct out_ring){
            .bytes = bytes[i], .size = SIZE, .put = UINT32_MAX - 1000, .take = UINT32_MAX - 1000};
    }
    outs = (struct out_rings){.ring = ring, .count = RINGS, .report = report};
    memset(sent, 0, sizeof(sent));
    sent_length = 0;
    reported[0] = '\0';
    reports_fit = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RINGS; i++)
        free(bytes[i]);
    return 0;
}

/* As a port takes it: some bytes at a time. */
static size_t send(size_t most)
{
    struct out_piece piece;
    size_t n = 0;
    while (n < most && out_rings_next(&outs, &piece)) {
        size_t part = piece.length < most - n ? piece.length : most - n;
        part = part > 16 ? 16 : part;
        assert_in_range(part, 1, sizeof(sent) - 1 - sent_length);
        memcpy(sent + sent_length, piece.text, part);
        sent_length += part;
        n += part;
        out_rings_sent(&outs, part);
    }
    return n;
}

static void send_all(void)
{
    while (send(SIZE) != 0) {}
    assert_false(out_rings_pending(&outs));
}

static bool put(unsigned of, enum out_kind kind, const char *text)
{
    static const char *const name[RINGS] = {"", "[a] ", "[b] ", "[c] "};
    return out_ring_put(&ring[of], kind, kind == OUT_NAMED ? name[of] : NULL, text, strlen(text));
}

static void expect(const char *text)
{
    send_all();
    assert_string_equal(sent, text);
    memset(sent, 0, sent_length);
    sent_length = 0;
}

static void lines_and_parts(void **state)
{
    (void)state;
    assert_true(put(0, OUT_LINE, "nadir: one\nnadir: two\n"));
    expect("nadir: one\r\nnadir: two\r\n");
    /* A part goes on where it stands, with one name. */
    assert_true(put(1, OUT_NAMED, "prompt: "));
    expect("[a] prompt: ");
    assert_ptr_equal(outs.open, &ring[1]);
    assert_true(put(1, OUT_NAMED, "ans"));
    assert_true(put(1, OUT_NAMED, "wer\r\n"));
    expect("answer\r\n");
    assert_null(outs.open);
    /* Another's text breaks it, and what goes on bears the name again. */
    assert_true(put(1, OUT_NAMED, "one "));
    expect("[a] one ");
    assert_true(put(2, OUT_NAMED, "two\r\n"));
    expect("\r\n[b] two\r\n");
    assert_true(put(1, OUT_NAMED, "three"));
    assert_true(put(1, OUT_NAMED, "\r\n"));
    expect("[a] three\r\n");
    /* An end that comes behind the break ends nothing. */
    assert_true(put(1, OUT_NAMED, "x"));
    expect("[a] x");
    assert_true(put(0, OUT_LINE, "nadir: y\n"));
    expect("\r\nnadir: y\r\n");
    assert_true(put(1, OUT_NAMED, "\r\n"));
    expect("");
    /* What is said of a VM begins a line in its own ring, too. */
    assert_true(put(1, OUT_NAMED, "z"));
    assert_true(put(1, OUT_LINE, "nadir: a: ended\n"));
    expect("[a] z\r\nnadir: a: ended\r\n");
    /* One that was alone, as it is; then it is not alone any more. */
    assert_true(put(1, OUT_RAW, "\033[1mlogin: "));
    assert_true(put(1, OUT_RAW, "\n"));
    assert_true(put(1, OUT_RAW, "open"));
    assert_true(put(1, OUT_NAMED, "new\r\n"));
    expect("\033[1mlogin: \nopen\r\n[a] new\r\n");
    const uint32_t texts = outs.texts;
    /* Pictures are in no line. */
    assert_true(put(1, OUT_NAMED, "q"));
    assert_true(put(1, OUT_PICTURE, "\033[5;5H#"));
    assert_true(put(1, OUT_NAMED, "r\r\n"));
    expect("[a] q\033[5;5H#r\r\n");
    assert_int_equal(outs.texts, texts + 2);
    assert_true(put(1, OUT_RAW, ""));
    expect("");
}

/* How many of the bytes sent are of lines of that VM. */
static size_t bytes_of(const char *name)
{
    size_t n = 0;
    for (const char *at = sent; *at != '\0';) {
        const size_t line = strcspn(at, "\n"), length = line + (at[line] != '\0');
        assert_true(at[0] == '[' && at[2] == ']' && at[3] == ' '); /* whole lines, each marked */
        n += memcmp(at, name, strlen(name)) == 0 ? length : 0;
        at += length;
    }
    return n;
}

/* One that has as much as it can, in long lines, beside one in short ones: half each, and all of it
 * where the other one has none. */
static void flood_gets_its_share(void **state)
{
    (void)state;
    char longer[600];
    memset(longer, 'x', sizeof(longer));
    memcpy(longer + sizeof(longer) - 3, "\r\n", 3);
    for (unsigned i = 0; i < 2000; i++) {
        while (put(1, OUT_NAMED, longer)) {}
        while (put(2, OUT_NAMED, "short\r\n")) {}
        ring[1].lost = ring[2].lost = 0;
        assert_int_equal(send(100), 100);
    }
    assert_in_range(bytes_of("[a]"), 98000, 102000);
    assert_in_range(bytes_of("[b]"), 98000, 102000);
    send_all();
    memset(sent, 0, sent_length);
    sent_length = 0;
    for (unsigned i = 0; i < 100; i++) {
        while (put(1, OUT_NAMED, longer)) {}
        ring[1].lost = 0;
        assert_int_equal(send(100), 100);
    }
    assert_int_equal(bytes_of("[a]"), 10000);
    /* A line of the other one comes behind one turn, and the end of a line. */
    assert_true(put(2, OUT_NAMED, "now\r\n"));
    memset(sent, 0, sent_length);
    sent_length = 0;
    (void)send(OUT_TURN + 2 * sizeof(longer));
    assert_non_null(strstr(sent, "[b] now\r\n"));
    /* And Nadir's own at the next line. */
    assert_true(put(0, OUT_LINE, "nadir: first\n"));
    memset(sent, 0, sent_length);
    sent_length = 0;
    (void)send(sizeof(longer) + 20);
    assert_non_null(strstr(sent, "nadir: first\r\n"));
}

/* A line without end holds the others up for OUT_LINE_MAX and no longer. */
static void endless_line_is_broken(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 30; i++)
        assert_true(
            put(1, OUT_NAMED, "0123456789012345678901234567890123456789012345678901234567"));
    (void)send(10);
    assert_true(put(2, OUT_NAMED, "b\r\n"));
    (void)send(OUT_LINE_MAX + OUT_TURN + 100);
    const char *other = strstr(sent, "\r\n[b] b\r\n[a] ");
    assert_non_null(other);
    assert_in_range(other - sent, OUT_TURN, OUT_LINE_MAX + OUT_TURN + 60);
    send_all();
}

/* One of two VMs fills its ring. Only its own text is left out, the other's is not, and the count
 * of what is missing stands where that text would have stood. */
static void no_room(void **state)
{
    (void)state;
    char line[101], note[64];
    unsigned lines = 0, lost = 0;
    memset(line, 'l', 98);
    memcpy(line + 98, "\r\n", 3);
    while (put(1, OUT_NAMED, line))
        lines++;
    assert_int_equal(lines, SIZE / (4 + 4 + 100));
    for (; lost < 7; lost++)
        assert_false(put(1, OUT_NAMED, line));
    assert_false(out_ring_put(&ring[1], OUT_REPORT, NULL, line, 100)); /* no text */
    assert_true(put(2, OUT_NAMED, "b\r\n"));
    /* It would fit by itself, but not with the note in front. */
    assert_false(put(1, OUT_LINE, "nadir: a: forty bytes, and no more, here\n"));
    send_all();
    assert_null(strstr(sent, "left out"));
    assert_non_null(strstr(sent, "[b] b\r\n"));
    memset(sent, 0, sent_length);
    sent_length = 0;
    assert_true(put(1, OUT_LINE, "nadir: a: ended\n"));
    assert_true(put(1, OUT_LINE, "nadir: a: more\n"));
    snprintf(note, sizeof(note), "nadir: %u bytes of text are left out here\r\n", 8 * 100 + 41);
    send_all();
    assert_int_equal(strncmp(sent, note, strlen(note)), 0);
    assert_string_equal(sent + strlen(note), "nadir: a: ended\r\nnadir: a: more\r\n");
}

/* Where nothing else is said, the count comes when the ring has emptied. */
static void lost_at_the_end(void **state)
{
    (void)state;
    while (put(1, OUT_NAMED, "0123456789\r\n")) {}
    assert_false(out_ring_owes(&ring[1])); /* there is something to be sent */
    out_ring_tell_lost(&ring[1]);          /* no room */
    assert_int_equal(ring[1].lost, 12);
    send_all();
    assert_true(out_ring_owes(&ring[1]));
    assert_false(out_ring_owes(&ring[2]));
    memset(sent, 0, sent_length);
    sent_length = 0;
    out_ring_tell_lost(&ring[1]);
    out_ring_tell_lost(&ring[1]);
    out_ring_tell_lost(&ring[2]);
    expect("nadir: 12 bytes of text are left out here\r\n");
    assert_false(out_ring_owes(&ring[1]));
}

/* Reports go where reports go, in the order of their ring; where there is no room, its ring waits,
 * and no other one. */
static void reports(void **state)
{
    (void)state;
    assert_true(put(1, OUT_LINE, "before\n"));
    assert_true(put(1, OUT_REPORT, "{1}\n"));
    assert_true(put(1, OUT_REPORT, "{2}\n"));
    assert_true(put(1, OUT_LINE, "behind\n"));
    assert_true(put(2, OUT_LINE, "other\n"));
    reports_fit = false;
    while (send(SIZE) != 0) {}
    assert_true(out_rings_pending(&outs));
    assert_string_equal(sent, "before\r\nother\r\n");
    assert_string_equal(reported, "");
    reports_fit = true;
    send_all();
    assert_string_equal(sent, "before\r\nother\r\nbehind\r\n");
    assert_string_equal(reported, "{1}\n{2}\n");
}

/* Writers and the reader at the same time, without a lock between them. */
enum { EACH = 20000 };

static void *write_many(void *of)
{
    const unsigned me = (unsigned)(size_t)of;
    char line[64];
    for (unsigned i = 0; i < EACH; i++) {
        const int n = snprintf(line, sizeof(line), "%u %.*s\r\n", i, (int)(i % 40),
                               "........................................");
        while (out_ring_held(&ring[me]) > SIZE - 200) {}
        assert_true(out_ring_put(&ring[me], OUT_NAMED, me == 1 ? "[a] " : "[b] ", line, (size_t)n));
    }
    return NULL;
}

static void at_one_time(void **state)
{
    (void)state;
    pthread_t writer[2];
    unsigned seen[2] = {0};
    char line[128] = "";
    size_t length = 0;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&writer[i], NULL, write_many, (void *)(i + 1)), 0);
    while (seen[0] < EACH || seen[1] < EACH) {
        struct out_piece piece;
        if (!out_rings_next(&outs, &piece))
            continue;
        for (size_t i = 0; i < piece.length; i++) {
            line[length++] = piece.text[i];
            if (piece.text[i] != '\n')
                continue;
            unsigned number, who = line[1] == 'b';
            line[length] = '\0';
            assert_int_equal(sscanf(line + 4, "%u", &number), 1);
            assert_int_equal(number, seen[who]++);
            length = 0;
        }
        out_rings_sent(&outs, piece.length);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(writer[i], NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(lines_and_parts), T(flood_gets_its_share), T(endless_line_is_broken),
        T(no_room),         T(lost_at_the_end),      T(reports),
        T(at_one_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
