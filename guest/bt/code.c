/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest code becomes blocks, and blocks go when it changes. */
#include "guest/bt/code.h"

#include "arch/string.h"
#include "guest/bt/bt.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

/* In a page's byte of the code map: how often it was written to while it had code. Each so many
 * times all its blocks go, as there may be something else in it by now; past the last one, code and
 * data are taken to be mixed. */
#define WRITES_UNIT    4u
#define WRITES_PATIENT (16u * WRITES_UNIT)
#define WRITES_MAX     (63u * WRITES_UNIT)

/* Of what bt_code_catch_up() does at a time (bt_cache_drop()), and what has to be left of that
 * before it begins to drop another page. */
#define PORTION 512
#define LEAST   64

#define PAGES_OF_CODE ((sizeof(struct bt_code) + PAGE_SIZE - 1) / PAGE_SIZE)

static struct bt_vm *vm_of(const struct bt_vcpu *v)
{
    return v->vcpu.vm->engine_vm;
}

/* The vCPUs of a VM share this part of its RAM's size for their code, so that many of them do not
 * take more than the VM itself has; each has at least and at most so many bytes. */
#define CODE_SHARE     32
#define CODE_MIN_BYTES (256u << 10)
#define CODE_MAX_BYTES (8u << 20)

enum status bt_code_create(struct bt_vcpu *v)
{
    const struct vm *vm = v->vcpu.vm;
    const uint64_t share = vm->memory_bytes / CODE_SHARE / vm->vcpu_count;
    const uint32_t bytes = share < CODE_MIN_BYTES   ? CODE_MIN_BYTES
                           : share > CODE_MAX_BYTES ? CODE_MAX_BYTES
                                                    : (uint32_t)(share & ~(PAGE_SIZE - 1));
    hpa_t page;
    enum status s = page_alloc(PAGES_OF_CODE, 1, &page);
    if (s != OK)
        return s;
    v->code_memory = hpa_to_ptr(page);
    v->code_memory->input.max_insns = TRANSLATE_MAX_INSNS;
    v->code_memory->input.has_fsgsbase = (cpu_cpuid(7, 0).ebx & CPUID_7_EBX_FSGSBASE) != 0;
    s = bt_cache_create(&v->code_memory->cache, vm->root, v->vcpu.index, bytes);
    if (s == OK)
        __atomic_store_n(&v->code, v->code_memory, __ATOMIC_RELEASE); /* note_change() */
    return s;
}

void bt_code_destroy(struct bt_vcpu *v)
{
    if (v->code_memory == NULL)
        return;
    bt_cache_destroy(&v->code_memory->cache);
    page_free(ptr_to_hpa(v->code_memory), PAGES_OF_CODE);
    v->code = v->code_memory = NULL;
}

/* --- what has changed --- */

/* A page's entry, or NULL; *place: where one could be put, or BT_CHANGE_PLACES. One store of a
 * guest can be news for 64 vCPUs, so their lists are not gone through. */
static struct bt_change *find_change(struct bt_changes *changes, uint64_t page, unsigned *place)
{
    const uint64_t hash = page * 0x9e3779b97f4a7c15u;
    *place = BT_CHANGE_PLACES;
    for (unsigned i = 0; i < BT_CHANGE_LOOK_UP; i++) {
        const unsigned at = ((hash >> 32) + i * (hash >> 48 | 1)) % BT_CHANGE_PLACES;
        const unsigned number = changes->place[at];
        if (number != 0 && changes->page[number - 1].page == page)
            return &changes->page[number - 1];
        if (number == 0)
            *place = at;
    }
    return NULL;
}

/* Notes it in a list; false: it is no news, as whoever was first has seen to it that the vCPU
 * looks. */
static bool add_change(struct bt_changes *changes, uint64_t page, uint16_t first, uint16_t last)
{
    const uint32_t count = changes->count;
    unsigned place;
    struct bt_change *change = find_change(changes, page, &place);
    if (change != NULL) {
        change->first = first < change->first ? first : change->first;
        change->last = last > change->last ? last : change->last;
    } else if (count == BT_CHANGES || place == BT_CHANGE_PLACES) {
        changes->too_many = true;
    } else {
        changes->page[count] = (struct bt_change){.page = page, .first = first, .last = last};
        changes->place_of[count] = (uint16_t)place;
        changes->place[place] = (uint16_t)(count + 1);
        __atomic_store_n(&changes->count, count + 1, __ATOMIC_SEQ_CST);
    }
    return count == 0;
}

