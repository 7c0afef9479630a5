//! `ssmoesr model ...`: what there is to know about models.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use ssmoesr_core::{
    CancelToken, DumpFormat, ImportSources, ModelInfo, check_model, dump_model, import_model, model_info,
};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Show name, version, licence, scales and folder of a model.
    Info {
        /// Name or folder; without it the model that `upscale` takes.
        model: Option<String>,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare every file with its hash and every tensor with the network.
    Check {
        /// Name or folder; without it the model that `upscale` takes.
        model: Option<String>,
    },
    /// Print the network: nodes, shapes, FLOP and bytes.
    Dump {
        /// Name or folder; without it the model that `upscale` takes.
        model: Option<String>,
        /// Form of the output.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
        /// Tile in latent cells, WIDTHxHEIGHT.
        #[arg(long, default_value = "64x64", value_parser = size)]
        tile: (usize, usize),
    },
    /// Make a model folder from published checkpoints (.ckpt or .safetensors, in any mix).
    Import {
        /// The sampling experts, ascending in t.
        #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
        unet: Vec<PathBuf>,
        /// The frequency-augmented first stage.
        #[arg(long, value_name = "FILE")]
        decoder: PathBuf,
        /// Folder to make.
        #[arg(short, long, value_name = "FOLDER")]
        out: PathBuf,
        /// Numbers of the network; without it the published 8x ones.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Type of the stored weights.
        #[arg(long, value_enum, default_value_t)]
        dtype: Stored,
    },
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Form {
    /// A table.
    #[default]
    Text,
    /// Graphviz.
    Dot,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Stored {
    /// 16 bit.
    #[default]
    F16,
    /// 32 bit.
    F32,
}

/// `WIDTHxHEIGHT` as height and width.
fn size(text: &str) -> Result<(usize, usize), String> {
    let (w, h) = text.split_once('x').ok_or("wanted WIDTHxHEIGHT, as 64x64")?;
    let number = |s: &str| s.parse::<usize>().map_err(|e| format!("{s:?}: {e}"));
    Ok((number(h)?, number(w)?))
}

pub(crate) fn run(command: &ModelCommand, cancel: &CancelToken) -> anyhow::Result<()> {
    let text = match command {
        ModelCommand::Info { model, json } => describe(&model_info(model.as_deref())?, *json),
        ModelCommand::Check { model } => {
            let info = check_model(model.as_deref())?;
            format!("{}: all files and tensors are as described\n", info.folder.display())
        }
        ModelCommand::Dump { model, format, tile } => {
            let format = match format {
                Form::Text => DumpFormat::Text,
                Form::Dot => DumpFormat::Dot,
            };
            dump_model(model.as_deref(), *tile, format)?
        }
        ModelCommand::Import { unet, decoder, out, config, dtype } => {
            let sources = ImportSources {
                unet: unet.clone(),
                decoder: decoder.clone(),
                config: config.clone(),
                out: out.clone(),
                full_precision: matches!(dtype, Stored::F32),
            };
            import(&sources, cancel)?
        }
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn import(sources: &ImportSources, cancel: &CancelToken) -> anyhow::Result<String> {
    let bar = if std::io::stderr().is_terminal() {
        indicatif::ProgressBar::new(0)
    } else {
        indicatif::ProgressBar::hidden()
    };
    let report = import_model(sources, &mut |p| {
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    let mut text = String::new();
    for file in &report.files {
        text.push_str(&format!(
            "{}: {} tensors from {} ({:?}), {} others ignored",
            file.name,
            file.tensors,
            file.source.display(),
            file.layout,
            file.ignored
        ));
        if let Some((name, deviation)) = &file.largest_deviation {
            text.push_str(&format!(
                ", {} space experts folded, largest deviation from their mean {deviation:.3e} in {name}",
                file.experts
            ));
        }
        text.push('\n');
    }
    Ok(text)
}

fn describe(model: &ModelInfo, json: bool) -> String {
    if json {
        let value = serde_json::json!({
            "name": model.name,
            "version": model.version,
            "family": model.family,
            "licence": model.licence,
            "scales": model.scales,
            "folder": model.folder,
        });
        return format!("{value}\n");
    }
    let scales: Vec<_> = model.scales.iter().map(|s| format!("{s}x")).collect();
    format!(
        "name     {}\nversion  {}\nfamily   {}\nlicence  {}\nscales   {}\nfolder   {}\n",
        model.name,
        model.version,
        model.family,
        model.licence,
        scales.join(", "),
        model.folder.display()
    )
}
