/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine for paravirtualised guests, as boot/main.c names it. */
#pragma once

#include "guest/vm/engine.h"

#define PV_MAX_VCPUS 32u /* of a domain: xen_shared_info has places for so many */

extern const struct engine pv_engine;
