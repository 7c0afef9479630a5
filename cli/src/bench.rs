//! `ssmoesr bench`: what a frame costs on this machine.

use std::fmt::Write as _;
use std::io::Write;

use ssmoesr_core::{BenchReport, CancelToken, Upscaler};

use crate::args::Bench;

/// Operations of a stage that are shown; the rest is summed up.
const SHOWN: usize = 8;

pub(crate) fn run(args: &Bench, cancel: &CancelToken) -> anyhow::Result<()> {
    let options = &args.options.0;
    let upscaler = Upscaler::new(options)?;
    let report = upscaler.bench((args.width, args.height), options, args.runs as usize, cancel)?;
    let text = if args.json { json(args, &upscaler, &report) } else { table(args, &upscaler, &report) };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// Most memory that this process ever had, in MiB, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

fn rate(gflop: f64, ms: f64) -> f64 {
    if ms > 0.0 { gflop / ms * 1e3 } else { 0.0 }
}

fn table(args: &Bench, upscaler: &Upscaler, report: &BenchReport) -> String {
    let mut out = String::new();
    let scale = args.options.0.scale;
    let _ = writeln!(
        out,
        "{} on {}: {}x{} -> {}x{}, {:.0} ms per frame{}",
        upscaler.model().name,
        upscaler.device(),
        args.width,
        args.height,
        args.width * scale,
        args.height * scale,
        report.frame_ms,
        peak_mib().map_or_else(String::new, |m| format!(", peak memory {m} MiB")),
    );
    for s in &report.stages {
        let _ = writeln!(
            out,
            "\n{:<24} {:>9} {:>9} {:>9}   tile {}x{}, {} a frame",
            s.name, "ms", "GFLOP", "GFLOP/s", s.tile.1, s.tile.0, s.calls
        );
        let mut line = |name: &str, ms: f64, gflop: f64| {
            let _ = writeln!(out, "  {name:<22} {ms:>9.2} {gflop:>9.2} {:>9.0}", rate(gflop, ms));
        };
        for op in s.ops.iter().take(SHOWN) {
            line(&op.op, op.ms, op.gflop);
        }
        let rest = &s.ops[s.ops.len().min(SHOWN)..];
        if !rest.is_empty() {
            line("others", rest.iter().map(|o| o.ms).sum(), rest.iter().map(|o| o.gflop).sum());
        }
        line("one call", s.ms, s.gflop);
        if s.parts.len() > 1 {
            for p in &s.parts {
                let _ = writeln!(out, "  part {:<17} {:>9.2}", p.part, p.ms);
            }
        }
    }
    out
}

fn json(args: &Bench, upscaler: &Upscaler, report: &BenchReport) -> String {
    let options = &args.options.0;
    let stages: Vec<serde_json::Value> = report
        .stages
        .iter()
        .map(|s| {
            let op =
                |o: &ssmoesr_core::BenchOp| serde_json::json!({"op": o.op, "ms": o.ms, "gflop": o.gflop});
            let part = |p: &ssmoesr_core::BenchPart| serde_json::json!({"part": p.part, "ms": p.ms});
            serde_json::json!({
                "name": s.name,
                "tile": [s.tile.0, s.tile.1],
                "tiles": s.tiles,
                "calls": s.calls,
                "ms": s.ms,
                "gflop": s.gflop,
                "gflops": rate(s.gflop, s.ms),
                "ops": s.ops.iter().map(op).collect::<Vec<_>>(),
                "parts": s.parts.iter().map(part).collect::<Vec<_>>(),
            })
        })
        .collect();
    let all = serde_json::json!({
        "model": upscaler.model().name,
        "device": upscaler.device(),
        "threads": options.threads,
        "width": args.width,
        "height": args.height,
        "scale": options.scale,
        "steps": options.steps,
        "frame_ms": report.frame_ms,
        "peak_mib": peak_mib(),
        "stages": stages,
    });
    format!("{all}\n")
}
