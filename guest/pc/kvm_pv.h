/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's interface for guests that know that they are guests, as stock Linux finds it: which parts
 * are shown, their MSRs and hypercalls. (Linux, Documentation/virt/kvm/x86.) */
#pragma once

#include "arch/status.h"
#include "guest/vm/engine.h"

#include <stdint.h>

/* What CPUID is to show of it for an engine that can do so much: EAX of the second leaf. */
uint32_t kvm_pv_features(const struct engine_facts *facts);

/* Opens MSRs and hypercalls of it for a VM whose clock is known. now: the host's TSC, from which
 * its time counts; epoch: the time of day when that was 0. ERR_LIMIT. */
enum status kvm_pv_open(struct vm *vm, uint64_t now, uint64_t epoch);
