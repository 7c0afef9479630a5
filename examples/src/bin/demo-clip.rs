//! Writes the demo's clip as raw RGB frames: `demo-clip OUT WIDTH HEIGHT FRAMES FRAMES_PER_SECOND`.

use std::io::Write;

use anyhow::{Context, bail};
use ssmoesr_examples::scene::Scene;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, numbers @ ..] = args.as_slice() else { bail!("OUT is missing") };
    let numbers: Vec<u32> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
    let [width, height, frames, rate] = numbers[..] else { bail!("WIDTH HEIGHT FRAMES RATE are needed") };
    let file = std::fs::File::create(out).with_context(|| out.clone())?;
    let mut file = std::io::BufWriter::new(file);
    for i in 0..frames {
        file.write_all(&Scene::at(i as f32 / rate.max(1) as f32).frame(width, height))?;
    }
    Ok(file.flush()?)
}
