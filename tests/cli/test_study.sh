# What people study: the report on one screen, the same for programs, a page for every reason, passes on IR text, passes left out.
. tests/cli/lib.sh

bert="models/bert.attar --weights tests/golden/bert"
llama="models/llama.attar --weights tests/golden/llama"
json() { # json FILE TITLE: every line is an object of its own
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    record = json.loads(line)
    assert record["v"] == 1 and record["kind"] in ("passed", "missed", "analysis", "approximation", "summary"), record
    if record["kind"] not in ("summary", "approximation"):
        assert {"pass", "code", "model", "op", "times", "why"} <= record.keys(), record
    if record["kind"] == "missed" and "bytes" in record:
        assert record["bytes"]["after"] is None and "possible" in record["bytes"], record
' "$1" 2>"$work/err" && pass || fail "$2: $(tail -n 1 "$work/err")"
    else
        grep -v '^{"v":1,"kind":".*}$' "$1" && fail "$2" || pass
    fi
}

# One screen for every model, with and without weights, at the sizes asked for.
for name in $models; do
    model="$(model_of $name)" folder=tests/golden/$name
    expect 0 "report $name" "$attar" report $model --weights $folder
    [ "$(wc -l <"$work/out")" -le 25 ] && pass || fail "report $name: $(wc -l <"$work/out") lines"
    [ "$(awk 'length > 170' "$work/out" | wc -l)" = 0 ] && pass || fail "report $name: a line is too long"
    tail -n 1 "$work/out" >"$work/last"
    says last "report $name" '^exact  *every rewrite is exact in real arithmetic; nothing was approximated$'
    says out "report $name" '^fused  *attention  *[0-9]* of [0-9]* '
    says out "report $name" '^stored .* -> '
    says out "report $name" '^memory  *arena .*no placement needs less than'
    says out "report $name" '^traffic .* -> '
    cp "$work/out" "$work/with"
    expect 0 "report $name without weights" "$attar" report $model --config $folder/config.json
    case $name in # weights decide what a checkpoint's spelling, a tied table or types of 16 bits change
    llama-* | qwen2) ;;
    *) same "report $name without weights" "$work/with" "$work/out" ;;
    esac
    expect 0 "report $name as JSON" "$attar" report $model --weights $folder --json
    json "$work/out" "report $name as JSON"
    [ "$(grep -c '"kind":"summary"' "$work/out")" = 1 ] && pass || fail "report $name: not one summary"
    sed -n 's/.*"code":"MATERIALISED".*"op":"\([^"]*\)".*/\1/p' "$work/out" >"$work/stored"
    [ -s "$work/stored" ] && pass || fail "report $name: nothing is stored"
    while read -r value; do # every value that stays is named, with its bytes
        grep -qF " $value " "$work/with" && pass || fail "report $name does not name $value"
    done <"$work/stored"
    fused="$(grep '"fuse-attention"' "$work/out" | grep -c '"kind":"missed"')"
    [ "$fused" = 0 ] && pass || fail "report $name: $fused attentions are not fused"
done

line=$(grep -n 'a = attention(' models/llama.attar | cut -d: -f1)
expect 0 "one line" "$attar" report $llama --line $line
says out "one line" '^passed    fuse-attention '
says out "one line" '^stored  *a.a .*attend -> gemm'
grep 'llama.attar:[0-9]' "$work/out" | grep -qv "llama.attar:$line:" && fail "another line" || pass
expect 0 "a line without decisions" "$attar" report $llama --line 1
says out "a line without decisions" '^no pass decided anything about line 1$'

