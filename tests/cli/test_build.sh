# attar build: folders that gcc and clang compile and that check themselves; the same bytes from anywhere; what a user may get wrong.
. tests/cli/lib.sh
here=$PWD
clang=${CLANG:-clang-19}
case $attar in /*) ;; *) attar=$here/$attar ;; esac
golden=tests/golden

# check FOLDER WHAT: `make check` by gcc at least, and by clang.
check() {
    for compiler in gcc "$clang"; do
        expect 0 "make check of $2 by $compiler" make -s -C "$1" CC="$compiler" CFLAGS="-O1 -Wall -Wextra -Werror" LDFLAGS= check
        says out "make check of $2 by $compiler" '^PASS max error .* (tolerance .*)$'
        make -s -C "$1" clean >/dev/null
    done
}

expect 0 "build bert" "$attar" build models/bert.attar --weights $golden/bert --golden $golden/bert/golden.safetensors -o "$work/bert"
says out "build bert" "bert.weights of .*golden.safetensors"
check "$work/bert" bert
[ "$(ls "$work/bert")" = "$(printf '%s\n' CMakeLists.txt Makefile README.md bert.c bert.h bert.weights example.c selftest.c)" ] && pass || fail "bert: $(ls "$work/bert")"
[ "$(wc -l <"$work/bert/example.c")" -le 60 ] && pass || fail "the example of bert has too many lines"

expect 0 "build austen" "$attar" build models/llama.attar --weights models/austen --target x86-64-v3,x86-64 -o "$work/austen"
expect 0 "make austen" make -s -C "$work/austen"
(cd "$work/austen" && ./example "It is a truth" 40) >"$work/text"
expect 0 "the same text" "$attar" generate models/llama.attar --weights models/austen --prompt "It is a truth" --steps 40
same "the same text" "$work/out" "$work/text"

expect 0 "build gpt2" "$attar" build models/gpt2.attar --weights $golden/gpt2 --golden $golden/gpt2/golden.safetensors --lib -o "$work/gpt2"
for file in libgpt2.a libgpt2.so gpt2.pc; do
    [ -s "$work/gpt2/$file" ] && pass || fail "--lib made no $file"
done
expect 0 "pkg-config" env PKG_CONFIG_PATH="$work/gpt2" pkg-config --cflags --libs gpt2
says out "pkg-config" "-I.*gpt2.* -lgpt2 -lm"
# shellcheck disable=SC2046
expect 0 "with the library" gcc "$work/gpt2/selftest.c" $(cat "$work/out") -o "$work/with_library"
expect 0 "with the library" env LD_LIBRARY_PATH="$work/gpt2" "$work/with_library" "$work/gpt2/gpt2.weights"
expect 0 "installed" make -s -C "$work/gpt2" install PREFIX=/usr DESTDIR="$work/installed"
[ -f "$work/installed/usr/include/gpt2.h" ] && grep -qx 'Libs: -L${prefix}/lib -lgpt2 -lm' "$work/installed/usr/lib/pkgconfig/gpt2.pc" && pass || fail "make install"

expect 0 "build a performer" "$attar" build models/llama_performer.attar --weights $golden/llama-performer --golden $golden/llama-performer/golden.safetensors \
    --threads caller -o "$work/performer"
check "$work/performer" "a performer with threads"
expect 0 "two threads" make -s -C "$work/performer" check
says out "two threads" 'the same bits as one'

# Sections of several targets, of which the machine takes one; a pool of threads, and what is late or missing in it; lines and bytes.
expect 0 "build with a pool" "$attar" build models/llama.attar --weights $golden/llama --golden $golden/llama/golden.safetensors \
    --target x86-64-v4,generic,x86-64-v3 --threads pool -o "$work/pool"
check "$work/pool" "a pool, three targets"
for flag in -Wpedantic -Wconversion; do
    for compiler in gcc "$clang"; do
        expect 0 "$compiler $flag" make -s -C "$work/pool" CC="$compiler" CFLAGS="-O0 -Wall -Wextra $flag -Werror" llama.o
        make -s -C "$work/pool" clean >/dev/null
    done
done
expect 0 "findings of clang's analyzer" "$clang" --analyze -Werror -std=c11 "$work/pool/llama.c" -o "$work/plist"
[ -s "$work/err" ] && fail "findings: $(head -3 "$work/err")" || pass
for compiler in g++ "${clang%%-*}++${clang#clang}"; do
    command -v "$compiler" >/dev/null || continue
    expect 0 "the header by $compiler" "$compiler" -x c++ -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$work/pool/llama.h"
done
if "$clang" -fsanitize=thread -x c -c /dev/null -o "$work/none.o" 2>/dev/null; then
    expect 0 "the pool under the thread sanitizer" make -s -C "$work/pool" CC="$clang" CFLAGS="-O1 -g -fsanitize=thread" LDFLAGS=-fsanitize=thread check
    says out "the pool under the thread sanitizer" '^PASS '
fi
for model in "llama.attar --weights models/austen" "minilm.attar --config $golden/minilm/config.json"; do
    for target in x86-64-v4 x86-64-v3 aarch64 generic; do
        # shellcheck disable=SC2086
        emit_files "$work" models/$model --target $target || fail "emit $model for $target"
        [ "$(wc -l <"$work/model.c")" -gt 1000 ] && [ "$(wc -l <"$work/model.c")" -le 1500 ] && pass || fail "$model for $target: $(wc -l <"$work/model.c") lines"
        expect 0 "object of $model for $target" "$clang" -O2 -std=c11 -c "$work/model.c" -o "$work/model.o"
        [ "$(size "$work/model.o" | awk 'NR == 2 { print $1 }')" -le $((200 << 10)) ] && pass || fail "$model for $target: $(size "$work/model.o" | tail -n 1)"
    done
done
# More layers are other numbers, not more lines.
for layers in 2 24; do
    sed "s/\"num_hidden_layers\": 6/\"num_hidden_layers\": $layers/" models/austen/config.json >"$work/config.json"
    grep -q "\"num_hidden_layers\": $layers," "$work/config.json" || fail "the layers of austen's config.json are not 6"
    expect 0 "emit $layers layers" "$attar" emit models/llama.attar --config "$work/config.json"
    says out "emit $layers layers" " \* $layers times"
    wc -l <"$work/out" >"$work/lines$layers"
done
same "lines of 2 and of 24 layers" "$work/lines2" "$work/lines24"
nm -g --defined-only "$work/model.o" | grep -v ' minilm_' && fail "names without the prefix" || pass

expect 0 "build with an adapter" "$attar" build models/llama.attar --weights $golden/lora-llama --lora $golden/lora-llama/adapter --lora-mode merge \
    --golden $golden/lora-llama/golden.safetensors --embed-weights -o "$work/lora"
check "$work/lora" "an adapter, its weights in the program"
(cd "$work/lora" && make -s && mv llama.weights elsewhere && ./selftest) >"$work/out" 2>&1 && pass || fail "weights in the program were read from a file"

expect 0 "build in f16" "$attar" build models/gpt2.attar --weights $golden/gpt2 --golden $golden/gpt2/golden.safetensors --store f16 -o "$work/f16"
says out "build in f16" '^approximated  store of .*relative error'
says err "build in f16" 'off the golden file by'
grep -q 'Approximated.*as was asked for' "$work/f16/README.md" && grep -q 'mlp.c_proj.weight: 2' "$work/f16/README.md" && pass || fail "the README does not say what was rounded"
[ "$(wc -c <"$work/f16/gpt2.weights")" -lt $(($(wc -c <"$work/gpt2/gpt2.weights") * 7 / 10)) ] && pass || fail "f16 is not smaller"
expect 0 "make check in f16" make -s -C "$work/f16" check
expect 1 "over its bound" "$attar" build models/gpt2.attar --weights $golden/gpt2 --store f16:max_err=1e-5 -o "$work/over"
[ ! -e "$work/over" ] && pass || fail "a build over its bound left something"

expect 0 "build in bf16" "$attar" build models/gpt2.attar --weights $golden/gpt2 --store bf16 -o "$work/bf16"
expect 0 "make check in bf16" make -s -C "$work/bf16" CC=gcc check
expect 0 "build in f32 of bf16" "$attar" build models/llama.attar --weights models/austen --golden models/austen/golden.safetensors --store f32 -o "$work/f32"
expect 0 "make check in f32 of bf16" make -s -C "$work/f32" CC=gcc check
[ "$(wc -c <"$work/f32/llama.weights")" -gt $(($(wc -c <models/austen/model.safetensors) * 19 / 10)) ] && pass || fail "f32 is not larger than bf16"

# The header of the weights, for people and for xxhsum.
head -c 4096 "$work/bert/bert.weights" | tr -d '\000' | grep -aq '^weights of bert, packed for bert.c' || [ "$(head -c 8 "$work/bert/bert.weights")" = ATTARWTS ] && pass || fail "the header of the weights"

# A check that cannot fail is worth nothing: other weights, damaged ones, half of them.
expect 0 "make bert" make -s -C "$work/bert" selftest
flip() { { head -c "$2" "$1" && printf '\252' && tail -c +$(($2 + 2)) "$1"; } >"$work/flipped"; }
for at in 0 100 4095 5000 100000; do
    flip "$work/bert/bert.weights" $at
    expect 1 "a byte of the weights, $at" "$work/bert/selftest" "$work/flipped"
    says out "a byte of the weights, $at" '^FAIL'
done
head -c 100000 "$work/bert/bert.weights" >"$work/half"
expect 1 "half of the weights" "$work/bert/selftest" "$work/half"
expect 1 "weights of another model" "$work/bert/selftest" "$work/gpt2/gpt2.weights"
expect 2 "no weights" "$work/bert/selftest" "$work/none"
sed 's/^\(static const double expected_pooled.*\)$/\1\n    1.5,/' "$work/bert/selftest.c" >"$work/other.c"
cp "$work/other.c" "$work/bert/selftest.c"
expect 2 "another answer" make -s -C "$work/bert" check
says out "another answer" '^FAIL'

# The same bytes from anywhere, with paths of either kind; and nothing of this machine in them.
mkdir "$work/far"
(cd "$work/far" && "$attar" build "$here/models/gpt2.attar" --weights "$here/$golden/gpt2" --golden "$here/$golden/gpt2/golden.safetensors" -o one) >/dev/null || fail "build from far"
expect 0 "build from here" "$attar" build models/gpt2.attar --weights $golden/gpt2/ --golden $golden/gpt2/golden.safetensors -o "$work/two"
diff -r "$work/far/one" "$work/two" >"$work/out" && pass || fail "from another folder: $(head -n 3 "$work/out")"
grep -rqE "$work|$here" "$work/two" && fail "a path is in the files: $(grep -rlE "$work|$here" "$work/two")" || pass
expect 0 "emit" "$attar" emit models/gpt2.attar --weights $golden/gpt2
same "emit prints what build writes" "$work/out" "$work/two/gpt2.c"

# Again in the same folder: built files do not matter, changed ones and others' do.
gpt2="build models/gpt2.attar --weights $golden/gpt2"
make -s -C "$work/two" example
expect 0 "again" "$attar" $gpt2 -o "$work/two"
echo "/* mine */" >>"$work/two/example.c"
expect 4 "changed since" "$attar" $gpt2 -o "$work/two"
says err "changed since" 'E1012.*not as `attar build` wrote it'
says err "changed since" '--force'
grep -q mine "$work/two/example.c" && pass || fail "a changed file was written over"
expect 0 "by force" "$attar" $gpt2 --force -o "$work/two"
grep -q mine "$work/two/example.c" && fail "--force wrote nothing" || pass
expect 4 "another model there" "$attar" build models/bert.attar --weights $golden/bert -o "$work/two"
says err "another model there" 'E1012.*another build, of `gpt2`'
mkdir "$work/mine"
echo "all:" >"$work/mine/Makefile"
expect 4 "a Makefile of somebody" "$attar" $gpt2 -o "$work/mine"
says err "a Makefile of somebody" 'E1012.*not of `attar build`'
[ "$(ls "$work/mine")" = Makefile ] && pass || fail "something was written: $(ls "$work/mine")"
rm "$work/mine/Makefile"
echo "int main;" >"$work/mine/main.c"
expect 0 "beside other files" "$attar" $gpt2 -o "$work/mine"
[ -f "$work/mine/main.c" ] && pass || fail "a file of somebody's is gone"