/* Tells a vCPU; true: it has to be kicked. */
static bool tell(struct bt_code *code, gpa_t at, uint64_t bytes)
{
    const uint64_t page = at.v / PAGE_SIZE;
    const uint16_t first = at.v % PAGE_SIZE, last = (uint16_t)(first + bytes - 1);
    if (!bt_cache_may_have(&code->cache, page))
        return false;
    spinlock_lock(&code->changes.lock);
    const bool news = add_change(&code->changes, page, first, last);
    __atomic_store_n(&code->cache.shared->changed, 1, __ATOMIC_RELAXED); /* see code.h */
    spinlock_unlock(&code->changes.lock);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the list before, `inside` behind: see code.h */
    return news && __atomic_load_n(&code->inside, __ATOMIC_RELAXED);
}

/* Within a page. by: the vCPU that does it is not within translated code, and need not be kicked.
 * The barrier is behind what makes the change, and before the look at who has code of the page. */
static void note_change(struct vm *vm, const struct vcpu *by, gpa_t at, uint64_t bytes)
{
    uint64_t kicked = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct bt_code *code = __atomic_load_n(&bt_vcpu(vm->vcpu[i])->code, __ATOMIC_ACQUIRE);
        if (code == NULL)
            continue;
        if (tell(code, at, bytes) && vm->vcpu[i] != by)
            kicked |= 1ull << i;
        if (vm->vcpu[i] == by)
            code->stale = true;
    }
    vcpu_kick_all(vm, kicked);
}

void bt_code_written(struct vm *vm, struct vcpu *by, gpa_t at, uint64_t bytes)
{
    const struct shadow *shadow = ((struct bt_vm *)vm->engine_vm)->shadow;
    if (shadow == NULL)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the write before, the map behind: see code.h */
    while (bytes != 0) {
        const uint64_t room = PAGE_SIZE - at.v % PAGE_SIZE, now = bytes < room ? bytes : room;
        const uint8_t *byte = shadow_code_byte(shadow, at);
        if (byte != NULL && (__atomic_load_n(byte, __ATOMIC_RELAXED) & SHADOW_HAS_CODE) != 0)
            note_change(vm, by, at, now);
        at.v += now;
        bytes -= now;
    }
}

/* The bit is cleared before the change is told: a vCPU that translates the page again meanwhile
 * sets it again, and the write waits for another round; one that has translated it before drops it
 * for what it is told. The other way round it could set the bit in between, lose it, and keep the
 * block. */
void bt_code_give_up(struct bt_vcpu *v, gpa_t page)
{
    struct shadow *shadow = vm_of(v)->shadow;
    uint8_t *byte = shadow_code_byte(shadow, page);
    if (byte == NULL || __atomic_load_n(byte, __ATOMIC_RELAXED) >= WRITES_MAX)
        return;
    const uint8_t before = __atomic_fetch_add(byte, WRITES_UNIT, __ATOMIC_RELAXED);
    if ((before + WRITES_UNIT) / WRITES_PATIENT == before / WRITES_PATIENT)
        return;
    shadow_code_remove(shadow, page);
    note_change(v->vcpu.vm, &v->vcpu, gpa(page.v & ~(PAGE_SIZE - 1)), PAGE_SIZE);
}

/* --- what the guest's page tables say of it --- */

/* Where the kernel's code is fetched from. Nobody does that now. */
static bool walk(void *ctx, uint64_t linear, struct guest_translation *found)
{
    const struct bt_vcpu *v = ctx;
    struct guest_paging paging = bt_paging(v, false);
    uint32_t error;
    paging.peek = true;
    return guestwalk_examine(&v->vcpu.vm->mem, &paging, gva(linear), WALK_FETCH, found, &error);
}

/* Kernel code is not translated while the guest has memory of its own where the window is: there,
 * and nowhere else, translated code would find other bytes. */