# Sizes asked for change the estimates, never a decision.
decisions() { "$attar" report $1 --config tests/golden/$2/config.json --json $3 | sed -n 's/"why".*//; /"plan-memory"/d; s/^{"v":1,"kind":"[pma]/&/p'; }
for name in bert gpt2 llama deepseek-v3-dense; do
    case $name in bert) large="--dim B=9 --dim S=20" ;; *) large="--dim B=9 --dim S=20 --dim past=12" ;; esac
    decisions "$(model_of $name)" $name "--dim S=1" >"$work/small"
    decisions "$(model_of $name)" $name "$large" >"$work/large"
    [ "$(wc -l <"$work/small")" -gt 8 ] && pass || fail "decisions of $name"
    same "decisions of $name" "$work/small" "$work/large"
done
"$attar" report $llama >"$work/usual"
expect 0 "report at sizes" "$attar" report $llama --dim B=4 --dim S=8 --dim past=3
says out "report at sizes" '^Llama   B=4   S=8   past=3 '
cmp -s "$work/usual" "$work/out" && fail "sizes change nothing" || pass
bytes() { "$attar" report $llama --json "$@" | sed -n 's/.*"pass":"fuse-attention".*"bytes":{"before":\([0-9]*\),.*/\1/p'; }
[ "$(bytes --dim S=32)" -lt "$(bytes --dim S=64)" ] && pass || fail "sizes do not reach the remarks"
[ "$(bytes --dim B=2)" = $((2 * $(bytes --dim B=1))) ] && pass || fail "twice the batch is not twice the bytes"
expect 3 "report with a size that is none" "$attar" report $llama --dim Q=3
expect 0 "report of IR text" sh -c "'$attar' ir $llama > '$work/llama.ir' && '$attar' report '$work/llama.ir'"
says out "report of IR text" '^fused  *attention'
expect 0 "C of IR text" "$attar" emit "$work/llama.ir"
cp "$work/out" "$work/from-ir.c"
"$attar" emit $llama >"$work/from-model.c"
grep -v '^ \*\|^/\*' "$work/from-ir.c" >"$work/a.c"
grep -v '^ \*\|^/\*' "$work/from-model.c" >"$work/b.c"
same "C of IR text" "$work/a.c" "$work/b.c"
expect 0 "all remarks" "$attar" report $llama --all
says out "all remarks" "^passed    fuse-attention    2x a.a .*models/llama.attar:$line:7\$"

# What is not fused says why, where and with which code.
cat >"$work/kept.attar" <<'END'
let H = 2
let K = 4

model Kept(q: f32[B, S, H, K], k: f32[B, T, H, K], v: f32[B, T, H, K]) -> (a: f32[B, S, H, K], p: f32[B, S, H, T]) {
  s = dot(q, k, over=K) * 0.5
  p = softmax(s, over=T)
  return dot(p, v, over=T), p
}
END
expect 0 "report of a refusal" "$attar" report "$work/kept.attar"
says out "report of a refusal" '^not fused  *attention .*SCORES_ESCAPE  kept.attar:6:7$'
says out "report of a refusal" '^ *help: read them once'
says out "report of a refusal" '^stored  *s.0 .*dot -> '
expect 0 "a refusal's line" "$attar" report "$work/kept.attar" --line 6
says out "a refusal's line" '^missed    fuse-attention .*SCORES_ESCAPE'
says out "a refusal's line" '^What to do: '
expect 0 "a refusal as JSON" "$attar" report "$work/kept.attar" --json
says out "a refusal as JSON" '"kind":"missed","pass":"fuse-attention","code":"SCORES_ESCAPE"'
json "$work/out" "a refusal as JSON"

# Every reason has a page with its parts, in any case of letters.
"$attar" explain | sed -n 's/^\([A-Z][A-Z_]*\) .*/\1/p' >"$work/codes"
[ "$(wc -l <"$work/codes")" -ge 17 ] && pass || fail "$(wc -l <"$work/codes") reasons"
while read -r code; do
    expect 0 "explain $code" "$attar" explain "$(echo "$code" | tr A-Z a-z)"
    says out "explain $code" "^$code: "
    says out "explain $code" '^Example: '
    says out "explain $code" '^What to do: '
