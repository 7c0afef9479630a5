"""Packs all that training needs into one folder, for a machine without a network.

    python -m ssmoesr_training.bundle OUT --data photos --perceptual sqz_notop.mat

Photographs are recompressed (WebP, quality 90: a quarter of their size; the loss is below what
the crops' shrinking removes), evaluation pictures are cut to what the trainer watches, the
shipped model goes along as the start. OUT/train.sh trains there and leaves what `export` needs.
"""
import argparse
import os
import shutil

from PIL import Image

from .data import CHOOSING

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIMIT = 60 << 20

SCRIPT = """#!/bin/sh
# Trains the model of this folder further: sh train.sh MINUTES [options of the trainer], by default on a
# GPU. Started again with the same runs/ folder it goes on where it was.
set -eu
cd "$(dirname "$0")"
minutes=$1
shift
[ $# -gt 0 ] || set -- --device cuda --bf16 --compile --batch 64 --late-batch 24 --ahead 12
run() {
    share=$1
    shift
    python3 -m ssmoesr_training.train --data photos --cache runs/photos.npy --blind 0.45 --halved 0.1 \\
        --plain 0.06 --warm 100 --minutes "$(awk "BEGIN { print $minutes * $share }")" "$@"
}
mkdir -p runs
run 0.35 --run runs/e4 --init model --loss rms --lr 1e-3 --late-from 0.4 --average 0.9985 "$@"
run 0.65 --run runs/e1 --stage detail --expert runs/e4 --decoder model --perceptual sqz_notop.mat \\
    --pd 2 --fidelity 0.5 --adversarial 0.015 --consistency 1 --colour 1 --grid 0.2 --lr 5e-4 "$@"
"""


def recompressed(source, target, box=None):
    picture = Image.open(source).convert("RGB")
    picture = picture.crop(box) if box else picture
    picture.save(target, "WEBP", quality=90, method=4)


def pack(out, options):
    """Fills the folder `out`; returns its size in bytes."""
    photos = os.path.join(out, "photos")
    for name in ("train", "dev", "dev_blind"):
        os.makedirs(os.path.join(photos, name), exist_ok=True)
    train = os.path.join(options.data, "train")
    for name in sorted(os.listdir(train)):
        base, suffix = os.path.splitext(name)
        if suffix == ".jpg":
            target = os.path.join(photos, "train", base + ".webp")
            recompressed(os.path.join(train, name), target)
    for name in CHOOSING:
        for folder, suffix in (("dev", ".webp"), ("dev_blind", ".png")):
            source = os.path.join(options.data, folder, name + suffix)
            if os.path.exists(source):
                shutil.copy(source, os.path.join(photos, folder))
    shutil.copytree(HERE, os.path.join(out, "ssmoesr_training"),
                    ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copytree(options.model, os.path.join(out, "model"), dirs_exist_ok=True)
    if options.perceptual:
        shutil.copy(options.perceptual, os.path.join(out, "sqz_notop.mat"))
    with open(os.path.join(out, "train.sh"), "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    return sum(
        os.path.getsize(os.path.join(place, n)) for place, _, names in os.walk(out) for n in names
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("out")
    add("--data", required=True)
    add("--model", default=os.path.join(ROOT, "models", "photo"))
    add("--perceptual", help="SqueezeNet weights (.mat)")
    options = parser.parse_args()
    if os.path.exists(options.out) and os.listdir(options.out):
        raise SystemExit(f"bundle: {options.out} is not empty, name a new folder")
    size = pack(options.out, options)
    print(f"{options.out}: {size / 2**20:.1f} MiB")
    if size > LIMIT:
        raise SystemExit(f"bundle: more than {LIMIT >> 20} MiB, take fewer photographs")


if __name__ == "__main__":
    main()
