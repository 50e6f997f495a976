/* SPDX-License-Identifier: BSD-2-Clause */
/* Where something of another domain's could be. */
#include "poisonpv.h"

static unsigned looked, found, all_found;

static void expect(bool ok)
{
    looked++;
    found += !ok;
}

static void end_place(const char *place)
{
    print("poisonpv: %s: %u looked at, %u found\n", place, looked, found);
    all_found += found;
    looked = found = 0;
}

/* Words that may be anything else. */
static void expect_no_pattern(const void *from, uint64_t words)
{
    looked += (unsigned)words;
    found += pattern_count(PATTERN_POISON, from, words);
}

static void expect_all(const void *from, uint64_t words, uint64_t value)
{
    looked += (unsigned)words;
    while (words > 0) { /* by far the fastest in an emulator that counts instructions */
        bool same;
        __asm__("repe scasq" : "+D"(from), "+c"(words), "=@ccz"(same) : "a"(value) : "memory");
        found += !same;
    }
}

/* --- registers --- */

static void find_in_registers(void)
{
    enum { RSP = 4, RSI = 6 };
    uint16_t selector[4];
    for (unsigned i = 0; i < 16; i++)
        expect(i == RSP ? start_gpr[i] % PAGE == 0 && start_gpr[i] < END_MAPPED * PAGE
                        : start_gpr[i] == (i == RSI ? (uint64_t)start : 0));
    __asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3"
                     : "=r"(selector[0]), "=r"(selector[1]), "=r"(selector[2]), "=r"(selector[3]));
    for (unsigned i = 0; i < 4; i++)
        expect(selector[i] == 0);
    end_place("registers");
}

static void find_in_vectors(void)
{
    enum { FCW_TO_POINTERS = 8, MXCSR = 24, ST = 32, SAVED = 416 };
    static const uint64_t initial[1] = {0x37f}; /* FSW, tags, opcode: 0 */
    uint32_t mxcsr;
    memcpy(&mxcsr, &start_extended[MXCSR], sizeof(mxcsr));
    expect(memcmp(start_extended, initial, sizeof(initial)) == 0 && mxcsr == 0x1f80);
    expect_all(&start_extended[FCW_TO_POINTERS], 2, 0);
    expect_all(&start_extended[ST], (SAVED - ST) / 8, 0);
    end_place("x87 and SSE");
    expect_all(&hold_look()[ST], (SAVED - ST) / 8, 0);
    for (unsigned i = 2; i < HOLD_COMPONENTS; i++) {
        uint32_t words;
        const uint8_t *component = hold_component(i, &words);
        if (component != NULL)
            expect_all(component, words, 0);
    }
    end_place("AVX");
}

static void look_at_debug_registers(void)
{
    for (uint64_t i = 0; i < 4; i++)
        expect(xen_call(XEN_GET_DEBUGREG, i, 0, 0, 0) == 0);
    expect(xen_call(XEN_GET_DEBUGREG, 6, 0, 0, 0) == 0xffff0ff0);
    expect(xen_call(XEN_GET_DEBUGREG, 7, 0, 0, 0) == 0x400);
}

/* Of FS, GS, GS of user code; and TSC_AUX. */
static void look_at_bases(void)
{
    static const uint32_t bases[] = {0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};
    for (unsigned i = 0; i < ARRAY(bases); i++)
        expect(rdmsr(bases[i]) == 0);
}

/* Only the flat segments of Xen's interface are there. */
static void look_at_descriptors(void)
{
    for (uint64_t selector = 0; selector < 0x10000; selector++) {
        const uint64_t flat = selector | 3;
        uint64_t rights = 0;
        bool seen, limited;
        __asm__("lar %2, %0; setz %1" : "+r"(rights), "=qm"(seen) : "r"(selector) : "cc");
        __asm__("lsl %2, %0; setz %1" : "+r"(rights), "=qm"(limited) : "r"(selector) : "cc");
        expect((!seen && !limited) || flat == 0xe023 || flat == XEN_FLAT_DATA ||
               flat == XEN_FLAT_CODE);
    }
}

void find_meanwhile(void)
{
    look_at_debug_registers();
    look_at_bases();
    look_at_descriptors();
}

unsigned find_meanwhile_end(void)
{
    find_meanwhile();
    end_place("meanwhile");
    return all_found;
}

/* --- memory --- */

static void find_in_memory(void)
{
    /* Below the image nothing was put; behind it are the list of frames, tables, and so on. */
    for (uint64_t frame = 0; frame < start->pages; frame++) {
        if (frame == FIRST_MAPPED)
            frame = start->frame_list / PAGE;
        const uint64_t *words = window(frame);
        if (words == NULL)
            expect(false);
        else if (frame >= FIRST_MAPPED && frame < END_MAPPED)
            expect_no_pattern(words, WORDS);
        else
            expect_all(words, WORDS, 0);
    }
    end_place("memory");
}

static void find_in_shared_pages(void)
{
    enum { VCPU_WORDS = 8, VCPUS = 32, MASKED = 1 << 8 };
    const uint64_t frame = start->shared_info / PAGE;
    const uint64_t *words = window(frame);
    for (unsigned i = 1; i < VCPUS; i++) {
        expect(words[i * VCPU_WORDS] == MASKED);
        expect_all(&words[i * VCPU_WORDS + 1], VCPU_WORDS - 1, 0);
    }
    expect_all(&words[SHARED_EVENTS], SHARED_EVENTS_END - SHARED_EVENTS, 0);
    expect_all(&words[SHARED_REST], WORDS - SHARED_REST, 0);
    end_place("shared page");
    for (unsigned i = 1; i <= XEN_GRANTS; i++) {
        words = window(frame + i);
        expect(words != NULL);
        if (words != NULL)
            expect_all(words, WORDS, 0);
    }
    end_place("grants");
    for (uint64_t i = XEN_GRANTS + 1; i < 1024; i++)
        expect(window(frame + i) == NULL);
    end_place("frames beyond");
    expect_no_pattern(window(start->console_frame), WORDS);
    end_place("console");
    expect_no_pattern(window(start->store_frame), WORDS);
    end_place("store");
}

/* The array from which a guest reads a frame's number, and what is behind it. */
static void find_in_frame_array(void)
{
    enum { BEYOND = 1024 };
    uint64_t range[3] = {0, 0, 0}, word = 0;
    expect(xen_call(XEN_MEMORY_OP, XEN_MACHPHYS_MAPPING, (uint64_t)range, 0, 0) == 0);
    const uint64_t *array = (const uint64_t *)range[0], count = (range[1] - range[0]) / 8;
    expect(count >= start->pages && read_word(range[1] - 8, &word));
    for (uint64_t i = 0; i < count; i++)
        expect(array[i] == (i < start->pages ? i : UINT64_MAX));
    end_place("array of frames");
    for (unsigned i = 0; i < BEYOND; i++)
        expect(!read_word(range[1] + i * PAGE, &word));
    end_place("behind the array");
}

void find(void)
{
    find_in_registers();
    look_at_debug_registers();
    end_place("debug registers");
    look_at_bases();
    end_place("bases");
    if (start->command_line[0] != 'p') /* planted: it is on */
        hold_begin(ask_cpuid);
    find_in_vectors();
    look_at_descriptors();
    end_place("descriptors");
    find_in_memory();
    find_in_shared_pages();
    find_in_frame_array();
}