done <"$work/codes"
for code in $(cat tests/passes/cases/*.expected | sed -n 's/^missed .*\[\([A-Z_]*\)\].*/\1/p' | sort -u); do
    grep -q "^$code$" "$work/codes" && pass || fail "$code is not explained"
done
expect 2 "explain a typing mistake" "$attar" explain SCORE_ESCAPES
says err "explain a typing mistake" 'did you mean `SCORES_ESCAPE`'

# attar opt gives what the passes' own tests expect, for each of them.
for case in tests/passes/cases/*.ir; do
    "$attar" opt $case --passes "$(sed -n '1s/^# passes: //p' $case)" --remarks >"$work/out" 2>"$work/err"
    cmp -s "$work/out" "${case%.ir}.expected" && pass || fail "attar opt $case"
done
case=tests/passes/cases/fuse_attention_mask.ir
expect 0 "remarks on stderr" "$attar" opt $case --passes fuse-attention
says err "remarks on stderr" '^passed    fuse-attention'
says out "remarks on stderr" ' = attend '
expect 0 "what opt prints reads back" "$attar" ir "$work/llama.ir"
expect 0 "remarks as JSON" "$attar" opt $case --passes cse,fuse-attention --json
cp "$work/err" "$work/opt.json"
json "$work/opt.json" "remarks as JSON"
expect 0 "the whole pipeline" "$attar" opt "$work/llama.ir"
cp "$work/out" "$work/kernels.ir"
"$attar" ir "$work/llama.ir" --level kernel >"$work/same.ir"
same "the whole pipeline" "$work/kernels.ir" "$work/same.ir"
expect 0 "a pass left out" "$attar" opt $case --passes fuse-attention --pass fuse-attention=off
says out "a pass left out" ' = softmax '
expect 2 "an unknown pass" "$attar" opt $case --passes cse,fuse-atention
says err "an unknown pass" 'did you mean `fuse-attention`'
expect 2 "opt of a model" "$attar" opt models/bert.attar
expect 1 "opt of damaged text" sh -c "sed 's/softmax/sofmax/' $case >'$work/x.ir'; '$attar' opt '$work/x.ir' --passes cse"

# The pipeline says each pass's place and why it is there.
expect 0 "passes" "$attar" passes
[ "$(grep -c '^ *[0-9][0-9]*  [a-z]' "$work/out")" = "$(grep -c ' here: ..' "$work/out")" ] && pass || fail "a pass without a reason"

# --pass NAME=off on every verb that compiles, and its decisions in a file.
off="--pass fuse-attention=off --remarks $work/remarks"
golden=tests/golden/bert/golden.safetensors
is_off() {
    rm -f "$work/remarks"
    title=$1
    shift
    expect 0 "$title without attention" "$@" $off
    grep -q '"pass":"fuse-attention","code":"BLOCKED_BY_USER"' "$work/remarks" && ! grep -q '"kind":"passed","pass":"fuse-attention"' "$work/remarks" &&
        pass || fail "$title: the pass is not off"
    json "$work/remarks" "$title"
}
is_off run "$attar" run $bert --input $golden
is_off verify "$attar" verify $bert --golden $golden
is_off generate "$attar" generate models/llama.attar --weights models/austen --prompt It --steps 3
is_off ir "$attar" ir $bert --level kernel
says out "ir without attention" ' = rowwise .*over=T'
is_off emit "$attar" emit $bert
is_off diff "$attar" diff $bert --dim B=2 --dim S=7
is_off bench "$attar" bench $bert --dim S=8
says out "a bench with inputs of its own" '^inputs  *made up, every bool true'
is_off report "$attar" report $bert
says out "report without attention" '^not fused .*the pass is switched off .*BLOCKED_BY_USER'
expect 0 "a bench of a user's inputs" "$attar" bench $bert --input $golden --rounds 1
says out "a bench of a user's inputs" '^inputs  *as given$'
expect 0 "check takes it too" "$attar" check $bert --pass fuse-attention=off
expect 2 "a pass that has to run" "$attar" report $bert --pass lower=off

# The same remarks from a cold cache and a warm one, to the byte.
run="$attar run $bert --input $golden --cache-dir $work/fresh"
expect 0 "cold" $run --remarks "$work/cold"
expect 0 "warm" $run --remarks "$work/warm"
same "remarks on a cache hit" "$work/cold" "$work/warm"
"$attar" report $bert --json >"$work/report.json"
same "remarks of run and of report" "$work/cold" "$work/report.json"
expect 0 "summary, cold" "$attar" run $bert --input $golden --cache-dir "$work/fresher" -R
cp "$work/err" "$work/cold"
expect 0 "summary, warm" "$attar" run $bert --input $golden --cache-dir "$work/fresher" -R
same "summary on a cache hit" "$work/cold" "$work/err"
[ "$(wc -l <"$work/err")" -le 12 ] && pass || fail "the summary has $(wc -l <"$work/err") lines"
says err "summary" '^attention  *2 of 2  *-.* traffic'
says err "summary" '^memory  *arena '
expect 4 "remarks that cannot be written" "$attar" run $bert --input $golden --remarks "$work/none/remarks"
says err "remarks that cannot be written" 'E1010'
expect 0 "nothing to say" "$attar" ir $bert --remarks "$work/nothing"
[ -e "$work/nothing" ] && fail "remarks although no pass ran" || pass

# The commands of the page about all this run, and it knows every field.
sed -n 's/^    attar //p' docs/study.md >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 15 ] && pass || fail "docs/study.md has $(wc -l <"$work/commands") commands"
while read -r command; do
    expect 0 "docs/study.md: attar $command" "$attar" $command </dev/null
done <"$work/commands"
for field in $("$attar" report $llama --json | sed 's/"at":{[^}]*}//; s/"why":"[^"]*"//; s/"sizes":{[^}]*}//' | grep -o '"[a-z]*":' | tr -d '":' | sort -u); do
    grep -q "\`$field\`" docs/study.md && pass || fail "docs/study.md does not explain $field"
done

# On a terminal diffs are coloured, unless NO_COLOR or --color never says otherwise.
if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1; then
    coloured() { TERM=xterm script -qec "$1 '$attar' ir $llama --after fuse-attention --diff $2" /dev/null </dev/null | grep -c "$(printf '\033')\["; }
    [ "$(coloured '' '')" -gt 5 ] && pass || fail "no colour on a terminal"
    [ "$(coloured 'NO_COLOR=1' '')" = 0 ] && pass || fail "NO_COLOR is not honoured"
    [ "$(coloured '' '--color never')" = 0 ] && pass || fail "--color never is not honoured"
    [ "$(coloured 'TERM=dumb' '')" = 0 ] && pass || fail "TERM=dumb is not honoured"
fi

# Linear attention: masks and states, or why not.
expect 0 "report of Performer" "$attar" report models/llama_performer.attar --weights tests/golden/llama-performer
says out "report of Performer" '^rewritten  *linear-attention 4 of 4 '
says out "report of Performer" '^memory  *states  *[0-9.]* kB in 2 layers '
cat >"$work/window.attar" <<'END'
let H = 2; let K = 4; let P = 64
cache kv[1] { k: [B, T <= P, H, K]; v: [B, T <= P, H, K] }
model Window(x: f32[B, S, H, K], keep: bool[B, P]) -> (y: f32[B, S, H, K], z: f32[B, S, H, K]) {
  k, v = kv[0].append(x, x)
  return (attention(x, k, v, mask=causal & window(8), kernel=elu1()),
          attention(x, k, v, mask=causal & padding(keep), kernel=elu1()))
}
END
expect 0 "report of a window" "$attar" report "$work/window.attar" --all
says out "report of a window" 'MASK_NOT_LINEAR.*window.attar:5:'
says out "report of a window" 'CACHE_GROWS.*window.attar:6:'
finish
