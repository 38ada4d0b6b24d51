#!/bin/sh
# Installs what is missing, builds, and runs every test; the last line says how many passed and failed.
#
#     sh scripts/test.sh                  in build/
#     sh scripts/test.sh --sanitize       in build-sanitize/, with AddressSanitizer and UndefinedBehaviorSanitizer
#     sh scripts/test.sh -R passes        other options are handed to ctest
set -eu
cd "$(dirname "$0")/.."
build=build options="-DCMAKE_BUILD_TYPE=Release"
if [ "${1-}" = --sanitize ]; then
    shift
    build=build-sanitize options="-DCMAKE_BUILD_TYPE=RelWithDebInfo -DATTAR_SANITIZE=ON"
    export CK_TIMEOUT_MULTIPLIER=10 ATTAR_TEST_SANITIZE=1
fi
sh scripts/prepare.sh "$build" all $options

# The tests' own directory for compiled objects, the same for both builds: nothing of the user's is read or written.
export ATTAR_CACHE_DIR="$PWD/build/test-cache"
mkdir -p -m 700 "$ATTAR_CACHE_DIR"
status=0
ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure "$@" || status=$?

# Check programs print "100%: Checks: 12, Failures: 0, Errors: 0"; the shell tests "12 passed, 0 failed".
awk -v status="$status" '
    /^[0-9]+%: Checks: / { gsub(/[,:]/, " "); passed += $3 - $5 - $7; failed += $5 + $7 }
    /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3 }
    END {
        if (status != 0 && failed == 0)
            failed = 1
        printf "%d passed, %d failed\n", passed, failed
        exit status != 0 || failed > 0 || passed == 0
    }' "$build/Testing/Temporary/LastTest.log"
