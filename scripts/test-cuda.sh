#!/usr/bin/env bash
# The device `cuda` as far as it can be tested without a GPU: kernels compiled for every GPU of the list, what they take,
# what the command links, the command without a driver, and every operation and whole networks on the emulated driver.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "test-cuda: $*" >&2; exit 1; }

SSMOESR_NVRTC=$(scripts/cuda-toolchain.sh)
cuobjdump=$(scripts/cuda-toolchain.sh cuobjdump)
export SSMOESR_NVRTC
target=${CARGO_TARGET_DIR:-target}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# Where core's build left the images, in cargo's own words.
cargo build --locked -p ssmoesr-cli --features cuda --message-format json >"$room/messages"
images=$(grep '"reason":"build-script-executed"' "$room/messages" | grep 'ssmoesr-core' |
    sed -n 's/.*"out_dir":"\([^"]*\)".*/\1/p' | tail -n 1)
count=0
for image in "$images"/sm_*.bin; do
    "$cuobjdump" -res-usage "$image" >"$room/usage"
    kernels=$(grep -c 'REG:' "$room/usage")
    [ "$kernels" -ge 20 ] || fail "$image holds $kernels kernels"
    # Values that do not fit into registers, and tables indexed at run time, go to slow memory.
    ! grep -E 'STACK:[1-9]|LOCAL:[1-9]' "$room/usage" || fail "a kernel of $image spills"
    most=$(sed -n 's/.*REG:\([0-9]*\).*/\1/p' "$room/usage" | sort -n | tail -n 1)
    echo "$(basename "$image" .bin): $kernels kernels, at most $most registers, nothing spilled, $(stat -c %s "$image") bytes"
    count=$((count + 1))
done
[ "$count" = 7 ] || fail "machine code for $count kinds of GPU, not 7"
grep -q '^\.version' "$images/compute_80.bin" || fail "there is no PTX for later GPUs"

ssmoesr=$target/debug/ssmoesr
linked=$(ldd "$ssmoesr" | grep -Eio 'lib(cuda|cudart|nvrtc|cublas|cudnn|cufft|curand)[^ ]*' || true)
[ -z "$linked" ] || fail "the command links $linked"

/usr/bin/python3 tests/cuda/picture.py "$room/small.png" 12 9
upscale() { "$ssmoesr" upscale -q --steps 1 "${@:2}" "$room/small.png" "$1"; }
upscale "$room/cpu.png" --device cpu
if [ -e /dev/nvidiactl ]; then
    echo "test-cuda: this machine has an NVIDIA driver: that there is none is not tested"
else
    upscale "$room/auto.png"
    cmp "$room/cpu.png" "$room/auto.png" || fail "without a driver \`auto\` is not the CPU"
    ! upscale "$room/none.png" --device cuda 2>"$room/said" || fail "\`cuda\` works without a driver"
    grep -q 'there is no NVIDIA driver' "$room/said" || fail "without a driver \`cuda\` says: $(cat "$room/said")"
    [ "$(wc -l <"$room/said")" -le 2 ] || fail "without a driver \`cuda\` says more than is needed: $(cat "$room/said")"
fi

cargo test --locked -p ssmoesr-core --features cuda --lib exec::cuda::

# The command as it is shipped, on the emulated driver.
mkdir "$room/driver"
g++ -std=c++17 -O2 -w -shared -fPIC -I core/src/exec/cuda/kernels -I tests/cuda -o "$room/driver/libcuda.so" tests/cuda/driver.cpp
# By way of a file: a reader that leaves at the first match would break the pipe.
LD_LIBRARY_PATH=$room/driver "$ssmoesr" devices >"$room/devices"
grep -q '^cuda .*emulated GPU' "$room/devices" || fail "the emulated GPU is not listed"
LD_LIBRARY_PATH=$room/driver SSMOESR_EMULATED_TRACE=$room/trace upscale "$room/cuda.png" --device cuda
echo "test-cuda: $(grep -c cuLaunchKernel "$room/trace") kernels started for a picture of 12x9"
