"""A sheet of crops at 1:1 to look at: bicubic, methods, original, side by side.

    python -m ssmoesr_training.sheet OUT.png --data photos --ssmoesr ../target/release/ssmoesr \\
        --crop clean:animal_kitten:150,120 degraded:face_astronaut:160,60

A crop is SET:PICTURE:X,Y (of the original, left and upper edge); sets: clean, degraded.
"""
import argparse
import os
import shlex

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import methods
from .data import read
from .resize import SCALE, shrink

HEAD, GAP = 22, 4


def columns(options):
    """(title, function of the input) of every column but the original's."""
    found = {"bicubic": methods.PLAIN["bicubic"]}
    program = shlex.quote(options.ssmoesr)
    for name in options.models:
        call = f"{program} upscale {{in}} {{out}} --scale {{scale}} -q --model {shlex.quote(name)}"
        found[os.path.basename(name)] = methods.command(call)
    return found


def row(crop, made, options):
    """The crop of every column, [3, size, size] each."""
    kind, name, place = crop.split(":")
    left, top = (int(v) // SCALE * SCALE for v in place.split(","))
    hr = read(os.path.join(options.data, "dev", name + ".webp"))
    if kind == "degraded":
        lr = read(os.path.join(options.data, "dev_blind", name + ".png"))
    else:
        lr = shrink(hr)
    key = (kind, name)
    if key not in made:
        made[key] = [method(lr, SCALE) for method in columns(options).values()] + [hr]
    size = options.size
    return [v[:, top : top + size, left : left + size] for v in made[key]]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("out")
    add("--data", required=True, help="folder with dev/ and dev_blind/")
    add("--ssmoesr", required=True, help="the program")
    add("--models", nargs="+", default=["photo"])
    add("--crop", nargs="+", required=True, metavar="SET:PICTURE:X,Y")
    add("--size", type=int, default=224, help="side of a crop, pixels of the result")
    add("--colours", type=int, default=0, help="write so many colours: a small file for a document")
    options = parser.parse_args()
    titles, made = [*columns(options), "original"], {}
    rows = [row(crop, made, options) for crop in options.crop]
    size = options.size
    width = len(titles) * (size + GAP) - GAP
    sheet = Image.new("RGB", (width, HEAD + len(rows) * (size + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, title in enumerate(titles):
        draw.text((i * (size + GAP) + 2, 4), title, fill="black", font=ImageFont.load_default())
        for j, crops in enumerate(rows):
            picture = Image.fromarray(np.ascontiguousarray(crops[i].transpose(1, 2, 0)))
            sheet.paste(picture, (i * (size + GAP), HEAD + j * (size + GAP)))
    if options.colours:
        sheet = sheet.quantize(options.colours, dither=Image.Dither.FLOYDSTEINBERG)
    sheet.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
