#!/usr/bin/env bash
# Proves the CUDA path on a machine with an NVIDIA GPU and no network: run it in the bundle that scripts/gpu-proof.sh makes. Nine steps, eight
# minutes at most; what comes out is appended to report.md. Python with PyTorch is used where it is there. A step that fails does not
# end the others. PROVE_SMALL=1: sizes for a dry run.
set -u
cd "$(dirname "$0")"
export LC_ALL=C

here=$PWD
report=$here/report.md
logs=$here/logs
mkdir -p "$logs"
small=${PROVE_SMALL:-}
failed=0
slow=1
[ -z "$small" ] || slow=4

# Containers bring the driver where the loader does not look.
for folder in /usr/local/nvidia/lib64 /usr/lib/wsl/lib; do
    [ ! -e "$folder/libcuda.so.1" ] || export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
chmod +x bin/* 2>/dev/null

say() { printf '%s\n' "$@" | tee -a "$report"; }

# step NAME SECONDS COMMAND...: its last lines go into the report, all of it into a log.
step() {
    # The emulated GPU takes its time.
    local name=$1 limit=$(($2 * slow)) began=$SECONDS code=0
    shift 2
    timeout -k 5 "$limit" "$@" >"$logs/$name.log" 2>&1 || code=$?
    say '' "## $name: $([ $code = 0 ] && echo passed || echo "FAILED, exit $code"), $((SECONDS - began)) s" '' '```'
    grep -E "${lines:-.}" "$logs/$name.log" | tail -n "${count:-20}" | cut -c 1-200 | tee -a "$report"
    say '```'
    [ $code = 0 ] || failed=$((failed + 1))
}

tests() { SSMOESR_TEST_GPU=1 bin/core-tests --exact --include-ignored --nocapture --test-threads=1 "$@"; }
export -f tests
export SSMOESR_VECTORS=$here/vectors/published/small SSMOESR_VECTORS_FULL=$here/vectors/published/published
export SSMOESR_VECTORS_NATIVE=$here/vectors/native

machine() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || echo 'no nvidia-smi'
    bin/ssmoesr devices
    bin/ssmoesr devices | grep '^cuda' | grep -qv 'not usable'
}
export -f machine

pictures() {
    local precision i
    for precision in f32 bf16 f16; do
        for i in 1 2 3; do
            bin/ssmoesr upscale -q --force --device cuda --precision "$precision" "$1" "logs/$precision-$i.png" || return 1
        done
        # Three processes, one picture.
        cmp "logs/$precision-1.png" "logs/$precision-2.png" && cmp "logs/$precision-2.png" "logs/$precision-3.png" || return 1
        echo "$precision: three runs, the same bytes"
    done
}
export -f pictures

frames() {
    local precision
    for precision in f32 bf16 f16; do
        echo "$precision: $(bin/ssmoesr bench --json --device cuda --precision "$precision" "$@")" || return 1
    done
}
export -f frames

soak() {
    local used end=$((SECONDS + $1)) first='' memory='nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits'
    while [ $SECONDS -lt $end ]; do
        bin/ssmoesr upscale -q --force --device cuda "$2" logs/soak.png || return 1
        used=$($memory 2>/dev/null | head -n 1)
        first=${first:-$used}
    done
    echo "memory in use before and after: ${first:-unknown} ${used:-unknown} MiB"
    # Processes give back what they had; the rest is the driver's.
    [ -z "${used:-}" ] || [ $((used - first)) -lt 200 ]
}
export -f soak

peers() {
    local python=${PYTHON:-python3}
    "$python" -c 'import torch' 2>/dev/null || { echo 'no PyTorch here'; return 0; }
    PYTHONDONTWRITEBYTECODE=1 "$python" beside_torch.py "$@"
}
export -f peers

sanitizer() {
    command -v compute-sanitizer || { echo 'no compute-sanitizer here'; return 0; }
    compute-sanitizer --tool memcheck --error-exitcode 9 bin/core-tests --exact --include-ignored exec::cuda::tests::kernels::wide_convolutions exec::cuda::tests::maps::every_operation
}
export -f sanitizer

say "# CUDA on $(uname -n), $(date -u '+%Y-%m-%d %H:%M') UTC" '' "Version $(bin/ssmoesr --version)"
lines='' count=20
step machine 20 bash -c machine
step operations 40 bash -c 'tests exec::tests::every_executor_agrees_with_the_twin_on_every_case exec::tests::chains_of_operations_agree_with_the_twin exec::cuda::tests::kernels::wide_convolutions exec::cuda::tests::kernels::attention_of_every_width exec::cuda::tests::maps::every_operation exec::cuda::tests::maps::frames_in_flight exec::cuda::tests::maps::uploads_in_flight exec::cuda::tests::four_threads'
step networks 60 bash -c "tests model::published::tests::vector_families_at_small_widths engine::tests::vector_native_agrees_with_training ${small:+#} model::published::tests::vector_families_at_published_widths"
step same-picture 40 bash -c 'tests engine::tests::gpu::sixteen_bits_keep_the_picture && pictures picture.png'
if [ -n "$small" ]; then
    step our-frames 60 bash -c 'frames --width 16 --height 16 --runs 1 --steps 1'
    # The small widths: at the published ones each block of pixels costs the emulated GPU minutes.
    step our-networks 80 env SSMOESR_TEST_CELLS=8 SSMOESR_VECTORS_FULL="$SSMOESR_VECTORS" bash -c 'tests model::published::tests::speed_on_a_gpu'
    step torch 110 bash -c 'peers --small --device cpu'
else
    step our-frames 50 bash -c 'frames --runs 20'
    step our-networks 80 bash -c 'tests model::published::tests::speed_on_a_gpu'
    step torch 110 bash -c peers
fi
step soak 40 bash -c "soak ${small:+1}${small:-30} picture.png"
step sanitizer 40 bash -c sanitizer
say '' "$failed steps failed."
[ $failed = 0 ]
