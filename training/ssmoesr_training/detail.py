"""The detail stage: expert 1 and the decoder, trained on what the sampler makes.

Expert 4 is a regression and leaves out what cannot be foretold. Expert 1 takes its estimate,
noised as the chain does (4, 1), and is trained on the finished picture: L1, focal frequency,
perceptual distance and an adversary. In a share of the steps the decoder alone is trained on
expert 4's own latents, without the last two, so that one step and fidelity 1 stay faithful.
"""
import os

import numpy as np
import torch
from torch import nn

from . import data
from .adversary import Discriminator, discriminator_loss, generator_loss
from .decoder import Decoder
from .measure import consistency, phase_spread, psnr_y, residual_energy
from .network import DEFAULT, Denoiser
from .resize import SCALE, matrix
from .trainer import Trainer, fit_in, read_start

LAST = 1  # the timestep of the trained expert


def grid(y, hr):
    """How much more the mean |Laplacian| varies over the 16 pixel phases than the original's."""

    def spread(x):
        x = x.float().mean(1)
        curve = (4 * x[:, 1:-1, 1:-1] - x[:, :-2, 1:-1] - x[:, 2:, 1:-1]
                 - x[:, 1:-1, :-2] - x[:, 1:-1, 2:]).abs()
        height, width = (n // SCALE for n in curve.shape[1:])
        curve = curve[:, : height * SCALE, : width * SCALE]
        means = curve.reshape(-1, height, SCALE, width, SCALE).mean((0, 1, 3))
        return means.std() / (means.mean() + 1e-4)

    return torch.relu(spread(y) - spread(hr))


def distances(perceptual, sr, hr, offset=2):
    """Perceptual distance of two 8-bit pictures, cut by an offset that no layer is locked to."""
    x, y = (torch.from_numpy(v.astype(np.float32) / 255)[None] for v in (sr, hr))
    device = perceptual.mean.device
    cut = slice(offset, None)
    return float(perceptual(x[..., cut, cut].to(device), y[..., cut, cut].to(device)))


class Detail(Trainer):
    """Trains expert 1, decoder and adversary behind a frozen expert 4."""

    def __init__(self, options):
        super().__init__(options)
        o = options
        self.adversary = Discriminator().to(o.device)
        self.run_adversary, self.run_refine = self.adversary, self.refine
        if o.compile:
            self.run_refine = torch.compile(self.refine, dynamic=False)
            self.adversary = self.adversary.to(memory_format=torch.channels_last)
            self.run_adversary = torch.compile(self.adversary, dynamic=False)
        self.against = torch.optim.AdamW(
            self.adversary.parameters(), lr=o.adversary_lr, betas=(0.5, 0.99), weight_decay=0.0
        )
        self.strength = 0.0  # running factor of the adversarial gradient
        dev, blind = (os.path.join(o.data, name) for name in ("dev", "dev_blind"))
        self.blind = data.choosing_set(dev, inputs=blind) if os.path.exists(blind) else []
        if self.saved and "adversary" in self.saved:
            self.adversary.load_state_dict(self.saved["adversary"])
            self.against.load_state_dict(self.saved["against"])
        self.saved = None

    def networks(self, latent, width):
        o = self.o
        state = self.freeze_expert()
        detail = Denoiser(latent, width, DEFAULT["denoiser"], o.experts)
        decoder = Decoder(latent, DEFAULT["decoder"])
        self.trained = nn.ModuleDict({"denoiser": detail, "decoder": decoder})
        start = read_start(o.init, LAST) if o.init else state
        start = dict(state, **{n: v for n, v in start.items() if n.startswith("denoiser.")})
        if o.decoder:
            other = read_start(o.decoder, LAST)
            start.update({n: v for n, v in other.items() if not n.startswith("denoiser.")})
        self.trained.load_state_dict(fit_in(start, self.trained))
        if not o.init:  # expert 4 never saw a field: its weights for it mean nothing
            with torch.no_grad():
                detail.input.weight[:, :latent] = 0.0
        return start

    def resume(self):
        self.saved = super().resume()
        return self.saved

    def save(self):
        super().save(adversary=self.adversary.state_dict(), against=self.against.state_dict())

    def refine(self, z, lr):
        """Expert 1 on expert 4's estimate `z`, noised as the chain does."""
        eta = self.schedule.eta
        start = self.schedule.kappa * eta[4] ** 0.5 * torch.randn(z.shape, device=z.device)
        noise = torch.randn(z.shape, device=z.device)
        x = self.schedule.step(start, z, 4, LAST, noise) * self.schedule.input_scale(LAST)
        return self.trained["denoiser"](x, self.expert["condition"](lr))

    def refined(self, lr, fidelity):
        """What the sampler gives at `fidelity`, f32: expert 1's latent, and so much of expert 4's.

        The gradient ends at expert 4.
        """
        with torch.no_grad():
            z = self.predict(lr)
        with self.autocast():
            run = self.run_refine if self.trained.training else self.refine
            return torch.lerp(run(z, lr).float(), z, fidelity)

    def result(self, lr, up, residual):
        return self.decoded(self.refined(lr, self.o.fidelity), lr, up)

    def drawn_fidelity(self):
        """The default in 7 of 10 steps, else anything below it, so that what lies there is trained too."""
        share = 1.0 if torch.rand(()) < 0.7 else float(torch.rand(()))
        return share * self.o.fidelity

    def shrunk(self, y):
        """[B, 3, 4h, 4w] -> [B, 3, h - 4, w - 4]: the antialiased shrink without its border."""
        rows, columns = (
            torch.from_numpy(matrix(n, n // SCALE, "symmetric").astype(np.float32)).to(y.device)
            for n in y.shape[-2:]
        )
        return (rows @ y @ columns.T)[..., 2:-2, 2:-2]

    def step(self, progress):
        o = self.o
        rate = self.rate(progress)
        for optimiser, factor in ((self.optimiser, 1.0), (self.against, o.adversary_lr / o.lr)):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        hr, up, lr = self.batch(progress >= o.late_from)
        self.optimiser.zero_grad(set_to_none=True)
        if torch.rand(()) < o.faithful:
            with torch.no_grad():
                z = self.predict(lr)
            total, parts = self.faithful(self.decoded(z, lr, up), hr)
            total.backward()
            self.update()
            return {"l1 faithful": parts["l1"]}
        y = self.decoded(self.refined(lr, self.drawn_fidelity()), lr, up)
        # The losses' gradients meet at the picture, where their strengths can be compared.
        picture = y.detach().requires_grad_(True)
        total, parts = self.judged(picture, hr, lr)
        gradient, = torch.autograd.grad(total, picture)
        if o.adversarial:
            with self.autocast():
                gan = generator_loss(self.run_adversary(picture, up))
            push, = torch.autograd.grad(gan, picture)
            ratio = o.adversarial * float(gradient.norm() / push.norm().clamp_min(1e-12))
            self.strength = ratio if not self.strength else 0.95 * self.strength + 0.05 * ratio
            gradient = gradient + self.strength * push
            parts.update(self.oppose(picture.detach(), hr, up), gan=float(gan.detach()))
        y.backward(gradient)
        self.update()
        return parts

    def judged(self, y, hr, lr):
        """All but the adversary: total and parts."""
        o = self.o
        total, parts = self.faithful(y, hr)
        if o.pd:
            pd = self.distance(y, hr)
            total, parts["pd"] = total + o.pd * pd, float(pd.detach())
        if o.consistency:
            # Against the shrunk original, not the input, which may be noisy or blurred.
            gap = (self.shrunk(y) - self.shrunk(hr)).abs().mean()
            total, parts["consistency"] = total + o.consistency * gap, float(gap.detach())
        if o.colour:
            # The L1 terms are content with a median: a crop's mean drifts under them.
            shift = (y - hr).mean((2, 3)).abs().mean()
            total, parts["colour"] = total + o.colour * shift, float(shift.detach())
        if o.grid:
            spread = grid(y, hr)
            total, parts["grid"] = total + o.grid * spread, float(spread.detach())
        return total, parts

    def oppose(self, fake, hr, up):
        """One step of the adversary."""
        self.against.zero_grad(set_to_none=True)
        with self.autocast():
            real, made = self.run_adversary(hr, up), self.run_adversary(fake, up)
            loss = discriminator_loss(real, made)
        loss.backward()
        self.against.step()
        return {"adversary": float(loss.detach())}

    def figures(self):
        """Measures on the choosing set, clean and blind; distances as ratios to bicubic's."""
        found = {}
        for prefix, pictures in (("", self.dev), ("blind_", self.blind)):
            rows = [
                (
                    psnr_y(sr, hr) - psnr_y(bicubic, hr), phase_spread(sr),
                    residual_energy(sr, hr, bicubic), consistency(sr, lr),
                    *(self.pd(v, hr) for v in (sr, bicubic)),
                )
                for sr, hr, bicubic, lr in self.results(pictures)
            ]
            if rows:
                gain, spread, energy, same, own, base = np.mean(rows, 0)
                values = (gain, spread, energy, same, own / base)
                names = ("gain_db", "phase_spread", "energy", "consistency", "pd_ratio")
                found.update({prefix + n: v for n, v in zip(names, values)})
        return found

    @torch.no_grad()
    def pd(self, sr, hr):
        return distances(self.perceptual, sr, hr) if self.perceptual else float("nan")
