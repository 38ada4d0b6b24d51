# Verbs, options, help, exit statuses, suggestions, colour, messages as JSON.
. tests/cli/lib.sh
bert="models/bert.attar --weights tests/golden/bert"

expect 2 "no verb" "$attar"
expect 0 "help" "$attar" help
says out "help" 'attar verify'
expect 0 "--help" "$attar" --help
expect 0 "--version" "$attar" --version
says out "--version" '^attar [0-9]'
expect 2 "mistyped verb" "$attar" verfy
says err "mistyped verb" 'did you mean .verify.'
for verb in run verify generate new check ir opt emit report diff tune bench inspect expand extract-lora doctor cache ops explain passes; do
    expect 0 "help $verb" "$attar" help $verb
    says out "help $verb" "  attar $verb"
    expect 0 "$verb --help" "$attar" $verb --help
done
expect 2 "help on nothing" "$attar" help nothing

expect 2 "mistyped option" "$attar" run $bert --thraeds 2
says err "mistyped option" 'did you mean `--threads`'
expect 2 "an option's value is no option" "$attar" generate models/llama.attar --prompt --wieghts --weigths x
says err "an option's value is no option" '`--weigths`'
expect 2 "no model" "$attar" run
expect 2 "two models" "$attar" check models/bert.attar models/gpt2.attar
expect 2 "threads 0" "$attar" run $bert --threads 0
expect 2 "threads x" "$attar" run $bert --threads x
expect 2 "dim without size" "$attar" diff $bert --dim B
expect 2 "unknown pass" "$attar" emit $bert --pass fuse-atention=off
says err "unknown pass" 'fuse-attention'
expect 2 "a pass that has to run" "$attar" emit $bert --pass lower=off
expect 2 "no prompt" "$attar" generate models/llama.attar --weights models/austen
expect 2 "no golden" "$attar" verify $bert
expect 2 "cache without a word" "$attar" cache
expect 2 "colour" "$attar" check $bert --color sometimes
expect 2 "unknown code" "$attar" explain E4711
expect 2 "unknown operator" "$attar" ops atention
says err "unknown operator" 'attention'

