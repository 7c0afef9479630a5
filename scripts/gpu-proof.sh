#!/usr/bin/env bash
# Makes target/gpu-proof: everything that proves the CUDA path on a machine with a GPU, without network, Rust or CUDA there. Copy it and run its
# prove.sh; where this machine has a GPU, that is done at once. `gpu-proof.sh dry` runs it on the emulated GPU instead, as far as that goes.
set -euo pipefail
cd "$(dirname "$0")/.."

SSMOESR_NVRTC=$(scripts/cuda-toolchain.sh)
export SSMOESR_NVRTC
target=${CARGO_TARGET_DIR:-target}
bundle=$PWD/target/gpu-proof

cargo build --release --locked -p ssmoesr-cli --features cuda
program=$(cargo test --release --locked -p ssmoesr-core --features cuda --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

rm -rf "$bundle"
mkdir -p "$bundle"/{bin,vectors,share/ssmoesr/models,benches,training}
strip -o "$bundle/bin/ssmoesr" "$target/release/ssmoesr"
strip -o "$bundle/bin/core-tests" "$program"
cp -r models/photo "$bundle/share/ssmoesr/models/"
cp -r tests/vectors/{native,published} "$bundle/vectors/"
cp -r benches/peers "$bundle/benches/"
cp -r training/ssmoesr_training "$bundle/training/"
find "$bundle" -name __pycache__ -prune -exec rm -r {} +
cp tests/cuda/{prove.sh,beside_torch.py} "$bundle/"
/usr/bin/python3 tests/cuda/picture.py "$bundle/picture.png" 160 90

size=$(du -sm "$bundle" | cut -f 1)
echo "gpu-proof: $bundle, $size MiB"
[ "$size" -lt 48 ] || { echo 'gpu-proof: more than 48 MiB' >&2; exit 1; }

if [ "${1:-}" = dry ]; then
    mkdir -p "$bundle/emulated"
    g++ -std=c++17 -O2 -w -shared -fPIC -I core/src/exec/cuda/kernels -I tests/cuda -o "$bundle/emulated/libcuda.so" tests/cuda/driver.cpp
    /usr/bin/python3 tests/cuda/picture.py "$bundle/picture.png" 12 9
    PROVE_SMALL=1 LD_LIBRARY_PATH=$bundle/emulated "$bundle/prove.sh"
elif [ -e /dev/nvidiactl ]; then
    "$bundle/prove.sh"
else
    echo "gpu-proof: no GPU here: copy the folder to a machine with one and run prove.sh in it"
fi
