"""Pictures of text and simple shapes, rendered with free fonts: photographs hold little of both."""
import glob
import os
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .resize import resize, to_bytes

FAMILIES = ("DejaVu", "Nimbus", "URW", "C059", "P052", "NotoSans", "NotoMono")
ALPHABET = string.ascii_letters + string.digits + ".,:;!?&%()-+"


def find_fonts(folder):
    """Paths of the usable font files below `folder`, sorted."""
    paths = []
    for kind in ("ttf", "otf"):
        paths += glob.glob(os.path.join(folder, "**", f"*.{kind}"), recursive=True)
    return sorted(p for p in paths if os.path.basename(p).startswith(FAMILIES))


def colour(rng):
    """Random colour; half of the time close to black, grey or white, as printed text is."""
    if rng.random() < 0.5:
        ink = rng.choice([12, 128, 240]) + rng.normal(0, 8, 3)
        return tuple(int(v) for v in np.clip(ink, 0, 255))
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def background(rng, size, photos):
    """Plain, gradient or a blurred enlargement of a photograph; PIL picture of size x size."""
    kind = rng.random()
    if kind < 0.5 or photos is None:
        return Image.new("RGB", (size, size), colour(rng))
    if kind < 0.75:
        ramp = np.linspace(0, 1, size)[:, None, None]
        ramp = ramp * np.array(colour(rng)) + (1 - ramp) * np.array(colour(rng))
        return Image.fromarray(np.broadcast_to(ramp, (size, size, 3)).astype(np.uint8))
    photo = photos[rng.integers(len(photos))].transpose(1, 2, 0)
    y, x = rng.integers(0, photo.shape[0] // 2, 2)
    return Image.fromarray(photo[y : y + 256, x : x + 256]).resize((size, size), Image.BICUBIC)


def write_lines(draw, rng, size, fonts):
    """Fills the picture with lines of random words in one to four fonts and sizes."""
    y = -rng.integers(0, 20)
    while y < size:
        points = int(np.exp(rng.uniform(np.log(18), np.log(150))))
        font = ImageFont.truetype(fonts[rng.integers(len(fonts))], points)
        ink = colour(rng)
        for _ in range(rng.integers(1, 5)):
            count = max(4, int(2.2 * size / points))
            letters = rng.choice(list(ALPHABET + " " * 12), count)
            draw.text((rng.integers(-60, 60), y), "".join(letters), font=font, fill=ink)
            y += int(points * rng.uniform(1.0, 1.5))


def draw_shapes(draw, rng, size):
    """Lines, boxes, ellipses, stripes: edges at every angle and distance."""
    for _ in range(rng.integers(8, 30)):
        box = np.sort(rng.integers(-40, size + 40, (2, 2)), axis=0).flatten().tolist()
        width = int(rng.integers(2, 14))
        kind = rng.integers(5)
        if kind == 0:
            draw.line(rng.integers(0, size, 4).tolist(), fill=colour(rng), width=width)
        elif kind == 1:
            draw.rectangle(box, outline=colour(rng), width=width)
        elif kind == 2:
            draw.ellipse(box, outline=colour(rng), width=width)
        elif kind == 3:
            draw.polygon(rng.integers(0, size, 6).tolist(), fill=colour(rng))
        else:
            (x, y), step = rng.integers(0, size, 2), int(rng.integers(2 * width, 4 * width))
            ink, slope = colour(rng), rng.uniform(-1, 1)
            for i in range(12):
                start = (int(x + i * step), int(y))
                draw.line(start + (int(start[0] + slope * 300), int(y + 300)), ink, width)


def plain(rng, size):
    """[3, size, size], 8 bit: colours, gradients or patches of them.

    Any colour at all, saturated ones too: a network that saw photographs only gets their
    mean slightly wrong.
    """
    return (patches if rng.random() < 0.4 else smooth)(rng, size)


def smooth(rng, size):
    """One colour, or a gradient between the colours of four corners."""
    corners = rng.integers(0, 256, (3, 2, 2)).astype(np.float32)
    kind = rng.random()
    if kind < 0.5:
        corners[:] = corners[:, :1, :1]
    elif kind < 0.8:
        middle = corners.mean((1, 2), keepdims=True)
        corners = middle + 0.2 * (corners - middle)
    share = np.linspace(0, 1, size, dtype=np.float32)
    rows = corners[:, :1] * (1 - share[:, None]) + corners[:, 1:] * share[:, None]
    left, right = rows[..., :1], rows[..., 1:]
    return to_bytes(left * (1 - share) + right * share)


def patches(rng, size):
    """Rectangles of saturated colours side by side, their edges sharp."""
    rows, columns = (
        np.cumsum(rng.random(size) < 1.0 / rng.integers(24, 96)) for _ in range(2)
    )
    shape = (3, rows[-1] + 1, columns[-1] + 1)
    colours = rng.choice([rng.integers(0, 64), rng.integers(192, 256)], shape)
    return colours.astype(np.uint8)[:, rows][:, :, columns]


def render(rng, fonts, photos=None, size=512):
    """One picture [3, size, size], 8 bit: drawn at twice the size, turned, then shrunk."""
    large = 2 * size
    picture = background(rng, large, photos)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        draw_shapes(draw, rng, large)
    if rng.random() < 0.85:
        write_lines(draw, rng, large, fonts)
    if rng.random() < 0.5:
        picture = picture.rotate(rng.uniform(-30, 30), Image.BICUBIC, fillcolor=colour(rng))
    planes = np.asarray(picture).transpose(2, 0, 1).astype(np.float32)
    return to_bytes(resize(planes, size, size, "symmetric"))
