#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (60) on the stable compiler, two at a time, from the samples of
# the tests and the corpus that is kept here. What is found on the way goes to target/fuzz; a finding
# fails the run and is kept there too: run the named program with the file as its argument to see it again.
set -eu
cd "$(dirname "$0")/.."
seconds="${FUZZ_SECONDS:-60}"
target_dir="${CARGO_TARGET_DIR:-target}"
work="$target_dir/fuzz"
export RUSTC_WORKSPACE_WRAPPER="$PWD/fuzz/instrument.sh"
cargo build --locked --package kling-relay-fuzz --bins

fuzz() {
    corpus="$work/corpus/$1"
    mkdir -p "$corpus" "$work/findings"
    seeds="fuzz/corpus/$1"
    case "$1" in callback_*) seeds="tests/samples/callbacks tests/samples/callbacks/refused" ;; esac
    # shellcheck disable=SC2086 # two folders
    "$target_dir/debug/$1" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -print_final_stats=1 -verbosity=1 -artifact_prefix="$work/findings/$1-" \
        ${FUZZ_SEED:+-seed="$FUZZ_SEED"} "$corpus" $seeds 2>"$work/$1.log"
}

tell() {
    printf '\n-- fuzz %s for %s s\n' "$1" "$seconds"
    if "$2"; then
        grep -E '^stat::(number_of_executed_units|new_units_added)|^SUMMARY|Done ' "$work/$1.log"
    else
        tail -n 60 "$work/$1.log"
        exit 1
    fi
}

while read -r one other; do
    fuzz "$one" & first=$!
    fuzz "$other" & second=$!
    one_passed=true other_passed=true
    wait "$first" || one_passed=false
    wait "$second" || other_passed=false
    tell "$one" "$one_passed"
    tell "$other" "$other_passed"
done <<PAIRS
callback_new callback_legacy
signature submission
PAIRS
