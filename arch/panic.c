/* SPDX-License-Identifier: BSD-2-Clause */
/* Stops the machine with a report; survives faults on the way. */
#include "arch/panic.h"
#include "arch/fault.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/percpu.h"
#include "arch/report.h"
#include "arch/smp.h"

static uint32_t owner; /* index + 1 of the CPU that panics */
static unsigned depth; /* 2: it faulted in the report, 3: in the final function too */
static void (*final_function)(void);

bool panic_is_active(void)
{
    return __atomic_load_n(&owner, __ATOMIC_ACQUIRE) != 0;
}

void panic_set_final(void (*final)(void))
{
    final_function = final;
}

void panic_begin(void)
{
    uint32_t none = 0, self = cpu_self()->index + 1;
    cpu_cli();
    if (__atomic_compare_exchange_n(&owner, &none, self, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        smp_stop_others();
    else if (none != self)
        cpu_stop();
    if (++depth > 2)
        cpu_stop();
}

_Noreturn void panic_end(void)
{
    (void)report_format("{\"nadir-end\": \"panic\"}\n");
    if (final_function != NULL)
        final_function();
    cpu_stop();
}

_Noreturn void panic(const char *format, ...)
{
    char text[256];
    uint64_t rbp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    va_list args;
    panic_begin();
    va_start(args, format);
    format_text_va(text, sizeof(text), format, args);
    va_end(args);
    log_line("panic: %s", text);
    if (depth == 1) {
        fault_log_machine(rbp);
        fault_log_backtrace((uint64_t)(uintptr_t)__builtin_return_address(0),
                            *(const uint64_t *)__builtin_frame_address(0));
    }
    panic_end();
}
