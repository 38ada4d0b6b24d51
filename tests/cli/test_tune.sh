# attar tune: a table that later runs read, that changes no bit, that emit reads only when asked, and that may be damaged.
. tests/cli/lib.sh
export ATTAR_CACHE_DIR="$work/own"
bert="models/bert.attar --weights tests/golden/bert"
run() { "$attar" run $bert --input tests/golden/bert/golden.safetensors -o "$work/y.safetensors"; }

expect 0 "before" run
cp "$work/y.safetensors" "$work/want"
expect 0 "emit" "$attar" emit $bert
cp "$work/out" "$work/untuned.c"
ls "$ATTAR_CACHE_DIR" | sort >"$work/objects"
expect 0 "tune" "$attar" tune $bert --dim B=1 --dim S=8 --threads 1 --rounds 3
says out "tune" "^product"
table=
for entry in "$ATTAR_CACHE_DIR"/*.o; do
    grep -aq "attar tiles 1" "$entry" && table=$entry
done
[ -n "$table" ] && pass || fail "no table was kept"
[ -s "$work/err" ] && fail "tune says something: $(cat "$work/err")" || pass

# emit gives what it gave, and the table only when asked.
expect 0 "emit after" "$attar" emit $bert
same "emit after" "$work/untuned.c" "$work/out"
expect 0 "emit --tuned" "$attar" emit $bert --tuned
says out "emit --tuned" "tile .*measured"
expect 0 "report" "$attar" report $bert
says out "report" "measured for"
expect 0 "report --all" "$attar" report $bert --all
says out "report --all" "^tile .*measured"

expect 0 "run" run
same "run: no bit changes" "$work/want" "$work/y.safetensors"
expect 0 "tune again" "$attar" tune $bert --dim B=1 --dim S=8 --threads 1 --rounds 3 --forget
expect 0 "cache verify" "$attar" cache verify

# Damaged: one warning, the costs decide, the same result.
printf X | dd of="$table" bs=1 seek=120 conv=notrunc 2>/dev/null
expect 0 "damaged" run
says err "damaged" "W0702"
same "damaged: no bit changes" "$work/want" "$work/y.safetensors"
expect 0 "put aside" "$attar" report $bert
says out "put aside" "expected for"
finish
