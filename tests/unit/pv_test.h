/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A domain for tests of guest/pv/: two vCPUs whose hypercalls the test makes, RAM between guard
 * pages, real page tables in it, and a CPU whose MSRs, selectors and GDT are arrays. The shadow is
 * not there: what is asked of it is counted. Who includes it links PV_TEST's files: test_pv.c.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#endif

#include "arch/log.h"
#include "arch/panic.h"
#include "guest/cpu/interpret.h"
#include "guest/pv/mmu.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HZ    2000000000ull
#define ARENA (2ull << 20)

/* Frames of the domain; linear addresses from 0 on, and from UPPER on, lead to the same ones. */
#define FRAMES    64u
#define RAM       ((uint64_t)FRAMES * PAGE_SIZE)
#define UPPER     0xffffff8000000000ull
#define TABLES    0x1000ull /* levels 4 to 1 */
#define LEAVES    (TABLES + 3 * PAGE_SIZE)
#define USER_TOP  0x5000ull  /* level 4 of user code */
#define CONSOLE   0x6000ull  /* the ring */
#define STORE     0xc000ull  /* its rings */
#define GDT       0x7000ull  /* the frame of a GDT */
#define STACK     0xa000ull  /* the end of a page of stack, mapped */
#define USER_SP   0xb800ull  /* user code's */
#define READ_ONLY 0xe000ull  /* a page that the kernel cannot write to */
#define UNMAPPED  0xf000ull  /* and one that is not mapped */
#define ARGS      0x10000ull /* what calls are given */
#define CODE      0x20000ull
#define SHARED    RAM /* the page behind the RAM */
#define GRANTS    (RAM + PAGE_SIZE)

static struct vm vm;
static uint64_t free_before; /* bytes */
static struct vm_domain domain;
static struct pv_vm own;
static struct pv_vcpu vcpus[2] __attribute__((aligned(64)));
static uint64_t ldts[2][PAGE_SIZE / 8];
static struct shadow shadow;
static uint8_t code_map[FRAMES + 1];
static uint8_t *ram, *arena; /* ram: RAM and the page behind it, with an unmapped page around */
static uint64_t real_gdt[DESC_GDT_ENTRIES];

/* The CPU, and what has been asked of everything else. */
static struct {
    struct cpu cpu;
    uint64_t tsc, step;      /* step: that pass at each look at the clock */
    void (*meanwhile)(void); /* what another vCPU does by then; NULL: nothing */
    uint64_t fs_base, gs_base, xcr0, dr[4], dr6, dr7, aux;
    uint16_t selector[4];
    uint16_t refused; /* a selector that the CPU does not load; 0: none */
    const uint64_t *ldt;
    uint32_t ldt_bytes;
    unsigned code_bytes; /* of the code map, looked for */
    unsigned controls, wakes[2], invlpgs, invalidated, fills, waits;
    uint64_t kicked;
    enum shadow_result fill_result;
    struct guest_translation filled;
    int vector; /* of the local APIC; -1: none */
    enum vm_end end;
    char why[160];
    char console[4096];
    size_t console_bytes, console_room;
    char told[512]; /* to the user, line by line */
    uint32_t port_written;
    bool locked;
} host;

static void demand(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "pv_test: %s\n", what);
    abort();
}

_Noreturn void panic(const char *format, ...)
{
    (void)format;
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

void log_line_of(unsigned of, const char *format, ...)
{
    const size_t length = strlen(host.told);
    va_list args;
    (void)of;
    va_start(args, format);
    vsnprintf(host.told + length, sizeof(host.told) - length, format, args);
    va_end(args);
    strncat(host.told, "\n", sizeof(host.told) - strlen(host.told) - 1);
}

/* --- the CPU --- */

uint64_t cpu_rdtsc(void)
{
    host.tsc += host.step;
    if (host.meanwhile != NULL)
        host.meanwhile();
    return host.tsc;
}

struct cpu *cpu_self(void)
{
    return &host.cpu;
}

static uint64_t *msr_of(uint32_t msr)
{
    demand(msr == MSR_IA32_FS_BASE || msr == MSR_IA32_KERNEL_GS_BASE, "an MSR of the host's");
    return msr == MSR_IA32_FS_BASE ? &host.fs_base : &host.gs_base;
}

uint64_t cpu_rdmsr(uint32_t msr)
{
    return *msr_of(msr);
}

void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    demand(pv_is_canonical(value), "WRMSR would be #GP in the host");
    *msr_of(msr) = value;
}

