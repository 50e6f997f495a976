#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Starts a configuration in an emulator that waits, and gdb on it with Nadir's symbols, stopped at the
# hypervisor's first instruction. The console goes to build/gdb-console.log.
#   tools/gdb.sh CFG [options of `nadir run`]      ends both when gdb ends
set -eu

cfg=$(realpath -- "${1:?usage: tools/gdb.sh CFG [options]}")
shift
cd "$(dirname "$0")/.."
# Its own Bochs is built where that is taken: by one of its options, or for a VM that is to have VT-x.
needs_bochs() {
    case " $* " in
    *" --on qemu "* | *" --on=qemu "* | *" --usb "*) return 1 ;;
    *" --on bochs "* | *" --on=bochs "* | *" --model"* | *" --strict "* | *" --no-real-time "*) return 0 ;;
    esac
    grep -Eqs "^[[:space:]]*engine[[:space:]]*=[[:space:]]*[\"']?vtx" -- "$cfg"
}
if needs_bochs "$@"; then
    tools/bochs_build.sh gdb >/dev/null
fi
console=build/gdb-console.log
echo "gdb: the machine's console goes to $console"
listens() {
    grep -qs ':04D2 .* 0A ' /proc/net/tcp /proc/net/tcp6 # port 1234
}
if listens; then
    echo "gdb: port 1234 is taken: is another machine waiting for gdb?" >&2
    exit 1
fi
# In a session of its own: Ctrl-C is for gdb, and would end Bochs.
setsid tools/nadir run "$cfg" --gdb --timeout 86400 "$@" >"$console" 2>&1 </dev/null &
machine=$!
trap 'kill $machine 2>/dev/null || true' EXIT
trap 'exit 1' HUP TERM
trap : INT # or else the shell would end without the first of these
until listens; do
    kill -0 $machine 2>/dev/null || {
        cat "$console" >&2
        exit 1
    }
    sleep 0.2
done
# Before Nadir is loaded, what a breakpoint writes into memory would be lost in QEMU; and Bochs tells of a stop as INT3
# does, behind a byte, which gdb knows only of such breakpoints.
first=thbreak
if grep -q "^\[starting Bochs" "$console"; then
    first=tbreak
fi
# All symbols at once, or else it does not find functions that are inlined everywhere.
gdb -q -readnow build/nadir.elf -ex "set confirm off" -ex "set trust-readonly-sections on" -ex "set architecture i386:x86-64" \
    -x tools/gdb_modes.py -ex "target remote localhost:1234" -ex "$first nadir_entry" -ex "continue" ${GDBFLAGS:-}
