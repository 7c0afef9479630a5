//! Sampling with the networks, whole pictures, and imported checkpoints.

use super::harness::{Attributes, Context, Folder, Loaded, Recorded, Tally, name, real, record, text, whole};
use super::modules::{decode_codes, quantise};
use super::plain::{compare_u8, ddim, stored_u8};
use crate::graph::Weight;
use crate::model::published::{self, FACTOR, first_stage, unet as net};
use crate::pixels::canvas::Canvas;
use crate::pixels::colorfix;
use crate::pixels::imresize::imresize_u8;
use crate::weights::{
    FIRST_STAGE_FILE, ImportRequest, PublishedConfig, Store, StoredType, WeightSource, expert_file, import,
};
use std::ops::ControlFlow;

/// Follows a sampler; `each` sees the field and the estimate after every step.
fn sample(
    c: &Context<'_>,
    case: &Attributes,
    cond: &[f32],
    mut each: impl FnMut(&[f32], &[f32]),
) -> Vec<f32> {
    let steps = ddim(&c.config().sampling).steps(whole(case, "steps") as u32, real(case, "eta")).unwrap();
    let start = c.get(case, "x_T");
    let noise = c.get(case, "noise").f32();
    let [n, _, h, w] = start.map();
    let mut x = start.f32();
    assert_eq!(noise.len(), x.len() * steps.len());
    let mut loaded: Option<(usize, Loaded)> = None;
    for (i, step) in steps.iter().enumerate() {
        let source = || c.folder.weights(&format!("unet_stage{}", step.expert));
        match &mut loaded {
            None => {
                let graph = published::denoiser(c.config(), n, h, w).unwrap();
                loaded = Some((step.expert, c.load(graph, source().as_ref())));
            }
            // One expert at a time: at full width each takes half a gigabyte.
            Some((expert, l)) if *expert != step.expert => {
                l.reload(source().as_ref());
                *expert = step.expert;
            }
            Some(_) => {}
        }
        let Some((_, l)) = &mut loaded else { continue };
        let eps = l.run(&[&x, cond, &vec![step.timestep as f32; n]]).swap_remove(0);
        let mut x0 = vec![0.0; x.len()];
        for (k, (x, x0)) in x.iter_mut().zip(&mut x0).enumerate() {
            *x0 = step.coefs.estimate(*x, eps[k]);
            *x = step.coefs.next(*x, *x0, eps[k], noise[i * eps.len() + k]);
        }
        each(&x, &x0);
    }
    x
}

pub(super) fn ddim_trajectory(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let (want_x, want_x0) = (c.get(case, "x"), c.get(case, "x0"));
        // The engine's graph takes samples in [0, 1]; recorded conditions are in [-1, 1].
        let cond: Vec<f32> = c.get(case, "cond").f32().iter().map(|v| v * 0.5 + 0.5).collect();
        let mut step = 0;
        sample(c, case, &cond, |x, x0| {
            let part = step * x.len()..(step + 1) * x.len();
            tally.compare(&format!("{} x{step}", name(case)), x, &want_x.values[part.clone()], 5e-5);
            tally.compare(&format!("{} x0 {step}", name(case)), x0, &want_x0.values[part], 5e-5);
            step += 1;
        });
        tally.check("a step is missing", step == want_x.shape[0]);
        tally.case();
    }
}

/// The picture at `factor` times its size, `[C, H, W]` in `[0, 1]`, still rounded to u8.
fn enlarged(lr: &Recorded, factor: usize) -> Canvas {
    let (h, w, c) = (lr.shape[0], lr.shape[1], lr.shape[2]);
    let src: Vec<u8> = lr.values.iter().map(|&v| v as u8).collect();
    let (to_h, to_w) = (h * factor, w * factor);
    let big = imresize_u8(&src, (w, h), c, (to_w, to_h)).unwrap();
    let mut out = Canvas::new(c, to_w, to_h).unwrap();
    for ch in 0..c {
        for (i, v) in out.plane_mut(ch).iter_mut().enumerate() {
            *v = f32::from(big[i * c + ch]) / 255.0;
        }
    }
    out
}

fn centred(picture: &Canvas) -> Canvas {
    let mut out = picture.clone();
    out.data_mut().iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
    out
}