# The page has every option.
for verb in build emit; do
    for option in $("$attar" $verb --help | grep -o -e '^ *\(-[a-zA-Z], \)\?--[a-z-]*' | grep -o -e '--[a-z-]*' | grep -vx -e --help -e --usage -e --output -e --storage -e --remark-summary); do
        grep -q "^| .*\`$option[ \`]" docs/language.md && pass || fail "docs/language.md does not have $option of $verb"
    done
done

# Mistakes.
expect 4 "a file" "$attar" $gpt2 -o "$work/text"
says err "a file" 'E1012.*this is a file'
expect 4 "no folder above" "$attar" $gpt2 -o "$work/none/out"
says err "no folder above" 'E1010'
says err "no folder above" 'the folder above has to be there'
expect 4 "not to be written" "$attar" $gpt2 -o /proc/out
says err "not to be written" 'E1010'
expect 2 "no folder" "$attar" $gpt2
says err "no folder" '-o FOLDER'
expect 2 "a number of threads" "$attar" $gpt2 --threads 4 -o "$work/out2"
says err "a number of threads" 'none, caller or pool'
expect 4 "no such target" "$attar" $gpt2 --target x86-64-v3,sparc -o "$work/out2"
says err "no such target" 'E0850.*sparc'
expect 4 "a target twice" "$attar" $gpt2 --target generic,x86-64,generic -o "$work/out2"
says err "a target twice" 'E0852.*twice'
expect 4 "an empty target" "$attar" $gpt2 --target generic, -o "$work/out2"
says err "an empty target" 'E0852.*empty'
expect 3 "a golden file of another model" "$attar" $gpt2 --golden $golden/bert/golden.safetensors -o "$work/out2"
says err "a golden file of another model" 'E0656'
expect 3 "no weights" "$attar" build models/gpt2.attar --config $golden/gpt2/config.json -o "$work/out2"
expect 4 "libraries for another machine" env CC= "$attar" $gpt2 --target wasm32 --lib -o "$work/out2"
says err "libraries for another machine" 'E0810.*another machine'
[ ! -e "$work/out2" ] && pass || fail "a mistake left something"
# A disk that is full: nothing stays.
(ulimit -f 200; exec "$attar" $gpt2 -o "$work/out2") >"$work/out" 2>"$work/err" && fail "a full disk is no error" || pass
says err "a full disk" 'E1010'
says err "a full disk" 'out2/gpt2\.'
[ -z "$(find "$work" -name '*attar-build*' -o -name out2)" ] && pass || fail "a full disk: $(find "$work" -name '*attar-build*' -o -name out2) stayed"
finish
