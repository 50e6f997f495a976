/* SPDX-License-Identifier: BSD-2-Clause */
/* A root is a page of its own, which is missed if nobody frees it. */
#include "tests/unit/fake_space.h"

#include "mm/page_alloc.h"
#include "tests/unit/fake_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PIECES 256

uint64_t guestspace_offset;

static struct {
    hpa_t root, base;
    uint64_t pages; /* 0: free */
} piece[PIECES];

static void demand(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fake page tables: %s\n", what);
    abort();
}

static void show(unsigned i, bool can_touch)
{
    const int allowed = can_touch ? PROT_READ | PROT_WRITE : PROT_NONE;
    demand(mprotect(hpa_to_ptr(piece[i].base), piece[i].pages * PAGE_SIZE, allowed) == 0,
           "mprotect failed");
}

static bool is_entered(hpa_t root)
{
    bool is = false;
    for (unsigned i = 0; i < FAKE_HOST_CPUS && root.v != 0; i++)
        is = is || fake_host.root[i].v == root.v;
    return is;
}

hpa_t fake_space_root(void)
{
    return fake_host.root[fake_host.self];
}

hpa_t guestspace_enter(hpa_t root)
{
    const hpa_t before = fake_space_root();
    fake_host.root[fake_host.self] = root;
    for (unsigned i = 0; i < PIECES; i++)
        if (piece[i].pages != 0 && (piece[i].root.v == root.v || piece[i].root.v == before.v))
            show(i, is_entered(piece[i].root));
    return before;
}

enum status guestspace_create(hpa_t *root)
{
    return page_alloc(1, 1, root);
}

void guestspace_destroy(hpa_t root)
{
    demand(!is_entered(root), "a CPU is in what is destroyed");
    for (unsigned i = 0; i < PIECES; i++) {
        if (piece[i].pages == 0 || piece[i].root.v != root.v)
            continue;
        show(i, true);
        piece[i].pages = 0;
    }
    page_free(root, root.v != 0);
}

enum status guestspace_map(hpa_t root, hpa_t base, uint64_t pages)
{
    unsigned i = 0;
    while (i < PIECES && piece[i].pages != 0)
        i++;
    demand(i < PIECES, "too many pieces");
    piece[i].root = root;
    piece[i].base = base;
    piece[i].pages = pages;
    show(i, is_entered(root));
    return OK;
}

bool guestspace_is_readable(hpa_t frame)
{
    bool is = false;
    for (unsigned i = 0; i < PIECES; i++)
        is = is || frame.v - piece[i].base.v < piece[i].pages * PAGE_SIZE;
    return is;
}

void guestspace_zero(hpa_t root, hpa_t base, uint64_t pages, void (*between)(uint64_t done))
{
    const hpa_t before = guestspace_enter(root);
    const uint64_t bytes = pages * PAGE_SIZE;
    for (uint64_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < GUESTSPACE_ZERO_PORTION ? bytes - done : GUESTSPACE_ZERO_PORTION;
        memset(guestspace_ptr(hpa(base.v + done)), 0, n);
        if (between != NULL)
            between(done + n);
        demand(fake_space_root().v == root.v, "not where it was");
    }
    (void)guestspace_enter(before);
}
