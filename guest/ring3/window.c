/* SPDX-License-Identifier: BSD-2-Clause */
/* A window's pages, and where they are mapped. */
#include "guest/ring3/window.h"

#include "arch/cpu.h"

/* vCPUs' windows are apart by this, which leaves a page between them. */
#define STRIDE (8 * PAGE_SIZE)
_Static_assert(STRIDE > RING3_PAGES * PAGE_SIZE, "one page at least");

enum status ring3_window_create(struct ring3_window *window, hpa_t root, unsigned index)
{
    hpa_t pages;
    enum status s = page_alloc(RING3_PAGES + RING3_OWN_PAGES, 1, &pages);
    if (s != OK)
        return s;
    *window = (struct ring3_window){.pages = pages, .root = root, .code = hpa_to_ptr(pages)};
    window->data = window->code + RING3_CODE_PAGES * PAGE_SIZE;
    window->own = (struct ring3_own *)(window->code + RING3_PAGES * PAGE_SIZE);
    window->code_at = HOST_WINDOW_BASE + index * STRIDE;
    window->data_at = window->code_at + RING3_CODE_PAGES * PAGE_SIZE;
    for (unsigned i = 0; i < RING3_PAGES && s == OK; i++)
        s = host_map_user(root, window->code_at + i * PAGE_SIZE, hpa(pages.v + i * PAGE_SIZE),
                          i < RING3_CODE_PAGES ? HOST_USER_CODE : HOST_USER_DATA);
    if (s != OK)
        ring3_window_destroy(window);
    return s;
}

void ring3_window_destroy(struct ring3_window *window)
{
    if (window->pages.v == 0)
        return;
    for (unsigned i = 0; i < RING3_PAGES; i++) {
        host_unmap_user(window->root, window->code_at + i * PAGE_SIZE);
        cpu_invlpg(window->code_at + i * PAGE_SIZE); /* this CPU may be in these tables */
    }
    page_free(window->pages, RING3_PAGES + RING3_OWN_PAGES);
    window->pages = hpa(0);
}
