//! What is no network: resizing, schedule, sampler, colour match, sharing of space experts.

use super::harness::{Context, Recorded, Tally, name, real, text, whole};
use crate::pixels::canvas::Canvas;
use crate::pixels::{colorfix, imresize as resizing};
use crate::sampler::{DdimSchedule, expert_of};
use crate::weights::{Sampling, fold, share};
use safetensors::Dtype;

pub(super) fn imresize(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let (x, y) = (c.get(case, "x"), c.get(case, "y"));
        let size = |t: &Recorded| (t.shape[1], t.shape[0]);
        let channels = x.shape[2];
        if x.dtype == Dtype::U8 {
            let src: Vec<u8> = x.values.iter().map(|&v| v as u8).collect();
            let out = resizing::imresize_u8(&src, size(&x), channels, size(&y)).unwrap();
            let same = out.iter().map(|&v| f64::from(v)).eq(y.values.iter().copied());
            tally.check(&format!("{} differs", name(case)), same);
        } else {
            let out = resizing::imresize_f64(&x.values, size(&x), channels, size(&y)).unwrap();
            tally.compare_exactly(name(case), out, &y.values, 1e-6);
        }
        tally.case();
    }
}

pub(super) fn ddim(s: &Sampling) -> DdimSchedule {
    DdimSchedule::new(s.train_steps, s.linear_start, s.linear_end, s.stages).unwrap()
}

/// The tables behind the schedule stand beside it; here they are taken back out of the steps.
pub(super) fn schedule(c: &Context<'_>, tally: &mut Tally) {
    let s = &c.config().sampling;
    let ddim = ddim(s);
    for case in &c.cases {
        tally.case();
        if let Some(stages) = c.find(case, "stage_of") {
            let found = (0..s.train_steps).map(|t| expert_of(t, s.train_steps, s.stages) as f64);
            tally.check("stages differ", found.eq(stages.values.iter().copied()));
            continue;
        }
        let count: u32 = name(case)[1..].parse().unwrap();
        for (eta, part) in [(0.0, "sigma_eta0"), (0.5, "sigma_eta05"), (1.0, "sigma_eta1")] {
            let mut steps = ddim.steps(count, eta).unwrap();
            steps.reverse();
            let mut compare = |part: &str, f: &dyn Fn(&crate::sampler::Coefs) -> f64| {
                let found = steps.iter().map(|s| f(&s.coefs));
                tally.compare_exactly(
                    &format!("{} {part}", name(case)),
                    found,
                    &c.get(case, part).values,
                    1e-6,
                );
            };
            compare("alpha", &|k| f64::from(k.x0_x).powi(-2));
            compare("alpha_prev", &|k| f64::from(k.x0).powi(2));
            compare("sqrt_one_minus_alpha", &|k| -f64::from(k.x0_pred) / f64::from(k.x0_x));
            compare(part, &|k| f64::from(k.noise));
            let t = steps.iter().map(|s| f64::from(s.timestep));
            tally.check(&format!("{} timesteps", name(case)), t.eq(c.get(case, "t").values));
        }
    }
}

pub(super) fn ddim_analytic(c: &Context<'_>, tally: &mut Tally) {
    let s = &c.config().sampling;
    for case in &c.cases {
        let steps = ddim(s).steps(whole(case, "steps") as u32, real(case, "eta")).unwrap();
        let kept: Vec<usize> = case["kept_steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| usize::try_from(k.as_u64().unwrap()).unwrap())
            .collect();
        let (noise, want_x, want_x0) = (c.get(case, "noise").f32(), c.get(case, "x"), c.get(case, "x0"));
        let mut x = c.get(case, "x_T").f32();
        let n = x.len();
        assert_eq!(noise.len(), n * steps.len());
        let (mut seen_x, mut seen_x0) = (Vec::new(), Vec::new());
        for (i, step) in steps.iter().enumerate() {
            let mut x0 = vec![0.0f32; n];
            for ((x, x0), n) in x.iter_mut().zip(&mut x0).zip(&noise[i * n..]) {
                let eps = 0.7 * x.tanh() + 0.01 * step.timestep as f32 / 1000.0;
                *x0 = step.coefs.estimate(*x, eps);
                *x = step.coefs.next(*x, *x0, eps, *n);
            }
            if kept.contains(&i) {
                seen_x.extend_from_slice(&x);
                seen_x0.extend_from_slice(&x0);
            }
        }
        tally.compare(&format!("{} x", name(case)), &seen_x, &want_x.values, 1e-5);
        tally.compare(&format!("{} x0", name(case)), &seen_x0, &want_x0.values, 1e-5);
        tally.case();
    }
}

/// A picture `[1, C, H, W]`.
pub(super) fn canvas(t: &Recorded) -> Canvas {
    let [n, c, h, w] = t.map();
    assert_eq!(n, 1);
    Canvas::from_data(c, w, h, t.f32()).unwrap()
}

/// `[C, H, W]` in `[-1, 1]` to u8 `[H, W, C]`, cut and not rounded, as the published script stores pictures.
pub(super) fn stored_u8(picture: &Canvas) -> Vec<u8> {
    let n = picture.width() * picture.height();
    let code = |v: f32| (((v + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0) as u8;
    (0..n)
        .flat_map(|i| (0..picture.channels()).map(move |c| (i, c)))
        .map(|(i, c)| code(picture.plane(c)[i]))
        .collect()
}

/// Share of u8 samples that differ, all by one level at most.
pub(super) fn compare_u8(tally: &mut Tally, what: &str, found: &[u8], wanted: &Recorded, share: f64) {
    let off: Vec<f64> = found.iter().zip(&wanted.values).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
    let differ = off.iter().filter(|d| **d > 0.0).count() as f64 / off.len().max(1) as f64;
    let most = off.iter().copied().fold(0.0, f64::max);
    let fits = found.len() == wanted.values.len() && most <= 1.0 && differ <= share;
    tally.check(&format!("{what}: u8 differs by up to {most} on {:.2} %", 100.0 * differ), fits);
}

pub(super) fn adain(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let mut x = canvas(&c.get(case, "x"));
        colorfix::adain(&mut x, &canvas(&c.get(case, "ref")));
        tally.compare(name(case), x.data(), &c.get(case, "y").values, 1e-5);
        compare_u8(tally, name(case), &stored_u8(&x), &c.get(case, "u8"), 1.0);
        tally.case();
    }
}

pub(super) fn wavelet(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let (x, reference) = (canvas(&c.get(case, "x")), canvas(&c.get(case, "ref")));
        let zero = Canvas::new(x.channels(), x.width(), x.height()).unwrap();
        for (part, of, against) in [("y", &x, &reference), ("high", &x, &zero), ("low", &zero, &reference)] {
            let mut out = of.clone();
            colorfix::wavelet(&mut out, against).unwrap();
            let what = format!("{} {part}", name(case));
            tally.compare(&what, out.data(), &c.get(case, part).values, 1e-5);
        }
        tally.case();
    }
}

pub(super) fn expert_sharing(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let w = c.get(case, "w");
        let each = w.shape.iter().skip(1).product();
        let experts: Vec<Vec<f32>> = w.f32().chunks(each).map(<[f32]>::to_vec).collect();
        let found = if case.contains_key("gamma") {
            share(&experts, real(case, "gamma")).concat()
        } else {
            assert_eq!(text(case, "case"), "fold");
            fold(experts.len(), |i| Ok(experts[i].clone())).unwrap().0
        };
        tally.compare(name(case), &found, &c.get(case, "y").values, 1e-6);
        tally.case();
    }
}
