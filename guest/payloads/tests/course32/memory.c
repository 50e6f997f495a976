/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages of memory, and address spaces of them: two levels of tables, made anew for each process,
 * the kernel's half included. */
#include "guest/payloads/tests/course32/kernel.h"

#define IO_APIC_AT 0xfec00000u
#define APIC_AT    0xfee00000u
enum { PRESENT = 1, WRITABLE = 2, USER = 4, UNCACHED = 0x18 };

extern const uint8_t text_end[];

static struct lock lock;
static void *free_list; /* each page's first word leads to the next */
static uint32_t free_count, top;
static uint32_t *kernel_directory; /* what a CPU has that runs no process */

void *page_take(void)
{
    lock_take(&lock);
    void **page = free_list;
    if (page != NULL) {
        free_list = *page;
        free_count--;
    }
    lock_give(&lock);
    if (page != NULL)
        fill(page, 0, PAGE_BYTES);
    return page;
}

void page_give(void *page)
{
    fill(page, 0x5a, PAGE_BYTES);
    lock_take(&lock);
    *(void **)page = free_list;
    free_list = page;
    free_count++;
    lock_give(&lock);
}

uint32_t pages_free(void)
{
    return free_count;
}

/* The entry of an address; NULL: there is no table, and none was to be made or could be. */
static uint32_t *entry_of(uint32_t *directory, uint32_t at, bool is_to_make)
{
    uint32_t *upper = &directory[at >> 22];
    if ((*upper & PRESENT) == 0) {
        void *table = is_to_make ? page_take() : NULL;
        if (table == NULL)
            return NULL;
        *upper = physical(table) | USER | WRITABLE | PRESENT;
    }
    uint32_t *table = at_physical(*upper & ~(PAGE_BYTES - 1));
    return &table[at >> 12 & 1023];
}

static bool map(uint32_t *directory, uint32_t at, uint32_t from, uint32_t to, uint32_t rights)
{
    for (; from < to; from += PAGE_BYTES, at += PAGE_BYTES) {
        uint32_t *entry = entry_of(directory, at, true);
        if (entry == NULL)
            return false;
        *entry = from | rights | PRESENT;
    }
    return true;
}

uint32_t *space_make(void)
{
    const uint32_t text = 0x100000, data = physical(text_end);
    uint32_t *directory = page_take();
    if (directory == NULL)
        return NULL;
    if (map(directory, KERNEL_BASE, 0, text, WRITABLE) &&
        map(directory, KERNEL_BASE + text, text, data, 0) &&
        map(directory, KERNEL_BASE + data, data, top, WRITABLE) &&
        map(directory, IO_APIC_AT, IO_APIC_AT, IO_APIC_AT + PAGE_BYTES, UNCACHED | WRITABLE) &&
        map(directory, APIC_AT, APIC_AT, APIC_AT + PAGE_BYTES, UNCACHED | WRITABLE))
        return directory;
    space_free(directory, USER_BASE);
    return NULL;
}

bool space_resize(uint32_t *directory, uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at += PAGE_BYTES) {
        void *page = page_take();
        if (page != NULL &&
            map(directory, at, physical(page), physical(page) + PAGE_BYTES, USER | WRITABLE))
            continue;
        if (page != NULL)
            page_give(page);
        space_resize(directory, at, from);
        return false;
    }
    for (uint32_t at = from; at > to; at -= PAGE_BYTES) {
        uint32_t *entry = entry_of(directory, at - PAGE_BYTES, false);
        page_give(at_physical(*entry & ~(PAGE_BYTES - 1)));
        *entry = 0;
    }
    return true;
}

void space_forbid(uint32_t *directory, uint32_t at)
{
    *entry_of(directory, at, false) &= ~(uint32_t)USER;
}

void space_write(uint32_t *directory, uint32_t at, const uint8_t *from, uint32_t bytes)
{
    for (uint32_t done = 0; done < bytes; done += PAGE_BYTES)
        copy(at_physical(*entry_of(directory, at + done, false) & ~(PAGE_BYTES - 1)), from + done,
             PAGE_BYTES);
}

uint32_t *space_copy(const uint32_t *directory, uint32_t size)
{
    uint32_t *made = space_make();
    if (made == NULL)
        return NULL;
    for (uint32_t at = USER_BASE; at < size; at += PAGE_BYTES) {
        const uint32_t entry = *entry_of((uint32_t *)(uintptr_t)directory, at, false);
        void *page = page_take();
        if (page != NULL)
            copy(page, at_physical(entry & ~(PAGE_BYTES - 1)), PAGE_BYTES);
        if (page == NULL || !map(made, at, physical(page), physical(page) + PAGE_BYTES,
                                 entry & (USER | WRITABLE))) {
            if (page != NULL)
                page_give(page);
            space_free(made, at);
            return NULL;
        }
    }
    return made;
}

void space_free(uint32_t *directory, uint32_t size)
{
    space_resize(directory, size, USER_BASE);
    for (unsigned i = 0; i < 1024; i++)
        if ((directory[i] & PRESENT) != 0)
            page_give(at_physical(directory[i] & ~(PAGE_BYTES - 1)));
    page_give(directory);
}

void space_load_kernel(void)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(physical(kernel_directory)) : "memory");
}

static void give_all(uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at += PAGE_BYTES)
        page_give(at_physical(at));
}

void memory_init(uint32_t from, uint32_t to)
{
    top = to;
    give_all(from, FIRST_MEMORY);
    kernel_directory = space_make();
    space_load_kernel();
}

void memory_rest(void)
{
    give_all(FIRST_MEMORY, top);
}
