#!/bin/sh
# `make test-threads`: locks and channels under ThreadSanitizer, while unit tests, integration tests and the soak use them.
#
# The stable compiler has it, and wants to be asked twice. The standard library is built with it too, or its locks would
# not be known. Such a build is about ten times slower: tests of how long something takes or how large it is are left out,
# and so are those of a child that shares the daemon's memory, which ThreadSanitizer takes for a fork.
set -eu
target=$(uname -m)-unknown-linux-gnu
reports=$PWD/target/threads/reports
rm -rf "$reports"
mkdir -p "$reports"
export TSAN_OPTIONS="exitcode=66 log_path=$reports/race"
# The calls behind a panic on purpose take half a second each to be named in such a build: a client gave up before the answer.
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
status=0
sanitized test --lib -- os:: supervisor:: http:: logs:: prober:: ports:: overlay:: handoff:: registry:: sorted:: \
    proxy:: runs:: json:: api::permits api::follow api::events --skip no_pattern_takes_long --skip os::child:: --skip os::memory:: \
    --skip a_stack_that_was_given_back --skip however_many_unknown_children || status=1
export THREADS_BIN="$PWD/target/threads/$target/debug/servisor" SERVISOR_BIN="$PWD/tests/threads/servisor"
cargo test --locked --test it -- api:: crash:: events:: follow:: lifecycle:: logs:: mixed:: overlays:: prepare:: ready:: restart:: \
    proxy:: runs:: shutdown:: state:: stop:: visits:: waiting:: --skip a_body_is_not_kept --skip bulk:: --skip busy:: --skip a_quiet_tunnel_keeps --skip many_crashes_cost --skip what_has_no_process_says_why --skip a_flood_costs --skip a_full_disk --skip a_large_template --skip from_a_crash --skip a_spawn_that_fails \
    --skip without_a_check_it_is_ready || status=1
SOAK_SECONDS=$1 cargo test --locked --test it soak:: -- --nocapture || status=1

for report in "$reports"/race.*; do
    [ -e "$report" ] || break
    cat "$report"
    status=1
    echo "a race: $report"
done
exit $status
