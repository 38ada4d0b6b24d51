# An example, made by the commands in its first lines, writes what `attar generate` writes: sh tests/ship/examples.sh ATTAR c|cpp|py
. tests/ship/lib.sh
example=examples/write.$2
prompt="It is a truth" steps=200 # as it says there

case $2 in
c) compilers="gcc $clang" ;;
cpp) compilers="g++ clang++${clang#clang}" ;;
py) compilers=python3 ;;
esac
usable=
for compiler in $compilers; do
    if command -v "$compiler" >/dev/null 2>&1; then usable="$usable $compiler"; else echo "not with $compiler, which is not here"; fi
done
[ "$usable" ] || skip "$example needs one of: $compilers"

# A folder that looks like the top of the repository, with `attar`, `cc` and `c++` to find.
here=$PWD
case $attar in /*) ;; *) attar=$here/$attar ;; esac
mkdir "$work/top" "$work/bin"
ln -s "$here/models" "$here/examples" "$work/top"
stand_in() {
    name=$1
    shift
    { echo "#!/bin/sh" && echo "exec $* \"\$@\""; } >"$work/bin/$name"
    chmod +x "$work/bin/$name"
}
run() { (cd "$work/top" && PATH=$work/bin:$PATH && eval "$1"); }
sed -n 's,^\(//\| \*\|\) *\(\(attar\|cc\|c++\|\./write\|python3\) .*[^ */]\)\( \*/\)\{0\,1\}$,\2,p' "$example" >"$work/commands"
[ "$(sed -n '1s/ .*//p' "$work/commands")" = attar ] && pass || fail "$example does not say how the model is built"

"$attar" generate models/llama.attar --weights models/austen --prompt "$prompt" --steps $steps >"$work/text" 2>"$work/err" || fail "attar generate"
stand_in attar "$attar"
expect 0 "build" run "$(head -n 1 "$work/commands")"
for compiler in $usable; do
    stand_in cc "$compiler" -Wall -Wextra -Wpedantic -Wconversion -Werror
    stand_in c++ "$compiler" -Wall -Wextra -Wpedantic -Wconversion -Werror
    sed 1d "$work/commands" >"$work/rest"
    while read -r line; do
        expect 0 "by $compiler: $line" run "$line"
    done <"$work/rest"
    same "$example by $compiler" "$work/out" "$work/text"
    # What goes wrong is said in a line.
    last=$(tail -n 1 "$work/commands")
    beyond=$(echo "$last" | sed "s/$steps\$/600/")
    expect 1 "by $compiler: $beyond" run "$beyond"
    says err "by $compiler: $beyond" "no room for so many positions"
    printf 'ATTARWTS' >"$work/top/out/llama.weights.new"
    mv "$work/top/out/llama.weights" "$work/whole" && mv "$work/top/out/llama.weights.new" "$work/top/out/llama.weights"
    expect 1 "by $compiler: weights cut short" run "$last"
    says err "by $compiler: weights cut short" "the weights end too early"
    mv "$work/whole" "$work/top/out/llama.weights"
done
finish
