/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches in 32-bit protected mode: each way to switch, both formats of TSS, faults
 * before and after the switch, task gates. */
#include "task.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/mode32.h"
#include "guest/lib/test.h"

/* Selectors; the first three are mode32.h's. */
enum { CODE = 0x08, DATA = 0x10, OLD_TSS = 0x18, NEW_TSS = 0x20, LDT_SEL = 0x28, CODE3 = 0x30 };
enum { DATA3 = 0x38, CONFORMING = 0x40, READ_ONLY = 0x48, ABSENT = 0x50, EXEC_ONLY = 0x58 };
enum { STACK16 = 0x60, GATE = 0x68, ABSENT_CODE = 0x70, SMALL_CODE = 0x78 };
enum { VECTOR_OF = 4, VECTOR_TS = 10, VECTOR_CALL = 0x30, VECTOR_EXTERNAL = 0x40 };
enum { NT = 1 << 14, VM = 1 << 17, IOPL3 = 3 << 12, BT = 1 << 15 };
enum { CR4_PSE = 1 << 4, PAGE_4M = 0x83, PAGE = 3 };

struct tss {
    uint32_t link, esp0, ss0, unused[4], cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldtr, trap;
};
_Static_assert(sizeof(struct tss) == 104, "SDM, figure \"32-Bit Task-State Segment (TSS)\"");

static struct mode32 trip;
static uint64_t gdt[MODE32_GDT_ENTRIES], ldt[2], idt[0x41];
/* On a page of its own, which a test takes away. */
static struct {
    struct tss tss;
    uint8_t rest[4096 - sizeof(struct tss)];
} old_page __attribute__((aligned(4096))), new_page __attribute__((aligned(4096)));
static uint8_t stack[512], stack0[512];
static uint32_t directory[2][1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));

#define OLD (&old_page.tss)
#define NEW (&new_page.tss)

static void describe(unsigned selector, uint32_t base, uint32_t limit, unsigned access,
                     unsigned flags)
{
    mode32_describe(gdt, selector, base, limit, access, flags);
}

static void task_gate(unsigned vector)
{
    mode32_gate(idt, vector, NEW_TSS, 0, 0x85);
}

static uint8_t access_of(unsigned selector)
{
    return gdt[selector / 8] >> 40 & 0xff;
}

/* Two tasks of 32 bits at CPL 0, a CALL between them: what the tests change. */
static void setup(void)
{
    mode32_describe_basics(gdt, idt);
    describe(OLD_TSS, address32(OLD), 103, 0x89, 0);
    describe(NEW_TSS, address32(NEW), 103, 0x89, 0);
    describe(LDT_SEL, address32(ldt), sizeof(ldt) - 1, 0x82, 0);
    describe(CODE3, 0, 0xfffff, 0xfb, 0xc);
    describe(DATA3, 0, 0xfffff, 0xf3, 0xc);
    describe(CONFORMING, 0, 0xfffff, 0x9f, 0xc);
    describe(READ_ONLY, 0, 0xfffff, 0x91, 0xc);
    describe(ABSENT, 0, 0xfffff, 0x12, 0xc);
    describe(ABSENT_CODE, 0, 0xfffff, 0x1a, 0xc);
    describe(EXEC_ONLY, 0, 0xfffff, 0x99, 0xc);
    describe(SMALL_CODE, 0, 0xff, 0x9b, 4);
    describe(STACK16, address32(stack), sizeof(stack) - 1, 0x93, 0);
    gdt[GATE / 8] = (uint64_t)NEW_TSS << 16 | 0x85ull << 40;
    ldt[1] = gdt[DATA / 8];

    memset(&old_page, 0, sizeof(old_page));
    memset(&new_page, 0, sizeof(new_page));
    *NEW = (struct tss){.esp0 = address32(stack0 + sizeof(stack0)),
                        .ss0 = DATA,
                        .eip = address32((const void *)task_new),
                        .eflags = 0x202 & ~0x200u,
                        .eax = 0xa0a0a0a0,
                        .ecx = 0xb1b1b1b1,
                        .edx = 0xc2c2c2c2,
                        .ebx = 0xd3d3d3d3,
                        .esp = address32(stack + sizeof(stack)),
                        .ebp = 0xe5e5e5e5,
                        .esi = 0xf6f6f6f6,
                        .edi = 0x17171717,
                        .es = DATA,
                        .cs = CODE,
                        .ss = DATA,
                        .ds = DATA};
    trip = (struct mode32){.action = address32((const void *)act_call),
                           .gdt = address32(gdt),
                           .gdt_limit = sizeof(gdt) - 1,
                           .idt = address32(idt),
                           .idt_limit = sizeof(idt) - 1};
    memset(&in_new, 0, sizeof(in_new));
    memset(&in_old, 0, sizeof(in_old));
    memset(&mode32_fault, 0, sizeof(mode32_fault));
    target.selector = NEW_TSS;
    leave_by = LEAVE_HOME;
}

