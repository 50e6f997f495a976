/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of double and triple faults. */
#include "guest/cpu/event.h"

#include "arch/x86.h"

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum exception_class class_of(unsigned vector)
{
    if (vector == VECTOR_PAGE_FAULT || vector == VECTOR_VIRTUALIZATION)
        return PAGE_FAULT;
    const bool contributory =
        vector == 0 || (vector >= 10 && vector <= 13) || vector == VECTOR_CONTROL_PROTECTION;
    return contributory ? CONTRIBUTORY : BENIGN;
}

bool event_combine(const struct event *first, struct event *exception)
{
    if ((first->info & EVENT_VALID) == 0 || (first->info & EVENT_TYPE_MASK) != EVENT_EXCEPTION)
        return true;
    const unsigned vector = first->info & 0xff;
    const enum exception_class second = class_of(exception->info & 0xff);
    if (vector == VECTOR_DOUBLE_FAULT)
        return second == BENIGN;
    const bool twice = class_of(vector) == CONTRIBUTORY && second == CONTRIBUTORY;
    if (twice || (class_of(vector) == PAGE_FAULT && second != BENIGN))
        *exception = (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE |
                                            VECTOR_DOUBLE_FAULT};
    return true;
}
