/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine for paravirtualised guests, as boot/main.c names it. */
#pragma once

#include "guest/vm/engine.h"

extern const struct engine pv_engine;