static void look_at_window(struct bt_vcpu *v)
{
    const struct guest_paging paging = bt_paging(v, false);
    v->code->window_used =
        (v->state.efer & EFER_LMA) != 0 &&
        (guestwalk_top(&v->vcpu.vm->mem, &paging, gva(HOST_WINDOW_BASE)) & PTE_P) != 0;
}

void bt_code_check(struct bt_vcpu *v, bool all)
{
    if (v->code == NULL)
        return;
    look_at_window(v);
    if (bt_cache_want_check(&v->code->cache, all))
        v->code->stale = true;
}

void bt_code_check_one(struct bt_vcpu *v, gva_t linear)
{
    if (v->code != NULL && !v->code->flushing &&
        !bt_cache_check_one(&v->code->cache, linear.v, walk, v))
        v->code->stale = true;
}

/* --- catching up --- */

/* The next change that there is. */
static bool take_change(struct bt_code *code)
{
    struct bt_changes *changes = &code->changes;
    if (__atomic_load_n(&changes->count, __ATOMIC_SEQ_CST) == 0)
        return false;
    spinlock_lock(&changes->lock);
    code->wants_flush |= changes->too_many;
    const uint32_t last = changes->count - 1;
    code->change = changes->page[last];
    changes->place[changes->place_of[last]] = 0;
    __atomic_store_n(&changes->count, last, __ATOMIC_SEQ_CST);
    spinlock_unlock(&changes->lock);
    return true;
}

/* All go, so it does not matter what has changed until now. */
static void begin_flush(struct bt_code *code, enum insn_mode mode)
{
    spinlock_lock(&code->changes.lock);
    __atomic_store_n(&code->changes.count, 0, __ATOMIC_SEQ_CST);
    code->changes.too_many = false;
    memset(code->changes.place, 0, sizeof(code->changes.place));
    spinlock_unlock(&code->changes.lock);
    code->dropping = code->wants_flush = false;
    code->flushing = true;
    bt_cache_flush(&code->cache, mode);
    bt_sites_drop(&code->sites);
}

static bool drop_changes(struct bt_code *code, int *left)
{
    for (;;) {
        if (!code->dropping && (*left < LEAST || !take_change(code)))
            return *left >= LEAST;
        code->dropping = !bt_cache_drop(&code->cache, &code->change, left);
        if (code->dropping || code->wants_flush)
            return false;
    }
}

/* A portion of what there is to do. True: that was all. */
static bool __attribute__((cold)) work(struct bt_vcpu *v, enum insn_mode mode)
{
    struct bt_code *code = v->code;
    int left = PORTION;
    /* Before the look at the list: who adds to it behind that sets it again. */
    __atomic_store_n(&code->cache.shared->changed, 0, __ATOMIC_SEQ_CST);
    if (code->wants_flush || code->cache.mode != mode)
        begin_flush(code, mode);
    if (code->flushing) {
        code->flushing = !bt_cache_flush_portion(&code->cache);
        return false;
    }
    return drop_changes(code, &left) && bt_cache_drop_wanted(&code->cache, walk, v, &left);
}

bool __attribute__((hot)) bt_code_catch_up(struct bt_vcpu *v, enum insn_mode mode)
{
    struct bt_code *code = v->code;
    __atomic_store_n(&code->inside, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&code->changes.count, __ATOMIC_SEQ_CST) == 0 && !code->stale &&
        code->cache.mode == mode)
        return true;
    code->stale = !work(v, mode);
    if (code->stale)
        v->batch_is_over = true;
    return !code->stale;
}

/* --- blocks --- */

