//! `ssmoesr-gimp`: the plug-in for GIMP 2.10 and 3.x, and the command that installs it.

mod apply;
mod check;
mod dialog;
mod enlarge;
mod exchange;
mod face;
#[cfg(test)]
mod fake;
mod host;
mod install;
mod job;
mod memory;
mod record;
mod request;
mod target;
mod tone;
mod trouble;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ssmoesr_core::{Options, Upscaler};

use crate::install::Places;
use crate::trouble::Trouble;

const USAGE: &str = "\
This program is a plug-in for GIMP 2.10 and 3.x, which starts it. By hand:
  ssmoesr-gimp --install     put it into the profile of every GIMP of this user
  ssmoesr-gimp --check       say what is there: GIMP, model, devices (good for bug reports)
  ssmoesr-gimp --uninstall   take it away again
";

fn main() -> ExitCode {
    let arguments = host::arguments();
    let word = arguments.get(1).map(|a| a.to_string_lossy().into_owned());
    let done = match word.as_deref() {
        Some("-gimp") => serve(&arguments),
        Some("--install") => install().map(said),
        Some("--uninstall") => Places::of_user().and_then(|p| install::uninstall(&p)).map(said),
        Some("--check") => places_and_program().map(|(places, program)| {
            let (lines, good) = check::report(&places, &program, None);
            said(lines);
            i32::from(!good)
        }),
        Some("--help" | "-h") => Ok(said(vec![USAGE.trim_end().to_owned()])),
        Some("--version") => Ok(said(vec![format!("ssmoesr-gimp {}", env!("CARGO_PKG_VERSION"))])),
        _ => {
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
            Ok(2)
        }
    };
    match done {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(trouble) => {
            let _ = writeln!(std::io::stderr(), "ssmoesr-gimp: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Prints lines; the exit code of success.
fn said(lines: Vec<String>) -> i32 {
    let mut out = std::io::stdout().lock();
    for line in lines {
        // A reader that went away is no failure.
        let _ = writeln!(out, "{line}");
    }
    0
}

fn install() -> Result<Vec<String>, Trouble> {
    let (places, program) = places_and_program()?;
    let model = Upscaler::new(&Options::default())?.model().folder.clone();
    install::install(&places, &program, &model)
}

fn places_and_program() -> Result<(Places, PathBuf), Trouble> {
    let program = std::env::current_exe()
        .map_err(|e| Trouble::Said(format!("this program cannot find itself: {e}")))?;
    Ok((Places::of_user()?, program))
}

/// Serves GIMP.
#[allow(unsafe_code, reason = "the environment of this process, before it has threads")]
fn serve(arguments: &[host::Argument]) -> Result<i32, Trouble> {
    // Buffers and formats need none of GEGL's operations, whose loading is most of a start (0.1 s in 2.10).
    // SAFETY: no other thread is there yet.
    unsafe { std::env::set_var("GEGL_PATH", "/nonexistent") };
    host::serve(arguments)
}
