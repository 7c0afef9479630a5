"""Measures enlarged pictures: the `ssmoesr` command beside plain methods and other programs.

    python evaluate.py --data photos --ssmoesr ../target/release/ssmoesr
    python evaluate.py --data photos --ssmoesr ssmoesr --command "peer=peer -i {in} -o {out}"

Sets: the pictures of <data>/dev shrunk 4 and 8 times, and the fixed degraded inputs of
<data>/dev_blind (4 times). Prints one table per set, means over its pictures (NIQE: median).
"""
import argparse
import glob
import json
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from . import measure, methods
from .data import CHOOSING, read
from .niqe import Niqe
from .resize import SCALE, shrink

COLUMNS = (
    "psnr_y", "ssim_y", "ms_ssim", "gmsd", "pd", "lsd", "niqe", "lr_psnr", "energy", "phase",
)
HEADS = (
    "PSNR-Y", "SSIM-Y", "MS-SSIM", "GMSD", "PD", "LSD dB", "NIQE", "LR dB", "energy", "phase",
)


def distance(perceptual, a, b):
    """PD averaged over crop offsets 0..3, so that a pattern locked to a phase is not rewarded;
    and PD at offset 0, as the published baselines have it."""
    x, y = (torch.from_numpy(v.astype(np.float32) / 255)[None] for v in (a, b))
    with torch.no_grad():
        values = [float(perceptual(x[..., o:, o:], y[..., o:, o:])) for o in range(SCALE)]
    return float(np.mean(values)), values[0]


class Judge:
    """All figures of one result."""

    def __init__(self, perceptual, niqe):
        from .losses import Perceptual

        torch.set_num_threads(1)
        self.perceptual, self.niqe = Perceptual(perceptual), Niqe(niqe)

    def __call__(self, sr, hr, lr, scale):
        """Values of COLUMNS, then PD at offset 0."""
        mean, first = distance(self.perceptual, sr, hr)
        base = methods.bicubic(lr, scale)
        return (
            measure.psnr_y(sr, hr, scale), measure.ssim_y(sr, hr, scale),
            measure.ms_ssim(sr, hr, scale), measure.gmsd(sr, hr, scale), mean,
            measure.log_spectral(sr, hr, scale), self.niqe(sr, SCALE),
            measure.consistency(sr, lr, scale), measure.residual_energy(sr, hr, base),
            measure.phase_spread(sr), first,
        )


JUDGE = None


def start_worker(perceptual, niqe):
    global JUDGE
    JUDGE = Judge(perceptual, niqe)


def judge_one(path, inputs, scale, kind, save):
    """Figures of one picture by the method `kind` (name, program or None)."""
    hr = read(path)
    name = os.path.splitext(os.path.basename(path))[0]
    if inputs:
        lr = read(os.path.join(inputs, name + ".png"))
        hr = hr[:, : lr.shape[1] * scale, : lr.shape[2] * scale]
    else:
        hr = hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]
        lr = shrink(hr, scale)
    title, template = kind
    sr = (methods.command(template) if template else methods.PLAIN[title])(lr, scale)
    if save:
        os.makedirs(save, exist_ok=True)
        methods.write(os.path.join(save, name + ".png"), sr)
    return name, JUDGE(sr, hr, lr, scale)


def check_baselines(path, scale, rows):
    """Largest deviation of our bicubic row from the published one, by column."""
    worst = dict.fromkeys(("psnr_y", "ssim_y", "pd", "lr_psnr"), 0.0)
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
        for line in file:
            row = dict(zip(header, line.rstrip("\n").split("\t")))
            if row["scale"] != str(scale) or row["method"] != "bicubic":
                continue
            have = dict(zip(COLUMNS, rows[row["file"]]), pd=rows[row["file"]][-1])
            for name in worst:
                worst[name] = max(worst[name], abs(have[name] - float(row[name])))
    return worst


def summary(rows, names):
    """Means by column (NIQE: median)."""
    table = np.array([rows[n] for n in names])
    means = table.mean(0)
    means[COLUMNS.index("niqe")] = np.median(table[:, COLUMNS.index("niqe")])
    return means


