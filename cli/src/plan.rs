//! `ssmoesr plan`: what a picture will take.

use std::io::Write;

use ssmoesr_core::{CancelToken, FramePlan, Upscaler, read_picture};

use crate::args::PlanArgs;

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let frame = read_picture(&args.input)?.frame;
    let upscaler = Upscaler::new(&args.options.0)?;
    let plan = upscaler.plan(frame.width(), frame.height(), &args.options.0)?;
    let seconds = upscaler.estimate(&plan, &args.options.0, &CancelToken::new())?.map(|d| d.as_secs_f64());
    let text =
        if args.json { json(&plan, seconds) } else { table((frame.width(), frame.height()), &plan, seconds) };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn table((width, height): (u32, u32), plan: &FramePlan, seconds: Option<f64>) -> String {
    let time = match seconds {
        Some(s) if s < 120.0 => format!("about {s:.1} s on this machine"),
        Some(s) => format!("about {:.0} min on this machine", s / 60.0),
        None => "not known before the first tile".to_owned(),
    };
    format!(
        "picture      {width}x{height} -> {}x{}\n\
         tiles        {} of {}x{} pixels of the input\n\
         steps        {}: {} runs of the denoiser, {} of the decoder\n\
         memory       {} MiB for the picture, {} MiB for a tile, besides the weights\n\
         operations   {:.1} GFLOP\n\
         time         {time}\n",
        plan.output.0,
        plan.output.1,
        plan.tiles,
        plan.tile.0,
        plan.tile.1,
        plan.steps,
        plan.steps * plan.tiles,
        plan.tiles,
        mib(plan.frame_bytes),
        mib(plan.working_bytes),
        plan.gflop
    )
}

fn json(plan: &FramePlan, seconds: Option<f64>) -> String {
    let all = serde_json::json!({
        "output": [plan.output.0, plan.output.1],
        "tile": [plan.tile.0, plan.tile.1],
        "tiles": plan.tiles,
        "steps": plan.steps,
        "working_bytes": plan.working_bytes,
        "frame_bytes": plan.frame_bytes,
        "gflop": plan.gflop,
        "seconds": seconds,
    });
    format!("{all}\n")
}
