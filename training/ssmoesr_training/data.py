"""Training photographs, the crop sampler, and the evaluation pictures."""
import os

import numpy as np
import torch
from PIL import Image

from .degrade import degrade, halved
from .resize import SCALE, enlarge, resize, shrink, to_bytes
from .text import find_fonts, plain, render

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
    names = sorted(n for n in os.listdir(folder) if n.endswith((".jpg", ".webp")))
    if not names:
        raise FileNotFoundError(f"no .jpg or .webp in {folder}: give the photographs with --data")
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
                 text_share=0.1, blind_share=0.0, halved_share=0.0, shrink_share=0.5,
                 plain_share=0.0):
        self.rng = np.random.default_rng(seed)
        self.blind_share, self.halved_share = blind_share, halved_share
        self.shrink_share, self.plain_share = shrink_share, plain_share
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
        if rng.random() < self.plain_share:
            hr = plain(rng, (patch + 2 * MARGIN) * SCALE)
            return hr, self.input(hr)
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
        return hr, self.input(hr)

    def input(self, hr):
        """Degraded, halved or clean low-resolution picture of `hr`, by their shares."""
        drawn = self.rng.random()
        if drawn < self.blind_share:
            return degrade(hr, self.rng)
        return halved(hr) if drawn < self.blind_share + self.halved_share else shrink(hr)

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


class Batches(torch.utils.data.IterableDataset):
    """Endless batches of a sampler, made in processes of their own beside the training."""

    def __init__(self, sampler, count, patch, seed):
        self.sampler, self.count, self.patch, self.seed = sampler, count, patch, seed

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        self.sampler.rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        while True:
            yield self.sampler.batch(self.count, self.patch)


def ahead(sampler, count, patch, seed, processes):
    """Iterator over batches, a few of them made ahead by `processes`; `seed` is a list."""
    batches = Batches(sampler, count, patch, seed)
    loader = torch.utils.data.DataLoader(batches, None, num_workers=processes, prefetch_factor=4)
    return iter(loader)


def choosing_set(folder, limit=512, inputs=None):
    """(name, hr, lr) of the choosing pictures, cut in the middle to multiples of 128.

    `inputs` names a folder of finished low-resolution pictures (PNG) to take instead of shrinks.
    """
    result = []
    for name in CHOOSING:
        hr = read(os.path.join(folder, name + ".webp"))
        height, width = (min(n, limit) // 128 * 128 for n in hr.shape[1:])
        y, x = ((n - m) // 2 // SCALE * SCALE for n, m in zip(hr.shape[1:], (height, width)))
        cut = hr[:, y : y + height, x : x + width]
        if inputs:
            lr = read(os.path.join(inputs, name + ".png"))
            y, x, height, width = (n // SCALE for n in (y, x, height, width))
            lr = lr[:, y : y + height, x : x + width]
        else:
            lr = shrink(cut)
        result.append((name, cut, lr))
    return result
