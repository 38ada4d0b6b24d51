# tests/ship/threads.c on one model, by clang under ThreadSanitizer:
#     sh tests/ship/threads.sh ATTAR MODEL none|caller|pool
. tests/ship/lib.sh
model=$2

echo "int main(void) { return 0; }" >"$work/nothing.c"
"$clang" -fsanitize=thread "$work/nothing.c" -o "$work/nothing" 2>/dev/null && "$work/nothing" 2>/dev/null ||
    skip "ThreadSanitizer does not run here"
checked "$model" "$3" threads -fsanitize=thread
expect 0 "threads of $model" timeout 600 "$work/threads" "$work/$model-$3/$model.weights"
cat "$work/out"
finish
