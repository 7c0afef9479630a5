//! `ssmoesr`: enlarges pictures from the command line.

mod args;
mod batch;
mod bench;
mod manual;
mod model_cmd;
mod plan;
mod report;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use ssmoesr_core::{CancelToken, Error, ErrorKind};

use crate::args::{Cli, Verb};
use crate::batch::Outcome;

/// Some of the work failed.
const FAILED: u8 = 1;
/// The command line or an option is wrong; clap exits with the same.
const USAGE: u8 = 2;
/// Stopped by the user: 128 + SIGINT, as shells have it.
const CANCELLED: u8 = 130;

/// An error in how the command was called.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The texts of core carry their causes already.
            let _ = writeln!(std::io::stderr(), "ssmoesr: {error}");
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        return USAGE;
    }
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Option) => USAGE,
        Some(ErrorKind::Cancelled) => CANCELLED,
        _ => FAILED,
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Verb::Upscale(args) => {
            let cancel = CancelToken::new();
            stop_on_signal(cancel.clone())?;
            Ok(match batch::run(args, &cancel)? {
                Outcome::Done => 0,
                Outcome::Failed => FAILED,
                Outcome::Cancelled => CANCELLED,
            })
        }
        Verb::Model(command) => {
            let cancel = CancelToken::new();
            stop_on_signal(cancel.clone())?;
            model_cmd::run(command, &cancel).map(|()| 0)
        }
        Verb::Plan(args) => plan::run(args).map(|()| 0),
        Verb::Bench(args) => {
            let cancel = CancelToken::new();
            stop_on_signal(cancel.clone())?;
            bench::run(args, &cancel).map(|()| 0)
        }
        Verb::Completions { shell } => {
            std::io::stdout().lock().write_all(&manual::completions(*shell))?;
            Ok(0)
        }
        Verb::Man { page } => {
            std::io::stdout().lock().write_all(&manual::page(page)?)?;
            Ok(0)
        }
        Verb::Devices => {
            let mut out = std::io::stdout().lock();
            for device in ssmoesr_core::devices() {
                writeln!(out, "{:<12} {}", device.name, device.description)?;
            }
            Ok(0)
        }
    }
}

/// The first signal asks the work to stop, which leaves nothing half-written; the second ends the process.
fn stop_on_signal(cancel: CancelToken) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if cancel.is_cancelled() {
            std::process::exit(i32::from(CANCELLED));
        }
        cancel.cancel();
    })?;
    Ok(())
}
