//! Parts of the network and whole networks.

use super::harness::{Attributes, Context, Recorded, Source, Tally, name, record, text, whole};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::model::published::{aff, first_stage, fusion as fuse, unet as net};
use crate::weights::{MemoryWeights, WeightSource, fold};

const MODULE: f64 = 2e-5;
const NETWORK: f64 = 3e-5;

/// Cases of one input `x` and one result `y`.
fn one_to_one(
    c: &Context<'_>,
    tally: &mut Tally,
    file: &str,
    limit: f64,
    build: impl Fn(&mut Builder, &Attributes, Value, &Recorded) -> Result<Value>,
) {
    let source = c.folder.weights(file);
    for case in &c.cases {
        let (x, y) = (c.get(case, "x"), c.get(case, "y"));
        let graph = record(&[x.map()], |g, v| Ok(vec![build(g, case, v[0], &y)?]));
        let out = c.run(graph, source.as_ref(), &[&x.f32()]);
        tally.compare(name(case), &out[0], &y.values, limit);
        tally.case();
    }
}

pub(super) fn timestep_embedding(c: &Context<'_>, tally: &mut Tally) {
    for case in &c.cases {
        let (t, y) = (c.get(case, "t"), c.get(case, "y"));
        let dim = y.shape[1];
        let graph =
            record(&[[t.values.len(), 1, 1, 1]], |g, v| Ok(vec![g.timestep_embedding("e", v[0], dim)?]));
        let out = c.run(graph, &MemoryWeights::new(), &[&t.f32()]);
        tally.compare(name(case), &out[0], &y.values, 1e-6);
        tally.case();
    }
}

pub(super) fn time_mlp(c: &Context<'_>, tally: &mut Tally) {
    let (source, base) = (c.folder.weights("unet_stage0"), c.config().unet.model_channels);
    for case in &c.cases {
        let (t, y) = (c.get(case, "t"), c.get(case, "y"));
        let at = text(case, "prefix");
        let graph = record(&[[t.values.len(), 1, 1, 1]], |g, v| Ok(vec![net::time_mlp(g, at, v[0], base)?]));
        let out = c.run(graph, source.as_ref(), &[&t.f32()]);
        tally.compare(name(case), &out[0], &y.values, 1e-5);
        tally.case();
    }
}

pub(super) fn resblock(c: &Context<'_>, tally: &mut Tally) {
    let (source, groups) = (c.folder.weights("unet_stage0"), c.config().unet.norm_groups);
    for case in &c.cases {
        let (x, emb, y) = (c.get(case, "x"), c.get(case, "emb"), c.get(case, "y"));
        let at = text(case, "prefix");
        let graph = record(&[x.map(), [emb.shape[0], emb.shape[1], 1, 1]], |g, v| {
            let emb = g.silu("emb.silu", v[1])?;
            Ok(vec![net::resblock(g, at, v[0], emb, y.shape[1], groups)?])
        });
        let out = c.run(graph, source.as_ref(), &[&x.f32(), &emb.f32()]);
        tally.compare(name(case), &out[0], &y.values, MODULE);
        tally.case();
    }
}

pub(super) fn attention(c: &Context<'_>, tally: &mut Tally) {
    let u = &c.config().unet;
    one_to_one(c, tally, "unet_stage0", MODULE, |g, case, x, _| {
        net::attention(g, text(case, "prefix"), x, u.head_channels, u.norm_groups)
    });
}

pub(super) fn ffn_folded(c: &Context<'_>, tally: &mut Tally) {
    let mult = c.config().unet.ffn_mult;
    one_to_one(c, tally, "unet_stage0", MODULE, |g, case, x, _| {
        net::folded(g, text(case, "prefix"), x, mult)
    });
}

