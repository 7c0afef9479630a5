//! What is there, in lines that can be copied into a bug report: `--check`, and the dialog's "Copy report".

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ssmoesr_core::{Options, Upscaler, devices};

use crate::face::Gimp;
use crate::install::{Places, Profile};
use crate::memory;
use crate::record::Record;
use crate::request::Request;

/// A GIMP that is running, with the dialog open.
pub(crate) struct Open {
    version: String,
    profile: Option<PathBuf>,
    values: String,
    /// What the dialog says of them.
    said: String,
}

impl Open {
    /// The dialog in `gimp` with these values.
    pub(crate) fn new(gimp: &dyn Gimp, request: Option<&Request>, said: &str) -> Self {
        let values = request.map_or_else(|| "not possible".to_owned(), Request::to_line);
        Self { version: gimp.version(), profile: gimp.profile(), values, said: said.to_owned() }
    }
}

/// The report, and whether everything is there that a run needs. `open` adds what only the dialog knows.
pub(crate) fn report(places: &Places, program: &Path, open: Option<&Open>) -> (Vec<String>, bool) {
    let mut lines = vec![format!("ssmoesr-gimp {}, {}", env!("CARGO_PKG_VERSION"), program.display())];
    let profiles = places.profiles();
    let mut good = !profiles.is_empty();
    if profiles.is_empty() {
        lines.push(format!("GIMP: none found in PATH or below {}", places.config.join("GIMP").display()));
    }
    for profile in &profiles {
        let (line, installed) = installed(profile, program, open.is_none());
        lines.push(line);
        good &= installed;
        lines.extend(Record::read(&profile.folder).map(|last| last.lines()).unwrap_or_default());
    }
    if let Some(open) = open {
        let folder = open.profile.as_deref();
        let place = folder.map_or_else(|| "unknown".to_owned(), |folder| folder.display().to_string());
        lines.push(format!("open: GIMP {}, profile {place}", open.version));
        let listed = folder.is_none_or(|folder| profiles.iter().any(|p| p.folder == folder));
        if let Some(last) = folder.filter(|_| !listed).and_then(Record::read) {
            lines.extend(last.lines());
        }
        lines.push(format!("  values: {}", open.values));
        lines.push(format!("  says: {}", open.said));
    }
    let began = Instant::now();
    match Upscaler::new(&Options::default()) {
        Ok(upscaler) => {
            let model = upscaler.model();
            lines.push(format!(
                "model: {} {} ({}), {}, opened in {} ms",
                model.name,
                model.version,
                model.licence,
                model.folder.display(),
                began.elapsed().as_millis()
            ));
            lines.push(format!("device: {}", upscaler.device()));
        }
        Err(error) => {
            good = false;
            lines.push(format!("model: {error}"));
        }
    }
    for device in devices() {
        lines.push(format!("possible device: {}: {}", device.name, device.description));
    }
    let free = memory::available().map_or_else(|| "unknown".to_owned(), memory::size);
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    lines.push(format!(
        "machine: {}, {}, {threads} processors, {free} of memory free",
        system_name(&system),
        std::env::consts::ARCH
    ));
    (lines.into_iter().map(|line| without_home(line, places.home.as_deref())).collect(), good)
}

/// What is to be said of a profile, and whether this very program is installed there.
fn installed(profile: &Profile, program: &Path, ask: bool) -> (String, bool) {
    let found = match &profile.program {
        // A GIMP that is open tells its version itself.
        Some(gimp) => match ask.then(|| version(gimp)).flatten() {
            Some(version) => format!("{}, version {version}", gimp.display()),
            None => gimp.display().to_string(),
        },
        None => "no program in PATH, but a profile".to_owned(),
    };
    let plug_in = profile.plug_in();
    let (state, good) = match (std::fs::read(&plug_in), std::fs::read(program)) {
        (Ok(there), Ok(here)) if there == here => (format!("installed as {}", plug_in.display()), true),
        (Ok(_), _) => {
            (format!("another version is installed as {}: run --install", plug_in.display()), false)
        }
        (Err(_), _) => ("not installed: run --install".to_owned(), false),
    };
    (format!("GIMP {}: {found}; {state}", profile.generation), good)
}

/// The last word of what `gimp --version` says first.
fn version(gimp: &Path) -> Option<String> {
    let asked =
        Command::new(gimp).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&asked.stdout);
    said.lines().next()?.split_whitespace().last().map(str::to_owned)
}

