"""Known answers of an exported model for the tests of other implementations.

    python -m ssmoesr_training.vectors MODEL PHOTO OUT.safetensors

For each case: `lr` [1, 3, h, w]; `x<t>` the denoiser's latent input before scaling; `x0_<t>`
its output; `z` the latent given to the decoder; `residual` the decoder's output; `picture`
0..1, not clamped. All f32, computed in f32 from the exported weights.
"""
import argparse

import numpy as np
import torch
from PIL import Image

from . import tensors
from .model import Model
from .resize import shrink

CASES = {"square": (32, 32), "tall": (64, 32)}  # height, width of the input crop


@torch.no_grad()
def case(model, lr, seed):
    """Tensors of one case; x_t for t < T is drawn around the prediction of expert T."""
    generator = torch.Generator().manual_seed(seed)
    schedule, result = model.schedule, {"lr": lr}
    features = model.condition(lr)
    shape = (1, model.latent) + tuple(lr.shape[-2:])
    last = schedule.steps
    result[f"x{last}"] = torch.zeros(shape)
    result[f"x0_{last}"] = z = model.denoise(result[f"x{last}"], features, last)
    for t in range(last - 1, 0, -1):
        noise = torch.randn(shape, generator=generator)
        result[f"x{t}"] = schedule.noised(z, t, noise)
        result[f"x0_{t}"] = model.denoise(result[f"x{t}"], features, t)
    result["z"] = z
    result["picture"], result["residual"] = model.picture(z, lr)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = Model(options.model)
    photo = np.asarray(Image.open(options.photo).convert("RGB")).transpose(2, 0, 1)
    lr = torch.from_numpy(shrink(photo).astype(np.float32) / 255)[None]
    result = {}
    for seed, (name, (height, width)) in enumerate(CASES.items()):
        crop = lr[..., 8 : 8 + height, 8 : 8 + width].contiguous()
        for key, value in case(model, crop, seed).items():
            result[f"{name}.{key}"] = value.contiguous().numpy()
    digest = tensors.sha256(f"{options.model}/decoder.safetensors")
    tensors.save(options.out, result, {"decoder_sha256": digest})


if __name__ == "__main__":
    main()
