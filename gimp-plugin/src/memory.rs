//! What a picture takes and what the machine has: smaller tiles where it is tight, a refusal before anything is touched.

use ssmoesr_core::{FramePlan, Options, Result as CoreResult};

use crate::trouble::Trouble;

/// Tiles tried where memory is tight, in input pixels.
const SIDES: [u32; 4] = [256, 192, 128, 96];

/// Bytes that programs can still have without swapping, if the system says so.
pub(crate) fn available() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Most bytes of memory that this process has had at one time, if the system says so.
pub(crate) fn peak() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

fn parse(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Options with which a picture fits, and its plan. `own` are bytes that the plug-in holds besides.
///
/// # Errors
/// Those of `plan`; one line where not even small tiles fit into `available` bytes.
pub(crate) fn fit(
    plan: impl Fn(&Options) -> CoreResult<FramePlan>,
    options: &Options,
    own: u64,
    available: Option<u64>,
) -> Result<(Options, FramePlan), Trouble> {
    let mut options = options.clone();
    let first = plan(&options)?;
    let fits = |plan: &FramePlan| available.is_none_or(|free| plan.bytes().saturating_add(own) <= free);
    if fits(&first) {
        return Ok((options, first));
    }
    let mut least = first.bytes();
    for side in SIDES.into_iter().filter(|side| *side < first.tile.0.max(first.tile.1)) {
        options.tile_size = side;
        let plan = plan(&options)?;
        if fits(&plan) {
            return Ok((options, plan));
        }
        least = least.min(plan.bytes());
    }
    Err(Trouble::Said(format!(
        "{} x {} pixels take {} of memory, {} are free: close other programs, or enlarge a part of the picture.",
        first.output.0,
        first.output.1,
        size(least.saturating_add(own)),
        size(available.unwrap_or(0)),
    )))
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{:.0} MB", mib.ceil()) } else { format!("{:.1} GB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmoesr_core::Upscaler;

    #[test]
    fn the_kernel_is_understood() {
        assert_eq!(parse("MemTotal: 9 kB\nMemAvailable:   24 kB\n", "MemAvailable:"), Some(24 << 10));
        assert_eq!(parse("MemTotal: 9 kB\n", "MemAvailable:"), None);
        assert!(peak().is_some_and(|bytes| bytes > 1 << 20));
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn tiles_shrink_until_they_fit() {
        let options = Options::default();
        let upscaler = Upscaler::new(&options).unwrap();
        let plan = |options: &Options| upscaler.plan(600, 500, options);
        let (same, whole) = fit(plan, &options, 0, None).unwrap();
        assert_eq!(same, options);
        let (same, _) = fit(plan, &options, 0, Some(whole.bytes())).unwrap();
        assert_eq!(same, options);
        let (smaller, tiled) = fit(plan, &options, 0, Some(whole.bytes() - 1)).unwrap();
        assert!(smaller.tile_size > 0 && tiled.bytes() < whole.bytes() && tiled.tiles > whole.tiles);
        let text = fit(plan, &options, 1 << 40, Some(1 << 20)).unwrap_err().to_string();
        assert!(text.contains("2400 x 2000") && text.contains("1 MB are free"), "{text}");
    }

    #[test]
    fn sizes_are_round() {
        assert_eq!(size(1), "1 MB");
        assert_eq!(size(5 << 30), "5.0 GB");
    }
}
