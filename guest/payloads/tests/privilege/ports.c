/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports at CPL 3, by IOPL and by the I/O permission bit map: it is looked at before a hypervisor is
 * asked (SDM, "I/O Permission Bit Map"; "Relative Priority of Faults and VM Exits"). */
#include "ports.h"

#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define FIRST   0x80u /* the page registers of the DMA controllers: a read changes nothing */
#define COUNT   12u   /* so that the last one is amid a byte of the map */
#define IOPL(n) ((uint64_t)(n) << 12)

static const struct probe none = {PROBE_NONE, 0}, protection = {VECTOR_GP, 0};
static uint8_t buffer[16];

struct access {
    const char *what;
    uint16_t port;
    uint8_t length, bytes[3];
};

static struct probe run(const struct access *a, uint64_t rflags)
{
    struct code code = {.rdx = a->port,
                        .rcx = 1,
                        .rsi = (uint64_t)buffer,
                        .rdi = (uint64_t)buffer,
                        .length = a->length};
    memcpy(code.bytes, a->bytes, a->length);
    return user_probe(&code, rflags);
}

static void check(const struct access *rows, size_t count, struct probe want, const char *rule)
{
    for (size_t i = 0; i < count; i++)
        test_fault(run(&rows[i], 0), want, rows[i].what, rule);
}

static void check_map(void)
{
    static const struct access permitted[] = {
        {"IN of the first port", FIRST, 1, {0xec}},
        {"IN of two, from two bytes of the map", FIRST + 7, 2, {0x66, 0xed}},
        {"IN of four, from two bytes of the map", FIRST + 6, 1, {0xed}},
        {"IN of the last four", FIRST + COUNT - 4, 1, {0xed}},
        {"IN by its number", 0, 2, {0xe4, FIRST}},
        {"INSB", FIRST, 1, {0x6c}},
        {"REP INSD from two bytes of the map", FIRST + 6, 2, {0xf3, 0x6d}},
    };
    static const struct access denied[] = {
        {"IN of the port before", FIRST - 1, 1, {0xec}},
        {"IN of two, the first denied", FIRST - 1, 2, {0x66, 0xed}},
        {"IN of four, the first denied", FIRST - 1, 1, {0xed}},
        {"IN of two, the second denied", FIRST + COUNT - 1, 2, {0x66, 0xed}},
        {"IN of four, the last denied", FIRST + COUNT - 3, 1, {0xed}},
        {"IN of the port behind", FIRST + COUNT, 1, {0xec}},
        {"IN by its number, denied", 0, 2, {0xe4, FIRST - 1}},
        {"OUT of two, the second denied", FIRST + COUNT - 1, 2, {0x66, 0xef}},
        {"INSB, denied", FIRST - 1, 1, {0x6c}},
        {"REP INSD, the last denied", FIRST + COUNT - 3, 2, {0xf3, 0x6d}},
        {"REP OUTSW, the second denied", FIRST + COUNT - 1, 3, {0xf3, 0x66, 0x6f}},
        {"IN of a port beyond the map", 0x100, 1, {0xec}},
        {"IN of the highest port", 0xffff, 1, {0xec}},
    };
    user_permit(FIRST, COUNT);
    check(permitted, sizeof(permitted) / sizeof(permitted[0]), none, "the map permits it");
    check(denied, sizeof(denied) / sizeof(denied[0]), protection, "#GP(0): the map denies it");
}

/* Two bytes of the map are read for each access, and both have to be in the TSS. */
static void check_limit(void)
{
    static const struct access before = {"IN, the map's last two bytes permit", 0xf7, 1, {0xec}},
                               last = {"IN, the map's last byte permits", 0xf8, 1, {0xec}},
                               first = {"IN of a port whose bit the map has", 0x87, 1, {0xec}},
                               zero = {"IN of port 0", 0, 1, {0xec}};
    user_permit(0xf0, 16);
    test_fault(run(&before, 0), none, before.what, "within the TSS's limit");
    test_fault(run(&last, 0), protection, last.what, "#GP(0): one more byte is to be there");
    user_permit(0, 256);
    user_move_map(14);
    test_fault(run(&first, 0), none, first.what, "in the last two bytes of the TSS");
    user_move_map(15);
    test_fault(run(&first, 0), protection, first.what, "and half of it beyond");
    user_move_map(31);
    test_fault(run(&zero, 0), protection, zero.what, "a map of one byte is none");
    user_move_map(32);
    test_fault(run(&zero, 0), protection, zero.what, "nor is one behind the limit");
    user_hide_map();
    test_fault(run(&zero, 0), protection, zero.what, "nor one at FFFFh");
}

static void check_iopl(void)
{
    static const struct access in = {"IN", FIRST, 1, {0xec}}, ins = {"INSB", FIRST, 1, {0x6c}};
    test_fault(run(&in, IOPL(2)), protection, "IN with IOPL 2, and no map", "#GP(0): CPL > IOPL");
    test_fault(run(&in, IOPL(3)), none, "IN with IOPL 3, and no map", "CPL <= IOPL");
    test_fault(run(&ins, IOPL(3)), none, "INSB with IOPL 3, and no map", "CPL <= IOPL");
    user_move_map(0);
    user_permit(FIRST + 1, 1);
    test_fault(run(&in, IOPL(3)), none, "IN with IOPL 3, denied by the map", "CPL <= IOPL");
    test_fault(run(&in, IOPL(1)), protection, "IN with IOPL 1, denied by the map", "#GP(0)");
}

void check_ports(void)
{
    check_map();
    check_limit();
    check_iopl();
    user_init();
}
