# --target: every name gives C for its machines, other names get the list, and nothing is run that this machine cannot run.
. tests/cli/lib.sh

golden=tests/golden/bert
set -- models/bert.attar --weights $golden

expect 4 "an unknown target" "$attar" emit "$@" --target arm
says err "an unknown target" 'E0850.*`arm`'
known=$(sed -n 's/.*known target: \([^ ]*\) .*/\1/p' "$work/err")
[ "$(echo $known)" = "x86-64-v4 x86-64-v3 x86-64 aarch64 riscv64 wasm32 generic scalar" ] && pass || fail "the list of targets: $known"
says err "an unknown target" 'native. is '
native=$(sed -n 's/.*`native` is \(.*\) here/\1/p' "$work/err")

for target in $known; do
    expect 0 "emit for $target" "$attar" emit "$@" --target "$target"
    says out "emit for $target" "for $target ("
    "$attar" emit "$@" --target "$target" 2>"$work/err" | cmp -s "$work/out" - && pass || fail "emit for $target: other text the second time"
done
expect 0 "emit for native" "$attar" emit "$@" --target native
says out "emit for native" "for $native ("

# What cannot run here is not run; x86-64-v4 where there is AVX-512 and not otherwise.
for target in wasm32 $([ "$native" = x86-64-v4 ] || echo x86-64-v4); do
    expect 4 "run $target" "$attar" verify "$@" --golden $golden/golden.safetensors --target "$target"
    says err "run $target" "E0851.*$target"
    says err "run $target" "help:.*emit --target $target"
done
expect 0 "run generic" "$attar" verify "$@" --golden $golden/golden.safetensors --target generic
says out "run generic" 'PASS$'
finish
