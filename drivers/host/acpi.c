/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads tables as the ACPI specification lays them out, every length and checksum looked at. */
#include "drivers/host/acpi.h"
#include "arch/bytes.h"
#include "arch/string.h"

enum { RSDP_BYTES = 36, RSDP_V1_BYTES = 20, HEADER_BYTES = 36, ENTRIES_MAX = 256 };
enum { TABLE_MAX_BYTES = 1 << 20, FADT_BYTES = 268 /* newest; shorter ones are older */ };
enum { FADT_DSDT = 40, FADT_SMI = 48, FADT_ACPI_ENABLE = 52, FADT_PM1A = 64, FADT_PM1B = 68 };
enum { FADT_PM_TIMER = 76, FADT_PM_TIMER_LEN = 91, FADT_X_DSDT = 140, FADT_X_PM1A = 172 };
enum { FADT_X_PM1B = 184, FADT_X_PM_TIMER = 208, FADT_SLEEP = 244 };
enum { FADT_FLAGS = 112, FLAG_RESET = 1 << 10, FLAG_REDUCED = 1 << 20 };
enum { FADT_RESET = 116, FADT_RESET_VALUE = 128 };
enum { GAS_SPACE = 0, GAS_ADDRESS = 4, GAS_BYTES = 12 }; /* a generic address structure */
enum { MADT_ENTRIES = 44, MADT_APIC = 0, MADT_IO_APIC = 1, MADT_X2APIC = 9 };
enum { MADT_ENABLED = 1, MADT_OLD_MAX = 255 };
enum { AML_ZERO = 0, AML_ONE = 1, AML_NAME = 0x08, AML_BYTE = 0x0a, AML_PACKAGE = 0x12 };

/* Returns the length of a table whose signature and checksum are right, else 0. */
static uint32_t check_table(hpa_t address, const char *signature, acpi_read_fn *read)
{
    uint8_t chunk[64];
    if (!read(address, chunk, HEADER_BYTES) || memcmp(chunk, signature, 4) != 0)
        return 0;
    uint32_t length = get_le32(chunk + 4);
    if (length < HEADER_BYTES || length > TABLE_MAX_BYTES)
        return 0;
    uint8_t total = 0;
    for (uint32_t at = 0; at < length; at += (uint32_t)sizeof(chunk)) {
        size_t n = length - at < sizeof(chunk) ? length - at : sizeof(chunk);
        if (!read(hpa(address.v + at), chunk, n))
            return 0;
        total = (uint8_t)(total + sum_bytes(chunk, n));
    }
    return total == 0 ? length : 0;
}

/* Follows the RSDP to the first valid table of that signature; returns its length, or 0. */
static uint32_t find_table(hpa_t rsdp, const char *signature, acpi_read_fn *read, hpa_t *out)
{
    uint8_t root[RSDP_BYTES], entry[8];
    if (rsdp.v == 0 || !read(rsdp, root, RSDP_V1_BYTES) || memcmp(root, "RSD PTR ", 8) != 0 ||
        sum_bytes(root, RSDP_V1_BYTES) != 0)
        return 0;
    bool extended = root[15] >= 2 && read(rsdp, root, RSDP_BYTES) &&
                    sum_bytes(root, RSDP_BYTES) == 0 && get_le64(root + 24) != 0;
    unsigned width = extended ? 8 : 4;
    hpa_t list = hpa(extended ? get_le64(root + 24) : get_le32(root + 16));
    uint32_t length = check_table(list, extended ? "XSDT" : "RSDT", read);
    for (uint32_t i = 0; i < ENTRIES_MAX && HEADER_BYTES + (i + 1) * width <= length; i++) {
        if (!read(hpa(list.v + HEADER_BYTES + i * width), entry, width))
            return 0;
        *out = hpa(get_le(entry, width));
        uint32_t found = check_table(*out, signature, read);
        if (found != 0)
            return found;
    }
    return 0;
}

/* Where both forms of a register's address are there, the extended one counts. */
static uint16_t read_port(const uint8_t *fadt, unsigned plain, unsigned extended)
{
    uint64_t port = get_le32(fadt + plain);
    const uint8_t *gas = fadt + extended;
    if (gas[GAS_SPACE] == ACPI_SPACE_IO && get_le64(gas + GAS_ADDRESS) != 0)
        port = get_le64(gas + GAS_ADDRESS);
    return port <= UINT16_MAX - 3 ? (uint16_t)port : 0;
}

static struct acpi_register read_register(const uint8_t *gas)
{
    struct acpi_register r = {gas[GAS_SPACE], get_le64(gas + GAS_ADDRESS)};
    if (r.space > ACPI_SPACE_PCI || (r.space == ACPI_SPACE_IO && r.address > UINT16_MAX))
        r.address = 0;
    return r;
}

/* An element of \_S5_, a small integer; moves on behind it. False where it is none. */
static bool read_small(const uint8_t *window, unsigned *at, uint8_t *out)
{
    const uint8_t op = window[(*at)++];
    *out = op == AML_BYTE ? window[(*at)++] : op;
    return op == AML_BYTE || op == AML_ZERO || op == AML_ONE;
}

/* Name (\_S5_, Package {a, b, ...}): AML is not run but searched, as all small systems do it. */
static bool match_soft_off(const uint8_t *window, struct acpi_facts *out)
{
    unsigned at = window[1] == '\\' ? 2 : 1;
    if (window[0] != AML_NAME || memcmp(window + at, "_S5_", 4) != 0 ||
        window[at + 4] != AML_PACKAGE)
        return false;
    at += 5;
    at += 1 + (window[at] >> 6); /* the package's length is 1 to 4 bytes long */
    const uint8_t elements = window[at++];
    if (elements < 1 || !read_small(window, &at, &out->sleep_type_a))
        return false;
    if (elements < 2 || !read_small(window, &at, &out->sleep_type_b))
        out->sleep_type_b = out->sleep_type_a;
    return true;
}

