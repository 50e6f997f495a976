#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Everything that can be said of the sources without running them. Each check is one line at the
# end, `lint: NAME passed` or `lint: NAME failed`.
set -u
cd "$(dirname "$0")/.."

base="-std=c11 -ffreestanding -I. -Ibuild"
hypervisor="$base -mgeneral-regs-only -mcmodel=small"
loader="$base -fshort-wchar -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi -isystem /usr/include/efi/x86_64"

list() {
    find arch boot drivers guest mm vmx tests tools \( "$@" \) 2>/dev/null | sort
}
# The layout is clang-format 14's: others differ from it in a few places, so they are not asked.
check_format() {
    clang_format=$(command -v clang-format-14 || command -v clang-format)
    case $($clang_format --version) in
    *" version 14."*) list -name '*.[ch]' | xargs -r -n 50 -P "$(nproc)" "$clang_format" --dry-run -Werror ;;
    *) echo "lint: format not checked: this is not clang-format 14" ;;
    esac
}
# Files of one kind, with that kind's compiler flags, some at once. The analyser takes a second or more for each, so
# what it had nothing to say of is remembered: the file as the compiler sees it, what is asked, and who asks.
tidy() {
    flags=$1
    shift
    list "$@" | xargs -r -n 4 -P "$(nproc)" tools/tidy.sh "$flags"
}
check_tidy() {
    tidy "$hypervisor" -name '*.c' -not -name 'efi_*' -not -path 'tests/*' \
        -not -path 'guest/lib/*' -not -path 'guest/payloads/*' &&
        tidy "$loader" -path 'boot/efi_*.c'
}
# Functions under 60 lines are clang-tidy's to see; files under 600 are counted here.
check_sizes() {
    list -name '*.c' -o -name '*.h' -o -name '*.asm' | grep -v ^tests/ | xargs -r wc -l |
        awk '$1 > 600 && $2 != "total" { print $2 ": " $1 " lines; at most 600"; bad = 1 } END { exit bad }'
}
# The keys in README.md are those of the parser.
check_keys() {
    make -s build/check_config >/dev/null && sed -n '/^| key | value/,/^$/p' README.md | sed '$d' >build/keys.md &&
        build/check_config --table | diff build/keys.md -
}
# Names that are not defined, in code that only a long test runs, and imports that nothing uses.
check_python() {
    if command -v pyflakes3 >/dev/null; then
        { list -name '*.py' && echo tools/nadir; } | xargs pyflakes3
    else
        echo "lint: Python not checked: there is no pyflakes3"
    fi
}
status=0
run() {
    name=$1
    shift
    if "$@"; then
        echo "lint: $name passed"
    else
        echo "lint: $name failed"
        status=1
    fi
}
run format check_format
run tidy check_tidy
run includes tools/check_includes.py
run headers tools/check_headers.sh
run sizes check_sizes
run keys check_keys
run readmes tools/check_readmes.py
run python check_python
exit $status