/* The page of that address, with its writes watched; NULL: not now. */
static struct bt_code_page *page_at(struct bt_vcpu *v, uint64_t linear)
{
    struct bt_code *code = v->code;
    const struct guest_paging paging = bt_paging(v, false);
    struct guest_translation found;
    uint32_t error;
    struct bt_code_page *page = bt_cache_page(&code->cache, linear);
    if (page != NULL)
        return page;
    if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear) /* a walk does not look at the rest */
        return NULL;
    if (!guestwalk_examine(&v->vcpu.vm->mem, &paging, gva(linear), WALK_FETCH, &found, &error))
        return NULL;
    page = bt_cache_add_page(&code->cache, linear, &found);
    if (page == NULL) {
        bt_code_want_flush(code);
        return NULL;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the page before, the map behind: see code.h */
    const enum shadow_result result = shadow_code_add(vm_of(v)->shadow, found.at);
    if (result != SHADOW_DONE) {
        bt_cache_remove_page(&code->cache, page);
        page = NULL;
    }
    if (result == SHADOW_WAIT)
        vcpu_kick_all(v->vcpu.vm, bt_others(v->vcpu.vm, &v->vcpu));
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* and the code behind that */
    return page;
}

/* Bytes of code from an address on, within its page. */
static unsigned read_code(const struct bt_vcpu *v, const struct bt_code_page *page, uint64_t linear,
                          uint8_t *to, unsigned most)
{
    const uint64_t offset = linear % PAGE_SIZE;
    const unsigned bytes = PAGE_SIZE - offset < most ? (unsigned)(PAGE_SIZE - offset) : most;
    const gpa_t at = gpa(page->guest * PAGE_SIZE + offset);
    return guestmem_read(&v->vcpu.vm->mem, at, to, bytes) ? bytes : 0;
}

/* Of guest code that a block is made of. */
#define MAX_BLOCK_BYTES (sizeof(((struct bt_code *)0)->bytes) - INSN_MAX_BYTES)

static struct bt_block *make_block(struct bt_vcpu *v, uint64_t pc)
{
    struct bt_code *code = v->code;
    struct translate_input *in = &code->input;
    struct bt_code_page *first = page_at(v, pc), *second = NULL;
    if (first == NULL)
        return NULL;
    struct bt_block *known = in->apart ? NULL : bt_cache_enter(&code->cache, first, pc);
    if (known != NULL)
        return known;
    in->pc = pc;
    in->bytes = code->bytes;
    in->count = in->page_bytes = read_code(v, first, pc, code->bytes, MAX_BLOCK_BYTES);
    bt_cache_where(&code->cache, in);
    if (translate(&code->translation, in))
        return bt_cache_add(&code->cache, pc, &code->translation, first, NULL);
    if (in->count >= INSN_MAX_BYTES)
        return NULL;
    uint64_t behind = pc + in->count;
    if (code->cache.mode == INSN_32)
        behind &= UINT32_MAX;
    second = page_at(v, behind);
    if (second == NULL || bt_cache_page(&code->cache, pc) != first)
        return NULL;
    in->count += read_code(v, second, behind, code->bytes + in->count, INSN_MAX_BYTES);
    if (!translate(&code->translation, in))
        return NULL;
    return bt_cache_add(&code->cache, pc, &code->translation, first, second);
}

struct bt_block *__attribute__((hot)) bt_code_find(struct bt_vcpu *v, uint64_t pc)
{
    struct bt_code *code = v->code;
    struct bt_block *block = bt_cache_find(&code->cache, pc);
    if (block != NULL)
        return block;
    if (!bt_cache_has_room(&code->cache)) {
        bt_code_want_flush(code);
        return NULL;
    }
    bt_exit_begin(v);
    block = make_block(v, pc);
    if (block != NULL && v->check == NULL) /* or blocks that are compared would be missed */
        bt_cache_link_known(&code->cache, block);
    bt_exit_end(v, BT_TRANSLATE);
    return block;
}

struct bt_block *bt_code_shorten(struct bt_vcpu *v, struct bt_block *block, unsigned insns)
{
    struct bt_code *code = v->code;
    const uint64_t pc = block->pc;
    const struct bt_code_page *page = bt_cache_page(&code->cache, pc);
    if (page == NULL)
        return block;
    const uint16_t byte = (uint16_t)(pc % PAGE_SIZE);
    struct bt_change change = {.page = page->guest, .first = byte, .last = byte};
    for (int left = INT32_MAX; !bt_cache_drop(&code->cache, &change, &left);)
        ;
    code->input.max_insns = insns;
    block = bt_code_find(v, pc);
    code->input.max_insns = TRANSLATE_MAX_INSNS;
    return block;
}
