# The words after `clang` or `or gcc` in the header of an emitted file.
flags_of() {
    awk -v compiler="$2" '
        /^ \*     clang / { on = compiler == "clang"; sub(/clang /, "") }
        /^ \*     or gcc / { on = compiler == "gcc"; sub(/or gcc /, "") }
        /^ \*$/ { exit }
        on { sub(/^ \* */, ""); print }' "$1"
}
