"""Training photographs, the crop sampler, and the evaluation pictures."""
import glob
import os

import numpy as np
import torch
from PIL import Image

from .degrade import degrade
from .resize import SCALE, enlarge, resize, shrink, to_bytes
from .text import find_fonts, render

MARGIN = 4  # LR pixels around a crop: reach of the shrinking kernel (2) and of the enlarging (2)

# Pictures used while choosing settings; the others of the folder give the honest figure.
CHOOSING = (
    "face_plaid", "animal_kitten", "text_sign", "foliage_palm",
    "lineart_botanic", "arch_gallery", "texture_pebbles", "food_coffee",
)


def read(path):
    """8-bit RGB planes [3, H, W]."""
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def photos(folder, cache):
    """All 512x512 photographs of `folder` as [n, 3, 512, 512] 8 bit, and their sampling weights.

    Faces are a third of the set and weigh half. The decoded set is kept in `cache` (.npy).
    """
    names = sorted(os.path.basename(p) for p in glob.glob(os.path.join(folder, "*.jpg")))
    if not names:
        raise FileNotFoundError(f"no .jpg in {folder}: give the photographs with --data")
    if not os.path.exists(cache):
        stack = [read(os.path.join(folder, n)) for n in names]
        np.save(cache + ".part.npy", np.stack(stack))
        os.replace(cache + ".part.npy", cache)
    pictures = np.load(cache)
    if len(pictures) != len(names):
        raise ValueError(f"{cache} holds {len(pictures)} pictures, {folder} {len(names)}")
    weights = np.array([0.5 if n.startswith("face_") else 1.0 for n in names])
    return pictures, weights


class Sampler:
    """Random training crops: photographs and rendered text, clean or degraded inputs."""

    def __init__(self, folder, cache, seed=0, rendered=64, fonts="/usr/share/fonts",
                 text_share=0.1, blind_share=0.0, shrink_share=0.5):
        self.rng = np.random.default_rng(seed)
        self.blind_share, self.shrink_share = blind_share, shrink_share
        self.pictures, weights = photos(folder, cache)
        found = find_fonts(fonts)
        if found and rendered and text_share:
            text = [render(self.rng, found, self.pictures) for _ in range(rendered)]
            share = weights.sum() * text_share / (1.0 - text_share)
            self.pictures = np.concatenate([self.pictures, np.stack(text)])
            weights = np.concatenate([weights, np.full(rendered, share / rendered)])
        self.weights = weights / weights.sum()

    def crop(self, patch):
        """HR and LR 8-bit planes of one crop with MARGIN around it."""
        rng = self.rng
        picture = self.pictures[rng.choice(len(self.weights), p=self.weights)]
        side, limit = (patch + 2 * MARGIN) * SCALE, picture.shape[-1]
        taken = side
        if rng.random() < self.shrink_share:  # sharpens, and JPEG traces of the source vanish
            taken = round(side * rng.uniform(1.0, min(2.0, limit / side)))
        y, x = rng.integers(0, limit - taken + 1, 2)
        hr = picture[:, y : y + taken, x : x + taken]
        if taken != side:
            hr = to_bytes(resize(hr.astype(np.float32), side, side, "symmetric"))
        turn = rng.integers(0, 8)
        if turn & 1:
            hr = hr[:, ::-1]
        if turn & 2:
            hr = hr[:, :, ::-1]
        if turn & 4:
            hr = hr.transpose(0, 2, 1)
        hr = np.ascontiguousarray(hr)
        lr = degrade(hr, rng) if rng.random() < self.blind_share else shrink(hr)
        return hr, lr

    def batch(self, count, patch):
        """hr, up [B, 3, 4p, 4p] and lr [B, 3, p, p], f32 in 0..1; up is the model's bicubic."""
        pairs = [self.crop(patch) for _ in range(count)]
        hr, lr = (torch.from_numpy(np.stack(v)).float().div_(255) for v in zip(*pairs))
        up, m = enlarge(lr), MARGIN * SCALE
        return (
            hr[..., m:-m, m:-m].contiguous(),
            up[..., m:-m, m:-m].contiguous(),
            lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous(),
        )


def choosing_set(folder, limit=512):
    """(name, hr, lr) of the choosing pictures, cut in the middle to multiples of 128."""
    result = []
    for name in CHOOSING:
        hr = read(os.path.join(folder, name + ".webp"))
        height, width = (min(n, limit) // 128 * 128 for n in hr.shape[1:])
        y, x = (hr.shape[1] - height) // 2, (hr.shape[2] - width) // 2
        hr = hr[:, y : y + height, x : x + width]
        result.append((name, hr, shrink(hr)))
    return result