pub(super) fn ffn_routed(c: &Context<'_>, tally: &mut Tally) {
    let mult = c.config().unet.ffn_mult;
    for case in &c.cases {
        let (x, perm, y) = (c.get(case, "x"), c.get(case, "perm"), c.get(case, "y"));
        let experts = whole(case, "experts");
        let source = c.own_weights(case);
        let graph = record(&[x.map(), [1, 1, 1, perm.values.len()]], |g, v| {
            Ok(vec![net::routed(g, "own", v[0], v[1], experts, mult)?])
        });
        let out = c.run(graph.clone(), source.as_ref(), &[&x.f32(), &perm.f32()]);
        tally.compare(name(case), &out[0], &y.values, MODULE);
        if let Some(y) = c.find(case, "y_folded") {
            let mut mean = MemoryWeights::new();
            for w in
                graph.weights.iter().filter(|w| !w.name.contains("moe_blocks") || w.name.contains("s.0."))
            {
                let read = |e: usize| {
                    let name = w.name.replace("moe_blocks.0.", &format!("moe_blocks.{e}."));
                    source.read_f32(&name, &w.shape)
                };
                let count = if w.name.contains("moe_blocks") { experts } else { 1 };
                mean.insert(w.name.clone(), &w.shape, fold(count, read).unwrap().0).unwrap();
            }
            let graph = record(&[x.map()], |g, v| Ok(vec![net::folded(g, "own", v[0], mult)?]));
            let out = c.run(graph, &mean, &[&x.f32()]);
            tally.compare(&format!("{} folded", name(case)), &out[0], &y.values, MODULE);
        }
        tally.case();
    }
}

pub(super) fn unet(c: &Context<'_>, tally: &mut Tally) {
    let mut loaded: Option<(usize, Source)> = None;
    for case in &c.cases {
        let (x, y) = (c.get(case, "x"), c.get(case, "y"));
        let (stage, n) = (whole(case, "stage"), x.shape[0]);
        if loaded.as_ref().is_none_or(|(s, _)| *s != stage) {
            loaded = Some((stage, c.folder.weights(&format!("unet_stage{stage}"))));
        }
        let Some((_, source)) = &loaded else { continue };
        let graph =
            record(&[x.map(), [n, 1, 1, 1]], |g, v| Ok(vec![net::unet(g, v[0], v[1], &c.config().unet)?]));
        let t = vec![whole(case, "t") as f32; n];
        let out = c.run(graph, source.as_ref(), &[&x.f32(), &t]);
        tally.compare(name(case), &out[0], &y.values, NETWORK);
        tally.case();
    }
}

pub(super) fn vq_encode(c: &Context<'_>, tally: &mut Tally) {
    one_to_one(c, tally, "fa_vae", NETWORK, |g, _, x, _| first_stage::encode(g, x, &c.config().vae));
}

pub(super) fn lr_features(c: &Context<'_>, tally: &mut Tally) {
    one_to_one(c, tally, "fa_vae", NETWORK, |g, _, x, _| first_stage::lr_features(g, x, &c.config().vae));
}

pub(super) fn vq_decode(c: &Context<'_>, tally: &mut Tally) {
    one_to_one(c, tally, "fa_vae", NETWORK, |g, _, x, _| first_stage::decode(g, x, c.config(), None, false));
}

pub(super) fn freq_filter(c: &Context<'_>, tally: &mut Tally) {
    one_to_one(c, tally, "fa_vae", MODULE, |g, case, x, _| {
        aff::filter(g, text(case, "prefix"), x, &c.config().aff)
    });
}

pub(super) fn aff_block(c: &Context<'_>, tally: &mut Tally) {
    let p = c.config();
    one_to_one(c, tally, "fa_vae", MODULE, |g, case, x, y| {
        aff::aff_block(g, text(case, "prefix"), x, y.shape[1], &p.aff, p.vae.norm_groups)
    });
}

pub(super) fn aff_unet(c: &Context<'_>, tally: &mut Tally) {
    let p = c.config();
    one_to_one(c, tally, "fa_vae", NETWORK, |g, case, x, _| {
        aff::aff_unet(g, text(case, "prefix"), x, &p.aff, p.vae.norm_groups)
    });
}

