#!/bin/sh
# Cargo calls this in place of rustc for the packages of this workspace only, so the dependencies are
# those of the other builds. What it adds lets the fuzzer see which branches an input takes; every flag
# is one of the stable compiler.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Copt-level=1
