//! Every number of the family against recorded vectors, on every executor. A folder holds `config.json`,
//! `cases.json`, one file per family, and `weights/` or none: then weights are a function of their names.

mod harness;
mod modules;
mod pipeline;
mod plain;
mod refusals;

#[cfg(feature = "cuda")]
use super::{decoder, denoiser};
use harness::{Context, Folder, Tally};

type Family = fn(&Context<'_>, &mut Tally);

/// All families there are; one that a folder has and this does not is a failure.
const FAMILIES: [(&str, Family); 26] = [
    ("adain", plain::adain),
    ("aff_block", modules::aff_block),
    ("aff_unet", modules::aff_unet),
    ("attention", modules::attention),
    ("ckpt_unet", pipeline::ckpt_unet),
    ("ckpt_vae", pipeline::ckpt_vae),
    ("ddim_analytic", plain::ddim_analytic),
    ("ddim_trajectory", pipeline::ddim_trajectory),
    ("end_to_end", pipeline::end_to_end),
    ("expert_sharing", plain::expert_sharing),
    ("fa_decoder", modules::fa_decoder),
    ("ffn_folded", modules::ffn_folded),
    ("ffn_routed", modules::ffn_routed),
    ("freq_filter", modules::freq_filter),
    ("fusion", modules::fusion),
    ("imresize", plain::imresize),
    ("lr_features", modules::lr_features),
    ("resblock", modules::resblock),
    ("schedule", plain::schedule),
    ("time_mlp", modules::time_mlp),
    ("timestep_embedding", modules::timestep_embedding),
    ("unet", modules::unet),
    ("vq_codebook", modules::vq_codebook),
    ("vq_decode", modules::vq_decode),
    ("vq_encode", modules::vq_encode),
    ("wavelet", plain::wavelet),
];

/// Families that a whole set of vectors has; a smaller set names fewer.
fn run_all(folder: &Folder) {
    let mut failures = Vec::new();
    let mut count = 0;
    for (device, executor) in crate::exec::all_executors() {
        for family in folder.families() {
            let Some((_, run)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
                failures.push(format!("family {family} is in cases.json, nothing compares it"));
                continue;
            };
            let start = std::time::Instant::now();
            let mut tally = Tally::new(&device, &family);
            run(&Context::new(folder, &family, &executor), &mut tally);
            let cases = folder.cases(&family).len();
            assert!(cases > 0 && tally.cases() == cases, "{family}: {} of {cases} cases ran", tally.cases());
            eprintln!("{} ({:.1} s)", tally.line(), start.elapsed().as_secs_f64());
            failures.extend(tally.into_failures());
            count += 1;
        }
    }
    eprintln!("{}: {count} families x executors compared", folder.name());
    assert!(count > 0, "no family in {}", folder.name());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn vector_families_at_small_widths() {
    run_all(&Folder::open("SSMOESR_VECTORS", "small"));
}

#[test]
fn vector_families_at_published_widths() {
    run_all(&Folder::open("SSMOESR_VECTORS_FULL", "published"));
}

/// Milliseconds per call on a GPU at the published widths, to be set beside PyTorch's; `SSMOESR_TEST_CELLS` is the side of the latent.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "measures; needs a GPU"]
fn speed_on_a_gpu() {
    use crate::weights::HashWeights;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    let side = std::env::var("SSMOESR_TEST_CELLS").map_or(128, |v| v.parse().unwrap());
    let config = &Folder::open("SSMOESR_VECTORS_FULL", "published").config;
    let mut graphs = vec![
        ("denoiser, 1 at once", "unet_stage0", denoiser(config, 1, side, side).unwrap()),
        ("decoder", "fa_vae", decoder(config, 1, side, side).unwrap()),
    ];
    // Too much for a dry run.
    if side >= 64 {
        graphs.push(("denoiser, 8 at once", "unet_stage0", denoiser(config, 8, side, side).unwrap()));
    }
    for precision in ["f32", "bf16", "f16"] {
        let executor = crate::exec::executor("cuda", 0, None, precision).unwrap();
        for (name, file, graph) in &graphs {
            let graph = Arc::new(graph.clone());
            let weights = executor.load(&graph, &HashWeights::new(file)).unwrap();
            let mut prepared = executor.prepare(Arc::clone(&graph)).unwrap();
            let len = |v: &crate::graph::Value| graph.shape(*v).iter().product::<usize>();
            // What zeros cost is not what pictures cost.
            let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>();
            let inputs: Vec<Vec<f32>> = graph.inputs.iter().map(|v| wave(len(v))).collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut out = vec![0.0; len(&graph.outputs[0])];
            let mut times = Vec::new();
            let began = std::time::Instant::now();
            while times.len() < 3 || (times.len() < 50 && began.elapsed().as_secs() < 3) {
                let started = std::time::Instant::now();
                prepared.run(&weights, &inputs, &mut [&mut out], &AtomicBool::new(false), None).unwrap();
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            // Without the first, which starts launch by launch, and the second, which records.
            times.drain(..2);
            times.sort_by(f64::total_cmp);
            assert!(out.iter().all(|v| v.is_finite()), "{name}");
            eprintln!("{precision} published {name}, {side}x{side} cells: {:.3} ms", times[times.len() / 2]);
        }
    }
}
