#!/bin/sh
# `make test-threads`: locks and channels under ThreadSanitizer, while unit tests, integration tests and the soak use them.
#
# The stable compiler has it, and wants to be asked twice. The standard library is built with it too, or its locks would
# not be known. Such a build is about ten times slower: tests of how long something takes or how large it is are left out.
set -eu
target=$(uname -m)-unknown-linux-gnu
reports=$PWD/target/threads/reports
rm -rf "$reports"
mkdir -p "$reports"
export TSAN_OPTIONS="exitcode=66 log_path=$reports/race"
# The calls behind a panic on purpose take half a second each to be named in such a build: a client gave up before the
# answer.
export RUST_BACKTRACE=0

# It has to find what is there, or it finds nothing because it does not work.
RUSTC_BOOTSTRAP=1 rustc --edition 2024 -O -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer \
    -o target/threads/race tests/threads/race.rs
status=0
target/threads/race || status=$?
if [ "$status" != 66 ] || ! grep -q 'data race' "$reports"/race.*; then
    echo "the control has a race, and ThreadSanitizer has not found it (exit code $status)"
    exit 1
fi
rm "$reports"/race.*

sanitized() {
    order=$1
    shift
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread --cfg sanitized" \
        cargo "$order" --locked --target "$target" --target-dir target/threads -Zbuild-std "$@"
}
cargo build --locked --examples
sanitized build --bin servisor

# The names of a list, and what it leaves out.
chosen() {
    grep '^[^#]' "tests/threads/$1.txt" | sed 's/^- /--skip /'
}
status=0
sanitized test --lib -- $(chosen unit) || status=1
export THREADS_BIN="$PWD/target/threads/$target/debug/servisor" SERVISOR_BIN="$PWD/tests/threads/servisor"
cargo test --locked --test it -- $(chosen it) || status=1
SOAK_SECONDS=$1 cargo test --locked --test it soak:: -- --nocapture || status=1

for report in "$reports"/race.*; do
    [ -e "$report" ] || break
    cat "$report"
    status=1
    echo "a race: $report"
done
exit $status
