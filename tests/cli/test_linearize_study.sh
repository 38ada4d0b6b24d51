# attar linearize --study: the table, the page, what is recommended can be used, and what is refused.
. tests/cli/lib.sh
llama="models/llama.attar --weights tests/golden/llama-tied --calibrate tests/golden/llama-tied/golden.safetensors"
few="--features 16 --codes 4,8 --block 4 --length 1024 --max-err 0.9"

expect 0 "a study" "$attar" linearize $llama --study $few --no-text --html "$work/page.html"
cp "$work/out" "$work/first"
says out "figures from sequences that made no constants" '2 x 13 positions of golden.safetensors (constants from every other'
says out "layers" '^1  .*\*'
says out "costs" '^faster at 1024 '
says out "the recommendation" '^  --linearize vq:codes=4,block=4,layers=0-1,max_err=0.9$'
says out "as an annotation" '^  @linearize(vq, codes=4, block=4, layers=\[0-1\], max_err=0.9)$'
for part in '^<!doctype html>' '<svg viewBox' 'max_err=0.9' '</html>$'; do
    says page.html "the page" "$part"
done
if grep -q -e 'https\?:' -e 'src=' -e '<script' "$work/page.html"; then fail "the page needs nothing else"; else pass; fi

# Codebooks come from the disk now.
expect 0 "again" "$attar" linearize $llama --study $few --no-text
same "a study is the same again" "$work/first" "$work/out"
expect 0 "with other threads" "$attar" linearize $llama --study $few --no-text --threads 1 --no-cache
same "for any number of threads" "$work/first" "$work/out"
expect 0 "another seed" "$attar" linearize $llama --study $few --no-text --seed 3
says out "another seed" 'vq:codes=[48],block=4,seed=3,layers=0-1'

request=$(sed -n 's/^  --linearize //p' "$work/first")
expect 0 "what is recommended can be asked for" "$attar" report $llama --linearize "$request"
says out "what is recommended can be asked for" 'linearize-vq'
annotation=$(sed -n 's/^  \(@linearize.*\)/\1/p' "$work/first")
sed "s/^  a = attention(rope/  $annotation\n&/" models/llama.attar >"$work/annotated.attar"
expect 0 "the annotation can be pasted" "$attar" report "$work/annotated.attar" --weights tests/golden/llama-tied --calibrate tests/golden/llama-tied/golden.safetensors
says out "the annotation can be pasted" 'linearize-vq'

expect 0 "bits of text" "$attar" linearize $llama --study --features 16 --codes "" --max-err 0.01
says out "bits of text" '^Bits per token .* exact: [0-9]\.[0-9]'
says out "bits of text" '^all  *[0-9]\.[0-9]'
says out "nothing is good enough" '^Recommended: leave attention exact'

expect 0 "an encoder" "$attar" linearize models/bert.attar --weights tests/golden/bert --calibrate tests/golden/bert/golden.safetensors --study --features 16 --codes 4
says out "an encoder" 'not causal, by operations'
expect 0 "masks that are not linear" "$attar" linearize models/gemma2.attar --weights tests/golden/gemma2 --calibrate tests/golden/gemma2/golden.safetensors --study --features 16 --codes 4 --no-text
says out "masks that are not linear" 'stays exact: '

expect 2 "no calibration" "$attar" linearize models/llama.attar --weights tests/golden/llama-tied --study
says err "no calibration" '--calibrate FILE'
expect 2 "nothing to do" "$attar" linearize $llama
expect 2 "nothing to try" "$attar" linearize $llama --study --features "" --codes ""
expect 3 "a file without the inputs" "$attar" linearize models/llama.attar --weights tests/golden/llama-tied --study --calibrate tests/golden/llama-tied/model.safetensors
says err "a file without the inputs" 'E0658'
expect 3 "a file that is not there" "$attar" linearize models/llama.attar --weights tests/golden/llama-tied --study --calibrate "$work/none.safetensors"
expect 1 "no attention" "$attar" linearize models/fnet.attar --weights tests/golden/fnet --calibrate tests/golden/fnet/golden.safetensors --study
says err "no attention" 'E0903.*no attention was recognised'
expect 4 "a page that cannot be written" "$attar" linearize $llama --study $few --no-text --html "$work/no/such/page.html"

# The linear algebra is linked in: nothing of it is looked for when the command starts.
if command -v ldd >/dev/null; then
    ldd "$attar" >"$work/libraries" 2>&1
    if grep -q -i -e lapack -e blas -e gfortran "$work/libraries"; then fail "linear algebra is linked statically"; else pass; fi
fi
finish
