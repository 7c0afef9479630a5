//! Times: whole frames, the graphs they run, and the operations in those.

use super::cancel::CancelToken;
use super::plans::{Part, Plans};
use super::settings::Settings;
use super::upscaler::Upscaler;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Plan, Value};
use crate::model;
use crate::options::Options;
use crate::pixels::{ColorInfo, Frame, PixelFormat};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Time of one kind of operation in a stage.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BenchOp {
    /// The operation, with the kernel's side where it has one.
    pub op: String,
    /// Milliseconds in one call of the stage, with what is done in the same pass.
    pub ms: f64,
    /// Floating-point operations of one call in 10^9, two per multiply-add of the direct form.
    pub gflop: f64,
}

/// Time of one part of a network in a stage.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BenchPart {
    /// First word of its nodes' names: `encoder` is the path of low-resolution features in published decoders.
    pub part: String,
    /// Milliseconds in one call of the stage.
    pub ms: f64,
}

/// One graph of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BenchStage {
    /// `denoiser` or `decoder`.
    pub name: String,
    /// Height and width of a tile in latent cells.
    pub tile: (usize, usize),
    /// Tiles of a frame.
    pub tiles: usize,
    /// Calls for a frame.
    pub calls: usize,
    /// Median milliseconds of one call.
    pub ms: f64,
    /// As in [`BenchOp`], for one call.
    pub gflop: f64,
    /// Largest share of the time first; empty where the device cannot tell.
    pub ops: Vec<BenchOp>,
    /// In the order of the network; empty where the device cannot tell.
    pub parts: Vec<BenchPart>,
}

/// What a frame costs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BenchReport {
    /// Median milliseconds of a whole frame, conversions and merging included.
    pub frame_ms: f64,
    /// The graphs.
    pub stages: Vec<BenchStage>,
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}

/// Values in `[0, 1)` without a pattern that a kernel could like.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32).collect()
}

fn label(op: &Op) -> String {
    match op {
        Op::Conv2d { kernel, stride: 1, groups: 1, .. } => format!("conv2d {kernel}x{kernel}"),
        Op::Conv2d { kernel, groups: 1, .. } => format!("conv2d {kernel}x{kernel} strided"),
        Op::Conv2d { .. } => "conv2d depthwise".to_owned(),
        op => op.name().to_owned(),
    }
}

impl Upscaler {
    /// Times `runs` frames of `width` x `height` pixels and as many calls of each graph, after one to warm up.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub fn bench(
        &self,
        (width, height): (u32, u32),
        options: &Options,
        runs: usize,
        cancel: &CancelToken,
    ) -> Result<BenchReport> {
        let runs = runs.max(1);
        let settings = Settings::resolve(options, &self.manifest)?;
        let size = self.output_size(width, height, options.scale)?;
        let mut small = Frame::new(PixelFormat::Rgb8, width, height, ColorInfo::default())?;
        let mut large = Frame::new(PixelFormat::Rgb8, size.0, size.1, ColorInfo::default())?;
        let pixels = small.plane_mut(0);
        let values = noise(pixels.len());
        pixels.iter_mut().zip(values).for_each(|(p, v)| *p = (v * 255.0) as u8);
        let mut frames = Vec::with_capacity(runs);
        for i in 0..=runs {
            let started = Instant::now();
            let mut progress = |_| ControlFlow::Continue(());
            self.run(&small.view(), &mut large.view_mut(), options, &mut progress, cancel)?;
            if i > 0 {
                frames.push(started.elapsed());
            }
        }

        let network = &self.manifest.network;
        let lattice = model::lattice(network, &self.manifest.common);
        let zoom = settings.scale / model::FACTOR;
        let cells = |pixels: u32| (pixels as usize * zoom).next_multiple_of(lattice);
        let (h, w) = (cells(height), cells(width));
        let mut plans = self.turn(cancel)?;
        let grid = self.tiling(&mut plans, (h, w), settings.tile_size * zoom, &settings)?.grid;
        let expert = settings.steps.first().map_or(0, |s| s.expert);
        let mut stages = Vec::new();
        for (name, part, each) in
            [("denoiser", Part::Denoiser, settings.steps.len()), ("decoder", Part::Decoder, 1)]
        {
            let (th, tw) = grid.tile_shape();
            let stage = BenchStage {
                name: name.to_owned(),
                tile: (th, tw),
                tiles: grid.len(),
                calls: grid.len() * each,
                ms: 0.0,
                gflop: 0.0,
                ops: Vec::new(),
                parts: Vec::new(),
            };
            stages.push(time_stage(&mut plans, (part, 1, th, tw), expert, runs, cancel, stage)?);
        }
        Ok(BenchReport { frame_ms: median(frames), stages })
    }
}

fn time_stage(
    plans: &mut Plans,
    key: (Part, usize, usize, usize),
    expert: usize,
    runs: usize,
    cancel: &CancelToken,
    mut stage: BenchStage,
) -> Result<BenchStage> {
    let (prepared, weights) = plans.get(key, expert, cancel.flag())?;
    let graph = prepared.graph();
    let len = |v: &Value| graph.shape(*v).iter().product::<usize>();
    let inputs: Vec<Vec<f32>> = graph.inputs.iter().map(|v| noise(len(v))).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let first = graph.outputs.first().ok_or_else(|| Error::internal("a graph without output"))?;
    let mut output = vec![0.0; len(first)];
    let flops = node_flops(graph);
    let mut times = Vec::with_capacity(runs);
    let mut by_op: BTreeMap<String, BenchOp> = BTreeMap::new();
    prepared.measure(true);
    for i in 0..=runs {
        let started = Instant::now();
        prepared.run(weights, &inputs, &mut [&mut output], cancel.flag(), None)?;
        if i == 0 {
            continue;
        }
        times.push(started.elapsed());
        let graph = prepared.graph();
        for (v, time) in prepared.measured() {
            let op = label(&graph.nodes[v.index()].op);
            let entry = by_op.entry(op.clone()).or_insert(BenchOp { op, ms: 0.0, gflop: 0.0 });
            let ms = time.as_secs_f64() * 1e3 / runs as f64;
            entry.ms += ms;
            let name = &graph.nodes[v.index()].name;
            let part = name.split('.').next().unwrap_or(name);
            match stage.parts.iter_mut().find(|p| p.part == part) {
                Some(found) => found.ms += ms,
                None => stage.parts.push(BenchPart { part: part.to_owned(), ms }),
            }
        }
    }
    prepared.measure(false);
    for (op, gflop) in &flops {
        if let Some(entry) = by_op.get_mut(op) {
            entry.gflop = *gflop;
        }
    }
    stage.ms = median(times);
    stage.gflop = flops.values().sum();
    stage.ops = by_op.into_values().collect();
    stage.ops.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(stage)
}

/// 10^9 floating-point operations by kind, of the nodes that run.
fn node_flops(graph: &Graph) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for step in &Plan::new(graph).steps {
        let node = &graph.nodes[step.node.index()];
        let input = node.inputs.first().map_or(node.shape, |v| graph.shape(*v));
        *all.entry(label(&node.op)).or_insert(0.0) += node.op.flops(input, node.shape) as f64 / 1e9;
    }
    all
}
