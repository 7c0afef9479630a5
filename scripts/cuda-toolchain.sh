#!/usr/bin/env bash
# Fetches what compiles the CUDA kernels into target/tools/cuda and prints its path, for SSMOESR_NVRTC: NVRTC 12.8, one library;
# no GPU, driver or CUDA installation is needed. `cuda-toolchain.sh cuobjdump` does the same for the program that tells what
# compiled kernels take. Each file is held to one hash. Exit 77: not to be had here.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-nvrtc}
case $what in
nvrtc)
    package=nvidia-cuda-nvrtc-cu12==12.8.93
    hash=a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994
    platform=manylinux_2_12_x86_64
    file=nvidia/cuda_nvrtc/lib/libnvrtc.so.12
    ;;
cuobjdump)
    package=nvidia-cuda-cuobjdump==13.2.51
    hash=95c69d3ddf0c2c1f535ec44c3433a66aeee19f588d9d22f73356e20b25f12b50
    platform=manylinux_2_17_x86_64
    file=nvidia/cu13/bin/cuobjdump
    ;;
*) echo "cuda-toolchain: there is nvrtc and cuobjdump, not $what" >&2; exit 2 ;;
esac

folder=$PWD/target/tools/cuda
# Kept by version: another one is fetched anew.
if [ ! -e "$folder/$package/$file" ]; then
    [ "$(uname -sm)" = 'Linux x86_64' ] || { echo "cuda-toolchain: $what is known for Linux on x86_64 only" >&2; exit 77; }
    scripts/setup.sh deny >&2
    mkdir -p "$folder"
    part=$(mktemp -d "$folder/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    printf '%s --hash=sha256:%s\n' "$package" "$hash" >"$part/list"
    /usr/bin/python3 -m venv "$part/venv"
    "$part/venv/bin/pip" -q --disable-pip-version-check install --no-deps --only-binary :all: --platform "$platform" \
        --require-hashes --target "$part/files" -r "$part/list" >&2 || {
        echo "cuda-toolchain: $package cannot be had here" >&2
        exit 77
    }
    chmod -R u+w "$part/files"
    [ "$what" = nvrtc ] || chmod +x "$part/files/$file"
    rm -rf "${folder:?}/$package"
    mv "$part/files" "$folder/$package"
fi
echo "$folder/$package/$file"
