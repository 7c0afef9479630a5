//! `--check`: what is there, in lines that can be copied into a bug report.

use std::path::Path;
use std::time::Instant;

use ssmoesr_core::{Options, Upscaler, devices};

use crate::install::Places;
use crate::memory;

/// The report, and whether everything is there that a run needs.
pub(crate) fn report(places: &Places, program: &Path) -> (Vec<String>, bool) {
    let mut lines = vec![format!("ssmoesr-gimp {}, {}", env!("CARGO_PKG_VERSION"), program.display())];
    let profiles = places.profiles();
    let mut good = !profiles.is_empty();
    if profiles.is_empty() {
        lines.push(format!("GIMP: none found in PATH or below {}", places.config.join("GIMP").display()));
    }
    for profile in profiles {
        let found = profile.program.as_ref().map_or_else(
            || "no program in PATH, but a profile".to_owned(),
            |program| program.display().to_string(),
        );
        let plug_in = profile.plug_in();
        let state = match (std::fs::read(&plug_in), std::fs::read(program)) {
            (Ok(there), Ok(here)) if there == here => format!("installed as {}", plug_in.display()),
            (Ok(_), _) => format!("another version is installed as {}: run --install", plug_in.display()),
            (Err(_), _) => "not installed: run --install".to_owned(),
        };
        good &= state.starts_with("installed");
        lines.push(format!("GIMP {}: {found}; {state}", profile.generation));
    }
    let began = Instant::now();
    match Upscaler::new(&Options::default()) {
        Ok(upscaler) => {
            let model = upscaler.model();
            lines.push(format!(
                "model: {} {} ({}), {}, opened in {} ms",
                model.name,
                model.version,
                model.licence,
                model.folder.display(),
                began.elapsed().as_millis()
            ));
            lines.push(format!("device: {}", upscaler.device()));
        }
        Err(error) => {
            good = false;
            lines.push(format!("model: {error}"));
        }
    }
    for device in devices() {
        lines.push(format!("possible device: {}: {}", device.name, device.description));
    }
    let free = memory::available().map_or_else(|| "unknown".to_owned(), memory::size);
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    lines.push(format!("machine: {threads} processors, {free} of memory free"));
    (lines, good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_report_names_what_is_missing() {
        let room = tempfile::tempdir().unwrap();
        let room = room.path();
        let places = Places { config: room.to_owned(), programs: Vec::new() };
        let program = room.join("program");
        fs::write(&program, "code").unwrap();
        let (lines, good) = report(&places, &program);
        assert!(!good && lines.iter().any(|l| l.starts_with("GIMP: none")), "{lines:?}");
        fs::create_dir_all(room.join("GIMP/3.0")).unwrap();
        assert!(report(&places, &program).0[1].contains("not installed"));
        let model = room.join("model");
        fs::create_dir(&model).unwrap();
        crate::install::install(&places, &program, &model).unwrap();
        let (lines, good) = report(&places, &program);
        assert!(good, "{lines:?}");
        assert!(lines.iter().any(|l| l.starts_with("model: photo")), "{lines:?}");
        fs::write(&program, "newer").unwrap();
        assert!(report(&places, &program).0[1].contains("another version"));
    }
}
