//! What the last run in a profile was and how it ended: for bug reports. One small file beside GIMP's own settings.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::job::Done;
use crate::memory;
use crate::request::Request;
use crate::trouble::Trouble;
use crate::worker::about;

/// In the profile.
pub(crate) const FILE: &str = "ssmoesr-last-run";

/// How it stands until a run ends; a killed one leaves it so.
const UNFINISHED: &str = "not ended: it is at work, or GIMP's Cancel or something else stopped it";

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// GIMP's version.
    gimp: String,
    values: String,
    outcome: String,
    /// Of this run or of the latest that failed.
    error: String,
}

impl Record {
    /// The last run in this profile, if there was one.
    pub(crate) fn read(profile: &Path) -> Option<Self> {
        let text = fs::read_to_string(profile.join(FILE)).ok()?;
        let mut record = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "gimp" => value.clone_into(&mut record.gimp),
                "values" => value.clone_into(&mut record.values),
                "outcome" => value.clone_into(&mut record.outcome),
                "error" => value.clone_into(&mut record.error),
                _ => {}
            }
        }
        Some(record)
    }

    /// Where it cannot be written, a report is shorter: no reason to stop.
    fn write(&self, profile: &Path) {
        let lines = [
            ("gimp", &self.gimp),
            ("values", &self.values),
            ("outcome", &self.outcome),
            ("error", &self.error),
        ];
        let text: String =
            lines.iter().map(|(name, value)| format!("{name}={}\n", value.replace('\n', " "))).collect();
        let _ = fs::write(profile.join(FILE), text);
    }

    /// For a report.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  last run (GIMP {}): {}", self.gimp, self.outcome)];
        lines.push(format!("  its values: {}", self.values));
        if !self.error.is_empty() {
            lines.push(format!("  last error: {}", self.error));
        }
        lines
    }
}

/// Runs `run` and keeps what became of it in `profile`, if there is one.
///
/// # Errors
/// Those of `run`.
pub(crate) fn keep(
    profile: Option<&Path>,
    gimp: String,
    request: &Request,
    run: impl FnOnce() -> Result<Done, Trouble>,
) -> Result<Done, Trouble> {
    let Some(profile) = profile else { return run() };
    let error = Record::read(profile).map(|earlier| earlier.error).unwrap_or_default();
    let mut record = Record { gimp, values: request.to_line(), outcome: UNFINISHED.to_owned(), error };
    record.write(profile);
    let began = Instant::now();
    let done = run();
    record.outcome = match &done {
        Ok(done) => format!(
            "done in {}, {} of memory at most, {} planned",
            about(began.elapsed().as_secs_f64()),
            memory::peak().map_or_else(|| "unknown".to_owned(), memory::size),
            memory::size(done.planned)
        ),
        Err(Trouble::Cancelled) => "cancelled".to_owned(),
        Err(Trouble::Said(text)) => {
            text.clone_into(&mut record.error);
            "failed".to_owned()
        }
    };
    record.write(profile);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Image;

    #[test]
    fn the_last_error_stays_until_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path();
        assert_eq!(Record::read(profile), None);
        let request = Request::default();
        let run = |done: Result<Done, Trouble>| {
            let seen = keep(Some(profile), "2.10.34".to_owned(), &request, || {
                let during = Record::read(profile).unwrap();
                assert_eq!(during.outcome, UNFINISHED);
                done
            });
            (seen, Record::read(profile).unwrap().lines().join("\n"))
        };
        let done = || Done { image: Image(3), planned: 5 << 30 };
        let (seen, text) = run(Ok(done()));
        assert_eq!(seen, Ok(done()));
        assert!(text.starts_with("  last run (GIMP 2.10.34): done in about a second, "), "{text}");
        assert!(text.contains("5.0 GB planned") && text.contains("scale=4, scope=layer"), "{text}");
        assert!(!text.contains("error"), "{text}");
        let (seen, text) = run(Err(Trouble::said("No memory:\nclose other programs.")));
        assert!(seen.is_err() && text.contains("failed\n"), "{text}");
        assert!(text.ends_with("last error: No memory: close other programs."), "{text}");
        let (_, text) = run(Err(Trouble::Cancelled));
        assert!(text.contains("cancelled\n") && text.ends_with("close other programs."), "{text}");
        let (_, text) = run(Ok(done()));
        assert!(text.contains("done in") && text.ends_with("close other programs."), "{text}");
    }

    #[test]
    fn without_a_profile_the_run_goes_on() {
        let done =
            keep(None, String::new(), &Request::default(), || Ok(Done { image: Image(1), planned: 0 }));
        assert_eq!(done, Ok(Done { image: Image(1), planned: 0 }));
        let gone = Path::new("/nonexistent/profile");
        let done = keep(Some(gone), String::new(), &Request::default(), || Err(Trouble::Cancelled));
        assert_eq!(done, Err(Trouble::Cancelled));
    }
}
