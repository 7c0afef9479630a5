//! Who may import whom, read from the source and held against the tables of `docs/ARCHITECTURE.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source with comments, strings and test code blanked, so that only code of the product is left.
fn strip(source: &str) -> String {
    let b = source.as_bytes();
    let mut out = b.to_vec();
    let mut i = 0;
    // Blanks out[from..to], but keeps the lines.
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    while i < b.len() {
        let from = i;
        let ident_before = i > 0 && (b[i - 1].is_ascii_alphanumeric() || b[i - 1] == b'_');
        if b[i..].starts_with(b"//") {
            i += b[i..].iter().position(|c| *c == b'\n').unwrap_or(b.len() - i);
        } else if b[i..].starts_with(b"/*") {
            let mut depth = 0;
            loop {
                if b[i..].starts_with(b"/*") {
                    (depth, i) = (depth + 1, i + 2);
                } else if b[i..].starts_with(b"*/") {
                    (depth, i) = (depth - 1, i + 2);
                } else {
                    i += 1;
                }
                if depth == 0 || i >= b.len() {
                    break;
                }
            }
        } else if let Some(hashes) = raw_string(&b[i..]).filter(|_| !ident_before) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = i + b[i..].iter().position(|c| *c == b'"').unwrap() + 1;
            i = source[open..].find(&end).map_or(b.len(), |n| open + n + end.len());
        } else if b[i] == b'"' {
            i += 1;
            while i < b.len() && b[i] != b'"' {
                i += 1 + usize::from(b[i] == b'\\');
            }
            i += 1;
        } else if b[i] == b'\'' && (b.get(i + 1) == Some(&b'\\') || char_literal(&source[i..])) {
            i += 2 + usize::from(b[i + 1] == b'\\');
            while i < b.len() && b[i] != b'\'' {
                i += 1;
            }
            i += 1;
        } else {
            i += 1;
            continue;
        }
        i = i.min(b.len());
        blank(&mut out, from, i);
    }
    let mut text = String::from_utf8(out).unwrap();
    while let Some(at) = text.find("#[cfg(test)]") {
        let end = at + item_end(&text[at..]);
        let blanks: String = text[at..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        text.replace_range(at..end, &blanks);
    }
    text
}

/// Number of hashes where a raw string begins here.
fn raw_string(b: &[u8]) -> Option<usize> {
    let rest = b.strip_prefix(b"br").or_else(|| b.strip_prefix(b"r"))?;
    let hashes = rest.iter().take_while(|c| **c == b'#').count();
    (rest.get(hashes) == Some(&b'"')).then_some(hashes)
}

/// True for `'x'`, false for the lifetime `'x`.
fn char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next().is_some() && chars.next() == Some('\'')
}

/// Length of the item that begins with attributes: to its `;`, or to the end of its braces.
fn item_end(text: &str) -> usize {
    let body = text.attributes_end();
    let uses = text[body..].trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    let only_semicolon = uses.starts_with("use ");
    let mut depth = 0;
    for (i, c) in text.char_indices().skip_while(|(i, _)| *i < body) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 && !only_semicolon {
                    return i + 1;
                }
            }
            ';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    text.len()
}

trait Attributes {
    /// Where the attributes at the beginning end.
    fn attributes_end(&self) -> usize;
}

impl Attributes for str {
    fn attributes_end(&self) -> usize {
        let mut at = 0;
        loop {
            let gap = self[at..].len() - self[at..].trim_start().len();
            if !self[at + gap..].starts_with("#[") {
                return at + gap;
            }
            at += gap + self[at + gap..].find(']').map_or(self.len() - at - gap, |n| n + 1);
        }
    }
}

/// Names and signs; `::` is one sign.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let len = match first {
            _ if word > 0 => word,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            out.push(&rest[..len]);
        }
        rest = &rest[len..];
    }
    out
}

