/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of the VMCS fields, for messages. */
#include "vmx/fields.h"

#define CASE(name, encoding, text) \
    case encoding: return text;

const char *vmcs_field_name(uint32_t field)
{
    switch (field) {
        VMCS_FIELDS(CASE)
    default: return "unknown field";
    }
}