pub(super) fn fusion(c: &Context<'_>, tally: &mut Tally) {
    let (source, p) = (c.folder.weights("fa_vae"), c.config());
    for case in &c.cases {
        let (enc, dec, y) = (c.get(case, "enc"), c.get(case, "dec"), c.get(case, "y"));
        let at = text(case, "prefix");
        let graph = record(&[enc.map(), dec.map()], |g, v| {
            Ok(vec![fuse::fusion(g, at, v[0], v[1], &p.fusion, p.vae.norm_groups)?])
        });
        let out = c.run(graph, source.as_ref(), &[&enc.f32(), &dec.f32()]);
        tally.compare(name(case), &out[0], &y.values, MODULE);
        tally.case();
    }
}

/// Index map and codes of a latent; an index may differ only where two codes are about as near.
pub(super) fn quantise(
    c: &Context<'_>,
    tally: &mut Tally,
    case: &Attributes,
    source: &dyn WeightSource,
    (z, shape): (&[f32], [usize; 4]),
) -> bool {
    let v = &c.config().vae;
    let (indices, gap) = (c.get(case, "indices"), c.get(case, "gap"));
    let graph = record(&[shape], |g, x| {
        let index = first_stage::codebook(g, x[0], v)?;
        Ok(vec![index, first_stage::codes(g, index, v)?])
    });
    let embedding = graph.weights[0].clone();
    let codes = source.read_f32(&embedding.name, &embedding.shape).unwrap();
    let norm = |e: &[f32]| e.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let largest = codes.chunks(v.embed_dim).map(norm).fold(0.0, f64::max);
    let out = c.run(graph, source, &[z]);
    let cells = shape[2] * shape[3];
    let at = |data: &[f32], i: usize| -> Vec<f32> {
        let (n, cell) = (i / cells, i % cells);
        (0..shape[1]).map(|ch| data[(n * shape[1] + ch) * cells + cell]).collect()
    };
    let mut equal = true;
    for (i, (found, wanted)) in out[0].iter().zip(&indices.values).enumerate() {
        if f64::from(*found) != *wanted {
            equal = false;
            let margin = 1e-5 * (1.0 + norm(&at(z, i)) + largest);
            let what =
                format!("{}: index {i} is {found}, wanted {wanted}, gap {:.1e}", name(case), gap.values[i]);
            tally.check(&what, gap.values[i] < margin);
        }
    }
    if let Some(zq) = c.find(case, "zq").filter(|_| equal) {
        tally.compare_exactly(name(case), out[1].iter().map(|&v| f64::from(v)), &zq.values, 1e-6);
    }
    equal
}

pub(super) fn vq_codebook(c: &Context<'_>, tally: &mut Tally) {
    let source = c.folder.weights("fa_vae");
    for case in &c.cases {
        let z = c.get(case, "z");
        quantise(c, tally, case, source.as_ref(), (&z.f32(), z.map()));
        tally.case();
    }
}

/// From the stored codes; and from the raw latent where they come out the same.
pub(super) fn fa_decoder(c: &Context<'_>, tally: &mut Tally) {
    let source = c.folder.weights("fa_vae");
    for case in &c.cases {
        decode_codes(c, tally, case, source.as_ref());
        tally.case();
    }
}

pub(super) fn decode_codes(c: &Context<'_>, tally: &mut Tally, case: &Attributes, source: &dyn WeightSource) {
    let p = c.config();
    let [z, zq, lr, y] = ["z", "zq", "lr_up", "y"].map(|part| c.get(case, part));
    let graph = record(&[zq.map(), lr.map()], |g, v| {
        let features = first_stage::lr_features(g, v[1], &p.vae)?;
        Ok(vec![first_stage::decode(g, v[0], p, Some(features), true)?])
    });
    let out = c.run(graph, source, &[&zq.f32(), &lr.f32()]);
    tally.compare(name(case), &out[0], &y.values, NETWORK);
    let graph = record(&[z.map()], |g, v| {
        let index = first_stage::codebook(g, v[0], &p.vae)?;
        Ok(vec![first_stage::codes(g, index, &p.vae)?])
    });
    let codes = &c.run(graph, source, &[&z.f32()])[0];
    // Latents near the border of two codes are held by `vq_codebook`, which has the distances.
    if c.find(case, "indices").is_none() {
        tally.compare_exactly(
            &format!("{} codes", name(case)),
            codes.iter().map(|&v| f64::from(v)),
            &zq.values,
            1e-6,
        );
    }
}
