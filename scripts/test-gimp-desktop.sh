#!/usr/bin/env bash
# test-gimp-desktop.sh [2.10|3.0|3.2 ...]: runs tests/gimp/desktop.py in these GIMPs, on a screen that nobody sees.
# 3.x run in the systems that test-gimp3.sh made. Screenshots go to SHOTS. A photograph to show: PICTURE. Only some cases:
# CASES="progress kill".
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh test desktop
target=${CARGO_TARGET_DIR:-$PWD/target}
systems=${GIMP3_SYSTEMS:-$target/gimp3}
shots=${SHOTS:-out/gimp}
mkdir -p "$shots"
cargo build --release --locked -p ssmoesr-gimp

for generation in "${@:-2.10}"; do
    case $generation in
    2.10) root= ;;
    3.0) root=$systems/trixie ;;
    3.2) root=$systems/forky ;;
    *) echo "test-gimp-desktop: unknown GIMP $generation" >&2; exit 2 ;;
    esac
    profile=$(mktemp -d "$root/tmp/ssmoesr-XXXXXX")
    inside=${profile#"$root"}
    own=$profile/plug-ins/ssmoesr-gimp
    mkdir -p "$own/share/ssmoesr" "$own/help/en"
    cp gimp-plugin/help/* "$own/help/en/"
    cp "$target/release/ssmoesr-gimp" "$own/"
    cp -r models "$own/share/ssmoesr/"
    if [ -n "${PICTURE:-}" ]; then
        cp "$PICTURE" "$profile/photo.png"
    else
        cp docs/side-by-side.png "$profile/photo.png"
    fi
    [ -z "$root" ] || mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    code=0
    python3 tests/gimp/desktop.py "$generation" "$root" "$inside" "$inside/photo.png" "$shots" ${CASES:-} || code=$?
    [ -z "$root" ] || umount "$root/proc" || true
    rm -rf "$profile"
    [ $code = 0 ] || exit $code
done
