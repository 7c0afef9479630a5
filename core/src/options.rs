//! Options in users' words: one table from which every host takes names, ranges, defaults and help.
//! The only place that reads the environment.

use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What a user can choose. The default leaves every choice to the model and the machine.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How many times larger: 4 or 8.
    pub scale: u32,
    /// Name of a model or its folder; `None` searches.
    pub model: Option<String>,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `reference`.
    pub device: String,
    /// Sampling steps, 0 = the model's own.
    pub steps: u32,
    /// `shift`, `ddim` or empty for the model's own.
    pub sampler: String,
    /// Seed of the noise.
    pub seed: u64,
    /// 0 = full chain, 1 = first estimate, -1 = the model's own.
    pub fidelity: f64,
    /// 0 = deterministic, 1 = stochastic, -1 = the model's own.
    pub eta: f64,
    /// `none`, `adain`, `wavelet` or empty for the model's own.
    pub colour_fix: String,
    /// Side of a tile in low-resolution pixels, 0 = by memory.
    pub tile_size: u32,
    /// `joint` or `independent`.
    pub tile_mode: String,
    /// Low-resolution pixels that neighbouring tiles share, 0 = what the network needs.
    pub tile_overlap: u32,
    /// `auto`, `f32`, `f16` or `bf16`.
    pub precision: String,
    /// Threads, 0 = all there are.
    pub threads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scale: 4,
            model: None,
            device: "auto".to_owned(),
            steps: 0,
            sampler: String::new(),
            seed: 0,
            fidelity: -1.0,
            eta: -1.0,
            colour_fix: String::new(),
            tile_size: 0,
            tile_mode: "joint".to_owned(),
            tile_overlap: 0,
            precision: "auto".to_owned(),
            threads: 0,
        }
    }
}

/// One option as hosts show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionInfo {
    /// Name, kebab-case; the same in every host.
    pub name: &'static str,
    /// Values that are possible, for users.
    pub values: &'static str,
    /// Value where the user says nothing, as text.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// All options, in the order in which hosts show them.
pub fn option_table() -> &'static [OptionInfo] {
    &TABLE
}

/// Largest tile side and thread count that can be asked for.
const MAX_TILE: u32 = 4096;
const MAX_THREADS: u32 = 1024;
const MAX_STEPS: u32 = 1000;
/// Besides these, `cuda:` and a number.
const DEVICES: [&str; 4] = ["auto", "cpu", "cuda", "reference"];
const SAMPLERS: [&str; 3] = ["", "shift", "ddim"];
const MAX_OVERLAP: u32 = 256;
const PRECISIONS: [&str; 4] = ["auto", "f32", "f16", "bf16"];
const TILE_MODES: [&str; 2] = ["joint", "independent"];
const COLOUR_FIXES: [&str; 4] = ["", "none", "adain", "wavelet"];

/// The text beside each range is tested against what `set` takes.
static TABLE: [OptionInfo; 14] = [
    OptionInfo {
        name: "scale",
        values: "4 or 8",
        default: "4",
        help: "How many times larger the picture becomes.",
    },
    OptionInfo {
        name: "model",
        values: "a name or a folder",
        default: "",
        help: "The model; empty takes SSMOESR_MODEL, else the one installed with this program.",
    },
    OptionInfo {
        name: "device",
        values: "auto, cpu, cuda, cuda:N or reference",
        default: "auto",
        help: "What computes: auto takes SSMOESR_DEVICE, else a GPU that works, else the CPU; cuda:N is the NVIDIA GPU of that number, from 0; reference is slow and exact.",
    },
    OptionInfo {
        name: "steps",
        values: "0..1000",
        default: "0",
        help: "Sampling steps; 0 is the model's own number. More steps add texture and take longer.",
    },
    OptionInfo {
        name: "sampler",
        values: "empty, shift or ddim",
        default: "",
        help: "How steps are taken; empty is the model's own, others only where the model was trained for them.",
    },
    OptionInfo {
        name: "seed",
        values: "0..18446744073709551615",
        default: "0",
        help: "Seed of the noise: the same seed gives the same picture.",
    },
    OptionInfo {
        name: "fidelity",
        values: "0..1 or -1",
        default: "-1",
        help: "1 stays close to the input, 0 adds the most texture; -1 is the model's own.",
    },
    OptionInfo {
        name: "eta",
        values: "0..1 or -1",
        default: "-1",
        help: "Share of fresh noise in each step: 0 is calm, 1 full; -1 is the model's own, 0 for video.",
    },
    OptionInfo {
        name: "colour-fix",
        values: "empty, none, adain or wavelet",
        default: "",
        help: "How colours are matched to the input; empty is the model's own.",
    },
    OptionInfo {
        name: "tile-size",
        values: "0..4096",
        default: "0",
        help: "Side of a tile in input pixels; 0 chooses by memory. The picture does not depend on it visibly.",
    },
    OptionInfo {
        name: "tile-mode",
        values: "joint or independent",
        default: "joint",
        help: "joint merges tiles after every step, independent only at the end: less exact at their borders.",
    },
    OptionInfo {
        name: "tile-overlap",
        values: "0..256",
        default: "0",
        help: "Input pixels that neighbouring tiles share; 0 is what the network needs, fewer are faster and may show.",
    },
    OptionInfo {
        name: "precision",
        values: "auto, f32, f16 or bf16",
        default: "auto",
        help: "Arithmetic of the network; auto is the device's own. The CPU computes in f32; cuda can multiply in bf16 or f16.",
    },
    OptionInfo {
        name: "threads",
        values: "0..1024",
        default: "0",
        help: "Threads; 0 takes SSMOESR_THREADS, else all processors.",
    },
];

