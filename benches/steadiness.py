"""How steady an enlarged film is: one noise field against noise per frame, against bicubic, against the film itself.

python steadiness.py CLIP [--frames 24] [--json FILE], with GST_PLUGIN_PATH at the folder of the plug-in. The clip is scaled to
640x360 and counts as the truth; its means over 4 x 4 pixels are enlarged.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.nn import functional

WIDTH, HEIGHT, FACTOR = 640, 360, 4
# A pixel is still where the truth changes by at most so many codes from its mean over time.
STILL = 2.0


def gst(*words):
    subprocess.run(["gst-launch-1.0", "-q", *words], check=True)


def read(path, width, height):
    """Frames [N, 3, H, W] in codes."""
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    return data.view(-1, height, width, 3).permute(0, 3, 1, 2).float()


def write(path, frames):
    path.write_bytes(frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy().tobytes())


def cubic(n):
    """Matrix that enlarges n samples: a = -0.5, half-pixel centres, edges repeated."""
    at = (torch.arange(n * FACTOR) + 0.5) / FACTOR - 0.5
    matrix = torch.zeros(n * FACTOR, n)
    for k in range(-1, 3):
        tap = at.floor() + k
        x = (at - tap).abs()
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        weight = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
        matrix.scatter_add_(1, tap.clamp(0, n - 1).long()[:, None], weight[:, None])
    return matrix


def luma(frames):
    return (frames * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def warp(frame, flow):
    """`frame` [1, C, H, W] read at each pixel plus `flow` [1, 2, H, W] (x, y)."""
    h, w = frame.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    at = torch.stack([(x + flow[0, 0]) * 2 / (w - 1) - 1, (y + flow[0, 1]) * 2 / (h - 1) - 1], -1)
    return functional.grid_sample(frame, at[None], mode="bicubic", padding_mode="border", align_corners=True)


def blur(x, sigma):
    r = int(3 * sigma)
    k = torch.exp(-torch.arange(-r, r + 1.0) ** 2 / (2 * sigma**2))
    k = (k / k.sum()).view(1, 1, 1, -1).repeat(x.shape[1], 1, 1, 1)
    x = functional.conv2d(functional.pad(x, (r, r, 0, 0), mode="replicate"), k, groups=x.shape[1])
    return functional.conv2d(functional.pad(x, (0, 0, r, r), mode="replicate"), k.mT, groups=x.shape[1])


def flow_between(a, b, levels=4, rounds=3):
    """Optical flow from `a` to `b` [1, 1, H, W]: Lucas and Kanade, coarse to fine."""
    pyramid = [(a, b)]
    for _ in range(levels - 1):
        pyramid.append(tuple(functional.avg_pool2d(blur(f, 1.0), 2, ceil_mode=True) for f in pyramid[-1]))
    flow = torch.zeros(1, 2, *pyramid[-1][0].shape[-2:])
    for a, b in reversed(pyramid):
        if flow.shape[-2:] != a.shape[-2:]:
            flow = 2 * functional.interpolate(flow, size=a.shape[-2:], mode="bilinear", align_corners=False)
        padded = functional.pad(a, (1, 1, 1, 1), mode="replicate")
        gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        xx, xy, yy = blur(torch.cat([gx * gx, gx * gy, gy * gy], 1), 2.5).unbind(1)
        # Keeps flat places where they are.
        xx, yy = xx + 4, yy + 4
        for _ in range(rounds):
            t = a - warp(b, flow)
            tx, ty = blur(torch.cat([gx * t, gy * t], 1), 2.5).unbind(1)
            step = torch.stack([yy * tx - xy * ty, xx * ty - xy * tx], 1) / (xx * yy - xy * xy)[:, None]
            flow = flow + step.clamp(-2, 2)
    return flow


def measure(name, frames, truth, flows, still):
    y, t = luma(frames), luma(truth)
    errors, distances = [], []
    for i, flow in enumerate(flows):
        # Where the truth itself cannot be warped, something came into view.
        seen = (warp(t[i + 1 : i + 2], flow) - t[i : i + 1]).abs() < 10
        off = warp(y[i + 1 : i + 2], flow) - y[i : i + 1]
        errors.append(off[seen].pow(2).mean().sqrt().item())
        distances.append((flow_between(y[i : i + 1], y[i + 1 : i + 2]) - flow).norm(dim=1).mean().item())
    mean = lambda values: sum(values) / len(values)
    psnr = 10 * torch.log10(255**2 / (frames - truth).pow(2).mean((1, 2, 3))).mean().item()
    return {
        "name": name,
        "deviation_still": y.std(0)[still].mean().item(),
        "tOF": mean(distances),
        "warping_error": mean(errors),
        "psnr": psnr,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        room = Path(room)
        gst("filesrc", f"location={options.clip}", "!", "decodebin", "!", "videoconvert", "!", "videoscale", "method=lanczos",
            "!", f"video/x-raw,format=RGB,width={WIDTH},height={HEIGHT}", "!", "identity", f"eos-after={options.frames + 1}",
            "!", "filesink", f"location={room}/truth.rgb")
        truth = read(room / "truth.rgb", WIDTH, HEIGHT)[: options.frames]
        small = functional.avg_pool2d(truth, FACTOR).round()
        write(room / "small.rgb", small)
        across, down = cubic(WIDTH // FACTOR), cubic(HEIGHT // FACTOR)
        films = [("truth", truth), ("bicubic", (down @ small @ across.T).round().clamp(0, 255))]
        for name, properties in [
            ("shipped default", []),
            ("4 steps, fidelity 0, stable", ["steps=4", "fidelity=0", "temporal=stable"]),
            ("4 steps, fidelity 0, off", ["steps=4", "fidelity=0", "temporal=off"]),
        ]:
            gst("filesrc", f"location={room}/small.rgb", "!", "rawvideoparse", "format=rgb", f"width={WIDTH // FACTOR}",
                f"height={HEIGHT // FACTOR}", "!", "ssmoesr", "device=cpu", *properties, "!", "filesink", f"location={room}/out.rgb")
            films.append((name, read(room / "out.rgb", WIDTH, HEIGHT)))
    t = luma(truth)
    flows = [flow_between(t[i : i + 1], t[i + 1 : i + 2]) for i in range(len(t) - 1)]
    still = (t - t.mean(0)).abs().amax(0) <= STILL
    rows = [measure(name, frames, truth, flows, still) for name, frames in films]
    print(f"{options.clip.name}, {len(truth)} frames, {still.float().mean().item():.1%} of the pixels are still\n")
    print("| film | deviation over time, still pixels | tOF | warping error | PSNR |\n|---|---|---|---|---|")
    for row in rows:
        print("| {name} | {deviation_still:.3f} | {tOF:.3f} | {warping_error:.3f} | {psnr:.2f} |".format(**row))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
