#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (60) on the stable compiler, from the samples of the tests and
# the corpus that is kept here. What is found on the way goes to target/fuzz; a finding fails the run and
# is kept there too: run the named program with the file as its argument to see it again.
set -eu
cd "$(dirname "$0")/.."
seconds="${FUZZ_SECONDS:-60}"
work="${CARGO_TARGET_DIR:-target}/fuzz"
export RUSTC_WORKSPACE_WRAPPER="$PWD/fuzz/instrument.sh"
cargo build --locked --package kling-relay-fuzz --bins
for target in callback_new callback_legacy signature submission; do
    corpus="$work/corpus/$target"
    mkdir -p "$corpus" "$work/findings"
    seeds="fuzz/corpus/$target"
    case "$target" in callback_*) seeds="tests/samples/callbacks tests/samples/callbacks/refused" ;; esac
    printf '\n-- fuzz %s for %s s\n' "$target" "$seconds"
    # shellcheck disable=SC2086 # two folders
    "${CARGO_TARGET_DIR:-target}/debug/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -print_final_stats=1 -verbosity=1 -artifact_prefix="$work/findings/$target-" \
        ${FUZZ_SEED:+-seed="$FUZZ_SEED"} "$corpus" $seeds 2>"$work/$target.log" || {
        tail -n 60 "$work/$target.log"
        exit 1
    }
    grep -E '^stat::(number_of_executed_units|new_units_added)|^SUMMARY|Done ' "$work/$target.log"
done
