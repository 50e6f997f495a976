#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Starts a configuration in an emulator that waits, and gdb on it with Nadir's symbols, stopped at the
# hypervisor's first instruction. The console goes to build/gdb-console.log.
#   tools/gdb.sh CFG [options of `nadir run`]      ends both when gdb ends
set -eu

cfg=$(realpath -- "${1:?usage: tools/gdb.sh CFG [options]}")
shift
cd "$(dirname "$0")/.."
case " $* " in
*qemu*) ;;
*) tools/bochs_build.sh gdb >/dev/null ;;
esac
console=build/gdb-console.log
echo "gdb: the machine's console goes to $console"
tools/nadir run "$cfg" --gdb --timeout 86400 "$@" >"$console" 2>&1 </dev/null &
machine=$!
trap 'kill $machine 2>/dev/null || true' EXIT
# gdb itself tries again for a while, until the emulator listens.
gdb -q build/nadir.elf -ex "set confirm off" -ex "set trust-readonly-sections on" -ex "set architecture i386:x86-64" \
    -ex "target remote localhost:1234" -ex "break nadir_entry" -ex "continue" ${GDBFLAGS:-}
