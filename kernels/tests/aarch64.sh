#!/bin/sh
# Builds the library for 64-bit ARM and runs its tests under qemu-user:   tests/aarch64.sh BUILD_DIR
#
# The cross compiler and qemu are installed where that can be done without asking (root on Debian or Ubuntu; not with
# BINCOMPRESS_INSTALL=no). Where they are missing in the end, it prints why and succeeds.
set -eu
build=$1
kernels=$(cd "$(dirname "$0")/.." && pwd)
packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

skip() {
    echo "SKIP: NEON under qemu: $1"
    exit 0
}

have_tools() {
    command -v aarch64-linux-gnu-gcc >/dev/null &&
        { command -v qemu-aarch64 || command -v qemu-aarch64-static; } >/dev/null
}

install_tools() {
    [ "${BINCOMPRESS_INSTALL:-yes}" != no ] || skip "BINCOMPRESS_INSTALL=no, and one of $packages is missing"
    command -v apt-get >/dev/null || skip "no apt-get; it needs aarch64-linux-gnu-gcc and qemu-aarch64"
    [ "$(id -u)" = 0 ] || skip "not root; as root: apt-get install $packages"
    echo "installing $packages (BINCOMPRESS_INSTALL=no keeps from it)"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # one word per package
    if ! { timeout 120 apt-get -q -o Acquire::Retries=0 update &&
        timeout 600 apt-get -q install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -n 3 "$log"
        rm -f "$log"
        skip "apt-get cannot install $packages"
    fi
    rm -f "$log"
}

case $(uname -sm) in
"Linux aarch64") skip "this machine is one, the plain tests ran NEON itself" ;;
Linux*) ;;
*) skip "qemu-user runs on Linux only" ;;
esac
have_tools || install_tools
have_tools || skip "aarch64-linux-gnu-gcc or qemu-aarch64 is not on the PATH"

cmake -S "$kernels" -B "$build" --toolchain "$kernels/cmake/aarch64.cmake" -DBC_WERROR=ON
cmake --build "$build"
ctest --output-on-failure --parallel 2 --test-dir "$build"