def line(title, values, base):
    gain, ratio = values[0] - base[0], values[4] / base[4]
    cells = [f"{v:9.4f}" for v in values[: len(COLUMNS)]]
    return f"{title:28s}{gain:+9.3f}{ratio:9.3f}" + "".join(cells)


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with dev/ and dev_blind/")
    add("--measures", required=True, help="folder with sqz_notop.mat and niqe_pris_params.npz")
    add("--ssmoesr", help="the program")
    add("--options", default="", help="further options of ssmoesr, as one word")
    add("--command", action="append", default=[], metavar="NAME=TEMPLATE",
        help="another program, with {in}, {out} and {scale}")
    add("--sets", nargs="*", default=["bicubic4", "blind4", "bicubic8"],
        choices=("bicubic4", "blind4", "bicubic8"))
    add("--rows", nargs="*", help="only rows whose title begins so")
    add("--names", nargs="*", help="only these pictures")
    add("--save", help="folder for the pictures")
    add("--json", help="file for every value")
    add("--known", help="file with values of the plain methods, made where it is missing")
    add("--jobs", type=int, default=1)
    return parser.parse_args(arguments)


def kinds(options):
    """(title, template or None) of every row."""
    found = [(title, None) for title in methods.PLAIN]
    if options.ssmoesr:
        found += methods.templates(options.ssmoesr, options.options).items()
    found += [tuple(c.split("=", 1)) for c in options.command]
    if options.rows:
        found = [k for k in found if k[0].startswith(tuple(options.rows)) or k[0] == "bicubic"]
    return found


def main():
    options = parse()
    dev = os.path.join(options.data, "dev")
    paths = sorted(glob.glob(os.path.join(dev, "*.webp")))
    names = [os.path.splitext(os.path.basename(p))[0] for p in paths]
    if options.names:
        paths = [p for p, n in zip(paths, names) if n in options.names]
        names = [n for n in names if n in options.names]
    if not paths:
        raise SystemExit(f"evaluate: no picture of {options.names or '*.webp'} in {dev}")
    everything, known = {}, {}
    if options.known and os.path.exists(options.known):
        with open(options.known, encoding="utf-8") as file:
            known = json.load(file)
    files = [os.path.join(options.measures, n) for n in ("sqz_notop.mat", "niqe_pris_params.npz")]
    with ProcessPoolExecutor(options.jobs, initializer=start_worker, initargs=files) as pool:
        for chosen in options.sets:
            scale = int(chosen[-1])
            inputs = os.path.join(options.data, "dev_blind") if "blind" in chosen else None
            print(f"\n{chosen}, {len(paths)} pictures\n{'':28s}{'gain dB':>9s}{'PD ratio':>9s}"
                  + "".join(f"{h:>9s}" for h in HEADS), flush=True)
            base = {}
            for title, template in kinds(options):
                rows = known.get(chosen, {}).get(title, {}) if template is None else {}
                save = options.save and os.path.join(options.save, chosen, title)
                waiting = [
                    pool.submit(judge_one, p, inputs, scale, (title, template), save)
                    for p, n in zip(paths, names) if n not in rows
                ]
                rows.update(w.result() for w in waiting)
                if template is None:
                    known.setdefault(chosen, {})[title] = rows
                everything.setdefault(chosen, {})[title] = rows
                groups = {"": names, ", not watched": [n for n in names if n not in CHOOSING]}
                for suffix, group in groups.items():
                    if group:
                        values = summary(rows, group)
                        base.setdefault(suffix, values)
                        print(line(title + suffix, values, base[suffix]), flush=True)
            published = os.path.join(dev, "BASELINES.tsv")
            if not inputs and not options.names and os.path.exists(published):
                worst = check_baselines(published, scale, everything[chosen]["bicubic"])
                print("bicubic against BASELINES.tsv, largest difference: "
                      + ", ".join(f"{n} {v:.5f}" for n, v in worst.items()))
    for path, values in ((options.known, known), (options.json, everything)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"columns": COLUMNS, **values}, file)


if __name__ == "__main__":
    main()
