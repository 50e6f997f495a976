/* SPDX-License-Identifier: BSD-2-Clause */
/* The x86-64 instructions that C cannot express, one small function each. */
#pragma once

#include "arch/x86.h"

#include <stdbool.h>
#include <stdint.h>

/* The operand of LGDT, SGDT, LIDT and SIDT. */
struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

static inline struct cpuid_regs cpu_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "0"(leaf), "2"(subleaf));
    return r;
}

#if __STDC_HOSTED__
/* Privileged instructions of what unit tests run, and the clock: a test plays the CPU. */
uint64_t cpu_rdtsc(void);
uint64_t cpu_rdmsr(uint32_t msr);
void cpu_wrmsr(uint32_t msr, uint64_t value);
uint64_t cpu_read_cr0(void);
uint64_t cpu_read_cr2(void);
uint64_t cpu_read_cr3(void);
uint64_t cpu_read_cr4(void);
void cpu_write_cr2(uint64_t v);
void cpu_write_cr3(uint64_t v);
void cpu_invlpg(uint64_t linear);
void cpu_xsetbv(uint32_t xcr, uint64_t value);
uint32_t cpu_rdpkru(void);
struct table_register cpu_sgdt(void);
struct table_register cpu_sidt(void);
void cpu_read_debug(uint64_t dr[4], uint64_t *dr6);
void cpu_write_debug(const uint64_t dr[4], uint64_t dr6);
void cpu_write_dr6(uint64_t v);
void cpu_write_dr7(uint64_t v);
#else
static inline uint64_t cpu_rdtsc(void)
{
    uint64_t low, high; /* RDTSC clears the upper halves */
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << 32 | low;
}

/* RDSEED and RDRAND, where CPUID has them. False: none was ready. */
static inline bool cpu_rdseed(uint64_t *value)
{
    bool ok;
    __asm__ volatile("rdseed %1" : "=@ccc"(ok), "=r"(*value));
    return ok;
}

static inline bool cpu_rdrand(uint64_t *value)
{
    bool ok;
    __asm__ volatile("rdrand %1" : "=@ccc"(ok), "=r"(*value));
    return ok;
}

static inline uint64_t cpu_rdmsr(uint32_t msr)
{
    uint64_t low, high; /* RDMSR clears the upper halves */
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return high << 32 | low;
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint64_t cpu_read_cr0(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static inline uint64_t cpu_read_cr2(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

static inline uint64_t cpu_read_cr3(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}

static inline uint64_t cpu_read_cr4(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static inline void cpu_write_cr3(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline void cpu_write_cr2(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr2" : : "r"(v) : "memory");
}

static inline void cpu_xsetbv(uint32_t xcr, uint64_t value)
{
    __asm__ volatile("xsetbv"
                     :
                     : "c"(xcr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

/* Where CR4.PKE is set. */
static inline uint32_t cpu_rdpkru(void)
{
    uint32_t value, zero;
    __asm__ volatile("rdpkru" : "=a"(value), "=d"(zero) : "c"(0));
    return value;
}

static inline void cpu_wrpkru(uint32_t value)
{
    __asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static inline struct table_register cpu_sgdt(void)
{
    struct table_register gdtr;
    __asm__("sgdt %0" : "=m"(gdtr));
    return gdtr;
}

static inline struct table_register cpu_sidt(void)
{
    struct table_register idtr;
    __asm__("sidt %0" : "=m"(idtr));
    return idtr;
}

/* DR0 to DR3 and DR6. */
static inline void cpu_read_debug(uint64_t dr[4], uint64_t *dr6)
{
    __asm__ volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3; mov %%dr6, %4"
                     : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]), "=r"(*dr6));
}

static inline void cpu_write_debug(const uint64_t dr[4], uint64_t dr6)
{
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3; mov %4, %%dr6"
                     :
                     : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]), "r"(dr6));
}

static inline void cpu_write_dr7(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(v));
}

static inline void cpu_write_dr6(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(v));
}

static inline void cpu_invlpg(uint64_t linear)
{
    __asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}
#endif

/* RDMSR and WRMSR of what may not exist: false, and nothing done, where the CPU raises #GP. Usable
 * as soon as desc_init() has run on this CPU. */
bool cpu_rdmsr_safe(uint32_t msr, uint64_t *value);
bool cpu_wrmsr_safe(uint32_t msr, uint64_t value);

/* Reads 8 bytes at any linear address; false where that raises #PF or #GP. */
bool cpu_read_safe(uint64_t address, uint64_t *value);

/* The x87 unit's status and control words. None of these waits for a pending error, but for
 * cpu_fldcw(), before which there must be none. */
static inline uint16_t cpu_fnstsw(void)
{
    uint16_t word;
    __asm__ volatile("fnstsw %0" : "=a"(word));
    return word;
}

static inline uint16_t cpu_fnstcw(void)
{
    uint16_t word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static inline void cpu_fldcw(uint16_t word)
{
    __asm__ volatile("fldcw %0" : : "m"(word));
}

/* Masks all errors in the control word, so that none is pending: what FNSTENV does beside the store
 * (SDM, "FSTENV/FNSTENV—Store x87 FPU Environment"). */
static inline void cpu_mask_x87_errors(void)
{
    uint8_t environment[28];
    __asm__ volatile("fnstenv %0" : "=m"(environment));
}

static inline void cpu_write_cr0(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}

static inline void cpu_write_cr4(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline void cpu_hlt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

static inline void cpu_cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void cpu_sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline uint64_t cpu_read_rflags(void)
{
    uint64_t v;
    __asm__ volatile("pushfq; popq %0" : "=r"(v) : : "memory");
    return v;
}

static inline uint8_t cpu_in8(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t cpu_in16(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t cpu_in32(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline void cpu_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void cpu_out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void cpu_out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
