/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine for machines without VT-x, as boot/main.c names it. */
#pragma once

#include "guest/vm/engine.h"

extern const struct engine bt_engine;
