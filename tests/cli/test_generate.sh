# Text: greedy bytes as recorded, draws that depend on the seed alone, a full cache.
. tests/cli/lib.sh
austen="models/llama.attar --weights models/austen"

expect 0 "greedy" "$attar" generate $austen --prompt "It is a truth" --steps 200
cp "$work/out" "$work/greedy"
# greedy.json holds the prompt and 200 bytes as one JSON string; its only escapes are \n.
sed -n 's/^ "text": "\(.*\)",\{0,1\}$/\1/p' models/austen/greedy.json >"$work/json"
{ printf "$(cat "$work/json")"; echo; } >"$work/want"
same "greedy bytes" "$work/want" "$work/greedy"
says err "greedy" 'tokens/s'
says err "greedy" 'attention'
expect 0 "on one thread" "$attar" generate $austen --prompt "It is a truth" --steps 200 --threads 1 --no-stream
same "one thread, not streamed" "$work/greedy" "$work/out"

for seed in 1 2 1; do
    "$attar" generate $austen --prompt "She " --steps 60 --temperature 0.8 --top-k 40 --seed $seed >"$work/seed.$seed.new" 2>/dev/null || fail "seed $seed"
    [ -e "$work/seed.$seed" ] && same "seed $seed twice" "$work/seed.$seed" "$work/seed.$seed.new"
    mv "$work/seed.$seed.new" "$work/seed.$seed"
done
cmp -s "$work/seed.1" "$work/seed.2" && fail "two seeds give one text" || pass
"$attar" generate $austen --prompt "It is a truth" --steps 200 --temperature 1 --top-k 1 --seed 9 >"$work/topone" 2>/dev/null
same "top-k 1 is greedy" "$work/greedy" "$work/topone"

expect 0 "a full cache" "$attar" generate $austen --prompt "It is a truth" --steps 600
says err "a full cache" 'the cache is full'
[ "$(wc -c <"$work/out")" = 514 ] && pass || fail "a full cache: $(wc -c <"$work/out") bytes, expected 512 positions, one more token and a newline"
# Behind a state of constant size there is no end, and no other text: prefill and steps agree with float64.
linear="models/llama_codebook.attar --weights models/austen-linear"
expect 0 "a state" "$attar" verify $linear --golden models/austen-linear/golden.safetensors
says out "a state" 'token by token.*PASS$'
expect 0 "beyond a cache" "$attar" generate $linear --prompt "It is a truth" --steps 1200
[ "$(wc -c <"$work/out")" = 1214 ] && pass || fail "beyond a cache: $(wc -c <"$work/out") bytes, expected 13, 1200 more and a newline"
says err "beyond a cache" 'linear-attention 6'
expect 0 "no steps" "$attar" generate $austen --prompt "It" --steps 0
long=$(printf '%0600d' 0)
expect 3 "a prompt too long" "$attar" generate $austen --prompt "$long"
says err "a prompt too long" '512'
expect 0 "a prompt of any bytes" "$attar" generate $austen --prompt "$(printf 'caf\303\251 \377')" --steps 5
finish
