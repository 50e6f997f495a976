#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# clang-tidy for files that have changed since it had nothing to say of them, in any checkout: what it has seen is kept
# where Bochs and kernels are, by a hash of all that it goes by.
#   tools/tidy.sh FLAGS FILE...        the compiler's flags, as one word
set -u
cd "$(dirname "$0")/.."
flags=$1
shift
account=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
cache=${XDG_CACHE_HOME:-${account:+$account/.cache}}
seen_files=${cache:-build}/nadir/tidy
mkdir -p "$seen_files"
status=0
for file; do
    # shellcheck disable=SC2086
    seen=$({ cat .clang-tidy && clang-tidy --version && echo "$file $flags" && clang $flags -E -C "$file"; } |
        sha256sum | cut -c 1-40)
    if [ ! -e "$seen_files/$seen" ]; then
        # shellcheck disable=SC2086
        if clang-tidy --quiet "$file" -- $flags 2>/dev/null; then
            : >"$seen_files/$seen"
        else
            status=1
        fi
    fi
done
exit $status
