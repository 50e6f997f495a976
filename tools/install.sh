#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs the Debian packages that Nadir's build, tests and demo need, if any is missing.
# Asks nothing of the network, and says nothing, when all are there.
set -eu

packages="build-essential nasm gnu-efi acpica-tools
    clang clang-format clang-tidy pyflakes3 libcmocka-dev libzydis-dev gdb
    python3 python3-clang python3-pytest python3-pytest-xdist python3-pexpect
    ovmf qemu-system-x86 bochs bochsbios vgabios
    mtools gdisk dosfstools gzip lz4 zstd stress-ng xz-utils
    busybox-static"

if ! command -v dpkg-query >/dev/null; then
    echo "nadir: this is not Debian: install by hand what is missing of:" $packages >&2
    exit 0
fi
# clang's runtime, which holds its sanitizers and fuzzer, is a package with clang's number in its name.
clang_runtime() {
    major=$(clang --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
    [ -z "$major" ] || echo "libclang-rt-$major-dev"
}
is_there() {
    dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed'
}
list_missing() {
    for package in $packages $(clang_runtime); do
        is_there "$package" || echo "$package"
    done
    # Any of Bochs's displays will do, but the default one brings a whole desktop along.
    is_there bochs || echo bochs-term
}

missing=$(list_missing)
[ -n "$missing" ] || exit 0
sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "nadir: run as root, or install these packages:" $missing >&2
        exit 1
    fi
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
echo "nadir: installing" $missing
# A fresh machine has no package lists yet, and an old one may name files that are gone.
$sudo apt-get update -q || echo "nadir: apt-get update failed; trying with the lists that are there" >&2
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
missing=$(list_missing) # clang's runtime, now that there is a clang
[ -z "$missing" ] ||
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
