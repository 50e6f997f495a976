/* SPDX-License-Identifier: BSD-2-Clause */
/* The IDT and what happens behind it. */
#include "guest/lib/trap.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define CODE64            0x18
#define INTERRUPT_64      0x8e00 /* present, DPL 0, interrupt gate */
#define DATA              0x10
#define INTERRUPT_64_USER 0xee00
#define STUB_SIZE         16
#define RFLAGS_TF_IF      0x300ull
#define RFLAGS_DF_NT      0x4400ull
#define UNEXPECTED        0x7e /* exit code: an exception that nobody waited for */

struct gate {
    uint16_t offset_low, selector, type, offset_middle;
    uint32_t offset_high, reserved;
};

extern const char vector_stubs[];
extern const char probe_resume[];
extern uint64_t probe_stack;

static struct gate idt[256];
static trap_handler *handler[256];
struct trap_frame trap_last;

static void gate_set(unsigned vector, uint64_t entry)
{
    idt[vector] = (struct gate){
        (uint16_t)entry, CODE64, INTERRUPT_64, (uint16_t)(entry >> 16), (uint32_t)(entry >> 32), 0};
}

void trap_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};

    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

void trap_init(void)
{
    for (unsigned v = 0; v < 256; v++)
        gate_set(v, (uint64_t)vector_stubs + v * STUB_SIZE);
    trap_load();
}

void trap_set_handler(unsigned vector, trap_handler *fn)
{
    handler[vector & 255] = fn;
}

void trap_set_gate(unsigned vector, void (*entry)(void))
{
    gate_set(vector & 255, (uint64_t)entry);
}

void trap_set_user_gate(unsigned vector, void (*entry)(void))
{
    gate_set(vector & 255, (uint64_t)entry);
    idt[vector & 255].type = INTERRUPT_64_USER;
}

uint64_t *trap_gate(unsigned vector)
{
    return (uint64_t *)&idt[vector & 255];
}

void trap_dispatch(struct trap_frame *f)
{
    unsigned vector = f->vector & 255;
    if (handler[vector] != NULL) {
        handler[vector](f);
        return;
    }
    if (vector < 32 && probe_stack != 0) {
        trap_last = *f;
        f->rax = vector | f->error << 32;
        f->rip = (uint64_t)probe_resume;
        f->cs = CODE64; /* the fault may have been in compatibility mode */
        f->rsp = probe_stack;
        f->cs = CODE64; /* it may have come from CPL 3 */
        f->ss = DATA;
        f->rflags &= ~(RFLAGS_TF_IF | RFLAGS_DF_NT);
        return;
    }
    print("payload: unexpected vector %u, error %lx, at rip %lx rsp %lx rflags %lx cr2 %lx\n",
          vector, f->error, f->rip, f->rsp, f->rflags, read_cr2());
    print("payload: rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx\n", f->rax, f->rbx, f->rcx,
          f->rdx, f->rsi, f->rdi);
    exit(UNEXPECTED);
}
