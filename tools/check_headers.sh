#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks that each header compiles alone, so that none needs another one before it.
#   tools/check_headers.sh             all, as many at once as there are CPUs
#   tools/check_headers.sh HEADER...   these
set -eu
cd "$(dirname "$0")/.."

if [ $# = 0 ]; then
    find arch boot drivers guest mm vmx tests -name '*.h' | sort | xargs -r -n 20 -P "$(nproc)" tools/check_headers.sh
    exit
fi
wrong=0
for header; do
    flags="-std=c11 -ffreestanding -mgeneral-regs-only -Wall -Wextra -Werror -I. -Ibuild"
    case $header in
    boot/efi_*) flags="$flags -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi
        -isystem /usr/include/efi/x86_64" ;;
    guest/lib/* | guest/payloads/* | guest/labs/*) flags="$flags -Iguest/lib" ;;
    tests/*) flags="$flags -fhosted" ;;
    esac
    # shellcheck disable=SC2086
    printf '#include "%s"\nextern int nothing_else;\n' "$header" |
        gcc $flags -x c -fsyntax-only - || {
        echo "$header: does not compile alone"
        wrong=$((wrong + 1))
    }
    grep -q '^#pragma once' "$header" || {
        echo "$header: no #pragma once"
        wrong=$((wrong + 1))
    }
done
echo "headers alone: $# headers, $wrong wrong"
[ "$wrong" -eq 0 ]