fn system_name(os_release: &str) -> &str {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("unknown system", |name| name.trim_matches('"'))
}

/// Names of people are nobody's business.
fn without_home(line: String, home: Option<&Path>) -> String {
    match home.filter(|home| home.parent().is_some()).and_then(Path::to_str) {
        Some(home) => line.replace(home, "~"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Image;
    use crate::fake::Fake;
    use crate::job::Done;
    use crate::record;
    use crate::trouble::Trouble;
    use std::fs;

    #[test]
    fn the_report_names_what_is_missing() {
        let room = tempfile::tempdir().unwrap();
        let room = room.path();
        let places = Places { config: room.to_owned(), programs: Vec::new(), home: None };
        let program = room.join("program");
        fs::write(&program, "code").unwrap();
        let (lines, good) = report(&places, &program, None);
        assert!(!good && lines.iter().any(|l| l.starts_with("GIMP: none")), "{lines:?}");
        fs::create_dir_all(room.join("GIMP/3.0")).unwrap();
        assert!(report(&places, &program, None).0[1].contains("not installed"));
        let model = room.join("model");
        fs::create_dir(&model).unwrap();
        crate::install::install(&places, &program, &model).unwrap();
        let (lines, good) = report(&places, &program, None);
        assert!(good, "{lines:?}");
        assert!(lines.iter().any(|l| l.starts_with("model: photo")), "{lines:?}");
        assert!(lines.last().unwrap().contains(std::env::consts::ARCH), "{lines:?}");
        fs::write(&program, "newer").unwrap();
        assert!(report(&places, &program, None).0[1].contains("another version"));
    }

    #[test]
    fn the_dialog_reports_the_same_and_its_values() {
        let room = tempfile::tempdir().unwrap();
        let room = room.path();
        let places = Places { config: room.join("c"), programs: Vec::new(), home: Some(room.to_path_buf()) };
        let profile = places.config.join("GIMP/2.10");
        fs::create_dir_all(&profile).unwrap();
        let request = Request::default();
        let failed: Result<Done, _> =
            record::keep(Some(&profile), "2.10.34".to_owned(), &request, || Err(Trouble::said("No luck.")));
        assert!(failed.is_err());
        let fake = Fake::new(1, 1);
        let open = Open::new(&fake, Some(&request), "8 x 8 pixels");
        let timeless = |lines: Vec<String>| -> Vec<String> {
            // Free memory and times move on.
            lines.into_iter().filter(|l| !l.starts_with("machine") && !l.starts_with("model")).collect()
        };
        let checked = timeless(report(&places, &room.join("program"), None).0);
        let mut copied = timeless(report(&places, &room.join("program"), Some(&open)).0);
        let at = copied.iter().position(|l| l == "open: GIMP 9.9.9, profile unknown").unwrap();
        let own: Vec<_> = copied.drain(at..at + 3).collect();
        assert_eq!(copied, checked);
        assert!(own[1].contains("scale=4") && own[2] == "  says: 8 x 8 pixels", "{own:?}");
        assert!(checked.contains(&"  last error: No luck.".to_owned()), "{checked:?}");
        assert!(checked[0].ends_with("~/program"), "{checked:?}");
        let all = checked.join("\n");
        assert!(!all.contains(room.to_str().unwrap()), "{all}");

        // A profile of its own, as GIMP2_DIRECTORY names it.
        let other = room.join("other");
        fs::create_dir(&other).unwrap();
        let done = Done { image: Image(1), planned: 1 };
        record::keep(Some(&other), "2.10.36".to_owned(), &request, || Ok(done)).unwrap();
        let open = Open { profile: Some(other), ..open };
        let lines = report(&places, &room.join("program"), Some(&open)).0;
        assert!(lines.iter().any(|l| l.starts_with("  last run (GIMP 2.10.36): done")), "{lines:?}");
    }

    #[test]
    fn systems_and_homes() {
        assert_eq!(system_name("ID=x\nPRETTY_NAME=\"A System 9\"\n"), "A System 9");
        assert_eq!(system_name(""), "unknown system");
        let line = || "at /home/me/x".to_owned();
        assert_eq!(without_home(line(), Some(Path::new("/home/me"))), "at ~/x");
        assert_eq!(without_home(line(), Some(Path::new("/"))), line());
        assert_eq!(version(Path::new("/nonexistent/gimp")), None);
    }
}
