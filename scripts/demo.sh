#!/usr/bin/env bash
# Runs the element in a real pipeline: demo.sh [CLIP]. Without a clip, on the project's own scene.
# Leaves out/demo.mp4 and out/side-by-side.png. FRAMES (24) and SCALE (4) can be set.
set -euo pipefail
cd "$(dirname "$0")/.."

clip=${1:-}
frames=${FRAMES:-24}
scale=${SCALE:-4}
release=${CARGO_TARGET_DIR:-target}/release
work=out/frames
rm -rf "$work" out/demo.mp4 out/side-by-side.png
mkdir -p "$work"
# A registry of its own: the plug-in is looked at anew, the user's cache is left alone.
export GST_PLUGIN_PATH=$PWD/$release GST_REGISTRY=$PWD/out/gstreamer-registry.bin
[[ $release = /* ]] && export GST_PLUGIN_PATH=$release

if [ -n "$clip" ]; then
    [ -r "$clip" ] || { echo "demo: cannot read $clip" >&2; exit 1; }
    source=(filesrc "location=$clip" ! decodebin ! videoconvert)
    echo "demo: the first $frames frames of $clip"
else
    "$release/demo-clip" out/clip.rgb 160 96 "$frames" 12
    source=(filesrc location=out/clip.rgb ! rawvideoparse width=160 height=96 format=rgb framerate=12/1)
    echo "demo: $frames frames of the project's own scene, 160x96"
fi

# The pictures beside the clip are kept for the comparison. Queues without a limit: the encoder holds back its first
# frames for a while. async=false: nothing waits for a sink that gets its first frame late.
pictures=(queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! videoconvert ! pngenc ! multifilesink async=false)
started=$(date +%s.%N)
gst-launch-1.0 -q "${source[@]}" ! identity "eos-after=$((frames + 1))" ! tee name=low \
    low. ! queue ! ssmoesr "scale=$scale" ! progressreport name=demo update-freq=10 ! tee name=high \
    high. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! videoconvert ! \
    video/x-raw,format=I420 ! x264enc bitrate=8000 speed-preset=veryfast ! mp4mux ! filesink location=out/demo.mp4 \
    low. ! "${pictures[@]}" "location=$work/low-%04d.png" \
    high. ! "${pictures[@]}" "location=$work/high-%04d.png"
ended=$(date +%s.%N)

made=$(find "$work" -name 'high-*.png' | wc -l)
[ "$made" -gt 0 ] || { echo "demo: no frame came out" >&2; exit 1; }
middle=$(printf '%04d' $((made / 2)))
"$release/side-by-side" "$work/low-$middle.png" "$work/high-$middle.png" out/side-by-side.png
awk -v n="$made" -v a="$started" -v b="$ended" \
    'BEGIN { printf "demo: %d frames in %.1f s, %.2f frames per second (start of the model included)\n", n, b - a, n / (b - a) }'
echo "demo: wrote out/demo.mp4 (the clip), out/side-by-side.png (input, bicubic, ssmoesr), $work/ (every frame)"
