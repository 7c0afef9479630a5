//! Pages of the manual and completions of shells, made from the definition of the command line: they cannot say
//! anything else than `--help`.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::Usage;
use crate::args::Cli;

/// Every page: the whole command and each of its subcommands, by name.
fn pages() -> Vec<(String, Command)> {
    fn collect(command: &Command, out: &mut Vec<(String, Command)>) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        out.push((name.to_owned(), command.clone()));
        command.get_subcommands().for_each(|c| collect(c, out));
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut out = Vec::new();
    collect(&command, &mut out);
    out
}

/// The source of page `name`.
pub(crate) fn page(name: &str) -> anyhow::Result<Vec<u8>> {
    let all = pages();
    let Some((_, command)) = all.iter().find(|(page, _)| page == name) else {
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Usage(format!("no page {name:?}; there are: {}", names.join(", "))).into());
    };
    let man = Man::new(command.clone())
        .title(name)
        // An empty one would let the next word take its place.
        .date(" ")
        .source(format!("ssmoesr {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut out = Vec::new();
    man.render(&mut out)?;
    out.extend(closing(name).to_roff().into_bytes());
    Ok(out)
}

/// What the definition does not know.
fn closing(name: &str) -> Roff {
    let mut roff = Roff::new();
    if name != "ssmoesr" {
        roff.control("SH", ["SEE ALSO"]).text([bold("ssmoesr"), roman("(1)")]);
        return roff;
    }
    let mut list = |title: &str, rows: &[(&str, &str)]| {
        roff.control("SH", [title]);
        for (term, text) in rows {
            roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
    };
    list(
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("1", "Some of the work failed; standard error says what and where."),
            ("2", "The command line or an option is wrong."),
            ("130", "Stopped by a signal. No file is left half-written."),
        ],
    );
    list(
        "ENVIRONMENT",
        &[
            ("SSMOESR_MODEL", "Model where --model is not given: a name or a folder."),
            ("SSMOESR_DEVICE", "Device where --device is not given."),
            ("SSMOESR_THREADS", "Threads where --threads is not given."),
            ("SSMOESR_CPU", "Highest instruction set to use: portable, avx2 or avx512."),
        ],
    );
    list(
        "FILES",
        &[("share/ssmoesr/models/NAME", "Models, below the prefix of the installation, /usr/local or /usr.")],
    );
    roff
}

/// The script that completes the command line in `shell`.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ssmoesr", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page() {
        let all = pages();
        assert!(all.len() > 9, "{}", all.len());
        for (name, command) in &all {
            let text = String::from_utf8(page(name).unwrap()).unwrap();
            assert!(
                text.contains(&format!(".TH {name} 1 \" \" \"ssmoesr 0")) && text.contains(".SH SYNOPSIS"),
                "{text}"
            );
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(text.contains(&option.replace('-', "\\-")), "{name}: --{option}");
            }
        }
        assert!(page("nobody").unwrap_err().to_string().contains("ssmoesr-model-info"));
    }
}
