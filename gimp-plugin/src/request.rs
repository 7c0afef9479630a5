//! What the user asks for: the options of core and where they apply in GIMP. One list of parameters, shown by both
//! generations of GIMP, made from core's table.

use ssmoesr_core::{Options, option_table};

use crate::trouble::Trouble;

/// What is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Layer,
    Selection,
    Visible,
}

/// Where the result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    NewImage,
    ThisImage,
    NewLayer,
}

/// A word of a choice: as scripts write it, as users see it.
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
}

pub(crate) const SCOPES: [Word; 3] = [
    Word { name: "layer", label: "The layer" },
    Word { name: "selection", label: "The selection, in the layer" },
    Word { name: "visible", label: "All that is visible" },
];

pub(crate) const OUTPUTS: [Word; 3] = [
    Word { name: "new-image", label: "A new image" },
    Word { name: "this-image", label: "This image, in the layer's place" },
    Word { name: "new-layer", label: "This image, as a new layer" },
];

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) options: Options,
    pub(crate) scope: Scope,
    pub(crate) output: Output,
}

impl Default for Request {
    fn default() -> Self {
        Self { options: Options::default(), scope: Scope::Layer, output: Output::NewImage }
    }
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Holds {
    Integer { min: i32, max: i32, default: i32 },
    Number { min: f64, max: f64, default: f64 },
    Text { default: &'static str },
    Choice { words: &'static [Word] },
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A parameter of the procedure, in GIMP's procedure browser.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Param {
    /// Kebab-case.
    pub(crate) name: &'static str,
    /// The name on a dialog, with the letter for the keyboard behind `_`; empty where dialogs do not show it.
    pub(crate) nick: &'static str,
    pub(crate) holds: Holds,
    pub(crate) help: String,
}

/// The order in which GIMP 2.10 wants them. Scripts rely on it: what is new goes to the end.
const ORDER: [&str; 16] = [
    "scale",
    "scope",
    "output",
    "model",
    "device",
    "steps",
    "sampler",
    "seed",
    "fidelity",
    "eta",
    "colour-fix",
    "tile-size",
    "threads",
    "tile-mode",
    "tile-overlap",
    "precision",
];

/// All parameters in their order.
pub(crate) fn params() -> Vec<Param> {
    let mut all: Vec<Param> = option_table()
        .iter()
        .map(|option| Param {
            name: option.name,
            nick: nick(option.name),
            holds: holds(option.values, option.default),
            help: format!("{} Possible: {}.", option.help, option.values),
        })
        .collect();
    let choice = |name, nick, words: &'static [Word], help: &str| Param {
        name,
        nick,
        holds: Holds::Choice { words },
        help: help.to_owned(),
    };
    let scope = choice("scope", "_What", &SCOPES, "What is enlarged.");
    let output = choice("output", "_Into", &OUTPUTS, "Where the result goes.");
    all.extend([scope, output]);
    all.sort_by_key(|param| ORDER.iter().position(|name| *name == param.name).unwrap_or(ORDER.len()));
    all
}

fn nick(name: &str) -> &'static str {
    match name {
        "scale" => "Sc_ale",
        "model" => "_Model",
        "device" => "_Device",
        "steps" => "S_teps",
        "seed" => "S_eed",
        "fidelity" => "_Fidelity",
        "eta" => "Eta",
        "sampler" => "Sampler",
        "colour-fix" => "Colour fix",
        "tile-size" => "Tile size",
        "threads" => "Threads",
        "tile-mode" => "Tile mode",
        "tile-overlap" => "Tile overlap",
        "precision" => "Precision",
        _ => "",
    }
}

/// From the words of core's table: `0..1000`, `0..1 or -1`, `4 or 8`, else text.
fn holds(values: &'static str, default: &'static str) -> Holds {
    let (range, extra) = values.split_once(" or ").unwrap_or((values, ""));
    let ends = range.split_once("..").or((!extra.is_empty()).then_some((range, extra)));
    let Some((low, high)) = ends else { return Holds::Text { default } };
    match (low.parse::<f64>(), high.parse::<f64>(), default.parse::<f64>(), extra) {
        (Ok(low), Ok(high), Ok(default), "-1") => Holds::Number { min: low.min(-1.0), max: high, default },
        // The cast saturates: GIMP's integers have 32 bits, a seed may have 64.
        (Ok(min), Ok(max), Ok(default), _) => {
            Holds::Integer { min: min as i32, max: max as i32, default: default as i32 }
        }
        _ => Holds::Text { default },
    }
}

impl Request {
    /// Sets a parameter from text, as scripts and stored values have it.
    ///
    /// # Errors
    /// In plain words: which parameter, which value, what is possible.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), Trouble> {
        match name {
            "scope" => {
                let all = [Scope::Layer, Scope::Selection, Scope::Visible];
                self.scope = all[index(name, value, &SCOPES)?];
            }
            "output" => {
                let all = [Output::NewImage, Output::ThisImage, Output::NewLayer];
                self.output = all[index(name, value, &OUTPUTS)?];
            }
            _ => self.options.set(name, value)?,
        }
        Ok(())
    }

