#!/usr/bin/env bash
# Runs the cases of tests/gimp.rs in GIMP 3.0 (Debian 13) and 3.2 (Debian testing), each in a system made for it.
# GIMP3_SYSTEMS says where these are kept (about 1 GB each); what is there is used again.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "test-gimp3: needs root, as it makes Debian systems (debootstrap, chroot)" >&2; exit 1; }
systems=${GIMP3_SYSTEMS:-$PWD/${CARGO_TARGET_DIR:-target}/gimp3}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$systems"

for suite in trixie forky; do
    root=$systems/$suite
    if [ ! -x "$root/usr/bin/gimp-console" ]; then
        script=/usr/share/debootstrap/scripts/$suite
        # An older debootstrap does not know the newest names; the script is the same.
        [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
        rm -rf --one-file-system "$root"
        # The newer suite's signatures by the keys that the older one brought, which this system's keys vouch for.
        keys=()
        for ring in "$systems"/trixie/usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
            [ "$suite" = trixie ] || [ ! -s "$ring" ] || keys=(--keyring="$ring")
        done
        debootstrap "${keys[@]}" --variant=minbase "$suite" "$root" "$mirror" "$script"
        cp /etc/resolv.conf "$root/etc/"
        # Proxies and the like of this machine.
        find /etc/apt/apt.conf.d -name '*proxy*' -exec cp {} "$root/etc/apt/apt.conf.d/" \;
        # A testing suite's index ends after a week, and mirrors may stand still for longer. Who signed it is checked all the same.
        chroot "$root" apt-get -q update || {
            echo "test-gimp3: $suite cannot be updated; once more without the date until which its index is valid"
            chroot "$root" apt-get -q -o Acquire::Check-Valid-Until=false update
        }
        chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends gimp
    fi
    # Nothing of this machine's own: what a test removes there is gone there only.
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
done
unmount() {
    for suite in trixie forky; do
        umount "$systems/$suite/proc" || true
    done
}
trap unmount EXIT

# Without the reference device: it is quicker to build.
cargo build --locked -p ssmoesr-cli --no-default-features
SSMOESR_TEST_GIMP3=$systems/trixie:$systems/forky \
    cargo test --locked -p ssmoesr-gimp --test gimp -- --ignored --nocapture
