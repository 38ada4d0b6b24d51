# attar new: every golden checkpoint of a known family gives a file that passes verify; another one a skeleton that passes check.
. tests/cli/lib.sh

# Every checkpoint of the golden folders: what is made from it reads all of it.
for config in tests/golden/*/config.json; do
    folder=$(dirname "$config") name=$(basename "$(dirname "$config")")
    [ -e "$folder/model.safetensors" ] || [ -e "$folder/model.safetensors.index.json" ] || continue
    grep -q '"model_type"' "$config" || continue
    expect 0 "new from $name" "$attar" new Made --from "$folder" -o "$work/$name.attar"
    expect 0 "check what was made from $name" "$attar" check "$work/$name.attar" --weights "$folder"
    says out "check what was made from $name" 'Made is sound'
done
# What cases.txt runs with a model file and nothing else is a family that has to be found, and whose file runs at once.
while read -r folder model options; do
    case $folder$model$options in '' | '#'* | *:* | *--*) continue ;; esac
    grep -qs '"model_type"' tests/golden/$folder/config.json || continue
    # Under the name that it has there its code is the same, and what the models' own tests compiled is used.
    own=$(sed -n 's/^model \([A-Za-z0-9_]*\)(.*/\1/p' "models/$model.attar" | head -n 1)
    expect 0 "the family of $folder" "$attar" new "$own" --from tests/golden/$folder -o "$work/$folder.attar" --force
    grep -q "of models/$model.attar; every tensor is read" "$work/out" && pass || fail "$folder is not known: add a row to driver/families.def"
    expect 0 "verify $folder" "$attar" verify "$work/$folder.attar" --weights tests/golden/$folder --golden tests/golden/$folder/golden.safetensors
    says out "verify $folder" 'PASS$'
done <tests/golden/cases.txt
expect 0 "another name" "$attar" new Mine_2 --from tests/golden/bert -o -
says out "another name" '^model Mine_2('
expect 0 "like" "$attar" new Made --from tests/golden/bert --like minilm -o -
says out "like" '^# all-MiniLM'

# The same checkpoints as families nobody knows: another model_type, and other names of scopes and keys.
strange() {
    mkdir -p "$work/$2"
    LC_ALL=C sed 's/"model_type": "[^"]*"/"model_type": "strange"/; s/intermediate_size/inner_strange_sz/' "tests/golden/$1/config.json" >"$work/$2/config.json"
    LC_ALL=C sed "$3" "tests/golden/$1/model.safetensors" >"$work/$2/model.safetensors"
    expect 0 "new from $2" "$attar" new Odd --from "$work/$2" -o "$work/$2.attar"
    says out "new from $2" 'a skeleton'
    expect 0 "check $2" "$attar" check "$work/$2.attar" --weights "$work/$2"
    says out "check $2" 'Odd is sound.*checked against'
    expect 0 "ir of $2" "$attar" ir "$work/$2.attar" --weights "$work/$2"
}
strange bert strange-bert '1s/encoder\.layer/netting\.cells/g; 1s/intermediate/widening____/g'
says out "layers stay rolled" 'repeat'
grep -q 'repeat i < L at "netting.cells.{i}" { x = Cell(x) }' "$work/strange-bert.attar" && pass || fail "layers of a skeleton are a repeat"
grep -q 'widening____ = linear\|dense = linear(x, "widening____.dense", inner_strange_sz)' "$work/strange-bert.attar" && pass || fail "sizes of a skeleton have the config's names"
strange gpt2 strange-gpt2 '1s/c_attn/joint_/g; 1s/ln_1/norm/g'
grep -q 'default linear(bias=true, order="in,out")' "$work/strange-gpt2.attar" && pass || fail "matrices stored in,out are seen"
strange deepseek-v3-dense strange-deepseek '1s/self_attn/awareness/g'
expect 3 "a skeleton notices another checkpoint" "$attar" check "$work/strange-bert.attar" --weights tests/golden/bert --config "$work/strange-bert/config.json"

# A file that exists, folders that lack something, names that are none.
echo mine >"$work/kept.attar"
expect 4 "exists" "$attar" new Made --from tests/golden/bert -o "$work/kept.attar"
says err "exists" 'E1011'
[ "$(cat "$work/kept.attar")" = mine ] && pass || fail "a file that exists is kept"
expect 0 "force" "$attar" new Made --from tests/golden/bert -o "$work/kept.attar" --force
mkdir "$work/bare" "$work/unconfigured"
cp tests/golden/bert/model.safetensors "$work/unconfigured"
cp tests/golden/bert/config.json "$work/bare"
expect 3 "no tensors" "$attar" new Made --from "$work/bare" -o "$work/none.attar"
expect 3 "no config" "$attar" new Made --from "$work/unconfigured" -o "$work/none.attar"
says err "no config" 'E0444'
mkdir "$work/empty"
cp tests/golden/bert/config.json "$work/empty"
printf '\002\000\000\000\000\000\000\000{}' >"$work/empty/model.safetensors"
expect 3 "a checkpoint without tensors" "$attar" new Made --from "$work/empty" -o "$work/none.attar"
says err "a checkpoint without tensors" 'E0443'
mkdir "$work/quoted"
cp tests/golden/bert/config.json "$work/quoted"
LC_ALL=C sed '1s/attention\.self/attention..elf/g' tests/golden/bert/model.safetensors >"$work/quoted/model.safetensors"
expect 3 "names that are no paths" "$attar" new Made --from "$work/quoted" -o "$work/none.attar"
says err "names that are no paths" 'E0443'
[ ! -e "$work/none.attar" ] && pass || fail "nothing is written after an error"
expect 3 "like another family" "$attar" new Made --from tests/golden/bert --like gpt2 -o "$work/none.attar"
expect 1 "like nothing" "$attar" new Made --from tests/golden/bert --like brt -o "$work/none.attar"
says err "like nothing" 'did you mean `bert`'
expect 1 "the name of a block" "$attar" new Layer --from tests/golden/bert -o "$work/none.attar"
says err "the name of a block" 'declared twice'
expect 2 "no name" "$attar" new --from tests/golden/bert
expect 2 "no checkpoint" "$attar" new Made
expect 2 "a name that is none" "$attar" new 3d --from tests/golden/bert
finish