    /// The value of a parameter as text, as `set` takes it; empty for names that are not there.
    pub(crate) fn get(&self, name: &str) -> String {
        let o = &self.options;
        match name {
            "scope" => SCOPES[self.scope as usize].name.to_owned(),
            "output" => OUTPUTS[self.output as usize].name.to_owned(),
            "scale" => o.scale.to_string(),
            "model" => o.model.clone().unwrap_or_default(),
            "device" => o.device.clone(),
            "steps" => o.steps.to_string(),
            "sampler" => o.sampler.clone(),
            "seed" => o.seed.to_string(),
            "fidelity" => o.fidelity.to_string(),
            "eta" => o.eta.to_string(),
            "colour-fix" => o.colour_fix.clone(),
            "tile-size" => o.tile_size.to_string(),
            "threads" => o.threads.to_string(),
            "tile-mode" => o.tile_mode.clone(),
            "tile-overlap" => o.tile_overlap.to_string(),
            "precision" => o.precision.clone(),
            _ => String::new(),
        }
    }

    /// One `name=value` line per parameter.
    pub(crate) fn to_lines(&self) -> String {
        params().iter().map(|p| format!("{}={}\n", p.name, self.get(p.name))).collect()
    }

    /// All values on one line, for people.
    pub(crate) fn to_line(&self) -> String {
        let all: Vec<String> = params().iter().map(|p| format!("{}={}", p.name, self.get(p.name))).collect();
        all.join(", ")
    }

    /// Reads the lines of `to_lines`; what is unknown or no longer possible keeps its default.
    pub(crate) fn from_lines(text: &str) -> Self {
        let mut request = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            // Lines of an older or newer version: the rest is still good.
            let _ = request.set(name, value);
        }
        request
    }
}

fn index(name: &str, value: &str, words: &[Word]) -> Result<usize, Trouble> {
    let by_number = value.parse().ok().filter(|n| *n < words.len());
    by_number.or_else(|| words.iter().position(|w| w.name == value)).ok_or_else(|| {
        let all: Vec<String> = words.iter().enumerate().map(|(i, w)| format!("{} ({i})", w.name)).collect();
        Trouble::said(format!("{name} is \"{value}\", possible: {}.", all.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_core_is_a_parameter() {
        let names: Vec<_> = params().iter().map(|p| p.name).collect();
        assert_eq!(names.len(), option_table().len() + 2);
        assert_eq!(names, ORDER, "a new option goes to the end");
        for option in option_table() {
            let param = params().into_iter().find(|p| p.name == option.name).unwrap();
            assert!(!param.nick.is_empty(), "{}: a name for dialogs", option.name);
            assert!(param.help.starts_with(option.help));
        }
    }

    #[test]
    fn kinds_follow_from_the_table() {
        let kind = |name: &str| params().into_iter().find(|p| p.name == name).unwrap().holds;
        assert_eq!(kind("scale"), Holds::Integer { min: 4, max: 8, default: 4 });
        assert_eq!(kind("steps"), Holds::Integer { min: 0, max: 1000, default: 0 });
        assert_eq!(kind("seed"), Holds::Integer { min: 0, max: i32::MAX, default: 0 });
        assert_eq!(kind("fidelity"), Holds::Number { min: -1.0, max: 1.0, default: -1.0 });
        assert_eq!(kind("eta"), Holds::Number { min: -1.0, max: 1.0, default: -1.0 });
        assert_eq!(kind("device"), Holds::Text { default: "auto" });
        assert_eq!(kind("sampler"), Holds::Text { default: "" });
        assert_eq!(kind("model"), Holds::Text { default: "" });
    }

    #[test]
    fn values_come_back_as_they_were_set() {
        let mut request = Request::default();
        for (name, value) in [
            ("scale", "8"),
            ("scope", "visible"),
            ("output", "new-layer"),
            ("model", "a=b"),
            ("device", "cpu"),
            ("steps", "3"),
            ("sampler", "shift"),
            ("seed", "7"),
            ("fidelity", "0.25"),
            ("eta", "0"),
            ("colour-fix", "adain"),
            ("tile-size", "64"),
            ("threads", "2"),
            ("tile-mode", "independent"),
        ] {
            request.set(name, value).unwrap();
            assert_eq!(request.get(name), value, "{name}");
        }
        assert_eq!(Request::from_lines(&request.to_lines()), request);
        request.set("scope", "1").unwrap();
        assert_eq!(request.scope, Scope::Selection);
    }

    #[test]
    fn old_lines_do_no_harm() {
        let request = Request::from_lines("scale=3\nshoe-size=44\nnonsense\noutput=new-layer\n");
        assert_eq!(request, Request { output: Output::NewLayer, ..Request::default() });
    }

    #[test]
    fn wrong_values_are_named() {
        let mut request = Request::default();
        let text = request.set("output", "9").unwrap_err().to_string();
        assert!(
            text.contains("output") && text.contains("\"9\"") && text.contains("new-image (0)"),
            "{text}"
        );
        let text = request.set("scale", "5").unwrap_err().to_string();
        assert!(text.contains("Scale is \"5\"") && text.contains("4 or 8"), "{text}");
        assert_eq!(request, Request::default());
    }
}