pub(super) fn end_to_end(c: &Context<'_>, tally: &mut Tally) {
    let source = c.folder.weights("fa_vae");
    let p = c.config();
    for case in &c.cases {
        let (lr, scale) = (c.get(case, "lr"), whole(case, "scale"));
        let cond = enlarged(&lr, scale / FACTOR);
        let lr_up = enlarged(&lr, scale);
        let latent = c.get(case, "latent");
        let z = sample(c, case, cond.data(), |_, _| {});
        tally.compare(&format!("{} latent", name(case)), &z, &latent.values, 5e-5);

        let shape = latent.map();
        let equal = quantise(c, tally, case, source.as_ref(), (&z, shape));
        // Where codes differ within the margin, decode the recorded ones: a single code changes the picture.
        let out = if equal {
            let graph = published::decoder(p, 1, shape[2], shape[3]).unwrap();
            c.run(graph, source.as_ref(), &[&z, lr_up.data()]).swap_remove(0)
        } else {
            let index = c.get(case, "indices").f32();
            let graph =
                record(&[[1, 1, shape[2], shape[3]], [1, 3, lr_up.height(), lr_up.width()]], |g, v| {
                    let codes = first_stage::codes(g, v[0], &p.vae)?;
                    let lr = g.affine("centre", v[1], 2.0, -1.0)?;
                    let features = first_stage::lr_features(g, lr, &p.vae)?;
                    let y = first_stage::decode(g, codes, p, Some(features), true)?;
                    Ok(vec![g.affine("picture", y, 0.5, 0.5)?])
                });
            c.run(graph, source.as_ref(), &[&index, lr_up.data()]).swap_remove(0)
        };
        let mut y = centred(&Canvas::from_data(3, lr_up.width(), lr_up.height(), out).unwrap());
        match text(case, "colour") {
            "adain" => colorfix::adain(&mut y, &centred(&cond)),
            "wavelet" => colorfix::wavelet(&mut y, &centred(&lr_up)).unwrap(),
            "none" => {}
            other => tally.fail(&format!("colour match {other} is unknown")),
        }
        tally.compare(&format!("{} y", name(case)), y.data(), &c.get(case, "y").values, 1e-4);
        compare_u8(tally, name(case), &stored_u8(&y), &c.get(case, "u8"), 0.005);
        tally.case();
    }
}

fn tensors(weights: Vec<Weight>) -> Vec<(String, Vec<usize>)> {
    weights.into_iter().map(|w| (w.name, w.shape)).collect()
}

/// The folder's checkpoints, imported to a model; the stage file stands for all stages.
fn imported(c: &Context<'_>) -> (tempfile::TempDir, Folder) {
    let files = c.folder.path.join("ckpt");
    let config = PublishedConfig::read(&files.join("config.json")).unwrap();
    let unet = vec![files.join("moe_stage0.ckpt"); config.network.sampling.stages as usize];
    let dir = tempfile::tempdir().unwrap();
    let request = ImportRequest {
        unet: &unet,
        decoder: &files.join("fa_vae.pth"),
        config: &config,
        unet_tensors: &tensors(published::denoiser_weights(&config.network).unwrap()),
        first_stage_tensors: &tensors(published::first_stage_weights(&config.network).unwrap()),
        out: &dir.path().join("model"),
        stored: StoredType::F32,
    };
    import(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let folder = c.folder.with_config(config.network);
    (dir, folder)
}

pub(super) fn ckpt_unet(c: &Context<'_>, tally: &mut Tally) {
    let (dir, folder) = imported(c);
    let store = Store::open(&[dir.path().join("model").join(expert_file(0))]).unwrap();
    for case in &c.cases {
        let (x, y) = (c.get(case, "x"), c.get(case, "y"));
        let graph = record(&[x.map(), [x.shape[0], 1, 1, 1]], |g, v| {
            Ok(vec![net::unet(g, v[0], v[1], &folder.config.unet)?])
        });
        let t = vec![whole(case, "t") as f32; x.shape[0]];
        let out = c.run(graph, &store, &[&x.f32(), &t]);
        tally.compare(name(case), &out[0], &y.values, 3e-5);
        tally.case();
    }
}

pub(super) fn ckpt_vae(c: &Context<'_>, tally: &mut Tally) {
    let (dir, folder) = imported(c);
    let store = Store::open(&[dir.path().join("model").join(FIRST_STAGE_FILE)]).unwrap();
    let source: &dyn WeightSource = &store;
    let own = c.with_folder(&folder);
    for case in &c.cases {
        let z = c.get(case, "z");
        quantise(&own, tally, case, source, (&z.f32(), z.map()));
        decode_codes(&own, tally, case, source);
        tally.case();
    }
}
