#!/bin/sh
# Installs the Debian packages that are missing, then configures (once) and builds.
#
#     sh scripts/prepare.sh BUILD_DIR TARGET [CMAKE_OPTION...]
#
# With everything installed and built this takes a fraction of a second. Installing needs root or sudo.
set -eu
cd "$(dirname "$0")/.."
build=$1 target=$2
shift 2

packages="clang-19 libclang-rt-19-dev llvm-19-dev zlib1g-dev libzstd-dev libstdc++-12-dev flex bison cmake make ninja-build pkg-config libjansson-dev libxxhash-dev check gcc libc6-dev liblapacke-dev liblapack-dev libblas-dev libgfortran-12-dev"

install_missing() {
    installed=" $(dpkg-query -W -f='${Package}=${db:Status-Status} ' $packages 2>/dev/null || true)"
    missing=
    for package in $packages; do
        case $package in
        pkg-config) command -v pkg-config >/dev/null && continue ;;
        esac
        case $installed in
        *" $package=installed "*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "these packages are missing, and installing them needs root:$missing" >&2; exit 4; }
        as_root=sudo
    fi
    echo "installing:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"${TMPDIR:-/tmp}/attar-install.$$" 2>&1 || {
        cat "${TMPDIR:-/tmp}/attar-install.$$" >&2
        echo "the packages could not be installed" >&2
        exit 4
    }
    rm -f "${TMPDIR:-/tmp}/attar-install.$$"
}

if command -v dpkg-query >/dev/null; then
    install_missing
fi
# What the tools say is shown only if they fail.
quietly() {
    log=$(mktemp)
    "$@" >"$log" 2>&1 || { status=$?; cat "$log" >&2; rm -f "$log"; exit $status; }
    rm -f "$log"
}
[ -f "$build/build.ninja" ] || quietly cmake -S . -B "$build" -G Ninja "$@"
case $(ninja -C "$build" -n "$target" 2>/dev/null) in
*"no work to do"*) ;;
*)
    echo "building $target in $build" >&2
    quietly ninja -C "$build" "$target"
    ;;
esac