static void act(void (*action)(void))
{
    trip.action = address32((const void *)action);
}

static void check_call(void)
{
    const char *rule = "SDM, Task Switching";
    setup();
    mode32_go(&trip);
    test_equal(in_new.came, 1, "CALL of a TSS enters the new task", rule);
    test_check(in_new.eax == 0xa0a0a0a0 && in_new.ecx == 0xb1b1b1b1 && in_new.edx == 0xc2c2c2c2 &&
                   in_new.ebx == 0xd3d3d3d3 && in_new.ebp == 0xe5e5e5e5 &&
                   in_new.esi == 0xf6f6f6f6 && in_new.edi == 0x17171717 && in_new.esp == NEW->esp,
               "registers come from its TSS", rule);
    test_check(in_new.es == DATA && in_new.cs == CODE && in_new.ss == DATA && in_new.ds == DATA &&
                   in_new.fs == 0 && in_new.gs == 0 && in_new.ldtr == 0,
               "so do segments", rule);
    test_equal(in_new.tr, NEW_TSS, "TR holds its selector", rule);
    test_equal(in_new.eflags & (NT | 0x202), NT | 2, "EFLAGS.NT is set", rule);
    test_check((in_new.cr0 & CR0_TS) != 0, "CR0.TS is set", rule);
    test_equal(NEW->link, OLD_TSS, "the link leads back", "SDM, Task Linking");
    test_check(OLD->eax == 0x11111111 && OLD->ecx == 0x22222222 && OLD->edx == 0x33333333 &&
                   OLD->ebx == 0x44444444 && OLD->ebp == 0x55555555 && OLD->esi == 0x66666666 &&
                   OLD->edi == 0x77777777,
               "the old task's registers are saved", rule);
    test_equal(OLD->eip, address32(act_call_next), "with the EIP behind the CALL", rule);
    test_check(OLD->cs == CODE && OLD->ss == DATA && OLD->fs == DATA && OLD->cr3 == 0,
               "and its segments, but not CR3", rule);
    test_equal(access_of(OLD_TSS), 0x8b, "the old TSS stays busy", "SDM, Use of Busy Flag");
    test_equal(access_of(NEW_TSS), 0x8b, "the new one becomes busy", "SDM, Use of Busy Flag");
}

static void check_returns(void)
{
    const char *rule = "SDM, Task Linking";
    setup();
    leave_by = LEAVE_IRET;
    mode32_go(&trip);
    test_equal(in_old.came, 1, "IRET with NT returns to the old task", rule);
    test_check(in_old.eax == 0x11111111 && in_old.edi == 0x77777777 && in_old.fs == DATA,
               "which finds its registers", rule);
    test_equal(in_old.tr, OLD_TSS, "TR is its own", rule);
    test_equal(in_old.eflags & NT, 0, "its NT is clear", rule);
    test_equal(access_of(NEW_TSS), 0x89, "the left TSS is available", "SDM, Use of Busy Flag");
    test_equal(NEW->eflags & NT, 0, "NT is saved as 0", rule);

    setup();
    act(act_jmp);
    leave_by = LEAVE_JMP;
    mode32_go(&trip);
    test_equal(in_new.came + in_old.came, 2, "JMP of a TSS, and JMP back", rule);
    test_equal(in_new.eflags & NT, 0, "JMP does not nest", rule);
    test_equal(NEW->link, 0, "the link is not written", rule);
    test_equal(access_of(OLD_TSS) & 2, 2, "busy is who runs", "SDM, Use of Busy Flag");
    test_equal(access_of(NEW_TSS) & 2, 0, "and not who left", "SDM, Use of Busy Flag");

    setup();
    act(act_iret);
    OLD->link = NEW_TSS;
    describe(NEW_TSS, address32(NEW), 103, 0x8b, 0);
    mode32_go(&trip);
    test_equal(in_new.came, 1, "IRET to a busy task", rule);
    test_equal(access_of(OLD_TSS), 0x89, "leaves an available one", "SDM, Use of Busy Flag");
    test_equal(OLD->eflags & NT, 0, "saves NT as 0", rule);

    setup();
    target.selector = GATE;
    leave_by = LEAVE_IRET;
    mode32_go(&trip);
    test_equal(in_new.came + in_old.came, 2, "CALL of a task gate, and IRET",
               "SDM, Task-Gate "
               "Descriptor");
}

