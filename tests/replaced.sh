# Shared by tests/mutants and tests/mistakes, which change one text of a file.

# Replaces the text in $2 by the text in $3 in the file $1, to stdout; status 1 if it does not occur exactly once.
replaced() {
    awk -v find_file="$2" -v replace_file="$3" '
        function all_of(path, text, line) {
            text = ""
            while ((getline line < path) > 0)
                text = text line "\n"
            close(path)
            return text
        }
        { whole = whole $0 "\n" }
        END {
            find = all_of(find_file)
            at = index(whole, find)
            if (!find || !at || index(substr(whole, at + 1), find))
                exit 1
            printf "%s%s%s", substr(whole, 1, at - 1), all_of(replace_file), substr(whole, at + length(find))
        }' "$1"
}