void cpu_invlpg(uint64_t linear)
{
    demand(pv_is_canonical(linear), "INVLPG of a bad address");
    host.invlpgs++;
}

void cpu_xsetbv(uint32_t xcr, uint64_t value)
{
    demand(xcr == 0, "an XCR that is not there");
    demand((vcpus[0].cr4 & CR4_OSXSAVE) != 0, "XSETBV would be #UD in the hypervisor");
    host.xcr0 = value;
}

void cpu_read_debug(uint64_t dr[4], uint64_t *dr6)
{
    memcpy(dr, host.dr, sizeof(host.dr));
    *dr6 = host.dr6;
}

void cpu_write_debug(const uint64_t dr[4], uint64_t dr6)
{
    memcpy(host.dr, dr, sizeof(host.dr));
    host.dr6 = dr6;
}

void cpu_write_dr6(uint64_t v)
{
    host.dr6 = v;
}

void cpu_write_dr7(uint64_t v)
{
    host.dr7 = v;
}

void desc_load_ldt(struct cpu *cpu, const uint64_t *table, uint32_t bytes)
{
    (void)cpu;
    host.ldt = table;
    host.ldt_bytes = bytes;
}

static bool load_selector(unsigned i, uint16_t selector)
{
    if (selector != 0 && selector == host.refused)
        return false;
    host.selector[i] = selector;
    return true;
}

bool ring3_load_ds(uint16_t selector)
{
    return load_selector(0, selector);
}

bool ring3_load_es(uint16_t selector)
{
    return load_selector(1, selector);
}

bool ring3_load_fs(uint16_t selector)
{
    return load_selector(2, selector);
}

bool ring3_load_gs(uint16_t selector)
{
    return load_selector(3, selector);
}

void ring3_read_selectors(uint16_t out[4])
{
    memcpy(out, host.selector, sizeof(host.selector));
}

void ring3_controls_set_aux(struct ring3_controls *c, uint64_t aux)
{
    (void)c;
    host.aux = aux;
}

void pv_controls_changed(struct pv_vcpu *v)
{
    (void)v;
    host.controls++;
}

/* --- the shadow --- */

enum status shadow_create(const struct guestmem *mem, uint64_t limit, struct shadow **out)
{
    (void)limit;
    shadow.mem = mem;
    *out = &shadow;
    return OK;
}

enum status shadow_cpu_create(struct shadow_cpu *cpu, struct shadow *of, unsigned number,
                              hpa_t host_root, unsigned window, const struct shadow_guest *guest)
{
    (void)number;
    (void)host_root;
    (void)window;
    cpu->shadow = of;
    cpu->guest = *guest;
    return OK;
}

void shadow_cpu_destroy(struct shadow_cpu *cpu, unsigned number)
{
    (void)cpu;
    (void)number;
}

uint8_t *shadow_code_byte(const struct shadow *of, gpa_t at)
{
    (void)of;
    host.code_bytes++;
    return at.v < RAM + PAGE_SIZE ? &code_map[at.v / PAGE_SIZE] : NULL;
}

uint64_t shadow_version(const struct shadow_cpu *cpu)
{
    return cpu->shadow->version;
}

enum shadow_result shadow_fill(struct shadow_cpu *cpu, enum shadow_root root, gva_t linear,
                               bool write, const struct guest_translation *t, uint64_t version)
{
    (void)cpu, (void)root, (void)linear, (void)write, (void)version;
    host.fills++;
    host.filled = *t;
    return host.fill_result;
}

void shadow_invalidate(struct shadow_cpu *cpu, gva_t linear)
{
    (void)cpu;
    demand(pv_is_canonical(linear.v), "a bad address is given to the shadow");
    host.invalidated++;
}

void shadow_switch(struct shadow_cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer,
                   enum shadow_flush flush)
{
    (void)cr0, (void)cr4, (void)efer;
    shadow.clock += flush != SHADOW_FLUSH_NONE;
    if (flush == SHADOW_FLUSH_ALL)
        cpu->flushed_all = shadow.clock;
}

enum status host_map_user(hpa_t root, uint64_t linear, hpa_t page, enum host_user kind)
{
    (void)root, (void)linear, (void)page, (void)kind;
    return OK;
}

/* --- the VM --- */

void vm_lock_shared(struct vm *of)
{
    (void)of;
    demand(!host.locked, "the lock is taken twice");
    host.locked = true;
}

void vm_unlock_shared(struct vm *of)
{
    (void)of;
    demand(host.locked, "the lock is not held");
    host.locked = false;
}

void vm_arm_alarm(struct vm *of)
{
    of->alarm_armed = of->timers.next;
}

