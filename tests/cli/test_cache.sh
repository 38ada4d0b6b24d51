# The cache of compiled objects: used, listed, pruned; damaged entries are recompiled with one warning and the same result; other
# trouble with the directory is a warning, never an error.
. tests/cli/lib.sh
export ATTAR_CACHE_DIR="$work/own"
bert="models/bert.attar --weights tests/golden/bert --input tests/golden/bert/golden.safetensors"
run() { "$attar" run $bert -o "$work/y.safetensors" "$@"; }

expect 0 "first" run
[ -s "$work/err" ] && fail "the first run says something: $(cat "$work/err")" || pass
cp "$work/y.safetensors" "$work/want"
entry="$ATTAR_CACHE_DIR/$(ls -S "$ATTAR_CACHE_DIR" | head -1)"
[ -f "$entry" ] && pass || fail "no entry was written"
cp "$entry" "$work/entry"
size=$(wc -c <"$entry")
expect 0 "list" "$attar" cache list
count=$(find "$ATTAR_CACHE_DIR" -type f | wc -l)
[ "$count" -gt 1 ] && pass || fail "the model is not compiled in several units"
says out "list" "$count entries"
expect 0 "verify" "$attar" cache verify

# An entry cut short, grown, changed in the header and in the body, empty, of zeros.
damage() {
    case $1 in
    empty) : >"$entry" ;;
    cut*) head -c "${1#cut}" "$work/entry" >"$entry" ;;
    grown) { cat "$work/entry"; echo; } >"$entry" ;;
    zeros) head -c "$size" /dev/zero >"$entry" ;;
    flip*)
        at=${1#flip}
        byte=$(dd if="$work/entry" bs=1 skip="$at" count=1 2>/dev/null | od -An -tu1 | tr -d ' ')
        cp "$work/entry" "$entry"
        printf "\\$(printf %03o $((byte ^ 16)))" | dd of="$entry" bs=1 seek="$at" conv=notrunc 2>/dev/null
        ;;
    esac
}
for how in empty cut1 cut16 cut40 cut4096 cut$((size - 1)) grown zeros flip0 flip5 flip9 flip17 flip25 flip33 flip41 flip$((size / 2)) flip$((size - 1)); do
    damage "$how"
    expect 4 "verify: $how" "$attar" cache verify
    expect 0 "run: $how" run
    same "result: $how" "$work/want" "$work/y.safetensors"
    [ "$(grep -c '^warning' "$work/err")" = 1 ] && pass || { fail "$how: not one warning"; cat "$work/err"; }
    expect 0 "run after $how" run
    [ -s "$work/err" ] && fail "$how: the entry was not replaced: $(cat "$work/err")" || pass
    find "$ATTAR_CACHE_DIR" -type f -name '.bad-*' -exec rm -f {} +
done

# Where the time goes.
expect 0 "timing" "$attar" run $bert --timing
says out "timing" 'all [0-9]* units came from the cache'
for stage in start open parse passes emit look-up link pack inputs session run write all; do says out "timing" "^$stage "; done
expect 0 "timing for programs" "$attar" run $bert --timing --json --no-cache
says out "timing for programs" '^{"unit": "[a-z0-9_]*", "cached": false, "ms": [0-9.]*, "bytes": [0-9]*}$'
expect 2 "--json alone" "$attar" run $bert --json

expect 0 "prune" "$attar" cache prune
expect 0 "list after prune" "$attar" cache list
says out "list after prune" '0 entries'

# A directory with the entry's name, a file in place of the cache directory, no directory at all.
mkdir "$entry"
expect 0 "a directory as entry" run
same "a directory as entry" "$work/want" "$work/y.safetensors"
rm -rf "$entry"
echo >"$work/file"
expect 0 "a file as cache directory" run --cache-dir "$work/file/below"
same "a file as cache directory" "$work/want" "$work/y.safetensors"
expect 0 "no home" env -u HOME -u XDG_CACHE_HOME -u ATTAR_CACHE_DIR "$attar" run $bert -o "$work/y.safetensors"
same "no home" "$work/want" "$work/y.safetensors"
expect 0 "without the cache" run --no-cache --cache-dir "$work/unused"
[ -e "$work/unused" ] && fail "--no-cache made a directory" || pass

# Several processes at once on a cold cache.
for i in 1 2 3 4; do
    "$attar" run $bert --cache-dir "$work/shared" -o "$work/y$i.safetensors" >/dev/null 2>&1 &
done
wait
for i in 1 2 3 4; do same "process $i of four" "$work/want" "$work/y$i.safetensors"; done
expect 0 "after four processes" "$attar" cache verify --cache-dir "$work/shared"
finish