impl Options {
    /// Sets the option called `name` (kebab-case) from text.
    ///
    /// # Errors
    /// `Option`, naming the option, the value and what is possible; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let mut new = self.clone();
        match name {
            "scale" => new.scale = number(name, value)?,
            "model" => new.model = (!value.is_empty()).then(|| value.to_owned()),
            "device" => new.device = value.to_owned(),
            "steps" => new.steps = number(name, value)?,
            "sampler" => new.sampler = value.to_owned(),
            "seed" => new.seed = number(name, value)?,
            "fidelity" => new.fidelity = number(name, value)?,
            "eta" => new.eta = number(name, value)?,
            "colour-fix" => new.colour_fix = value.to_owned(),
            "tile-size" => new.tile_size = number(name, value)?,
            "tile-mode" => new.tile_mode = value.to_owned(),
            "tile-overlap" => new.tile_overlap = number(name, value)?,
            "precision" => new.precision = value.to_owned(),
            "threads" => new.threads = number(name, value)?,
            _ => {
                let names: Vec<_> = TABLE.iter().map(|o| o.name).collect();
                return Err(Error::option(format!(
                    "there is no option {name:?}; options are {}",
                    names.join(", ")
                )));
            }
        }
        new.validate()?;
        *self = new;
        Ok(())
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// `Option`, naming the option, the value and what is possible.
    pub fn validate(&self) -> Result<()> {
        let own_or_fraction = |v: f64| v == -1.0 || (0.0..=1.0).contains(&v);
        check("scale", self.scale, self.scale == 4 || self.scale == 8)?;
        let model = self.model.as_deref().unwrap_or("auto");
        check("model", model, !model.is_empty() && !model.contains('\0'))?;
        check("device", &self.device, is_device(&self.device))?;
        check("steps", self.steps, self.steps <= MAX_STEPS)?;
        check("sampler", &self.sampler, SAMPLERS.contains(&self.sampler.as_str()))?;
        check("fidelity", self.fidelity, own_or_fraction(self.fidelity))?;
        check("eta", self.eta, own_or_fraction(self.eta))?;
        check("colour-fix", &self.colour_fix, COLOUR_FIXES.contains(&self.colour_fix.as_str()))?;
        check("tile-size", self.tile_size, self.tile_size <= MAX_TILE)?;
        check("tile-mode", &self.tile_mode, TILE_MODES.contains(&self.tile_mode.as_str()))?;
        check("tile-overlap", self.tile_overlap, self.tile_overlap <= MAX_OVERLAP)?;
        check("precision", &self.precision, PRECISIONS.contains(&self.precision.as_str()))?;
        check("threads", self.threads, self.threads <= MAX_THREADS)
    }
}

fn is_device(name: &str) -> bool {
    // A number as one writes it: no sign, nothing before it.
    let number = |n: &str| n.len() <= 3 && n.parse::<u16>().is_ok_and(|v| v.to_string() == n);
    let twin = cfg!(feature = "twin") && name == "twin";
    twin || DEVICES.contains(&name) || name.strip_prefix("cuda:").is_some_and(number)
}

fn check(name: &str, value: impl Display, good: bool) -> Result<()> {
    if good { Ok(()) } else { Err(wrong(name, value)) }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T> {
    value.trim().parse().map_err(|_| wrong(name, value))
}

fn wrong(name: &str, value: impl Display) -> Error {
    let values = TABLE.iter().find(|o| o.name == name).map_or("", |o| o.values);
    Error::option(format!("{name} is \"{value}\", possible: {values}"))
}

/// What the environment says where options do not; read once by whoever needs it, never set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `SSMOESR_MODEL`: name or folder of the model.
    pub model: Option<String>,
    /// `SSMOESR_DEVICE`: as the option `device`.
    pub device: Option<String>,
    /// `SSMOESR_CPU`: highest instruction set used, `portable`, `avx2` or `avx512`.
    pub cpu: Option<String>,
    /// `SSMOESR_THREADS`: as the option `threads`.
    pub threads: Option<u32>,
}