void vm_wait_for_io(struct vm *of)
{
    (void)of;
    host.waits++;
}

void vm_end_request(void *of, enum vm_end end, uint32_t code, const char *why)
{
    struct vm *ended = of;
    (void)code;
    if (ended->end != VM_RUNS)
        return;
    ended->end = end;
    snprintf(host.why, sizeof(host.why), "%s", why);
}

void vm_end_format(struct vm *of, enum vm_end end, uint32_t code, const char *format, ...)
{
    char why[160];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    vm_end_request(of, end, code, why);
}

void vcpu_interrupts_changed(struct vcpu *vcpu)
{
    host.wakes[vcpu->index]++;
}

/* The others take the flush at once, and are out of guest code then. */
void vcpu_kick_all(struct vm *of, uint64_t which)
{
    host.kicked |= which;
    for (uint32_t i = 0; i < of->vcpu_count; i++)
        if ((which >> i & 1) != 0)
            pv_vcpu(of->vcpu[i])->entered = false;
}

enum exit_action vcpu_hypercall(struct vcpu *vcpu, unsigned cpl)
{
    (void)cpl;
    return vcpu_return(vcpu, 77);
}

enum exit_action vcpu_cpuid_dynamic(struct vcpu *vcpu, uint64_t cr4)
{
    (void)cr4;
    vcpu->regs.gpr[RBX] = 0xd1a0000000000000ull | 0xd1a;
    return EXIT_NEXT;
}

int vlapic_pending(struct vlapic *apic)
{
    (void)apic;
    return host.vector;
}

void vlapic_accept(struct vlapic *apic, unsigned vector)
{
    (void)apic;
    demand((int)vector == host.vector, "another vector is accepted");
    host.vector = -1;
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned bytes)
{
    (void)bus;
    (void)bytes;
    return 0xa5000000u | port;
}

void bus_port_write(struct bus *bus, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)bus, (void)port, (void)bytes;
    host.port_written = value;
}

static size_t console_out(struct vm *of, const char *text, size_t bytes)
{
    (void)of;
    size_t n = 0;
    for (; n < bytes && host.console_room != 0; n++, host.console_room--)
        host.console[host.console_bytes++ % sizeof(host.console)] = text[n];
    return n;
}

/* --- the domain --- */

