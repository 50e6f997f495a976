#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds Bochs without its debugger (five times as fast as the packaged one) into the user's cache,
# once, and prints the program's path. The source is Debian's, fetched from this machine's own mirror.
#   tools/bochs_build.sh           the fast one, which runs everything
#   tools/bochs_build.sh gdb       with the stub for gdb (one processor only)
set -eu

version=3.0
tarball=bochs_3.0+dfsg.orig.tar.xz
sum=78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b
variant=${1:-fast}
account=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
if [ -z "${XDG_CACHE_HOME:-$account}" ]; then
    echo "bochs: there is no home folder to keep it in: set HOME or XDG_CACHE_HOME" >&2
    exit 1
fi
cache=${XDG_CACHE_HOME:-$account/.cache}/nadir
home=$cache/bochs-$version-5/$variant # -5: with the corrections below; tools/nadirlib/machine.py knows the name

case $variant in
fast) variant_flags="--enable-smp --disable-gdb-stub" ;;
gdb) variant_flags="--enable-gdb-stub" ;;
*)
    echo "usage: $0 [fast|gdb]" >&2
    exit 2
    ;;
esac

if [ -x "$home/bochs" ]; then
    echo "$home/bochs"
    exit 0
fi

# Any suite's pool holds every suite's files, so the first mirror that has the file will do.
fetch_source() {
    mirrors=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sort -u)
    for mirror in $mirrors; do
        echo "bochs: looking for $tarball in ${mirror}pool" >&2
        if /usr/lib/apt/apt-helper download-file "${mirror}pool/main/b/bochs/$tarball" \
            "$cache/$tarball.part" "SHA256:$sum" >&2; then
            mv "$cache/$tarball.part" "$cache/$tarball"
            return 0
        fi
    done
    return 1
}

# One build at a time: each would take all CPUs, and the second has then only to look.
mkdir -p "$cache"
exec 9>"$cache/bochs.lock"
if ! flock -n 9; then
    echo "bochs: another build is running, waiting" >&2
    flock 9
fi
if [ -x "$home/bochs" ]; then
    echo "$home/bochs"
    exit 0
fi
if ! echo "$sum  $cache/$tarball" | sha256sum --check --status 2>/dev/null; then
    fetch_source || {
        echo "bochs: no mirror has the source of Bochs $version" >&2
        exit 1
    }
fi

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
echo "bochs: building Bochs $version ($variant), once, for about two minutes; its log is $cache/bochs-$variant.log" >&2
tar -xJf "$cache/$tarball" -C "$work" --strip-components=1
cd "$work"
# With several processors Bochs 3.0 forgets, after an exception, to note where the handler begins. A VM exit
# that comes right then reports the old RIP: a guest goes on in the wrong place. One processor notes it.
sed -i '/^void BX_CPU_C::cpu_run_trace(void)$/,/^{$/ s/^{$/{\
  BX_CPU_THIS_PTR prev_rip = RIP;\
  BX_CPU_THIS_PTR speculative_rsp = false;/' cpu/cpu.cc
if ! grep -q '^  BX_CPU_THIS_PTR prev_rip = RIP;$' cpu/cpu.cc; then
    echo "bochs: cpu/cpu.cc is not as expected" >&2
    exit 1
fi
# Its stub for gdb would stop, for no reason that it can tell, at each exception and VM exit.
sed -i 's/if (gdbstub_instruction_epilog() || bx_dbg.gdbstub_enabled) return;/if (gdbstub_instruction_epilog()) return;/' cpu/cpu.cc
if grep -q 'bx_dbg.gdbstub_enabled) return;' cpu/cpu.cc; then
    echo "bochs: cpu/cpu.cc is not as expected" >&2
    exit 1
fi
# The protocol's registers do not tell in which mode the CPU is: `monitor mode` does, for tools/gdb_modes.py.
cat >mode.inc <<'CODE'
        else if (strncmp(&buffer[1], "Rcmd,6d6f6465", 13) == 0) /* "mode" */
        {
          const bx_segment_reg_t *cs = &BX_CPU_THIS_PTR sregs[BX_SEG_REG_CS];
          char text[400];
          sprintf(text, "BITS=%d GUEST=%d CS=%x CSBASE=%llx CR0=%llx CR2=%llx CR3=%llx CR4=%llx EFER=%llx\n",
                  BX_CPU_THIS_PTR cpu_mode == BX_MODE_LONG_64 ? 64 : cs->cache.u.segment.d_b ? 32 : 16,
                  BX_CPU_THIS_PTR in_vmx_guest, cs->selector.value,
                  (unsigned long long)cs->cache.u.segment.base,
                  (unsigned long long)BX_CPU_THIS_PTR cr0.get32(), (unsigned long long)BX_CPU_THIS_PTR cr2,
                  (unsigned long long)BX_CPU_THIS_PTR cr3, (unsigned long long)BX_CPU_THIS_PTR cr4.get32(),
                  (unsigned long long)BX_CPU_THIS_PTR efer.get32());
          mem2hex((const Bit8u*)text, obuf, strlen(text));
          put_reply(obuf);
        }
