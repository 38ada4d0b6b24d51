# The memory that `attar report` promises holds: the most that the process of a run had is not above it, and not under half of it.
. tests/cli/lib.sh

if grep -qa __asan_init "$attar"; then
    echo "skipped: a sanitized process has shadow memory"
    exit 0
fi

# field NAME: of the last object in $work/out that has it.
field() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/out" | tail -1; }

# holds TITLE THREADS "MODEL AND WEIGHTS" "SIZES" INPUTS...
holds() {
    what=$1 threads=$2 source=$3 sizes=$4
    shift 4
    # shellcheck disable=SC2086
    expect 0 "report of $what" "$attar" report $source $sizes --json
    promised=$(field peak) thread=$(field thread)
    promised=$((promised + (threads - 1) * thread))
    # shellcheck disable=SC2086
    expect 0 "run of $what" "$attar" run $source "$@" --threads "$threads" --timing --json
    measured=$(field peak_bytes)
    [ "$measured" -gt 1000000 ] && [ "$measured" -le "$promised" ] && [ $((2 * measured)) -ge "$promised" ] && pass ||
        fail "$what on $threads threads: $promised bytes promised, $measured measured"
}

for model in bert gpt2 llama; do
    holds $model 1 "models/$model.attar --weights tests/golden/$model" "" --input tests/golden/$model/golden.safetensors
    holds $model 3 "models/$model.attar --weights tests/golden/$model" "" --input tests/golden/$model/golden.safetensors
done

echo '{"vocab_size": 16384, "hidden_size": 512, "intermediate_size": 8192}' >"$work/config.json"
# Weights of zeros, 67 MB of them: a table of which a run reads some rows, and two products; 16 MB of values.
cat >"$work/large.attar" <<'MODEL'
config "config.json" { V = vocab_size; D = hidden_size; F = intermediate_size }
model Large(ids: i32[B, S]) -> (y: f32[B, S, D]) {
  x = embed(ids, "table", V, D)
  h = linear(x, "up", F, bias=false) |> gelu()
  return linear(h, "down", D, bias=false)
}
MODEL
header='{"table.weight":{"dtype":"F32","shape":[16384,512],"data_offsets":[0,33554432]},'
header=$header'"up.weight":{"dtype":"F32","shape":[8192,512],"data_offsets":[33554432,50331648]},'
header=$header'"down.weight":{"dtype":"F32","shape":[512,8192],"data_offsets":[50331648,67108864]}}'
while [ $((${#header} % 8)) != 0 ]; do header="$header "; done
# shellcheck disable=SC2059
{
    printf "\\$(printf %03o $((${#header} % 256)))\\$(printf %03o $((${#header} / 256)))\\000\\000\\000\\000\\000\\000"
    printf %s "$header"
    head -c 67108864 /dev/zero
} >"$work/large.safetensors"

# ids FILE COUNT: so many elements, all different, as .npy.
ids() {
    shape="{'descr': '<i4', 'fortran_order': False, 'shape': (1, $2), }"
    while [ $(((${#shape} + 11) % 64)) != 0 ]; do shape="$shape "; done
    # shellcheck disable=SC2059
    {
        printf '\223NUMPY\001\000'
        printf "\\$(printf %03o $(((${#shape} + 1) % 256)))\\$(printf %03o $(((${#shape} + 1) / 256)))"
        printf '%s\n' "$shape"
        printf "$(awk -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf "\\%03o\\%03o\\000\\000", i % 256, int(i / 256) }')"
    } >"$1"
}
for length in 8 500; do
    ids "$work/ids.npy" $length
    holds "large weights, S=$length" 2 "$work/large.attar --weights $work/large.safetensors --config $work/config.json" "--dim B=1 --dim S=$length" --input "ids=$work/ids.npy"
done

# Sizes that no machine has are no reason to be wrong.
echo 'model Sum(x: f32[B, S, E]) -> (y: f32[B, S, E]) { return gelu(x) + x }' >"$work/sum.attar"
huge=2147483647
expect 0 "report of what cannot be" "$attar" report "$work/sum.attar" --dim B=$huge --dim S=$huge --dim E=$huge --json
[ "$(field peak)" = 9223372036854775807 ] && [ "$(field tensors)" = 9223372036854775807 ] && pass || fail "a peak of $(field peak) bytes"
finish
