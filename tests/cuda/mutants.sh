#!/usr/bin/env bash
# Plants faults in the CUDA kernels, one at a time, and runs the operations' tests on each: a fault that no test finds is a gap
# in the tests. Needs g++ and a built test program; takes a few seconds per fault.
set -euo pipefail
cd "$(dirname "$0")/../.."

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
program=$(cargo test --locked -p ssmoesr-core --features cuda --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

# Builds the emulated driver from the kernels in $1 and runs the tests on it.
passes() {
    g++ -std=c++17 -O2 -w -shared -fPIC -I "$1" -I tests/cuda -o "$1/libcuda.so" tests/cuda/driver.cpp || {
        echo "mutants: does not compile: $what" >&2
        exit 1
    }
    (cd core && SSMOESR_TEST_EMULATED=1 LD_LIBRARY_PATH=$1 timeout 300 "$program" --include-ignored exec::tests:: exec::cuda::tests::wide_convolutions --skip agree_in_every >"$room/said" 2>&1)
}

cp -r core/src/exec/cuda/kernels "$room/kernels"
what='no fault'
passes "$room/kernels" || { cat "$room/said" >&2; echo "mutants: the tests fail without a fault" >&2; exit 1; }

missed=0 count=0
# File, what stands there, what shall stand there.
while IFS='@' read -r file from to; do
    what="$file: $from -> $to"
    rm -rf "$room/kernels"
    cp -r core/src/exec/cuda/kernels "$room/kernels"
    FROM=$(printf %b "$from") TO=$(printf %b "$to") perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ or die "not found\n"' "$room/kernels/$file.cuh" || {
        echo "mutants: $what: the text is not there" >&2
        exit 1
    }
    count=$((count + 1))
    if passes "$room/kernels"; then
        echo "MISSED $what"
        missed=$((missed + 1))
    else
        echo "found  $what  ($(grep -m 1 -oE 'emulated GPU: .*|panicked at .*' "$room/said" | cut -c 1-60))"
    fi
done <<'END'
conv@ky - p.n[8]@ky + 1 - p.n[8]
conv@iy < 0 ? 0 : H - 1@iy < 0 ? 0 : H - 2
conv@if (at >= p.n[12] * rows * cols) return;@
conv@o0 / outs_per_group * per_group@0
conv@o0 + j < O ? load@o0 + j < O - 1 ? load
point@barrier();@
point@if (t < half) shared_store(memory, t, shared_load(memory, t) + shared_load(memory, t + half));@if (t < half - 1) shared_store(memory, t, shared_load(memory, t) + shared_load(memory, t + half));
point@block_x() % p.n[0] * size@block_x() * size
point@channel + i / pixels@channel + i % size
point@squares / (float)C + p.f[0]@squares / (float)C
point@if (at >= p.n[2]) return;@
point@x >= 0.f ? x : slope * x@x >= 0.f ? x : x
point@at / p.n[1]))@at % p.n[1]))
point@phase & 2 ? -y : y@y
point@distance < least@distance <= least
filter@if (u == 0 || 2 * u == tw)@if (u == 0)
filter@p.n[3] ? 1.f : -1.f@-1.f
filter@blocks + block) * ins + i@block) * ins + i
filter@v < -by ? v + by : 0.f@v < -by ? v - by : 0.f
conv@p.f[2] * y + p.f[3]@p.f[3] * y + p.f[2]
conv@const float y = then(p, sum);@const float y = sum;
point@then(p, y + @(y + 
gemm@y < H ? y : H - 1@y < H ? y : H
gemm@place >= 0 && c < p.n[0]@place >= 0
gemm@thread_id(), group = t % 32 / 4, pair = t % 4;\n  Halves@thread_id(), group = t % 4, pair = t % 32 / 4;\n  Halves
gemm@pair + r / 2 * 4@pair + r % 2 * 4
gemm@if (s + 1 < steps) work.keep((s + 1) & 1);@if (s + 1 < steps) work.keep(s & 1);
gemm@    barrier();\n  }\n}@  }\n}
mix@shared_load(mean, i) * kept@shared_load(mean, i)
mix@total * kept@total
mix@shared_store(mean, i, 0.f);\n  }\n  barrier();@shared_store(mean, i, 0.f);\n  }
mix@qx - kx + side - 1@kx - qx + side - 1
mix@p.n[5] ? d : C@C
move@+ p.n[5] + i@+ i
move@(plane * r + y % r) * r + x % r@(plane * r + x % r) * r + y % r
move@from + p.n[4] + 1@from + p.n[4]
move@at / len * p.n[2] + place(load(p.in[1], at % len), p.n[2]), load(p.in[0], at)@at, load(p.in[0], at)
END
echo "$count faults planted, $missed missed"
[ $missed = 0 ]