expect 1 "no such model" "$attar" check "$work/none.attar"
says err "no such model" 'none.attar'
expect 3 "no such weights" "$attar" check models/bert.attar --weights "$work/none"
expect 3 "no input" "$attar" run $bert
expect 3 "no such input" "$attar" run $bert --input "ids=$work/none.npy"
expect 3 "an input that says no name" "$attar" run $bert --input "$work/none.npy"
says err "an input that says no name" 'E0654'
expect 3 "unknown size" "$attar" diff $bert --dim Q=3
says err "unknown size" '`B`, `S`'
expect 3 "size out of bounds" "$attar" diff $bert --dim S=33
expect 3 "not a text model" "$attar" generate models/llama.attar --weights tests/golden/llama --prompt x
says err "not a text model" 'attar run'
expect 3 "no weights" "$attar" run models/bert.attar --config tests/golden/bert/config.json
printf 'let D = 2\nmodel up(x "a.x": f32[B, D]) -> "b/x": f32[B, D] { return x + 1 }\nmodel down(x: f32[B, D]) -> f32[B, D] { return x - 1 }\n' >"$work/two.attar"
expect 1 "two models, none chosen" "$attar" check "$work/two.attar"
says err "two models, none chosen" '`up`, `down`'
expect 1 "a model that is not there" "$attar" check "$work/two.attar" --model upp
says err "a model that is not there" '`up`'
expect 0 "the model that is chosen" "$attar" check "$work/two.attar" --model down
says out "the model that is chosen" 'down is sound'
expect 0 "names in quotes, compiled" "$attar" diff "$work/two.attar" --model up --dim B=3
expect 0 "names in quotes, as C" "$attar" emit "$work/two.attar" --model up
expect 0 "the text of the chosen model" "$attar" ir "$work/two.attar" --model up
cp "$work/out" "$work/up.ir"
expect 0 "text with names in quotes" "$attar" ir "$work/up.ir" --model up
same "text with names in quotes" "$work/out" "$work/up.ir"
expect 1 "text of another model" "$attar" ir "$work/up.ir" --model down
mkdir -p "$work/adapter"
printf '{"r": 2}\n' >"$work/adapter/adapter_config.json"
header='{"lora.A":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
{ printf "\\$(printf %03o ${#header})\0\0\0\0\0\0\0"; printf '%s' "$header"; printf '\0\0\200\77\0\0\0\100'; } >"$work/adapter/adapter_model.safetensors"
cat models/bert.attar >"$work/adapted.attar"
printf '\nconfig "adapter_config.json" { R = r }\nmodel A(x: f32[B, R]) -> f32[B, R] { return x * weight("lora.A", [R]) }\n' >>"$work/adapted.attar"
expect 0 "weights from two folders" "$attar" check "$work/adapted.attar" --model A --weights tests/golden/bert --weights "$work/adapter" --allow-extra
says out "weights from two folders" 'model.safetensors and .*adapter_model.safetensors'
expect 0 "weights from two folders, compiled" "$attar" diff "$work/adapted.attar" --model A -w "$work/adapter" -w tests/golden/bert --allow-extra --dim B=2
expect 3 "weights twice" "$attar" check models/bert.attar --weights tests/golden/bert --weights tests/golden/bert
says err "weights twice" 'E0436'
expect 0 "weights under a name of their own" "$attar" check models/bert.attar --weights tests/golden/bert --weights other=tests/golden/bert --allow-extra
says err "weights under a name of their own" 'other\.embeddings'
expect 0 "two adapters" "$attar" check models/llama_two.attar -w tests/golden/lora-two -w a=tests/golden/lora-two/adapter-a -w b=tests/golden/lora-two/adapter-b
expect 3 "one adapter of two" "$attar" check models/llama_two.attar -w tests/golden/lora-two -w a=tests/golden/lora-two/adapter-a
says err "one adapter of two" 'b/adapter_config.json'
expect 3 "no second config" "$attar" check "$work/adapted.attar" --model A --weights tests/golden/bert
says err "no second config" 'adapter_config.json'
mkdir -p "$work/blocks"
printf 'let D = 2\ncache kv[1] { k: [B, T <= 8, D] }\nblock up(x: [*, D]) -> [*, D] { return x + 1 }\nmodel other(x: f32[B, D]) -> f32[B, D] { return x }\n' >"$work/blocks/up.attar"
printf 'use "up.attar"\nblock twice(x: [*, D]) -> [*, D] { return up(up(x)) }\n' >"$work/blocks/twice.attar"
printf 'use "blocks/twice.attar"\nuse "blocks/up.attar"\nmodel M(x: f32[B, D]) -> f32[B, D] { return twice(up(x)) }\n' >"$work/uses.attar"
expect 0 "a file that uses others" "$attar" diff "$work/uses.attar" --dim B=3
expect 0 "its text" "$attar" ir "$work/uses.attar"
cp "$work/out" "$work/uses.ir"
expect 0 "its text again" "$attar" ir "$work/uses.ir"
same "text of a file that uses others" "$work/out" "$work/uses.ir"
rm "$work/blocks/up.attar"
expect 1 "a file that uses one that is not there" "$attar" check "$work/uses.attar"
says err "a file that uses one that is not there" 'twice.attar:1'
printf 'model M(x: f32[B, D]) -> f32[B, D] {\n  return y\n}\n' >"$work/wrong.attar"
expect 1 "a wrong model" "$attar" check "$work/wrong.attar"
says err "a wrong model" 'wrong.attar:2'
expect 1 "as JSON" "$attar" check "$work/wrong.attar" --error-format=json
says err "as JSON" '^{.*"code".*}$'
escape=$(printf '\033')
expect 1 "colour always" "$attar" check "$work/wrong.attar" --color always
says err "colour always" "$escape\["
NO_COLOR=1 expect 1 "colour off" "$attar" check "$work/wrong.attar"
if grep -q "$escape" "$work/err"; then fail "colour off"; else pass; fi

printf '{"hidden_size": 60, "hidden_size": 61}' >"$work/config.json"
expect 3 "config with a key twice" "$attar" check models/bert.attar --config "$work/config.json"
says err "config with a key twice" 'config.json'
if [ -c /dev/full ]; then
    status=0
    "$attar" emit $bert >/dev/full 2>"$work/err" || status=$?
    [ $status = 4 ] && pass || fail "a full disk: exit status $status, expected 4"
fi

expect 0 "check" "$attar" check $bert
says out "check" 'sound'
expect 0 "check without weights" "$attar" check models/bert.attar --config tests/golden/bert/config.json
expect 0 "ops" "$attar" ops
says out "ops" 'attention'
expect 0 "ops attention" "$attar" ops attention
expect 0 "passes" "$attar" passes
says out "passes" 'fuse-attention'
expect 0 "explain" "$attar" explain
expect 0 "explain a code" "$attar" explain E0651
expect 0 "explain a reason" "$attar" explain COST_WORSE
expect 0 "doctor" "$attar" doctor
says out "doctor" '^compiler'
expect 0 "inspect" "$attar" inspect models/austen
says out "inspect" 'layers.{0..5}'
expect 0 "inspect shards" "$attar" inspect tests/golden/llama-sharded-bf16
expect 3 "inspect nothing" "$attar" inspect "$work/none.safetensors"
expect 0 "report" "$attar" report $bert
expect 0 "report as JSON" "$attar" report $bert --json
says out "report as JSON" '^{'
expect 0 "emit" "$attar" emit $bert
says out "emit" 'bert'
finish
