/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMCS fields that Nadir knows, in the order of the SDM's appendix "Field Encoding in VMCS". */
#pragma once

#include <stdint.h>

/* X(name, encoding, name in messages) for each: 16-bit fields from 0, 64-bit ones from 0x2000,
 * 32-bit ones from 0x4000, natural-width ones from 0x6000. */
/* clang-format off */
#define VMCS_FIELDS(X) \
    X(CTRL_VPID, 0x0000, "control VPID") \
    X(CTRL_POSTED_VECTOR, 0x0002, "control posted vector") \
    X(GUEST_ES, 0x0800, "guest ES") \
    X(GUEST_CS, 0x0802, "guest CS") \
    X(GUEST_SS, 0x0804, "guest SS") \
    X(GUEST_DS, 0x0806, "guest DS") \
    X(GUEST_FS, 0x0808, "guest FS") \
    X(GUEST_GS, 0x080a, "guest GS") \
    X(GUEST_LDTR, 0x080c, "guest LDTR") \
    X(GUEST_TR, 0x080e, "guest TR") \
    X(GUEST_INTERRUPT_STATUS, 0x0810, "guest interrupt status") \
    X(HOST_ES, 0x0c00, "host ES") \
    X(HOST_CS, 0x0c02, "host CS") \
    X(HOST_SS, 0x0c04, "host SS") \
    X(HOST_DS, 0x0c06, "host DS") \
    X(HOST_FS, 0x0c08, "host FS") \
    X(HOST_GS, 0x0c0a, "host GS") \
    X(HOST_TR, 0x0c0c, "host TR") \
    X(CTRL_MSR_BITMAP, 0x2004, "control MSR bitmap") \
    X(CTRL_TSC_OFFSET, 0x2010, "control TSC offset") \
    X(CTRL_VIRTUAL_APIC, 0x2012, "control virtual APIC") \
    X(CTRL_APIC_ACCESS, 0x2014, "control APIC access") \
    X(CTRL_POSTED_DESCRIPTOR, 0x2016, "control posted descriptor") \
    X(CTRL_EPTP, 0x201a, "control EPTP") \
    X(CTRL_EOI_EXIT0, 0x201c, "control EOI exit0") \
    X(CTRL_XSS_EXITING, 0x202c, "control XSS exiting") \
    X(CTRL_ENCLS_EXITING, 0x202e, "control encls exiting") \
    X(EXIT_GUEST_PHYSICAL, 0x2400, "exit guest physical") \
    X(GUEST_LINK_POINTER, 0x2800, "guest link pointer") \
    X(GUEST_DEBUGCTL, 0x2802, "guest debugctl") \
    X(GUEST_PAT, 0x2804, "guest PAT") \
    X(GUEST_EFER, 0x2806, "guest EFER") \
    X(GUEST_PDPTE0, 0x280a, "guest pdpte0") \
    X(GUEST_PDPTE1, 0x280c, "guest pdpte1") \
    X(GUEST_PDPTE2, 0x280e, "guest pdpte2") \
    X(GUEST_PDPTE3, 0x2810, "guest pdpte3") \
    X(HOST_PAT, 0x2c00, "host PAT") \
    X(HOST_EFER, 0x2c02, "host EFER") \
    X(CTRL_PIN, 0x4000, "control pin") \
    X(CTRL_PROC, 0x4002, "control proc") \
    X(CTRL_EXCEPTION_BITMAP, 0x4004, "control exception bitmap") \
    X(CTRL_PF_ERROR_MASK, 0x4006, "control PF error mask") \
    X(CTRL_PF_ERROR_MATCH, 0x4008, "control PF error match") \
    X(CTRL_CR3_TARGET_COUNT, 0x400a, "control CR3 target count") \
    X(CTRL_EXIT, 0x400c, "control exit") \
    X(CTRL_EXIT_MSR_STORE_COUNT, 0x400e, "control exit MSR store count") \
    X(CTRL_EXIT_MSR_LOAD_COUNT, 0x4010, "control exit MSR load count") \
    X(CTRL_ENTRY, 0x4012, "control entry") \
    X(CTRL_ENTRY_MSR_LOAD_COUNT, 0x4014, "control entry MSR load count") \
    X(CTRL_ENTRY_EVENT, 0x4016, "control entry event") \
    X(CTRL_ENTRY_EVENT_ERROR, 0x4018, "control entry event error") \
    X(CTRL_ENTRY_EVENT_LENGTH, 0x401a, "control entry event length") \
    X(CTRL_TPR_THRESHOLD, 0x401c, "control TPR threshold") \
    X(CTRL_PROC2, 0x401e, "control proc2") \
    X(CTRL_PLE_GAP, 0x4020, "control PLE gap") \
    X(CTRL_PLE_WINDOW, 0x4022, "control PLE window") \
    X(CTRL_INSTRUCTION_TIMEOUT, 0x4024, "control instruction timeout") \
    X(EXIT_INSTRUCTION_ERROR, 0x4400, "exit instruction error") \
    X(EXIT_REASON, 0x4402, "exit reason") \
    X(EXIT_EVENT, 0x4404, "exit event") \
    X(EXIT_EVENT_ERROR, 0x4406, "exit event error") \
    X(EXIT_IDT_VECTORING, 0x4408, "exit IDT vectoring") \
    X(EXIT_IDT_VECTORING_ERROR, 0x440a, "exit IDT vectoring error") \
    X(EXIT_INSTRUCTION_LENGTH, 0x440c, "exit instruction length") \
    X(EXIT_INSTRUCTION_INFO, 0x440e, "exit instruction info") \
    X(GUEST_ES_LIMIT, 0x4800, "guest ES limit") \
    X(GUEST_CS_LIMIT, 0x4802, "guest CS limit") \
    X(GUEST_SS_LIMIT, 0x4804, "guest SS limit") \
    X(GUEST_DS_LIMIT, 0x4806, "guest DS limit") \
    X(GUEST_FS_LIMIT, 0x4808, "guest FS limit") \
    X(GUEST_GS_LIMIT, 0x480a, "guest GS limit") \
    X(GUEST_LDTR_LIMIT, 0x480c, "guest LDTR limit") \
    X(GUEST_TR_LIMIT, 0x480e, "guest TR limit") \
    X(GUEST_GDTR_LIMIT, 0x4810, "guest GDTR limit") \
    X(GUEST_IDTR_LIMIT, 0x4812, "guest IDTR limit") \
    X(GUEST_ES_ACCESS, 0x4814, "guest ES access") \
    X(GUEST_CS_ACCESS, 0x4816, "guest CS access") \
    X(GUEST_SS_ACCESS, 0x4818, "guest SS access") \
    X(GUEST_DS_ACCESS, 0x481a, "guest DS access") \
    X(GUEST_FS_ACCESS, 0x481c, "guest FS access") \
    X(GUEST_GS_ACCESS, 0x481e, "guest GS access") \
    X(GUEST_LDTR_ACCESS, 0x4820, "guest LDTR access") \
    X(GUEST_TR_ACCESS, 0x4822, "guest TR access") \
    X(GUEST_INTERRUPTIBILITY, 0x4824, "guest interruptibility") \
    X(GUEST_ACTIVITY, 0x4826, "guest activity") \
    X(GUEST_SYSENTER_CS, 0x482a, "guest sysenter CS") \
    X(GUEST_PREEMPTION_TIMER, 0x482e, "guest preemption timer") \
    X(HOST_SYSENTER_CS, 0x4c00, "host sysenter CS") \
    X(CTRL_CR0_MASK, 0x6000, "control CR0 mask") \
    X(CTRL_CR4_MASK, 0x6002, "control CR4 mask") \
    X(CTRL_CR0_SHADOW, 0x6004, "control CR0 shadow") \
    X(CTRL_CR4_SHADOW, 0x6006, "control CR4 shadow") \
    X(EXIT_QUALIFICATION, 0x6400, "exit qualification") \
    X(EXIT_GUEST_LINEAR, 0x640a, "exit guest linear") \
    X(GUEST_CR0, 0x6800, "guest CR0") \
    X(GUEST_CR3, 0x6802, "guest CR3") \
    X(GUEST_CR4, 0x6804, "guest CR4") \
    X(GUEST_ES_BASE, 0x6806, "guest ES base") \
    X(GUEST_CS_BASE, 0x6808, "guest CS base") \
    X(GUEST_SS_BASE, 0x680a, "guest SS base") \
    X(GUEST_DS_BASE, 0x680c, "guest DS base") \
    X(GUEST_FS_BASE, 0x680e, "guest FS base") \
    X(GUEST_GS_BASE, 0x6810, "guest GS base") \
    X(GUEST_LDTR_BASE, 0x6812, "guest LDTR base") \
    X(GUEST_TR_BASE, 0x6814, "guest TR base") \
    X(GUEST_GDTR_BASE, 0x6816, "guest GDTR base") \
    X(GUEST_IDTR_BASE, 0x6818, "guest IDTR base") \
    X(GUEST_DR7, 0x681a, "guest DR7") \
    X(GUEST_RSP, 0x681c, "guest RSP") \
    X(GUEST_RIP, 0x681e, "guest RIP") \
    X(GUEST_RFLAGS, 0x6820, "guest RFLAGS") \
    X(GUEST_PENDING_DEBUG, 0x6822, "guest pending debug") \
    X(GUEST_SYSENTER_ESP, 0x6824, "guest sysenter ESP") \
    X(GUEST_SYSENTER_EIP, 0x6826, "guest sysenter EIP") \
    X(GUEST_S_CET, 0x6828, "guest S_CET") \
    X(GUEST_SSP, 0x682a, "guest SSP") \
    X(GUEST_INTERRUPT_SSP_TABLE, 0x682c, "guest interrupt SSP table") \
    X(HOST_CR0, 0x6c00, "host CR0") \
    X(HOST_CR3, 0x6c02, "host CR3") \
    X(HOST_CR4, 0x6c04, "host CR4") \
    X(HOST_FS_BASE, 0x6c06, "host FS base") \
    X(HOST_GS_BASE, 0x6c08, "host GS base") \
    X(HOST_TR_BASE, 0x6c0a, "host TR base") \
    X(HOST_GDTR_BASE, 0x6c0c, "host GDTR base") \
    X(HOST_IDTR_BASE, 0x6c0e, "host IDTR base") \
    X(HOST_SYSENTER_ESP, 0x6c10, "host sysenter ESP") \
    X(HOST_SYSENTER_EIP, 0x6c12, "host sysenter EIP") \
    X(HOST_RSP, 0x6c14, "host RSP") \
    X(HOST_RIP, 0x6c16, "host RIP") \
    X(HOST_S_CET, 0x6c18, "host S_CET") \
    X(HOST_SSP, 0x6c1a, "host SSP") \
    X(HOST_INTERRUPT_SSP_TABLE, 0x6c1c, "host interrupt SSP table")
/* clang-format on */

#define VMCS_ENUMERATOR(name, encoding, text) VMCS_##name = (encoding),
enum vmcs_field { VMCS_FIELDS(VMCS_ENUMERATOR) };

/* The n-th of fields that come in a row, as the segment registers' parts (in the order ES CS SS DS
 * FS GS LDTR TR), PDPTEs and EOI-exit bitmaps do: encodings of full fields are two apart. */
static inline enum vmcs_field field_of(enum vmcs_field first, unsigned n)
{
    return (enum vmcs_field)(first + 2 * n);
}

/* The field's name for a message ("guest CR0"); "unknown field" for a number that is none. */
const char *vmcs_field_name(uint32_t field);