static void check_tss16(void)
{
    const char *rule = "SDM, 16-Bit Task-State Segment (TSS)";
    setup();
    describe(NEW_TSS, address32(NEW), 43, 0x81, 0);
    uint16_t *tss = (uint16_t *)NEW;
    memset(NEW, 0, sizeof(*NEW));
    tss[7] = (uint16_t)address32((const void *)task_new);
    tss[8] = 2;
    for (unsigned i = 9; i < 17; i++)
        tss[i] = (uint16_t)(0x100 * i);
    tss[13] = sizeof(stack);
    tss[17] = tss[20] = DATA;
    tss[19] = STACK16;
    tss[18] = CODE;
    tss[21] = LDT_SEL;
    mode32_go(&trip);
    test_equal(in_new.came, 1, "CALL of a 16-bit TSS", rule);
    test_check((in_new.eax & 0xffff) == 0x900 && (in_new.edi & 0xffff) == 0x1000,
               "loads 16-bit registers", rule);
    test_equal(in_new.ldtr, LDT_SEL, "and the LDT", rule);
    test_check(in_new.fs == 0 && in_new.gs == 0, "FS and GS are null", rule);
    test_equal(access_of(NEW_TSS), 0x83, "it becomes busy", rule);
}

struct fault_row {
    const char *what;
    unsigned field; /* offset in the new TSS, or access byte of its descriptor */
    uint32_t value; /* or limit */
    unsigned vector, error;
};

static const char CHECKS[] = "SDM, Exception Conditions Checked During a Task Switch";

static void check_fault(const struct fault_row *row, unsigned tr)
{
    mode32_go(&trip);
    bool as_wanted = mode32_fault.came == 1 && in_new.came == 0 &&
                     mode32_fault.vector == row->vector && mode32_fault.error == row->error &&
                     mode32_fault.tr == tr;
    if (!test_check(as_wanted, row->what, CHECKS))
        print("  entered %u, faults %u: vector %u, error %x, TR %x\n", in_new.came,
              mode32_fault.came, mode32_fault.vector, mode32_fault.error, mode32_fault.tr);
}

static void check_refusals(void)
{
    static const struct fault_row rows[] = {
        {"CALL of a busy TSS", 0x8b, 103, VECTOR_GP, NEW_TSS},
        {"CALL of an absent TSS", 0x09, 103, VECTOR_NP, NEW_TSS},
        {"CALL of a TSS with limit 102", 0x89, 102, VECTOR_TS, NEW_TSS},
        {"CALL of a 16-bit TSS with limit 42", 0x81, 42, VECTOR_TS, NEW_TSS},
        {"CALL of an LDT", 0x82, 103, VECTOR_GP, NEW_TSS},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup();
        describe(NEW_TSS, address32(NEW), rows[i].value, rows[i].field, 0);
        check_fault(&rows[i], OLD_TSS);
    }
    static const struct fault_row iret = {"IRET to a task that is not busy", 0, 0, VECTOR_TS,
                                          NEW_TSS};
    setup();
    act(act_iret);
    OLD->link = NEW_TSS;
    check_fault(&iret, OLD_TSS);
}

