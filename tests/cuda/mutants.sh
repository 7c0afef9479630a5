#!/usr/bin/env bash
# Plants faults in the CUDA kernels, one at a time, and runs the operations' tests on each: a fault that no test finds is a gap
# in the tests. Needs g++ and a built test program; takes a few seconds per fault. `mutants.sh FILE...` takes those of these files alone;
# `mutants.sh rust` plants faults in what waits for copies, in pictures on a device and in the
# element's frames ahead instead, each of which builds the tests again (a minute or two).
set -euo pipefail
cd "$(dirname "$0")/../.."

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# What finds faults in the kernels of file $1.
tests_of() {
    case $1 in
    field | read | write) echo exec::cuda::tests::maps::every_operation exec::cuda::tests::maps::words_of_any_bits ;;
    *) echo exec::tests:: exec::cuda::tests::kernels:: --skip agree_in_every --skip agrees_whatever ;;
    esac
}

# Builds the emulated driver from the kernels in $1 and runs the tests of file $2 on it.
passes() {
    g++ -std=c++17 -O2 -w -shared -fPIC -I "$1" -I tests/cuda -o "$1/libcuda.so" tests/cuda/driver.cpp || {
        echo "mutants: does not compile: $what" >&2
        exit 1
    }
    # shellcheck disable=SC2046 # names
    (cd core && SSMOESR_TEST_EMULATED=1 LD_LIBRARY_PATH=$1 timeout 300 "$program" --include-ignored $(tests_of "$2") >"$room/said" 2>&1)
}