CODE
awk '/strncmp\(&buffer\[1\], "Supported"/ { while ((getline line < "mode.inc") > 0) print line } { print }' \
    gdbstub.cc >gdbstub.new
mv gdbstub.new gdbstub.cc
if ! grep -q 'Rcmd,6d6f6465' gdbstub.cc; then
    echo "bochs: gdbstub.cc is not as expected" >&2
    exit 1
fi
# An interrupt of the host that comes while the guest has one of its own waiting, and interrupts off, would
# put the guest's through at once: it asks whether one is pending, not whether it may be delivered.
sed -i 's/if (is_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR))/if (is_unmasked_event_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR))/' \
    cpu/event.cc
if ! grep -q 'if (is_unmasked_event_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR))' cpu/event.cc; then
    echo "bochs: cpu/event.cc is not as expected" >&2
    exit 1
fi
# A notification of posted interrupts that finds none, because the hypervisor has just taken them itself,
# would deliver vector 255.
sed -i 's/  vector = BX_CPU_THIS_PTR lapic->highest_priority_int(virr);/  int highest = BX_CPU_THIS_PTR lapic->highest_priority_int(virr);/
    /int highest = /,/^}/s/  if (vector >= vm->rvi) vm->rvi = vector;/  if (highest >= (int) vm->rvi) vm->rvi = (Bit8u) highest;/' cpu/vapic.cc
if ! grep -q '^  int highest = ' cpu/vapic.cc || ! grep -q '^  if (highest >= (int) vm->rvi)' cpu/vapic.cc; then
    echo "bochs: cpu/vapic.cc is not as expected" >&2
    exit 1
fi
# A VM entry or exit may switch CR4.LA57, which MOV to CR4 in long mode may not; the width of linear addresses
# goes with it. What a VMCS field or an MSR may hold goes by what the CPU has, not by what is on.
sed -i 's/^  if (! check_CR4(\(guest\.\|host_state->\)cr4)) {$/  BX_CPU_THIS_PTR cr4.set_LA57((\1cr4 \& BX_CR4_LA57_MASK) != 0);\
  BX_CPU_THIS_PTR linaddr_width = BX_CPU_THIS_PTR cr4.get_LA57() ? 57 : 48;\
&/' cpu/vmx.cc
sed -i '/^#include "msr.h"$/a\
#define IsCanonical(a) IsCanonicalToWidth(a, is_cpu_extension_supported(BX_ISA_LA57) ? 57 : 48)' cpu/vmx.cc cpu/msr.cc
if [ "$(grep -c '^  BX_CPU_THIS_PTR cr4.set_LA57(' cpu/vmx.cc)" != 2 ] ||
    ! grep -q '^#define IsCanonical(a)' cpu/vmx.cc || ! grep -q '^#define IsCanonical(a)' cpu/msr.cc; then
    echo "bochs: cpu/vmx.cc and cpu/msr.cc are not as expected" >&2
    exit 1
fi
# Which interrupts are held back goes by RFLAGS.IF and by where the CPU is: a VM exit and an entry change that,
# too. Else an interrupt that comes soon after an exit is delivered though the hypervisor has IF clear, and one
# that it holds back is not seen by a guest with IF clear.
sed -i 's/^  BX_CPU_THIS_PTR in_vmx_guest = true;$/&\
  handleInterruptMaskChange();/
/avoid setEFlags side effects/,/clearEFlagsOSZAPC/s/^  clearEFlagsOSZAPC();$/&\
  handleInterruptMaskChange();/' cpu/vmx.cc
if [ "$(grep -c '^  handleInterruptMaskChange();$' cpu/vmx.cc)" != 2 ]; then
    echo "bochs: cpu/vmx.cc is not as expected" >&2
    exit 1
fi
# Several processors: after an exception or a VM exit, which end in longjmp(), the loop over them goes on with what its
# variables were at setjmp(), so that processor 0 is charged an instruction for it, and loses its STI shadow.
sed -i 's/^        Bit32u executed = 0, processor = 0;$/        static Bit32u executed = 0, processor = 0;/' main.cc
if ! grep -q '^        static Bit32u executed = 0, processor = 0;$' main.cc; then
    echo "bochs: main.cc is not as expected" >&2
    exit 1
fi
# shellcheck disable=SC2086
if ! {
    ./configure CFLAGS="-O2 -pipe" CXXFLAGS="-O2 -pipe" \
        --enable-cpu-level=6 --enable-x86-64 --enable-vmx=2 --enable-all-optimizations \
        --enable-avx --enable-evex --enable-cet --enable-memtype --enable-pci --enable-usb \
        --enable-usb-xhci --enable-e1000 --with-nogui --disable-debugger --disable-show-ips \
        --disable-docbook $variant_flags &&
        make -j"$(nproc)" bochs
} >"$cache/bochs-$variant.log" 2>&1; then
    echo "bochs: the build failed; the end of $cache/bochs-$variant.log:" >&2
    tail -n 15 "$cache/bochs-$variant.log" >&2
    exit 1
fi
mkdir -p "$home"
strip -o "$home/bochs.new" bochs
mv "$home/bochs.new" "$home/bochs"
echo "$home/bochs"