static void check_new_task_faults(void)
{
    static const struct fault_row rows[] = {
        {"LDTR beyond the GDT", 96, 0x7f8, VECTOR_TS, 0x7f8},
        {"LDTR in an LDT", 96, LDT_SEL | 4, VECTOR_TS, LDT_SEL | 4},
        {"LDTR of data", 96, DATA, VECTOR_TS, DATA},
        {"SS null", 80, 0, VECTOR_TS, 0},
        {"SS beyond the GDT", 80, 0x7f8, VECTOR_TS, 0x7f8},
        {"SS of code", 80, CODE, VECTOR_TS, CODE},
        {"SS read-only", 80, READ_ONLY, VECTOR_TS, READ_ONLY},
        {"SS absent", 80, ABSENT, VECTOR_SS, ABSENT},
        {"SS of DPL 3 at CPL 0", 80, DATA3, VECTOR_TS, DATA3},
        {"SS with RPL 3 at CPL 0", 80, DATA | 3, VECTOR_TS, DATA},
        {"DS execute-only", 84, EXEC_ONLY, VECTOR_TS, EXEC_ONLY},
        {"DS with RPL above DPL", 84, DATA | 1, VECTOR_TS, DATA},
        {"ES absent", 72, ABSENT, VECTOR_NP, ABSENT},
        {"FS of a TSS", 88, OLD_TSS, VECTOR_TS, OLD_TSS},
        {"GS beyond the GDT", 92, 0x7f8, VECTOR_TS, 0x7f8},
        {"CS null", 76, 0, VECTOR_TS, 0},
        {"CS of data", 76, DATA, VECTOR_TS, DATA},
        {"CS of DPL 3 with RPL 0", 76, CODE3, VECTOR_TS, CODE3},
        {"CS absent", 76, ABSENT_CODE, VECTOR_NP, ABSENT_CODE},
        {"EIP beyond CS", 76, SMALL_CODE, VECTOR_GP, 0},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup();
        memcpy((uint8_t *)NEW + rows[i].field, &rows[i].value, 4);
        check_fault(&rows[i], NEW_TSS);
    }
}

static void check_gates(void)
{
    const char *rule = "SDM, Interrupt Tasks";
    setup();
    act(act_int);
    leave_by = LEAVE_IRET;
    task_gate(VECTOR_CALL);
    mode32_go(&trip);
    test_equal(in_new.came + in_old.came, 2, "INT through a task gate, and IRET", rule);
    test_equal(in_new.eflags & NT, NT, "it nests", rule);
    test_equal(in_new.esp, NEW->esp, "without an error code", rule);

    setup();
    act(act_int3);
    leave_by = LEAVE_IRET;
    task_gate(VECTOR_BP);
    mode32_go(&trip);
    test_equal(in_new.came + in_old.came, 2, "INT3 through a task gate, and IRET", rule);

    setup();
    act(act_load_fs);
    task_gate(VECTOR_GP);
    mode32_go(&trip);
    test_equal(in_new.came, 1, "#GP through a task gate", rule);
    test_equal(OLD->eip, address32(act_load_fs_at), "the saved EIP is the faulting one", rule);
    test_equal(in_new.esp, NEW->esp - 4, "its error code is on the new stack", rule);
    test_equal(*(uint32_t *)(uint64_t)in_new.esp, 0x7f8, "and is the selector", rule);

    setup();
    act(act_interrupt);
    leave_by = LEAVE_IRET;
    task_gate(VECTOR_EXTERNAL);
    apic_self_ipi(VECTOR_EXTERNAL);
    mode32_go(&trip);
    apic_eoi();
    test_equal(in_new.came + in_old.came, 2, "an interrupt through a task gate, and IRET", rule);
    test_equal(OLD->eflags & 0x200, 0x200, "interrupts were on", rule);

    setup();
    act(act_nmi);
    leave_by = LEAVE_IRET;
    task_gate(VECTOR_NMI);
    mode32_go(&trip);
    test_equal(in_new.came, 2, "two NMIs through a task gate", rule);
    test_equal(in_old.came, 1, "and back each time", "SDM, Handling Multiple NMIs");

    static const struct fault_row busy = {"INT through a task gate to a busy TSS", 0, 0, VECTOR_GP,
                                          NEW_TSS};
    setup();
    act(act_int);
    task_gate(VECTOR_CALL);
    describe(NEW_TSS, address32(NEW), 103, 0x8b, 0);
    check_fault(&busy, OLD_TSS);
    static const struct fault_row external = {"EXT is set for a fault behind an exception", 0, 0,
                                              VECTOR_TS, DATA3 | 1};
    setup();
    act(act_undefined);
    task_gate(VECTOR_UD);
    NEW->ss = DATA3;
    check_fault(&external, NEW_TSS);
}

