/* SPDX-License-Identifier: BSD-2-Clause */
/* What code at CPL 3 needs, and the way there and back. */
#include "guest/lib/user.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define PAGE_USER   4ull
#define TABLE_WORDS (6 * 512)
#define PORT        0x61
#define VECTOR_BACK 0x81

struct __attribute__((packed)) tss64 {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, bitmap_at;
    uint8_t bitmap[32];
};

struct user_call {
    struct code *code;
    uint8_t *entry;
    uint64_t rflags;
};

extern uint64_t page_tables[];
extern const uint64_t gdt_start[6];
void user_enter(void *call);

static uint64_t gdt[13];
static struct tss64 tss;
static uint8_t kernel_stack[4096] __attribute__((aligned(16)));

void user_permit(unsigned first, unsigned count)
{
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    for (unsigned port = first; port < first + count; port++)
        tss.bitmap[port / 8] &= (uint8_t) ~(1u << port % 8);
}

void user_move_map(int bytes)
{
    tss.bitmap_at = (uint16_t)(__builtin_offsetof(struct tss64, bitmap) + (unsigned)bytes);
}

void user_hide_map(void)
{
    tss.bitmap_at = UINT16_MAX;
}

void user_init(void)
{
    memcpy(gdt, gdt_start, sizeof(gdt_start));
    gdt[USER_KERNEL_CODE / 8] = 0x00af9b000000ffff;
    gdt[USER_KERNEL_DATA / 8] = 0x00cf93000000ffff;
    gdt[USER_CODE32 / 8] = 0x00cffb000000ffff;
    gdt[USER_DATA / 8] = 0x00cff3000000ffff;
    gdt[USER_CODE64 / 8] = 0x00affb000000ffff;
    uint64_t base = (uint64_t)&tss;
    gdt[USER_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[USER_TSS / 8 + 1] = base >> 32;
    tss.rsp[0] = (uint64_t)(kernel_stack + sizeof(kernel_stack));
    user_move_map(0);
    user_permit(PORT, 1);
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};
    __asm__ volatile("lgdt %0; ltr %w1" : : "m"(pointer), "r"(USER_TSS) : "memory");
    for (unsigned i = 0; i < TABLE_WORDS; i++)
        if (page_tables[i] != 0)
            page_tables[i] |= PAGE_USER;
    write_cr3(read_cr3());
    trap_set_user_gate(VECTOR_BACK, user_return);
}

struct probe user_probe(struct code *code, uint64_t rflags)
{
    static uint8_t buffer[sizeof(code->bytes) + 2];
    memcpy(buffer, code->bytes, code->length);
    buffer[code->length] = 0xcd; /* INT */
    buffer[code->length + 1] = VECTOR_BACK;
    struct user_call call = {code, buffer, rflags | 2};
    return probe_call(user_enter, &call);
}
