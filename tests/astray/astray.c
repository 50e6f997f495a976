/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/astray.efi, in the place of boot/main.c: a hypervisor that goes wrong where it is to
 * start its VMs, in the way that the first VM's name says: `overrun`, `bend`, `leap`, `full`; with
 * any other name it starts them (lost.c). tests/system/test_astray.py reads what follows. */
#include "guest/config_parser.h"
#include "guest/monitor/vms.h"

static const struct nadir_config *known;

static void note_config(const struct nadir_config *config, uint64_t image_bytes,
                        const struct pc_host *host, const struct host_console *console)
{
    known = config;
    vms_init(config, image_bytes, host, console);
}

static void go_wrong(void);

#define vms_init  note_config
#define vms_start go_wrong
#include "boot/main.c"
#undef vms_start

static void go_astray(void)
{
    log_line("astray");
    power_off();
}

/* --- overrun: a function that writes past its array, as a mistake would --- */

static void __attribute__((noinline)) fill(volatile char *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        at[i] = '*';
}

static void __attribute__((noinline)) overrun(void)
{
    char text[16];
    fill(text, 6 * sizeof(text));
}

/* --- bend: a return address that is another one when its function returns, as an attacker would
 * have it --- */

static void __attribute__((noinline)) bend(void)
{
    void (*volatile * frame)(void) = __builtin_frame_address(0); /* RBP, then where to return to */
    uint64_t value;
    if (cpu_rdmsr_safe(MSR_IA32_VMX_BASIC, &value)) /* an exception is where it always was */
        log_line("VMX revision 0x%x", (uint32_t)value);
    (void)cpu_read_safe(0, &value); /* and one whose handler goes on elsewhere */
    frame[1] = go_astray;
}

/* --- leap: how indirect calls are made, and one of what is no beginning of a function --- */

static void tell_call(void)
{
    const uint8_t *after = __builtin_return_address(0);
    log_line("an indirect call: %02x", after[-5]); /* E8: of a thunk; 2E: a prefix */
}

static void __attribute__((noinline)) leap(void)
{
    void (*volatile function)(void) = tell_call;
    function();
    volatile uint64_t to = (uint64_t)go_astray;
    to += 4;                       /* behind its ENDBR64 */
    function = (void (*)(void))to; /* NOLINT(performance-no-int-to-ptr) */
    function();
}

/* --- full: more to say of a VM than its ring holds, twice, and a panic with Nadir's own ring
 * nearly full --- */

enum { OF_VM = 2000, OWN = 200 };

static void fill_ring(const char *name)
{
    for (unsigned i = 0; i < OF_VM; i++)
        log_line_of(log_of_vm(0), "%s: line %u of a VM whose ring becomes full", name, i);
}

static void fill_rings(void)
{
    if (console_open(0) != OK)
        return;
    fill_ring("first");
    console_flush(); /* and nothing more is said of that VM */
    log_line("all of the first has left");
    fill_ring("second");
    for (unsigned i = 0; i < OWN; i++)
        log_line("own line %u before the panic", i);
    panic("with full rings");
}

static void go_wrong(void)
{
    static const struct {
        const char *name;
        void (*go)(void);
    } ways[] = {{"overrun", overrun}, {"bend", bend}, {"leap", leap}, {"full", fill_rings}};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (text_equal(known->vm[0].name, ways[i].name)) {
            ways[i].go();
            return;
        }
    }
    vms_start();
}