/* INTO and INT1: by an interrupt gate, then by a task gate. */
static void check_trap_instructions(void)
{
    static const struct {
        void (*action)(void);
        const char *next;
        unsigned vector;
        const char *by_interrupt_gate, *by_task_gate;
    } rows[] = {
        {act_into, act_into_next, VECTOR_OF, "INTO traps behind itself",
         "INTO through a task gate, and IRET"},
        {act_int1, act_int1_next, VECTOR_DB, "INT1 traps behind itself",
         "INT1 through a task gate, and IRET"},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup();
        act(rows[i].action);
        mode32_go(&trip);
        test_check(mode32_fault.came == 1 && mode32_fault.vector == rows[i].vector &&
                       mode32_fault.eip == address32(rows[i].next),
                   rows[i].by_interrupt_gate, "SDM, INT n/INTO/INT3/INT1");
        setup();
        act(rows[i].action);
        leave_by = LEAVE_IRET;
        task_gate(rows[i].vector);
        mode32_go(&trip);
        test_equal(in_new.came + in_old.came, 2, rows[i].by_task_gate, "SDM, Interrupt Tasks");
        test_equal(OLD->eip, address32(rows[i].next), "the saved EIP is behind it",
                   "SDM, Interrupt Tasks");
    }
}

/* A task that is called again goes on behind its IRET. */
static void check_again(void)
{
    setup();
    act(act_call_twice);
    leave_by = LEAVE_IRET;
    mode32_go(&trip);
    test_equal(in_new.came * 16 + in_old.came, 0x21, "CALL of a task twice", "SDM, Task Linking");

    setup();
    task_user_came = 0;
    NEW->cs = CONFORMING | 3;
    NEW->ss = NEW->ds = NEW->es = DATA3 | 3;
    NEW->eip = address32((const void *)task_user);
    mode32_go(&trip);
    test_equal(task_user_came * 16 + in_old.came, 0x11,
               "a task at CPL 3 in conforming code, and IRET", "SDM, Task Switching");

    setup();
    act(act_iret);
    OLD->link = NEW_TSS;
    describe(NEW_TSS, address32(NEW), 103, 0x8b, 0);
    NEW->eflags = VM | 2;
    NEW->eip = address32((const void *)task_vm86_undefined) & 15;
    NEW->cs = address32((const void *)task_vm86_undefined) >> 4;
    NEW->ds = 0x1234;
    const uint32_t eip = NEW->eip;
    mode32_gate(idt, VECTOR_UD, OLD_TSS, 0, 0x85);
    mode32_go(&trip);
    test_equal(in_old.came, 1, "IRET to virtual-8086 mode, #UD there back by a task gate",
               "SDM, Task Linking");
    test_check(NEW->eip == eip && (NEW->eflags & VM) != 0 && NEW->ds == 0x1234,
               "its registers are saved", "SDM, Task Switching");
    test_equal(OLD->link, NEW_TSS, "the link leads to it", "SDM, Task Linking");
}

static void check_trap_flag(void)
{
    setup();
    NEW->trap = 1;
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    mode32_go(&trip);
    const char *rule = "SDM, Task-Switch Exception Condition";
    test_check(mode32_fault.came == 1 && mode32_fault.vector == VECTOR_DB,
               "the T flag makes a debug trap", rule);
    test_check((mode32_fault.dr6 & BT) != 0, "DR6.BT says so", rule);
    test_equal(mode32_fault.eip, NEW->eip, "before the first instruction", rule);
    test_equal(mode32_fault.tr, NEW_TSS, "in the new task", rule);
}

