# The same bits for one and two threads, from run to run, and from the cache or freshly compiled.
. tests/cli/lib.sh

for name in $models; do
    folder=tests/golden/$name
    set -- "$(model_of $name)" --weights $folder --input $folder/golden.safetensors
    for threads in 1 2 3; do
        expect 0 "$name on $threads threads" "$attar" run "$@" --threads $threads -o "$work/$name.$threads.safetensors"
    done
    same "$name, 1 and 2 threads" "$work/$name.1.safetensors" "$work/$name.2.safetensors"
    same "$name, 1 and 3 threads" "$work/$name.1.safetensors" "$work/$name.3.safetensors"
done
expect 0 "again" "$attar" run models/bert.attar --weights tests/golden/bert --input tests/golden/bert/golden.safetensors --threads 2 --no-cache -o "$work/again.safetensors"
same "again, without the cache" "$work/again.safetensors" "$work/bert.1.safetensors"
"$attar" emit models/bert.attar --weights tests/golden/bert >"$work/a.c"
"$attar" emit models/bert.attar --weights tests/golden/bert >"$work/b.c"
same "the emitted C" "$work/a.c" "$work/b.c"
finish