static void find_soft_off(hpa_t dsdt, acpi_read_fn *read, struct acpi_facts *out)
{
    enum { WINDOW = 16, CHUNK = 256 };
    const uint32_t length = check_table(dsdt, "DSDT", read);
    for (uint32_t at = HEADER_BYTES; at < length && !out->has_soft_off; at += CHUNK) {
        uint8_t chunk[CHUNK + WINDOW] = {0};
        const uint32_t left = length - at;
        if (!read(hpa(dsdt.v + at), chunk, left < sizeof(chunk) ? left : sizeof(chunk)))
            return;
        for (unsigned i = 0; i < CHUNK && !out->has_soft_off; i++)
            out->has_soft_off = match_soft_off(chunk + i, out);
    }
}

static void read_fadt(hpa_t address, uint32_t length, acpi_read_fn *read, struct acpi_facts *out)
{
    uint8_t fadt[FADT_BYTES] = {0};
    if (!read(address, fadt, length < sizeof(fadt) ? length : sizeof(fadt)))
        return;
    const uint32_t flags = get_le32(fadt + FADT_FLAGS);
    if (fadt[FADT_PM_TIMER_LEN] == 4)
        out->pm_timer_port = read_port(fadt, FADT_PM_TIMER, FADT_X_PM_TIMER);
    if (flags & FLAG_RESET)
        out->reset = read_register(fadt + FADT_RESET);
    out->reset_value = fadt[FADT_RESET_VALUE];
    if (flags & FLAG_REDUCED) {
        out->sleep_control = read_register(fadt + FADT_SLEEP);
    } else {
        out->pm1a_port = read_port(fadt, FADT_PM1A, FADT_X_PM1A);
        out->pm1b_port = read_port(fadt, FADT_PM1B, FADT_X_PM1B);
        const uint32_t smi = get_le32(fadt + FADT_SMI);
        out->acpi_enable = fadt[FADT_ACPI_ENABLE];
        out->smi_port = smi <= UINT16_MAX && out->acpi_enable != 0 ? (uint16_t)smi : 0;
    }
    const uint64_t dsdt = get_le64(fadt + FADT_X_DSDT);
    find_soft_off(hpa(dsdt != 0 ? dsdt : get_le32(fadt + FADT_DSDT)), read, out);
}

bool acpi_read_facts(hpa_t rsdp, acpi_read_fn *read, struct acpi_facts *out)
{
    uint8_t base[GAS_BYTES];
    hpa_t table;
    *out = (struct acpi_facts){0};
    if (find_table(rsdp, "HPET", read, &table) >= HEADER_BYTES + 4 + GAS_BYTES &&
        read(hpa(table.v + HEADER_BYTES + 4), base, sizeof(base)) &&
        base[GAS_SPACE] == ACPI_SPACE_MEMORY && get_le64(base + GAS_ADDRESS) <= UINT32_MAX)
        out->hpet = get_le64(base + GAS_ADDRESS);
    const uint32_t length = find_table(rsdp, "FACP", read, &table);
    if (length != 0)
        read_fadt(table, length, read, out);
    return length != 0;
}

static bool is_listed(const uint32_t *list, uint32_t count, uint32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == id)
            return true;
    return false;
}

/* The MADT's entries in their order, as far as they are sound. */
struct madt_walk {
    acpi_read_fn *read;
    hpa_t table;
    uint32_t length, at;
    uint32_t bytes; /* of the entry; as many as fit are in it */
    uint8_t entry[16];
};

static struct madt_walk madt_begin(hpa_t rsdp, acpi_read_fn *read)
{
    struct madt_walk w = {.read = read, .at = MADT_ENTRIES};
    w.length = find_table(rsdp, "APIC", read, &w.table);
    return w;
}

static bool madt_next(struct madt_walk *w)
{
    w->at += w->bytes;
    memset(w->entry, 0, sizeof(w->entry));
    if (w->at + 2 > w->length || !w->read(hpa(w->table.v + w->at), w->entry, 2))
        return false;
    w->bytes = w->entry[1];
    return w->bytes >= 2 && w->bytes <= w->length - w->at &&
           w->read(hpa(w->table.v + w->at), w->entry,
                   w->bytes < sizeof(w->entry) ? w->bytes : sizeof(w->entry));
}

uint32_t acpi_list_io_apics(hpa_t rsdp, acpi_read_fn *read, uint32_t *address, uint32_t max)
{
    struct madt_walk w = madt_begin(rsdp, read);
    uint32_t count = 0;
    while (count < max && madt_next(&w))
        if (w.entry[0] == MADT_IO_APIC && w.bytes >= 12)
            address[count++] = get_le32(w.entry + 4);
    return count;
}

uint32_t acpi_list_cpus(hpa_t rsdp, acpi_read_fn *read, uint32_t *apic_id, uint32_t max)
{
    struct madt_walk w = madt_begin(rsdp, read);
    uint32_t count = 0;
    while (madt_next(&w)) {
        const uint8_t *entry = w.entry;
        const bool old = entry[0] == MADT_APIC && w.bytes >= 8;
        if (!old && !(entry[0] == MADT_X2APIC && w.bytes >= 16))
            continue;
        const uint32_t id = old ? entry[3] : get_le32(entry + 4);
        const uint32_t flags = get_le32(entry + (old ? 4 : 8));
        if ((flags & MADT_ENABLED) == 0 || id == (old ? MADT_OLD_MAX : UINT32_MAX) ||
            is_listed(apic_id, count < max ? count : max, id))
            continue;
        if (count < max)
            apic_id[count] = id;
        count++;
    }
    return count;
}
