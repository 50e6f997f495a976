/* SPDX-License-Identifier: BSD-2-Clause */
/* 82441FX and PIIX3 by their data sheets, as far as one can notice them in a machine whose RAM
 * needs no set-up. */
#include "drivers/virt/vchipset.h"

enum { PAM_READ = 1, PAM_WRITE = 2 };

static const struct vpci_register host_rows[] = {
    {0x00, 4, 0x12378086, 0},
    {VPCI_COMMAND, 2, 0x0006, 0x0140}, /* memory and master are hard-wired; PERR#, SERR# enable */
    {0x06, 2, 0x0280, 0},
    {VPCI_CLASS, 4, 0x06000002, 0},
    {0x0d, 1, 0, 0xf8}, /* latency timer */
    /* How firmware tells a virtual 440FX, with fw_cfg beside it, from a real one. */
    {VPCI_SUBSYSTEM, 4, 0x11001af4, 0},
    {VCHIPSET_PAM0, 1, 0, 0x30},
    {VCHIPSET_PAM0 + 1, 2, 0, 0x3333},
    {VCHIPSET_PAM0 + 3, 4, 0, 0x33333333},
    {0x72, 1, 0x02, 0x78}, /* SMRAM control: there is no SMM, so it opens nothing */
};

static const struct vpci_register isa_rows[] = {
    {0x00, 4, 0x70008086, 0},
    {VPCI_COMMAND, 2, 0x0007, 0x0008},
    {0x06, 2, 0x0200, 0},
    {VPCI_CLASS, 4, 0x06010000, 0},
    {VPCI_HEADER_TYPE, 1, 0x80, 0},    /* there are more functions */
    {0x4c, 4, 0x0003004d, 0x01ff007f}, /* I/O recovery; X-bus chip selects: all is there anyhow */
    {VCHIPSET_PIRQA, 4, 0x80808080, 0x8f8f8f8f}, /* nothing here has a PCI interrupt to route */
    {0x69, 1, 0x02, 0xfe},                       /* top of memory, for ISA masters */
};

static bool overlaps(unsigned offset, unsigned bytes, unsigned first, unsigned count)
{
    return offset < first + count && first < offset + bytes;
}

static void host_written(void *dev, unsigned offset, unsigned bytes)
{
    struct vchipset *c = dev;
    if (overlaps(offset, bytes, VCHIPSET_PAM0, VCHIPSET_PAMS) && c->shadow_changed != NULL)
        c->shadow_changed(c->shadow_ctx);
}

struct vchipset_shadow vchipset_shadow(const struct vchipset *c, unsigned piece)
{
    /* PAM0 has the last piece in its high nibble; each of the others two pieces, low nibble first.
     */
    unsigned nibble = piece == VCHIPSET_PIECES - 1 ? 1 : piece + 2;
    unsigned bits = c->host.config[VCHIPSET_PAM0 + nibble / 2] >> (4 * (nibble % 2));
    return (struct vchipset_shadow){(bits & PAM_READ) != 0, (bits & PAM_WRITE) != 0};
}

enum status vchipset_init(struct vchipset *c, struct vpci *pci)
{
    *c = (struct vchipset){.host.dev = c};
    c->host.written = host_written;
    enum status s =
        vpci_add(pci, &c->host, VCHIPSET_HOST, host_rows, sizeof(host_rows) / sizeof(host_rows[0]));
    if (s != OK)
        return s;
    return vpci_add(pci, &c->isa, VCHIPSET_ISA, isa_rows, sizeof(isa_rows) / sizeof(isa_rows[0]));
}