static void put(uint64_t at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

static uint64_t get(uint64_t at)
{
    uint64_t value;
    memcpy(&value, ram + at, sizeof(value));
    return value;
}

static inline uint32_t get32(uint64_t at)
{
    return (uint32_t)get(at);
}

static void make_tables(void)
{
    put(TABLES, (TABLES + PAGE_SIZE) | 7);
    put(TABLES + 511 * 8, (TABLES + PAGE_SIZE) | 7);
    put(USER_TOP, (TABLES + PAGE_SIZE) | 7);
    put(TABLES + PAGE_SIZE, (TABLES + 2 * PAGE_SIZE) | 7);
    put(TABLES + 2 * PAGE_SIZE, LEAVES | 7);
    for (uint64_t i = 0; i < FRAMES; i++)
        put(LEAVES + i * 8, i * PAGE_SIZE | 7);
    for (uint64_t i = 0; i < 4; i++) /* tables are read-only to the kernel */
        put(LEAVES + (TABLES / PAGE_SIZE + i) * 8, (TABLES + i * PAGE_SIZE) | 5);
    put(LEAVES + READ_ONLY / PAGE_SIZE * 8, READ_ONLY | 5);
    put(LEAVES + UNMAPPED / PAGE_SIZE * 8, 0);
}

static void map_ram(void)
{
    const size_t bytes = RAM + 3 * PAGE_SIZE;
    uint8_t *all = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    demand(all != MAP_FAILED && mprotect(all, PAGE_SIZE, PROT_NONE) == 0 &&
               mprotect(all + bytes - PAGE_SIZE, PAGE_SIZE, PROT_NONE) == 0,
           "no memory with guards");
    ram = all + PAGE_SIZE;
    arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
}

static void make_vcpu(uint32_t i)
{
    struct pv_vcpu *v = &vcpus[i];
    v->vcpu.index = i;
    v->vcpu.vm = &vm;
    v->vcpu.phys_bits = 39;
    v->vcpu.timers = (struct timers){.read = cpu_rdtsc, .hz = HZ, .next = TIMER_NEVER};
    v->ldt = ldts[i];
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->dr6 = DR6_RESET;
    v->dr7 = DR7_RESET;
    v->wait = i == 0 ? PV_RUNS : PV_IS_DOWN;
    v->initialised = v->up = i == 0;
    v->kernel_cr3 = TABLES;
    v->frame.rip = CODE;
    v->frame.cs = XEN_CODE64;
    v->frame.ss = XEN_DATA;
    v->frame.rflags = RFLAGS_FIXED | RFLAGS_IF;
    v->frame.gpr[RSP] = v->kernel_sp = STACK;
    vm.vcpu[i] = &v->vcpu;
}

/* A domain of one or two vCPUs, of which the first is loaded and runs; the TSC is at its base. */
static void make_domain(uint32_t vcpu_count, uint64_t hz)
{
    if (ram == NULL)
        map_ram();
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    demand(page_alloc_init(&range, 1) == OK, "no arena");
    free_before = page_alloc_free_bytes();
    memset(&host, 0, sizeof(host));
    memset(ram, 0, RAM + PAGE_SIZE);
    memset(&own, 0, sizeof(own));
    memset(vcpus, 0, sizeof(vcpus));
    memset(code_map, 0, sizeof(code_map));
    shadow.clock = 0;
    memset(real_gdt, 0, sizeof(real_gdt));
    memset(ldts, 0, sizeof(ldts));
    make_tables();
    host.tsc = hz;
    host.vector = -1;
    host.fill_result = SHADOW_DONE;
    host.console_room = SIZE_MAX;
    host.cpu.self = &host.cpu;
    host.cpu.memory.gdt = real_gdt;
    host.cpu.vcpu = &vcpus[0].vcpu;
    domain = (struct vm_domain){.pages = FRAMES,
                                .shared_info = gpa(SHARED),
                                .grants = gpa(GRANTS),
                                .console = gpa(CONSOLE),
                                .store = gpa(STORE),
                                .tables = gpa(TABLES),
                                .epoch = 1700000000,
                                .out = console_out};
    vm = (struct vm){.name = "pv", .domain = &domain, .engine_vm = &own, .cr4_allowed = CR4_OSFXSR};
    vm.timers = (struct timers){.read = cpu_rdtsc, .hz = hz, .next = TIMER_NEVER};
    vm.alarm_armed = TIMER_NEVER;
    vm.tsc_first_entry = hz;
    vm.vcpu_count = vcpu_count;
    demand(guestmem_add(&vm.mem, gpa(0), RAM, ram) == OK &&
               guestmem_add(&vm.mem, gpa(SHARED), PAGE_SIZE, ram + RAM) == OK,
           "no RAM");
    own.port[0].kind = PV_PORT_RESERVED;
    own.port[DOMAIN_CONSOLE_PORT].kind = PV_PORT_CONSOLE;
    for (uint32_t i = 0; i < vcpu_count; i++)
        make_vcpu(i);
    for (uint32_t i = 0; i < vcpu_count; i++) {
        demand(pv_space_create(&vcpus[i]) == OK, "no space");
        demand(vcpus[vcpu_count - 1].info != NULL, "events of one that was never loaded get lost");
        pv_timer_init(&vcpus[i]);
    }
    pv_segments_load(&vcpus[0]);
}

static void destroy_domain(void)
{
    for (uint32_t i = 0; i < vm.vcpu_count; i++)
        pv_start_forget(&vcpus[i]);
    page_free(own.m2p, own.m2p_pages);
    page_free(own.written, own.written_pages);
    demand(page_alloc_free_bytes() == free_before, "memory is lost");
}

/* Another one runs on the CPU. */
static inline void load_vcpu(uint32_t i)
{
    pv_segments_put(pv_vcpu(host.cpu.vcpu));
    host.cpu.vcpu = &vcpus[i].vcpu;
    pv_segments_load(&vcpus[i]);
}

/* One execution of SYSCALL, with what stands in the registers. */
static void execute(struct pv_vcpu *v)
{
    v->frame.rip += SYSCALL_BYTES;
    v->vcpu.tsc_exit = host.tsc;
    pv_hypercall(v);
}

/* --- what the tests have in common --- */

static inline int set_up(void **state)
{
    (void)state;
    make_domain(2, HZ);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    demand(!host.locked, "the VM's lock is held");
    destroy_domain();
    return 0;
}

/* A hypercall of vCPU 0, and what it returns; one that goes on in portions has done the first. */
static inline int64_t call_once(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct ring3_frame *f = &vcpus[0].frame;
    f->gpr[RAX] = number;
    f->gpr[RDI] = a, f->gpr[RSI] = b, f->gpr[RDX] = c, f->gpr[R10] = d;
    execute(&vcpus[0]);
    return (int64_t)f->gpr[RAX];
}
