#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET ...]: runs each fuzz target for so many seconds from the corpus; all where none is named.
# What it finds new goes to fuzz/target/corpus, an input that breaks a rule to fuzz/artifacts. Needs cargo-fuzz, which is
# built into target/tools where it is not in the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(description weights checkpoint pickle picture)

tools=$PWD/target/tools
export PATH=$PATH:$tools/bin
scripts/setup.sh fuzz
if ! command -v cargo-fuzz >/dev/null; then
    cargo install --quiet --locked --root "$tools" --version 0.13.2 cargo-fuzz || {
        echo "fuzz: cargo-fuzz cannot be had here: nothing was fuzzed" >&2
        exit 77
    }
fi
# The coverage and the sanitizer that libFuzzer needs are in the stable compiler, behind this.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --fuzz-dir fuzz

# Every input is written to a file: in memory, and away at the end.
shm=/dev/shm
[ -w $shm ] || shm=/tmp
room=$(mktemp -d $shm/ssmoesr-fuzz.XXXXXX)
trap 'rm -rf "$room"' EXIT
export TMPDIR=$room
for target in "${targets[@]}"; do
    found=fuzz/target/corpus/$target
    mkdir -p "$found"
    echo "fuzz: $target, $seconds s"
    # One message per new input is too much; the last lines say how much was run.
    cargo fuzz run --fuzz-dir fuzz "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 2>"$room/log" || {
        tail -n 60 "$room/log" >&2
        exit 1
    }
    grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb|Done )' "$room/log"
done
