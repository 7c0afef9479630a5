"""Fast checks of the training package: `python3 -m unittest discover -s tests -t .`"""
import argparse
import os
import subprocess
import tempfile
import unittest
from unittest import mock

import numpy as np
import torch

from ssmoesr_training import (
    adversary, bundle, data, degrade, detail, export, losses, measure, methods, network, refit, tensors,
    text, train, trainer,
)
from ssmoesr_training.decoder import AFF, Decoder
from ssmoesr_training.model import Model
from ssmoesr_training.network import DEFAULT, Attention, Condition, Denoiser, SpaceLinear
from ssmoesr_training.resize import enlarge, matrix, resize, shrink
from ssmoesr_training.schedule import Shift
from ssmoesr_training.transform import Transform


ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
MODEL = os.path.join(ROOT, "models", "photo")
SHARED = os.environ.get("SSMOESR_SHARED", os.path.join(ROOT, "..", "shared"))
SHARED = SHARED if os.path.exists(os.path.join(SHARED, "perceptual")) else None


def randomised(module, seed=0, deviation=0.05):
    """Gives every parameter random values, so that no branch is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(deviation * torch.randn(value.shape, generator=generator))
    return module.eval()


def both(condition, denoiser):
    """The two as the trainer holds them."""
    return torch.nn.ModuleDict({"condition": condition, "denoiser": denoiser})


class Border(unittest.TestCase):
    def test_border_joined_for_the_compiler_is_the_repeated_edge(self):
        for stride in (1, 2):
            layer = randomised(network.conv(3, 4, 3, stride))
            x = torch.randn(2, 3, 8, 12)
            want = layer(x)
            with mock.patch.object(network, "COMPILING", lambda: True):
                torch.testing.assert_close(layer(x), want)


class Resize(unittest.TestCase):
    def test_rows_sum_to_one(self):
        for sizes in ((64, 16), (16, 64), (50, 37), (7, 28)):
            for border in ("symmetric", "edge"):
                sums = matrix(*sizes, border).sum(1)
                np.testing.assert_allclose(sums, 1.0, atol=1e-12)

    def test_interior_of_enlarging_is_keys_kernel(self):
        # Centre of output 32 is 32.5 / 4 - 0.5 = 7.625: offsets -1.625, -0.625, 0.375, 1.375.
        row = matrix(16, 64, "edge")[32]
        expected = [-0.0439453125, 0.3896484375, 0.7275390625, -0.0732421875]
        np.testing.assert_allclose(row[6:10], expected)
        self.assertEqual(np.count_nonzero(row), 4)

    def test_shrinking_a_constant(self):
        flat = np.full((3, 32, 48), 77, np.uint8)
        np.testing.assert_array_equal(shrink(flat), np.full((3, 8, 12), 77))

    def test_torch_and_numpy_agree(self):
        x = np.random.default_rng(0).random((3, 9, 14)).astype(np.float32)
        want = resize(x.astype(np.float64), 36, 56, "edge")
        np.testing.assert_allclose(enlarge(torch.from_numpy(x)).numpy(), want, atol=1e-5)


class Schedule(unittest.TestCase):
    def test_published_values(self):
        roots = np.sqrt(Shift().eta)
        expected = [0.0, 0.1, 0.520096, 0.761382, 0.99]
        np.testing.assert_allclose(roots, expected, atol=1e-6)

    def test_step_keeps_the_marginal(self):
        schedule = Shift()
        generator = torch.Generator().manual_seed(0)
        r = torch.tensor(0.7, dtype=torch.float64)

        def noise():
            return torch.randn(400000, generator=generator, dtype=torch.float64)

        x = schedule.noised(r, 4, noise())
        for noisy in (True, False):
            y = schedule.step(x, r, 4, 2, noise() if noisy else None)
            self.assertAlmostEqual(float(y.mean()), (1 - schedule.eta[2]) * 0.7, delta=0.01)
            self.assertAlmostEqual(float(y.std()), 2 * schedule.eta[2] ** 0.5, delta=0.01)

    def test_first_expert_sees_no_noise(self):
        self.assertEqual(Shift().input_scale(4), 0.0)
        self.assertAlmostEqual(Shift().input_scale(1), 1 / 1.04**0.5)


class Refit(unittest.TestCase):
    def test_a_linear_change_of_the_features_is_undone(self):
        torch.manual_seed(0)
        mixing, kernel = torch.randn(3, 3), torch.randn(5, 3 * 9 + 1)
        gram = cross = total = 0.0
        for _ in range(4):
            old = torch.randn(2, 3, 8, 8)
            a = refit.patches(torch.einsum("ij,bjhw->bihw", mixing, old))
            b = refit.patches(old)
            gram, cross, total = gram + a.T @ a, cross + a.T @ b, total + b.T @ b
        found, kept = refit.solved(gram, cross, total, kernel, ridge=0.0)
        self.assertAlmostEqual(kept, 1.0, places=6)
        torch.testing.assert_close(a.float() @ found.T, b.float() @ kernel.T, atol=1e-3, rtol=1e-3)


class Losses(unittest.TestCase):
    def test_zero_for_equal_pictures(self):
        x = torch.rand(2, 3, 16, 16)
        self.assertEqual(float(losses.focal_frequency(x, x)), 0.0)

    def test_focal_frequency_of_one_wave(self):
        # Two conjugate coefficients of magnitude a * n / 2 carry the whole difference.
        n, a = 16, 0.1
        wave = a * torch.cos(2 * np.pi * 3 * torch.arange(n) / n).expand(1, 3, n, n)
        value = float(losses.focal_frequency(wave, torch.zeros_like(wave)))
        self.assertAlmostEqual(value, 2 * (a * n / 2) ** 2 / (n * n), places=6)

    def test_latent_losses(self):
        a, b, sigma = torch.zeros(2, 4, 5, 5), torch.ones(2, 4, 5, 5), torch.full((4,), 0.5)
        self.assertAlmostEqual(float(losses.latent_l1(a, b, sigma)), 0.5, places=5)
        self.assertAlmostEqual(float(losses.latent_rms(a, b, sigma)), 0.5, places=5)
        self.assertAlmostEqual(float(losses.latent_mse(a, b, sigma)), 0.25, places=5)


class Measures(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(3)
        wide = rng.integers(0, 256, (3, 48, 48), dtype=np.uint8)
        self.picture = methods.bicubic(wide, 4)

    def test_nothing_differs_from_itself(self):
        x = self.picture
        self.assertAlmostEqual(measure.ms_ssim(x, x), 1.0)
        self.assertEqual((measure.gmsd(x, x), measure.log_spectral(x, x)), (0.0, 0.0))

    def test_blur_is_worse_the_wider_it_is(self):
        x, found = self.picture, []
        for sigma in (0.6, 1.2, 2.4):
            y = degrade.to_bytes(degrade.blur(x, degrade.gaussian(sigma)))
            found.append((
                -measure.ms_ssim(y, x), measure.gmsd(y, x), measure.log_spectral(y, x),
            ))
        for less, more in zip(found, found[1:]):
            self.assertTrue(all(a < b for a, b in zip(less, more)), found)

    def test_back_projection_restores_the_input(self):
        lr = measure.shrink(self.picture)
        plain, projected = methods.bicubic(lr, 4), methods.back_projection(lr, 4)
        self.assertGreater(measure.consistency(projected, lr), measure.consistency(plain, lr) + 10)

    def test_the_grid_loss_sees_a_grid_only(self):
        plain = torch.rand(2, 3, 64, 64)
        dotted = plain.clone()
        dotted[:, :, ::4, ::4] += 0.8
        self.assertEqual(float(detail.grid(plain, plain)), 0.0)
        self.assertGreater(float(detail.grid(dotted, plain)), 0.1)

    @unittest.skipUnless(SHARED, "the perceptual files are not beside the project")
    def test_known_answers(self):
        from ssmoesr_training.niqe import Niqe

        hr = data.read(os.path.join(SHARED, "photos", "dev", "face_plaid.webp"))
        sr = methods.bicubic(measure.shrink(hr), 4)
        folder = os.path.join(SHARED, "perceptual")
        niqe = Niqe(os.path.join(folder, "niqe_pris_params.npz"))
        self.assertAlmostEqual(niqe(hr), 2.5058, delta=0.02)
        self.assertAlmostEqual(niqe(sr), 7.4577, delta=0.02)
        perceptual = losses.Perceptual(os.path.join(folder, "sqz_notop.mat"))
        self.assertAlmostEqual(detail.distances(perceptual, sr, hr, 0), 0.489107, delta=1e-5)


class Adversary(unittest.TestCase):
    def test_losses_know_right_from_wrong(self):
        sure, wrong = torch.full((4,), 3.0), torch.full((4,), -3.0)
        self.assertEqual(float(adversary.discriminator_loss(sure, wrong)), 0.0)
        self.assertEqual(float(adversary.discriminator_loss(wrong, sure)), 8.0)
        self.assertLess(float(adversary.generator_loss(sure)), 0.0)

    def test_it_learns_to_tell_noise_from_none(self):
        torch.manual_seed(1)
        judge = adversary.Discriminator(8)
        optimiser = torch.optim.Adam(judge.parameters(), 1e-2)
        base = torch.rand(4, 3, 32, 32)
        for _ in range(30):
            real = judge(base + 0.2 * torch.randn_like(base), base)
            loss = adversary.discriminator_loss(real, judge(base, base))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.assertLess(float(loss.detach()), 1.0)


class Training(unittest.TestCase):
    """A few steps of every stage on made-up photographs."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        rng = np.random.default_rng(0)
        for name, size, suffix in (("train", 512, ".jpg"), ("dev", 128, ".webp")):
            os.makedirs(os.path.join(cls.folder.name, name))
            names = data.CHOOSING if name == "dev" else ("a", "b")
            for picture in names:
                small = rng.integers(0, 256, (3, size // 8, size // 8), dtype=np.uint8)
                path = os.path.join(cls.folder.name, name, picture + suffix)
                methods.write(path, methods.bicubic(small, 8))

    def options(self, run, words):
        words = f"{words} --batch 2 --text 0 --blind 0.3 --halved 0.2 --minutes 1 --warm 1"
        place = os.path.join(self.folder.name, run)
        return train.parse(["--run", place, "--data", self.folder.name, *words.split()])

    def steps(self, kind, options, count):
        run = kind(options)
        run.trained.train()
        batch = list(run.batch(False))  # always the same: progress shows within a few steps
        run.batch = lambda late: batch
        found = [run.step(0.0) for _ in range(count)]
        run.save()
        self.assertTrue(all(np.isfinite(v) for parts in found for v in parts.values()), found)
        return run, found

    def test_every_stage_learns_and_goes_on_where_it_ended(self):
        first, found = self.steps(trainer.Trainer, self.options("e4", "--lr 2e-3"), 24)
        self.assertLess(found[-1]["l1"], 0.98 * found[0]["l1"])
        again = trainer.Trainer(self.options("e4", ""))
        self.assertEqual(again.steps, 24)
        for name, value in first.average.items():
            torch.testing.assert_close(again.average[name], value)
        place = os.path.join(self.folder.name, "e4")
        run, _ = self.steps(trainer.Trainer, self.options("e1", f"--t 1 --init {place} --loss mse"), 2)
        for name, value in run.expert["condition"].state_dict().items():
            torch.testing.assert_close(value, first.average["condition." + name])
        self.steps(trainer.Trainer, self.options("d", f"--stage decoder --expert {place}"), 2)

    def test_one_network_for_all_steps_sees_them_all(self):
        run, _ = self.steps(trainer.Trainer, self.options("one", f"--t 0 --init {MODEL} --loss mse"), 2)
        scales = []
        scale = run.schedule.input_scale
        run.schedule.input_scale = lambda t: scales.append(t) or scale(t)
        hr, up, lr = run.batch(False)
        with torch.no_grad():
            for _ in range(40):
                run.predict(lr, hr - up)
        self.assertEqual(set(scales), {1, 2, 3, 4})

    def test_batches_made_ahead_are_those_asked_for(self):
        run = trainer.Trainer(self.options("ahead", "--ahead 1"))
        shapes = [[tuple(v.shape) for v in run.batch(late)] for late in (False, False, True)]
        early = [(2, 3, 128, 128), (2, 3, 128, 128), (2, 3, 32, 32)]
        late = [(3, 3, 256, 256), (3, 3, 256, 256), (3, 3, 64, 64)]
        self.assertEqual(shapes, [early, early, late])

    def test_a_bundle_holds_what_its_script_names(self):
        out = os.path.join(self.folder.name, "bundle")
        options = argparse.Namespace(data=self.folder.name, model=MODEL, perceptual=None)
        size = bundle.pack(out, options)
        self.assertLess(size, bundle.LIMIT)
        subprocess.run(["sh", "-n", os.path.join(out, "train.sh")], check=True)
        self.assertEqual(sorted(os.listdir(os.path.join(out, "photos", "train"))), ["a.webp", "b.webp"])
        for name in ("model/model.json", "ssmoesr_training/train.py", "photos/dev/text_sign.webp"):
            self.assertTrue(os.path.exists(os.path.join(out, name)), name)

    def test_detail_trains_expert_decoder_and_adversary(self):
        words = "--stage detail --expert {0} --decoder {0} --adversarial 1 --consistency 1 --grid 0.1 --colour 1"
        options = self.options("detail", words.format(MODEL) + " --faithful 0")
        run, found = self.steps(detail.Detail, options, 2)
        self.assertEqual(
            set(found[0]), {"l1", "ffl", "consistency", "colour", "grid", "adversary", "gan"}
        )
        start = trainer.read_start(MODEL, 4)
        for name in ("denoiser.output.weight", "decoder.output.weight"):
            self.assertGreater(float((run.trained.state_dict()[name] - start[name]).abs().max()), 0)
        for name, value in run.expert.state_dict().items():
            if value.shape == start[name].shape:
                torch.testing.assert_close(value, start[name])
        again = detail.Detail(options)
        for name, value in run.adversary.state_dict().items():
            torch.testing.assert_close(again.adversary.state_dict()[name], value)
        _, up, lr = run.batch(False)
        with torch.no_grad():
            regression = run.predict(lr)
            torch.testing.assert_close(run.refined(lr, 1.0), regression)
            self.assertGreater(float((run.refined(lr, 0.5) - regression).abs().max()), 0.0)
        options.fidelity = 0.5
        drawn = [run.drawn_fidelity() for _ in range(200)]
        self.assertTrue(0.0 <= min(drawn) < 0.2 and max(drawn) == 0.5)
        self.assertTrue(110 < drawn.count(0.5) < 170, drawn.count(0.5))
        options.faithful = 1.0
        self.assertEqual(list(self.steps(detail.Detail, options, 1)[1][0]), ["l1 faithful"])
        self.assertEqual({"gain_db", "energy", "pd_ratio"} - set(run.figures()), set())


class SpaceExperts(unittest.TestCase):
    def test_equation_5(self):
        layer = SpaceLinear(2, 3, 4)
        with torch.no_grad():
            for i in range(4):
                layer.weight[i], layer.bias[i] = float(i), 10.0 * i
        layer.share(0.9)
        for i in range(4):
            others = (6.0 - i) / 3
            expected = 0.9 * i + 0.1 * others
            self.assertAlmostEqual(layer.weight[i, 0, 0, 0, 0].item(), expected, 5)
            self.assertAlmostEqual(layer.bias[i, 0].item(), 10 * expected, 4)

    def test_sharing_keeps_the_mean(self):
        layer = SpaceLinear(2, 3, 4)
        before = layer.weight.mean(0).clone()
        layer.share(0.5)
        torch.testing.assert_close(layer.weight.mean(0), before)

    def test_equal_experts_give_the_folded_result(self):
        attention = Attention(16, 8, 8, 2, 4)
        with torch.no_grad():
            for layer in (attention.ffn1, attention.ffn2):
                layer.weight.copy_(torch.randn(layer.weight.shape[1:]).expand_as(layer.weight))
        x = torch.randn(2, 16, 8, 16)
        split = attention.train().mixture(x)
        torch.testing.assert_close(split, attention.eval().mixture(x), atol=1e-4, rtol=1e-4)


class Filter(unittest.TestCase):
    def test_windows_are_independent(self):
        block = randomised(AFF(8, 8, 2, 0.1, 0.01))
        x = torch.randn(1, 8, 8, 16)
        together = block.filtered(x)
        torch.testing.assert_close(together[..., 8:], block.filtered(x[..., 8:]))

    def test_against_plain_numpy(self):
        block = randomised(AFF(4, 4, 2, 0.1, 0.01), deviation=0.5)
        x = torch.randn(1, 4, 4, 4)
        spectrum = np.fft.rfft2(x[0].numpy(), norm="ortho").reshape(2, 2, 4, 3)
        w1, b1, w2, b2 = (
            v.detach().numpy()[0] + 1j * v.detach().numpy()[1]
            for v in (block.w1, block.b1, block.w2, block.b2)
        )

        def parts(z, function):
            return function(z.real) + 1j * function(z.imag)

        h = np.einsum("gdyx,gde->geyx", spectrum, w1) + b1[:, :, None, None]
        h = parts(h, lambda v: np.where(v > 0, v, 0.1 * v))
        h = np.einsum("gdyx,gde->geyx", h, w2) + b2[:, :, None, None]
        h = parts(h, lambda v: np.tanh(np.sign(v) * np.maximum(np.abs(v) - 0.01, 0)))
        want = np.fft.irfft2((h * spectrum).reshape(4, 4, 3), s=(4, 4), norm="ortho")
        np.testing.assert_allclose(block.filtered(x)[0].detach().numpy(), want, atol=1e-5)


class Files(unittest.TestCase):
    def test_tensors_round_trip(self):
        arrays = {"b": np.arange(6, dtype=np.float16).reshape(2, 3), "a": np.ones(1, np.float32)}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.safetensors")
            tensors.save(path, arrays, {"licence": "CC0-1.0"})
            loaded = tensors.load(path)
        self.assertEqual(sorted(loaded), ["a", "b"])
        for name, array in arrays.items():
            self.assertEqual(loaded[name].dtype, array.dtype)
            np.testing.assert_array_equal(loaded[name], array)

    def test_export_round_trip(self):
        config = DEFAULT
        condition = randomised(Condition(32, 1), 1)
        denoiser = randomised(Denoiser(16, 32, config["denoiser"], 4), 2)
        decoder = randomised(Decoder(16, config["decoder"]), 3)
        transform = Transform.fit([0.05 * torch.randn(4, 3, 32, 32)], 16)
        lr = torch.rand(1, 3, 32, 32)

        def named(prefix, module):
            return {f"{prefix}.{n}": v for n, v in module.state_dict().items()}

        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            export.write_file(folder, "condition", named("condition", condition))
            for t in range(1, 5):
                export.write_file(folder, f"expert{t}", named("denoiser", denoiser))
            state = dict(named("decoder", decoder), **transform.tensors())
            export.write_file(folder, "decoder", state)
            export.write_config(folder)
            model = Model(folder)
            for name, digest in model.config["files"].items():
                self.assertEqual(digest, tensors.sha256(os.path.join(folder, name)))
            start = trainer.fit_in(trainer.read_start(folder, 4), both(condition, denoiser))
            torch.testing.assert_close(
                start["condition.input.weight"], condition.input.weight, atol=1e-3, rtol=1e-3
            )
            self.assertEqual(
                start["denoiser.middle.attention.0.ffn1.weight"].shape,
                denoiser.middle.attention[0].ffn1.weight.shape,
            )
            z = model.denoise(torch.randn(1, 16, 32, 32), model.condition(lr), 4)
            want = denoiser(torch.zeros(1, 16, 32, 32), condition(lr))
            # f16 keeps 11 bits; the errors of some forty layers add up.
            torch.testing.assert_close(z, want, atol=0.02 * float(want.abs().max()), rtol=0.0)
            self.assertEqual(model.upscale(lr[..., :20, :27], (4, 1)).shape, (1, 3, 80, 108))

    def test_runs_are_averaged(self):
        with tempfile.TemporaryDirectory() as folder:
            place = os.path.join(folder, "run")
            os.makedirs(place)
            name = "denoiser.middle.attention.0.ffn1.weight"
            start = trainer.read_start(MODEL, 4)
            spread = torch.randn(4, 1, 1, 1, 1)
            experts = start[name].float()[None] + spread - spread.mean() + 2.0
            torch.save({"average": dict(start, **{name: experts})}, os.path.join(place, "last.pt"))
            mean = export.averaged(f"{place},{MODEL}", 4)
        self.assertEqual(set(mean), set(start))
        torch.testing.assert_close(mean[name], start[name].float() + 1.0, atol=1e-5, rtol=0.0)
        other = "denoiser.output.weight"
        torch.testing.assert_close(mean[other], start[other].float())

    def test_weights_that_are_not_finite_are_refused(self):
        with self.assertRaises(ValueError):
            export.to_numpy({"decoder.x.weight": torch.full((1,), float("nan"))})


class Picture(unittest.TestCase):
    def test_transform_inverts_within_its_span(self):
        transform = Transform.fit([torch.randn(8, 3, 16, 16)], 48)
        r = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(transform.decode(transform.encode(r)), r, atol=1e-4, rtol=0.0)

    def test_degraded_size_and_type(self):
        hr = np.random.default_rng(0).integers(0, 256, (3, 96, 64), dtype=np.uint8)
        for seed in range(8):
            lr = degrade.degrade(hr, np.random.default_rng(seed))
            self.assertEqual((lr.shape, lr.dtype), ((3, 24, 16), np.uint8))

    def test_video_compression_is_a_codec(self):
        hr = np.random.default_rng(0).integers(60, 200, (3, 8, 12)).astype(np.float32)
        hr = np.kron(hr, np.ones((1, 8, 8), np.float32))
        errors = []
        for quality in (90, 50, 20):
            made = degrade.webp(hr, quality)
            self.assertEqual((made.shape, made.dtype), (hr.shape, np.float32))
            np.testing.assert_allclose(made.mean((1, 2)), hr.mean((1, 2)), atol=4)
            errors.append(np.abs(made - hr).mean())
        self.assertEqual(errors, sorted(errors))
        self.assertGreater(errors[0], 0.0)
        rng = np.random.default_rng(1)
        kinds = {name: [] for name in ("webp", "jpeg")}
        with mock.patch.object(degrade, "webp", lambda x, q: kinds["webp"].append(q)), \
                mock.patch.object(degrade, "jpeg", lambda x, q, s: kinds["jpeg"].append(q)):
            for _ in range(400):
                degrade.compressed(hr, rng, 50)
        self.assertTrue(60 < len(kinds["webp"]) < 140, len(kinds["webp"]))
        self.assertTrue(20 <= min(kinds["webp"]) and max(kinds["webp"]) <= 90)
        self.assertTrue(50 <= min(kinds["jpeg"]) and max(kinds["jpeg"]) <= 95)

    def test_smooth_pictures_are_colours_and_gradients(self):
        rng, flat, colours = np.random.default_rng(0), 0, []
        for _ in range(40):
            x = text.smooth(rng, 64).astype(int)
            self.assertEqual(x.shape, (3, 64, 64))
            for axis in (1, 2):  # straight: second differences are roundings only
                self.assertLessEqual(np.abs(np.diff(x, 2, axis)).max(), 2)
            flat += int(np.ptp(x.reshape(3, -1), 1).max() == 0)
            colours.append(x[:, 0, 0])
        self.assertTrue(10 < flat < 30, flat)
        self.assertTrue(np.min(colours) < 20 and np.max(colours) > 235)

    def test_patches_are_saturated_and_sharp(self):
        rng, edges = np.random.default_rng(0), 0
        for _ in range(20):
            x = text.patches(rng, 128)
            self.assertEqual((x.dtype, x.shape), (np.uint8, (3, 128, 128)))
            for plane in x:
                self.assertLessEqual(len(np.unique(plane)), 2)
            self.assertFalse(((x > 63) & (x < 192)).any())
            edges += int((np.diff(x.astype(int), axis=2) != 0).any(0).sum())
        self.assertGreater(edges, 0)
        kinds = {len(np.unique(text.plain(rng, 64))) > 12 for _ in range(40)}
        self.assertEqual(kinds, {True, False})

    def test_halved_inputs_hold_half_the_detail(self):
        hr = np.random.default_rng(0).integers(0, 256, (3, 96, 64), dtype=np.uint8)
        lr = degrade.halved(hr)
        self.assertEqual((lr.shape, lr.dtype), ((3, 24, 16), np.uint8))
        wanted = methods.bicubic(measure.shrink(hr, 8), 2)
        inner = (slice(None), slice(4, -4), slice(4, -4))  # the two repeat borders differently
        np.testing.assert_allclose(lr[inner].astype(int), wanted[inner], atol=1)

    def test_grid_is_seen(self):
        rng = np.random.default_rng(0)
        plain = rng.integers(100, 110, (3, 64, 64)).astype(np.uint8)
        grid = plain.copy()
        grid[:, ::4, ::4] += 20
        self.assertLess(measure.phase_spread(plain), 0.1)
        self.assertGreater(measure.phase_spread(grid), 0.5)

    def test_equal_pictures(self):
        x = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
        self.assertEqual(measure.psnr_y(x, x), 99.0)
        self.assertAlmostEqual(measure.ssim_y(x, x), 1.0)


if __name__ == "__main__":
    unittest.main()