# Runs what finds faults in the source file $1, the slow tests last.
runs() {
    local core=(timeout 900 cargo test --locked -p ssmoesr-core --features cuda --lib --)
    case $1 in
    core/src/exec/*) "${core[@]}" exec::cuda::tests::maps::maps_are ;;
    core/*)
        "${core[@]}" engine::seen engine::tests::{reading,resident} --skip steps_tiles --skip devices_get &&
            "${core[@]}" engine::tests::resident::steps_tiles
        ;;
    *) timeout 900 cargo test --locked -p ssmoesr-tests --test gst ahead:: ;;
    esac >"$room/said" 2>&1
}

if [ "${1:-}" = rust ]; then
    # Whole builds would take minutes.
    export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0
    for file in core/src/exec/ core/src/engine/ gst-plugin/; do
        runs $file || { cat "$room/said" >&2; echo "mutants: the tests fail without a fault" >&2; exit 1; }
    done
    found=0 planted=0
    while IFS='@' read -r file from to; do
        planted=$((planted + 1))
        cp "$file" "$room/before"
        trap 'cp "$room/before" "$file"; rm -rf "$room"' EXIT
        FROM=$(printf %b "$from") TO=$(printf %b "$to") perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ or die "not found\n"' "$file"
        if runs "$file"; then
            echo "MISSED $file: $from"
        elif grep -q 'could not compile' "$room/said"; then
            echo "mutants: does not compile: $file: $from" >&2
            exit 1
        else
            echo "found  $file: $from  ($(grep -m 1 -oE '^test .*FAILED|panicked at .*' "$room/said" | cut -c 1-70))"
            found=$((found + 1))
        fi
        cp "$room/before" "$file"
    done <<'END'
core/src/exec/cuda/maps.rs@turn.after(Lane::Up, &slot.computed)?;@
core/src/exec/cuda/maps.rs@turn.after(Lane::Compute, &slot.copied)?;@
core/src/exec/cuda/maps.rs@turn.after(Lane::Down, &slot.computed)?;@
core/src/exec/cuda/maps.rs@slot.copied.wait()?;@
core/src/exec/cuda/maps.rs@let done = slot.copied.wait().and_then(|()| {@let done = Ok(()).and_then(|()| {
core/src/exec/cuda/maps.rs@turn.mark(&slot.copied, Lane::Up)?;@turn.mark(&slot.copied, Lane::Compute)?;
core/src/exec/cuda/field.rs@let n = [tile.len(), tile.width, to.width, *x];@let n = [tile.len(), tile.width, tile.width, *x];
core/src/exec/cuda/field.rs@end <= len@end <= len + 1
core/src/engine/given.rs@part.first * onto.plane@0 * onto.plane
core/src/engine/given.rs@if way.guided()@if !way.guided()
core/src/engine/given.rs@way.zoom > 1@way.zoom > 2
core/src/engine/given.rs@places.iter_mut().zip(&found)@places.iter_mut().zip(found.iter().rev())
core/src/engine/seen.rs@if way.zoom > 1 { 2 }@if way.zoom > 1 { 0 }
core/src/engine/seen.rs@div_ceil(2) + 2@div_ceil(2)
core/src/engine/seen.rs@self.frame == Some(of(frame))@true
core/src/engine/seen.rs@        self.form = form;@
core/src/engine/resident.rs@self.era = fresh_era();@
core/src/engine/resident.rs@pending.check(values)?;@
core/src/engine/resident.rs@        self.sweep()?;@
core/src/engine/resident.rs@result + columns * ranges_of(rows[0])@result
core/src/engine/aboard.rs@origin: (by.origin.0 + first, by.origin.1)@origin: by.origin
core/src/engine/aboard.rs@.rows(state.before - context, context)@.rows(0, context)
core/src/engine/aboard.rs@whole(state.number + 1)@whole(state.number)
core/src/engine/aboard.rs@open.get(row % open.len().max(1))@open.first()
core/src/engine/aboard.rs@self.layout.sums[row % 2]@self.layout.sums[0]
gst-plugin/src/upscale/ahead.rs@ && held.front().is_some_and(|h| h.begun)@
gst-plugin/src/upscale/ahead.rs@if frame.cut && running.stream.begun() > 0@if false
gst-plugin/src/upscale/ahead.rs@                running.stream.reset();\n            }\n            let@            }\n            let
gst-plugin/src/upscale/ahead.rs@        lock(&self.held).clear();\n        done@        done
gst-plugin/src/upscale/ahead.rs@for_each(|h| h.begun = false)@for_each(|h| h.begun = true)
gst-plugin/src/upscale/ahead.rs@if count != running.stream.begun()@if false
gst-plugin/src/upscale/compute.rs@(held.options.take().map(|options| (options, held.cut)), held.took)@(None, held.took)
gst-plugin/src/upscale/compute.rs@took + waited.unwrap_or_default()@took
gst-plugin/src/upscale/compute.rs@        if cut {\n            running.stream.reset();\n        }@
gst-plugin/src/upscale/compute.rs@let negotiated = match &held@let negotiated = match &None::<(&Held, Duration)>
END
    trap 'rm -rf "$room"' EXIT
    echo "$planted faults planted, $((planted - found)) missed"
    [ "$found" = "$planted" ]
    exit
fi

program=$(cargo test --locked -p ssmoesr-core --features cuda --lib --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
cp -r core/src/exec/cuda/kernels "$room/kernels"
what='no fault'
for kind in field point; do
    passes "$room/kernels" $kind || { cat "$room/said" >&2; echo "mutants: the tests fail without a fault" >&2; exit 1; }
done

missed=0 count=0
# File, what stands there, what shall stand there.
while IFS='@' read -r file from to; do
    [ $# = 0 ] || [[ " $* " = *" $file "* ]] || continue
    what="$file: $from -> $to"
    rm -rf "$room/kernels"
    cp -r core/src/exec/cuda/kernels "$room/kernels"
    FROM=$(printf %b "$from") TO=$(printf %b "$to") perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ or die "not found\n"' "$room/kernels/$file.cuh" || {
        echo "mutants: $what: the text is not there" >&2
        exit 1
    }
    count=$((count + 1))
    if passes "$room/kernels" "$file"; then
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
mix@tokens - base < chunk ? tokens - base : chunk@chunk
mix@    // The chunk before is not read any more.\n    barrier();@
mix@    barrier();\n    for (int j = 0; own@    for (int j = 0; own
mix@if (j + r >= count) score[r] = LOWEST;@
mix@there ? load(p.in[0], from + part) : 0.f@there ? load(p.in[0], from) : 0.f
mix@i * wide + t) * kept@i * wide + t)
mix@  if (!own) return;@
mix@window % (W / side)@window % W
mix@shared_store(mean, i, sum);\n    }@shared_store(mean, i, sum * kept);\n    }
field@at < p.n[0]) store(p.out, at, p.f[0])@at <= p.n[0]) store(p.out, at, p.f[0])
field@y + p.n[7] : p.n[4] - 1@y + p.n[7] : p.n[4] - 2
field@p.n[11] ? unit(v) : v@v
field@c * p.n[6] + from_y * p.n[5]@c * p.n[6] + from_y * p.n[3]
field@+ p.n[3] + x;@+ x;
field@load(p.in[0], at), load(p.in[1], x)@load(p.in[0], at), load(p.in[1], x + 1)
field@y + p.n[3] < p.n[2]@y + p.n[3] <= p.n[2]
field@load(p.in[2], at + p.n[3] * p.n[1])@load(p.in[2], at)
field@== 0x7f800000) mark@== 0x7fc00000) mark
field@sum = plus(plus(sum, -half), f);@sum = plus(plus(sum, f), -half);
field@bits <= 0x4016cbe3 ? 1@bits <= 0x4016cbe3 ? 2
field@phase & 2) y = -y@phase & 1) y = -y
field@round < 10@round < 9
field@x & 2 ? normal(c, d@x & 2 ? normal(a, b
field@times(share, noise)@noise
field@p.n[9] == 2 ?@p.n[9] == 1 ?
field@p.n[12] + y@y
field@p.n[9] != 1@true
field@row < p.n[4] ? row : p.n[4] - 1@row < p.n[4] ? row : 0
field@full = y + p.n[11]@full = y
field@p.n[12] ? unit(sum) : sum@sum
field@down ? plus(tap, one) : one@plus(tap, one) + one
field@left + p.n[4] < p.n[0] ? left + p.n[4] : p.n[0]@left + p.n[4]
field@unit(load(p.in[0], plane@(load(p.in[0], plane
field@least = -block_max(-least, memory)@least = block_max(least, memory)
field@store_word(p.out, at, as_bits(load(p.in[0], at)))@store(p.out, at, times(1.f, load(p.in[0], at)))
read@x * p.n[4] + (p.n[5]@x * p.n[4] + 1 + (p.n[5]
read@>> 4 * c & 15@& 15
read@y * p.n[3] + code / in_word@y * p.n[3] + code
read@p.n[6] == 1 ? 0xff : 0xffff@0xffff
read@0xffff)) >> p.n[7]@0xffff))
read@plus(v, -p.f[0]) / p.f[1]@v / p.f[1]
read@Taps{i - 1, -0.0625f@Taps{i, -0.0625f
read@Taps{i - 2, -0.0234375f@Taps{i - 1, -0.0234375f
read@0.2265625f, -0.0234375f}@0.2265625f, -0.0703125f}
read@p.n[9] == 1, x)@p.n[9] != 0, x)
read@p.n[9] != 2, y)@p.n[9] == 1, y)
read@return i < 0 ? 0 : i < n ? i : n - 1;@return i < 0 ? 0 : i;
read@times(p.f[1], u)), times(p.f[2], v)@times(p.f[2], u)), times(p.f[1], v)
read@times(p.f[3], u)@times(p.f[3], v)
read@floorf(fminf(v, 255.f))@fminf(v, 255.f)
read@floorf(fminf(v, 255.f))@floorf(v)
read@2 * n - 1 - i@2 * n - 2 - i
read@i %= 2 * n;@
read@rintf(fminf@floorf(fminf
read@near_code(tap)@tap
read@within(x, p.n[4] * factor)@x
read@full_y % factor@full_x % factor
read@c * p.n[7] + row@row
write@code >= p.n[2]@code > p.n[2]
write@plus(v, 0.5f)@v
write@<< p.n[13] <<@<<
write@x ? x - 1 : 0@x
write@y ? y - 1 : 0@y
write@after = x + 1 < p.n[3]@after = x < p.n[3]
write@(y - p.n[5]) * p.n[15]@y * p.n[15]
write@(y - p.n[6]) * p.n[3]@y * p.n[3]
write@centred ? 0.5f : 0.25f@0.25f
write@next = y + 1 < p.n[4]@next = y < p.n[4]
write@load(p.in[2], 6)@load(p.in[2], 7)
write@word = as_bits(unit(v))@word = as_bits(v)
write@(code % p.n[9])@(code % 2)
move@+ p.n[5] + i@+ i
move@(plane * r + y % r) * r + x % r@(plane * r + x % r) * r + y % r
move@from + p.n[4] + 1@from + p.n[4]
move@at / len * p.n[2] + place(load(p.in[1], at % len), p.n[2]), load(p.in[0], at)@at, load(p.in[0], at)
END
echo "$count faults planted, $missed missed"
[ $missed = 0 ]
