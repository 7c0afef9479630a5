//! The command line. Flags for options come from core's table, so that help and ranges are the same everywhere.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use ssmoesr_core::{Options, option_table};

use crate::model_cmd::ModelCommand;

/// Enlarges pictures 4 or 8 times by diffusion.
#[derive(Debug, Parser)]
#[command(name = "ssmoesr", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Enlarge a picture, or all pictures in a folder.
    Upscale(Box<Upscale>),
    /// Look at models.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Show how a picture would be enlarged: tiles, steps, memory, operations.
    Plan(Box<PlanArgs>),
    /// Measure how long a frame takes, and what in it.
    Bench(Box<Bench>),
    /// List the devices that can compute.
    Devices,
    /// Print the script that completes the command line in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a page of the manual, as `man -l -` reads it.
    Man {
        /// Name of the page, as ssmoesr-upscale.
        #[arg(default_value = "ssmoesr")]
        page: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Picture (PNG, JPEG, WebP, TIFF).
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// Write JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: OptionFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Width of the input in pixels.
    #[arg(long, default_value_t = 480)]
    pub(crate) width: u32,
    /// Height of the input in pixels.
    #[arg(long, default_value_t = 270)]
    pub(crate) height: u32,
    /// Runs that are measured, after one to warm up; medians are shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Write JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) options: OptionFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Upscale {
    /// Picture (PNG, JPEG, WebP, TIFF), folder (taken with all folders in it), or - for standard input.
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// Picture to write (the extension says what kind), folder, or - for standard output.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) options: OptionFlags,
    /// Overwrite outputs that exist. Without it a folder run skips them, a single picture is an error.
    #[arg(long)]
    pub(crate) force: bool,
    /// Say nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write one line of JSON per picture to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One flag per row of core's option table.
#[derive(Debug)]
pub(crate) struct OptionFlags(pub(crate) Options);

impl Args for OptionFlags {
    fn augment_args(command: Command) -> Command {
        option_table().iter().fold(command, |command, option| {
            let default = if option.default.is_empty() {
                String::new()
            } else {
                format!(" [default: {}]", option.default)
            };
            command.arg(
                Arg::new(option.name)
                    .long(option.name)
                    .value_name("VALUE")
                    .allow_hyphen_values(true)
                    .help_heading("Options of the enlargement")
                    .help(format!("{} [{}]{default}", option.help, option.values)),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self(Options::default());
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in option_table() {
            if let Some(value) = matches.get_one::<String>(option.name) {
                self.0
                    .set(option.name, value)
                    .map_err(|e| clap::Error::raw(ErrorKind::ValueValidation, format!("{e}\n")))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_shows_the_table() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        let upscale = command.find_subcommand_mut("upscale").unwrap();
        let help = upscale.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!option_table().is_empty());
        for option in option_table() {
            assert!(help.contains(&format!("--{}", option.name)), "{}", option.name);
            assert!(help.contains(option.help) && help.contains(option.values), "{}: {help}", option.name);
        }
    }

    #[test]
    fn flags_reach_the_options() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["ssmoesr", "upscale", "a", "b"], args].concat());
        let Verb::Upscale(args) = parse(&["--scale", "8", "--fidelity", "-1", "--seed=7"]).unwrap().command
        else {
            panic!("not upscale");
        };
        assert_eq!((args.options.0.scale, args.options.0.seed, args.options.0.fidelity), (8, 7, -1.0));
        let error = parse(&["--scale", "5"]).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("4 or 8"), "{error}");
    }
}
