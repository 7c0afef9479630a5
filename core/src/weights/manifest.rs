//! `model.json`: what a model folder holds, with every number checked before anything is built from it.
//! Native family: the shipped network. Published family: arXiv 2310.12004, keys as in its recorded configuration.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::weights::native::Native;
use crate::weights::published::Published;

/// Name of the description in a model folder.
pub const MANIFEST_FILE: &str = "model.json";
/// Newest layout of `model.json` that is understood.
pub const MANIFEST_FORMAT: u32 = 1;
/// A description longer than this is not one.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Largest lattice accepted, in low-resolution pixels.
const MAX_LATTICE: usize = 1024;

/// Everything that `model.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// What both families have.
    pub common: Common,
    /// The network of its family.
    pub network: Network,
}

/// The part of `model.json` that both families have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    /// Layout of this file, [`MANIFEST_FORMAT`].
    pub format: u32,
    /// `native` or `published`.
    pub family: String,
    /// Name for users.
    pub name: String,
    /// Version of the weights.
    pub version: String,
    /// Licence of the weights, an SPDX expression.
    pub licence: String,
    /// Scales it can do.
    pub scales: Vec<u32>,
    /// Sides of the picture are padded to multiples of this, in low-resolution pixels; tiles lie on it.
    pub lattice: usize,
    /// What the options mean where the user says nothing.
    pub defaults: Defaults,
    /// SHA-256 of each file of the folder, lower-case hexadecimal.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The model's own options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Sampling steps.
    pub steps: u32,
    /// 0 = full chain, 1 = first estimate.
    #[serde(default)]
    pub fidelity: f64,
    /// 0 = deterministic, 1 = stochastic.
    pub eta: f64,
    /// `none`, `adain` or `wavelet`.
    pub colour_fix: String,
}

/// The network of a model, by family.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Network {
    /// The shipped family.
    Native(Native),
    /// The family of the paper.
    Published(Published),
}

impl Manifest {
    /// Reads and checks `folder/model.json`.
    ///
    /// # Errors
    /// `Io` where it cannot be read, `Model` where it is not understood or a number is out of range.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let place = path.display().to_string();
        let cannot = |e| Error::io(format!("cannot read {place}"), e);
        let bytes = std::fs::metadata(&path).map_err(cannot)?.len();
        if bytes > MAX_MANIFEST_BYTES {
            return Err(Error::model(format!(
                "{place} has {bytes} bytes, at most {MAX_MANIFEST_BYTES} are read"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(cannot)?;
        Self::parse(&text).map_err(|e| Error::model(place.clone()).because(e))
    }

    /// Reads and checks the text of a `model.json`.
    ///
    /// # Errors
    /// `Model` where it is not understood or a number is out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).map_err(wrong_json)?;
        // The format first: a newer file may differ in everything else.
        match json.get("format").and_then(Value::as_u64) {
            Some(f) if f == u64::from(MANIFEST_FORMAT) => {}
            Some(f) => return Err(Error::model(format!("format {f} is unknown, wanted {MANIFEST_FORMAT}"))),
            None => return Err(Error::model("format is missing or no whole number")),
        }
        let common: Common = serde_json::from_value(json.clone()).map_err(wrong_json)?;
        let network = match common.family.as_str() {
            "native" => Network::Native(serde_json::from_value(json).map_err(wrong_json)?),
            "published" => Network::Published(serde_json::from_value(json).map_err(wrong_json)?),
            other => {
                return Err(Error::model(format!("family {other:?} is unknown, wanted native or published")));
            }
        };
        let manifest = Self { common, network };
        manifest.validate()?;
        Ok(manifest)
    }

    /// The text of `model.json`.
    ///
    /// # Errors
    /// `Internal` where a number cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let wrong = |e: serde_json::Error| Error::internal("cannot write model.json").because(e);
        let mut json = serde_json::to_value(&self.common).map_err(wrong)?;
        let network = match &self.network {
            Network::Native(n) => serde_json::to_value(n),
            Network::Published(p) => serde_json::to_value(p),
        };
        if let (Value::Object(all), Value::Object(part)) = (&mut json, network.map_err(wrong)?) {
            all.extend(part);
        }
        serde_json::to_string_pretty(&json)
            .map(|mut s| {
                s.push('\n');
                s
            })
            .map_err(wrong)
    }

    /// Checks every number; [`Manifest::read`] has done so.
    ///
    /// # Errors
    /// `Model`, naming the key, what it holds and what is possible.
    pub fn validate(&self) -> Result<()> {
        let c = &self.common;
        for (key, text) in [("name", &c.name), ("version", &c.version), ("licence", &c.licence)] {
            if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
                return Err(wrong(key, format!("{text:?}"), "1 to 200 printable characters"));
            }
        }
        if c.scales.is_empty() || c.scales.len() > 2 || c.scales.iter().any(|s| ![4, 8].contains(s)) {
            return Err(wrong("scales", format!("{:?}", c.scales), "4, 8 or both"));
        }
        in_range("lattice", c.lattice, 1, MAX_LATTICE)?;
        for (name, hash) in &c.files {
            let plain = Path::new(name).file_name().is_some_and(|f| f == name.as_str());
            if !plain || name.contains('\\') || !name.ends_with(".safetensors") {
                return Err(wrong("files", format!("{name:?}"), "plain names that end with .safetensors"));
            }
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return Err(wrong(
                    &format!("files.{name}"),
                    format!("{hash:?}"),
                    "64 lower-case hexadecimal digits",
                ));
            }
        }
        let d = &c.defaults;
        fraction("defaults.fidelity", d.fidelity)?;
        fraction("defaults.eta", d.eta)?;
        if !["none", "adain", "wavelet"].contains(&d.colour_fix.as_str()) {
            return Err(wrong(
                "defaults.colour_fix",
                format!("{:?}", d.colour_fix),
                "none, adain or wavelet",
            ));
        }
        match &self.network {
            Network::Native(n) => n.validate(c),
            Network::Published(p) => p.validate(c),
        }
    }
}

fn wrong_json(e: serde_json::Error) -> Error {
    // A missing or mistyped key has no position once the text is a tree; a syntax error has.
    Error::model("not understood").because(e)
}

/// One text for every number out of range.
pub(crate) fn wrong(key: &str, found: impl std::fmt::Display, wanted: impl std::fmt::Display) -> Error {
    Error::model(format!("{key} is {found}, wanted {wanted}"))
}

pub(crate) fn in_range(key: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(wrong(key, value, format!("{low} to {high}"))) }
}

pub(crate) fn multiple(key: &str, value: usize, of: usize) -> Result<()> {
    if of != 0 && value.is_multiple_of(of) {
        Ok(())
    } else {
        Err(wrong(key, value, format!("a multiple of {of}")))
    }
}

pub(crate) fn fraction(key: &str, value: f64) -> Result<()> {
    between(key, value, 0.0, 1.0)
}

pub(crate) fn between(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    // A NaN is in no range.
    if (low..=high).contains(&value) { Ok(()) } else { Err(wrong(key, value, format!("{low} to {high}"))) }
}