/// First names behind `crate::`, also within braces.
fn inner_modules<'a>(tokens: &[&'a str]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (i, pair) in tokens.windows(2).enumerate() {
        if pair != ["crate", "::"] {
            continue;
        }
        match tokens.get(i + 2) {
            Some(&"{") => {
                let mut depth = 0;
                let mut first = false;
                for token in &tokens[i + 2..] {
                    match *token {
                        "{" => (depth, first) = (depth + 1, depth == 0),
                        "}" => depth -= 1,
                        "," => first = depth == 1,
                        name if first && depth == 1 => {
                            found.insert(name);
                            first = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            Some(name) => {
                found.insert(name);
            }
            None => {}
        }
    }
    found
}

/// The tables of the architecture document.
#[derive(Default)]
struct Tables {
    /// Module of core → modules it may import.
    modules: BTreeMap<String, BTreeSet<String>>,
    /// Crate or path → places of core that may name it.
    places: BTreeMap<String, Vec<String>>,
    /// Folders of the repository.
    folders: BTreeSet<String>,
}

impl Tables {
    fn parse(document: &str) -> Self {
        let block = |name: &str| {
            let start = document.find(&format!("```{name}\n")).expect("the table is in the document");
            document[start..].lines().skip(1).take_while(|l| !l.starts_with("```")).collect::<Vec<_>>()
        };
        let split = |line: &str| {
            let (left, right) = line.rsplit_once(" : ").expect("`a : b` in each line");
            let right = right.split_whitespace().filter(|w| *w != "-").map(str::to_owned).collect::<Vec<_>>();
            (left.trim().to_owned(), right)
        };
        Self {
            modules: block("modules")
                .into_iter()
                .map(split)
                .map(|(name, may)| (name, may.into_iter().collect()))
                .collect(),
            places: block("places").into_iter().map(split).collect(),
            folders: document
                .lines()
                .filter_map(|l| l.strip_prefix("| `")?.split_once("/` |").map(|(name, _)| name.to_owned()))
                .collect(),
        }
    }

    fn read() -> Self {
        Self::parse(&std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap())
    }

    /// What a file of core does against the tables; `path` is relative to `core/src`.
    fn breaches(&self, path: &str, source: &str) -> Vec<String> {
        let code = strip(source);
        let tokens = tokens(&code);
        let module = path.split('/').next().unwrap().trim_end_matches(".rs");
        let mut out = Vec::new();
        let Some(may) = self.modules.get(module) else {
            return vec![format!("{path}: module {module} has no row")];
        };
        for name in inner_modules(&tokens) {
            if name != module && !may.contains(name) {
                out.push(format!("{path}: {module} may not import {name}"));
            }
        }
        let supers = tokens.windows(2).filter(|w| *w == ["super", "::"]).count();
        if tokens.windows(3).any(|w| w == ["super", "::", "super"]) {
            out.push(format!("{path}: super::super hides where it leads"));
        }
        if supers > 0 && (!path.contains('/') || path.ends_with("/mod.rs")) {
            out.push(format!("{path}: super:: leaves the module here; write crate::"));
        }
        for i in 0..tokens.len() {
            // Vector instructions come by the hundred and lead nowhere in core.
            let instructions = i >= 3 && tokens[i - 3..i] == ["arch", "::", "x86_64"];
            if tokens[i] == "::"
                && tokens.get(i + 1) == Some(&"*")
                && !path.starts_with("lib")
                && !instructions
            {
                out.push(format!("{path}: glob import"));
            }
        }
        for (name, places) in &self.places {
            let parts: Vec<&str> = name.split("::").flat_map(|p| ["::", p]).skip(1).collect();
            let named = |w: &[&str]| match parts.len() {
                // A crate is named by `crate::` or `use crate`; `!` ends the name of a macro.
                1 if name.ends_with('!') => w[0] == name.trim_end_matches('!') && w.get(1) == Some(&"!"),
                1 if name == "set_hook" => w[0] == name,
                1 => w[0] == *name && w.get(1) == Some(&"::"),
                n => w.len() >= n && w[..n] == parts[..],
            };
            let found = (0..tokens.len()).any(|i| {
                named(&tokens[i..])
                    && (name == "set_hook" || parts.len() > 1 || i == 0 || tokens[i - 1] != "::")
            });
            let allowed = places.iter().any(|p| {
                p == "everywhere" || path == p || (p.ends_with('/') && path.starts_with(p.as_str()))
            });
            if found && !allowed {
                out.push(format!("{path}: {name} belongs to {}", places.join(", ")));
            }
        }
        out
    }
}

/// Files of product code below `folder`, relative to it.
fn sources(folder: &Path) -> Vec<String> {
    fn walk(base: &Path, folder: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                walk(base, &path, out);
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                out.push(path.strip_prefix(base).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut out = Vec::new();
    walk(folder, folder, &mut out);
    out.sort();
    out
}

#[test]
fn core_keeps_its_layers() {
    let tables = Tables::read();
    let src = root().join("core/src");
    let files = sources(&src);
    let breaches: Vec<_> = files
        .iter()
        .flat_map(|f| tables.breaches(f, &std::fs::read_to_string(src.join(f)).unwrap()))
        .collect();
    assert!(breaches.is_empty(), "{} files read\n{}", files.len(), breaches.join("\n"));
    assert!(files.len() > 40, "only {} files seen", files.len());
}

#[test]
fn the_tables_name_what_there_is() {
    let tables = Tables::read();
    let there: BTreeSet<_> = sources(&root().join("core/src"))
        .iter()
        .map(|f| f.split('/').next().unwrap().trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(there, tables.modules.keys().cloned().collect());

    let folders: BTreeSet<_> = std::fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n == ".ci" || !(n.starts_with('.') || n == "target" || n == "out"))
        .collect();
    assert_eq!(folders, tables.folders, "left: in the repository, right: in docs/ARCHITECTURE.md");
    assert!(folders.len() >= 8);

    let manifest = std::fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    let list = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<_> = list
        .lines()
        .filter_map(|l| l.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty() && *n != "#")
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let name = name.replace('-', "_");
        assert!(tables.places.contains_key(&name), "{name}: no row says where core may use it");
    }
}

#[test]
fn hosts_use_the_face() {
    for host in ["cli", "ffi", "gimp-plugin", "gst-plugin"] {
        let src = root().join(host).join("src");
        let files = sources(&src);
        assert!(!files.is_empty());
        for file in files {
            let code = strip(&std::fs::read_to_string(src.join(&file)).unwrap());
            assert!(!code.contains("candle"), "{host}/{file}: only core's executor names candle");
        }
    }
}

mod planted {
    use super::*;

    fn tables() -> Tables {
        Tables::parse(
            "```modules\nerror : -\ntiles : error\nlib : tiles error\nexec : error\n```\n\
             ```places\ncandle_core : exec/candle.rs\nstd::env : options.rs\nprintln! : -\n\
             process::exit : -\nset_hook : -\nserde : everywhere\n```\n| `core/` | x |\n",
        )
    }

    fn breaches(path: &str, source: &str) -> usize {
        tables().breaches(path, source).len()
    }

    #[test]
    fn clean_code_passes() {
        let code = "use crate::error::{Error, Result};\nuse super::rect::Rect;\nuse serde::Serialize;\n\
                    // crate::exec is far away\n/* crate::exec /* candle_core:: */ */\n\
                    const A: &str = \"crate::exec std::env::var\"; const B: &str = r#\"crate::exec \"# ;\n\
                    fn f<'a>(c: &'a char) -> bool { *c == '\"' || *c == '\\'' }\n\
                    #[cfg(test)]\nuse crate::exec::{A, B};\n\
                    #[cfg(test)]\n#[allow(unused)]\nmod tests { use super::*; fn g() { println!(\"{}\", 1) } }\n";
        assert_eq!(tables().breaches("tiles/grid.rs", code), Vec::<String>::new());
    }

    #[test]
    fn every_breach_is_named() {
        for code in [
            "use crate::exec::Executor;",
            "use crate::{error::Error, exec};",
            "use crate::{\n    error::{Error, Result},\n    exec::Executor,\n};",
            "fn f() { crate::exec::go() }",
            "use crate::Upscaler;",
            "use crate::*;",
            "use super::super::exec::X;",
            "use candle_core::Tensor;",
            "fn f() { candle_core::go() }",
            "fn f() { std::env::var(\"X\"); }",
            "fn f() { println!(\"x\"); }",
            "fn f() { std::process::exit(1) }",
            "fn f() { std::panic::set_hook(g) }",
            "#[cfg(test)]\nmod tests { fn f() { \"}\"; } }\nuse crate::exec::X;",
            "#[cfg(test)]\nmod tests;\nuse crate::exec::X;",
            "const Q: char = '\"'; use crate::exec::X; const R: char = '\"';",
        ] {
            assert!(breaches("tiles/grid.rs", code) > 0, "not seen: {code}");
        }
        assert_eq!(breaches("tiles/mod.rs", "use super::exec::X;"), 1);
        assert_eq!(breaches("error.rs", "use super::exec::X;"), 1);
        assert_eq!(breaches("rooms/mod.rs", ""), 1);
        assert_eq!(breaches("exec/candle.rs", "use candle_core::Tensor;"), 0);
    }
}