impl Environment {
    /// Reads the four variables; an empty one counts as absent.
    ///
    /// # Errors
    /// `Option` where one holds a value that is not possible; the text names it.
    pub fn read() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| lookup(name).filter(|v| !v.is_empty());
        let checked = |name: &str, good: fn(&str) -> bool, possible: &str| match get(name) {
            Some(v) if !good(&v) => Err(Error::option(format!("{name} is {v:?}, possible: {possible}"))),
            v => Ok(v),
        };
        let is_level = |v: &str| ["portable", "avx2", "avx512"].contains(&v);
        let threads = match get("SSMOESR_THREADS") {
            None => None,
            Some(v) => match v.trim().parse() {
                Ok(n) if n <= MAX_THREADS => Some(n),
                _ => {
                    return Err(Error::option(format!(
                        "SSMOESR_THREADS is {v:?}, possible: 0..{MAX_THREADS}"
                    )));
                }
            },
        };
        Ok(Self {
            model: get("SSMOESR_MODEL"),
            device: checked("SSMOESR_DEVICE", is_device, "auto, cpu, cuda, cuda:N, reference")?,
            cpu: checked("SSMOESR_CPU", is_level, "portable, avx2, avx512")?,
            threads,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_table() {
        let mut o = Options::default();
        assert_eq!(option_table().len(), 14);
        for info in option_table() {
            o.set(info.name, info.default).unwrap();
            assert_eq!(o, Options::default(), "{}", info.name);
            assert!(!info.help.is_empty() && !info.values.is_empty());
        }
    }

    /// The words of each range, read as a user would, agree with what is taken.
    #[test]
    fn ranges_are_as_the_table_says() {
        for info in option_table() {
            let mut good: Vec<String> = Vec::new();
            let mut bad: Vec<String> = Vec::new();
            let list = info.values.replace(" or ", ", ");
            for part in list.split(", ") {
                match part.split_once("..") {
                    Some((low, high)) => {
                        good.extend([low.to_owned(), high.to_owned()]);
                        bad.extend([format!("{high}0"), "x".to_owned(), "-2".to_owned(), "NaN".to_owned()]);
                    }
                    None if part == "empty" => good.push(String::new()),
                    None if info.name == "model" => good.push("any/folder".to_owned()),
                    None if part == "cuda:N" => {
                        good.extend(["cuda:0", "cuda:15"].map(str::to_owned));
                        bad.extend(
                            ["cuda:", "cuda:N", "cuda:-1", "cuda:+1", "cuda:01", "cuda:1 ", "cuda:99999"]
                                .map(str::to_owned),
                        );
                    }
                    None => {
                        good.push(part.to_owned());
                        bad.push(format!("{part}9"));
                    }
                }
            }
            assert!(!good.is_empty(), "{}", info.name);
            for v in good {
                assert!(Options::default().set(info.name, &v).is_ok(), "{} {v:?}", info.name);
            }
            for v in bad {
                let mut o = Options::default();
                let text = o.set(info.name, &v).unwrap_err().to_string();
                assert_eq!(o, Options::default());
                assert!(
                    text.contains(info.name) && text.contains(&v) && text.contains(info.values),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_names() {
        let text = Options::default().set("scael", "4").unwrap_err().to_string();
        assert!(text.contains("scael") && text.contains("scale, model"), "{text}");
    }

    #[test]
    fn the_environment_is_checked() {
        let with = |name: &'static str, value: &'static str| {
            Environment::from_lookup(move |n| (n == name).then(|| value.to_owned()))
        };
        assert_eq!(with("SSMOESR_MODEL", "m").unwrap().model.as_deref(), Some("m"));
        assert_eq!(with("SSMOESR_MODEL", "").unwrap(), Environment::default());
        assert_eq!(with("SSMOESR_CPU", "avx2").unwrap().cpu.as_deref(), Some("avx2"));
        assert_eq!(with("SSMOESR_THREADS", "3").unwrap().threads, Some(3));
        assert_eq!(with("SSMOESR_DEVICE", "cuda:1").unwrap().device.as_deref(), Some("cuda:1"));
        let bad = [
            ("SSMOESR_CPU", "avx9"),
            ("SSMOESR_THREADS", "many"),
            ("SSMOESR_DEVICE", "gpu"),
            ("SSMOESR_DEVICE", "cuda:x"),
        ];
        for (name, value) in bad {
            let text = with(name, value).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(value), "{text}");
        }
    }
}
