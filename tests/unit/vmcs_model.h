/* SPDX-License-Identifier: BSD-2-Clause */
/* An invariant of vmx/: from any guest state that passes the checks of VM entry, through one exit
 * that a CPU could report there, to one that passes them again. For a unit test and a fuzzer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum model_outcome {
    MODEL_NO_STATE, /* what was made up would not have been entered: nothing was tried */
    MODEL_ENDED,    /* the VM is at its end */
    MODEL_ENTERS,
    MODEL_INJECTS, /* enters, with an event */
    MODEL_BROKEN,
};

/* The VM, on a CPU that virtualizes local APICs, or on one that does not. */
void vmcs_model_start(bool assisted);
void vmcs_model_end(void);

/* One state and one exit: the choices are made by the bytes of data, and by seed behind them. *why
 * gets what is wrong in words, for MODEL_NO_STATE and MODEL_BROKEN; valid until the next call. */
enum model_outcome vmcs_model_run(const uint8_t *data, size_t size, uint64_t seed,
                                  const char **why);

/* The exit that the last run has made up. */
const char *vmcs_model_exit(void);
