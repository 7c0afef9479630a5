#!/usr/bin/env bash
# Installs what a task needs and is not there: setup.sh build|demo|test|fuzz|gimp3|desktop|training|deny|curl ...
# On Debian and its children by apt, through sudo where not root; elsewhere it says what is needed.
set -euo pipefail

packages=(ca-certificates gcc libc6-dev make pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev)
rust=yes
for task in "$@"; do
    case $task in
    build) ;;
    demo) packages+=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
        gstreamer1.0-plugins-ugly gstreamer1.0-libav) ;;
    test) packages+=(abigail-tools binutils clang g++ gimp git valgrind gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
        gstreamer1.0-plugins-ugly gstreamer1.0-libav) ;;
    fuzz) packages+=(g++) ;;
    desktop) packages+=(gimp imagemagick openbox procps python3 x11-utils xclip xdotool xvfb) ;;
    gimp3) packages+=(debootstrap) ;;
    training) packages=(python3-torch python3-numpy python3-pil python3-scipy) rust=no ;;
    curl) packages=(ca-certificates curl) rust=no ;;
    deny) packages=(python3-venv) rust=no ;;
    *) echo "setup: unknown task $task" >&2; exit 2 ;;
    esac
done

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    missing=()
    for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        as_root=(env DEBIAN_FRONTEND=noninteractive)
        if [ "$(id -u)" != 0 ]; then
            if ! command -v sudo >/dev/null; then
                echo "setup: not root and no sudo; please install: ${missing[*]}" >&2
                exit 1
            fi
            as_root=(sudo DEBIAN_FRONTEND=noninteractive)
            [ -t 0 ] || as_root=(sudo -n DEBIAN_FRONTEND=noninteractive)
        fi
        echo "setup: installing by apt: ${missing[*]}"
        "${as_root[@]}" apt-get -q update
        "${as_root[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}"
    fi
else
    echo "setup: no apt here; needed are what Debian calls: ${packages[*]}"
fi

if [ $rust = yes ] && ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing (1.92 or later): install it from https://rustup.rs, then open a new shell" >&2
    exit 1
fi
