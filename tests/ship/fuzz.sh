# tests/ship/fuzz.c on one model, by clang under AddressSanitizer and UndefinedBehaviorSanitizer:
#     sh tests/ship/fuzz.sh ATTAR MODEL none|caller|pool
. tests/ship/lib.sh
model=$2
other=llama
[ "$model" != llama ] || other=llamaperformer

# Its weights and its cache are handed over as well. It is only opened: neither sanitizers nor optimisation are needed.
# shellcheck disable=SC2046
expect 0 "build $other" "$attar" build $(built $other) -o "$work/other"
# shellcheck disable=SC2046
expect 0 "compile $other" "$clang" $(flags_of "$work/other/$other.c" clang) -O0 -c "$work/other/$other.c" -o "$work/other.o"
others="-I$work/other -DOTHER=$other -DOTHER_HEADER=\"$other.h\" $work/other.o"

checked "$model" "$3" fuzz -fsanitize=address,undefined -fno-sanitize-recover=all
expect 0 "fuzz $model" "$work/fuzz" "$work/$model-$3/$model.weights" "$work/other/$other.weights"
cat "$work/out"
finish