static void check_rings(void)
{
    const char *rule = "SDM, Task Switching";
    setup();
    NEW->cs = CODE3 | 3;
    NEW->ss = NEW->ds = NEW->es = DATA3 | 3;
    NEW->eip = address32((const void *)task_vm86); /* INT is the same in 16 and 32 bits */
    mode32_go(&trip);
    test_check(mode32_fault.came == 1 && mode32_fault.vector == MODE32_VECTOR_HOME &&
                   mode32_fault.cs == (CODE3 | 3),
               "a task at CPL 3", rule);

    setup();
    NEW->eflags = VM | IOPL3 | 2;
    NEW->eip = address32((const void *)task_vm86) & 15;
    NEW->cs = address32((const void *)task_vm86) >> 4;
    NEW->ss = NEW->ds = NEW->es = 0x100;
    mode32_go(&trip);
    test_check(mode32_fault.came == 1 && mode32_fault.vector == MODE32_VECTOR_HOME &&
                   (mode32_fault.eflags & VM) != 0 && mode32_fault.cs == NEW->cs,
               "a task in virtual-8086 mode", rule);

    setup();
    NEW->ldtr = LDT_SEL;
    NEW->fs = 0xc;
    mode32_go(&trip);
    test_check(in_new.came == 1 && in_new.ldtr == LDT_SEL && in_new.fs == 0xc,
               "a segment of the new task's LDT", rule);
}

static void use_paging(void)
{
    for (unsigned d = 0; d < 2; d++)
        for (uint32_t i = 0; i < 1024; i++)
            directory[d][i] = i << 22 | PAGE_4M;
    for (uint32_t i = 0; i < 1024; i++)
        table[i] = i << 12 | PAGE;
    directory[0][0] = address32(table) | PAGE;
    trip.cr4 = CR4_PSE;
    trip.cr3 = address32(directory[0]);
    OLD->cr3 = NEW->cr3 = trip.cr3;
}

static void check_paging(void)
{
    const char *rule = "SDM, Task Address Space";
    setup();
    use_paging();
    NEW->cr3 = address32(directory[1]);
    leave_by = LEAVE_IRET;
    mode32_go(&trip);
    test_equal(in_new.came + in_old.came, 2, "a task with its own page tables", rule);
    test_equal(in_new.cr3, address32(directory[1]), "CR3 comes from its TSS", rule);
    test_equal(in_old.cr3, address32(directory[0]), "and goes back", rule);

    setup();
    use_paging();
    table[address32(NEW) >> 12] = 0;
    mode32_go(&trip);
    const char *before = "SDM, Task Switching, checks before the switch";
    test_check(mode32_fault.came == 1 && mode32_fault.vector == VECTOR_PF &&
                   mode32_fault.tr == OLD_TSS && mode32_fault.cr2 >> 12 == address32(NEW) >> 12,
               "a new TSS on an absent page: #PF in the old task", before);
    test_equal(access_of(NEW_TSS), 0x89, "and it is not busy", before);
}

static void check_paging_gates(void)
{
    const char *rule = "SDM, Interrupt Tasks";
    setup();
    use_paging();
    directory[0][ABSENT_PAGE >> 22] = 0;
    NEW->cr3 = address32(directory[1]);
    act(act_touch);
    task_gate(VECTOR_PF);
    mode32_go(&trip);
    test_equal(in_new.came, 1, "#PF through a task gate", rule);
    test_equal(in_new.cr3, address32(directory[1]), "to other page tables", rule);
    test_equal(OLD->eip, address32(act_touch_at), "the saved EIP is the faulting one", rule);
    test_equal(*(uint32_t *)(uint64_t)in_new.esp, 2, "its error code is on the new stack", rule);

    setup();
    act(act_load_fs);
    task_gate(VECTOR_DF);
    idt[VECTOR_GP] = 0; /* #GP without a gate is a second #GP */
    mode32_go(&trip);
    test_equal(in_new.came, 1, "#DF through a task gate", rule);
    test_equal(*(uint32_t *)(uint64_t)in_new.esp, 0, "its error code is 0", "SDM, Interrupt 8");
}

int main(void)
{
    test_begin("task", "hardware task switches");
    apic_enable(false);
    check_call();
    check_returns();
    check_tss16();
    check_refusals();
    check_new_task_faults();
    check_gates();
    check_trap_instructions();
    check_again();
    check_trap_flag();
    check_rings();
    check_paging();
    check_paging_gates();
    return test_end();
}
