//! `ssmoesr model ...`: what there is to know about models.

use std::io::Write;

use clap::Subcommand;
use ssmoesr_core::{ModelInfo, Options, Upscaler};

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
}

pub(crate) fn run(command: &ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Info { model, json } => {
            let mut options = Options::default();
            options.model = model.clone();
            let upscaler = Upscaler::new(&options)?;
            let text = describe(upscaler.model(), *json);
            Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
        }
    }
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
