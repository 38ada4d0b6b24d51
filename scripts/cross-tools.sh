#!/bin/sh
# Installs what the tests of emitted C for other machines need (130 MB): cross compilers for aarch64 and riscv64, qemu, and for
# WebAssembly a linker, a C library and node; and tcc, a compiler without vectors. Without them those tests are skipped. Needs root or sudo.
#
#     sh scripts/cross-tools.sh
#     sh scripts/cross-tools.sh chromium      and the browser in which the page of examples/web is tested (210 MB to fetch)
set -eu
packages="$* gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user lld-19 wasi-libc libclang-rt-19-dev-wasm32 tcc"
command -v node >/dev/null || packages="$packages nodejs"
installed=$(dpkg-query -W -f='${db:Status-Status}\n' $packages 2>/dev/null | grep -c '^installed$' || true)
[ "$installed" != "$(echo $packages | wc -w)" ] || exit 0
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
