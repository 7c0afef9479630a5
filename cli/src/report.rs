//! What the user sees: a bar on a terminal, plain lines elsewhere, JSON on request.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use ssmoesr_core::Progress;

/// Time between two plain lines about one picture.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How one picture ended.
#[derive(Debug)]
pub(crate) enum End {
    Done { size: (u32, u32) },
    Skipped,
    Failed { text: String },
    Cancelled,
}

/// Speaks to the user; everything but JSON goes to standard error.
pub(crate) struct Report {
    quiet: bool,
    json: bool,
    bar: Option<ProgressBar>,
    /// Which picture of how many; empty for one alone.
    place: String,
    input: String,
    output: String,
    started: Instant,
    last_line: Instant,
}

impl Report {
    pub(crate) fn new(quiet: bool, json: bool) -> Self {
        let now = Instant::now();
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is constant; were it wrong, the plain bar would do.
            if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}] {percent:>3}% {eta} left") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        let (place, input, output) = (String::new(), String::new(), String::new());
        Self { quiet, json, bar, place, input, output, started: now, last_line: now }
    }

    /// Picture number `index` (from 0) of `count` begins.
    pub(crate) fn begin(&mut self, index: usize, count: usize, input: String, output: String) {
        self.place = if count > 1 { format!("[{}/{count}] ", index + 1) } else { String::new() };
        (self.input, self.output) = (input, output);
        self.started = Instant::now();
        self.last_line = self.started;
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_message(format!("{}{}", self.place, self.input));
        }
    }

    pub(crate) fn progress(&mut self, progress: Progress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        } else if !self.quiet && progress.done > 0 && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let done = progress.done as f64 / progress.total.max(1) as f64;
            let left = self.started.elapsed().as_secs_f64() * (1.0 - done) / done;
            self.line(&format!("{}{}: {:.0} %, {left:.0} s left", self.place, self.input, done * 100.0));
        }
    }

    /// The picture ended.
    pub(crate) fn end(&mut self, end: &End) {
        let seconds = self.started.elapsed().as_secs_f64();
        let (place, input, output) = (&self.place, &self.input, &self.output);
        let text = match end {
            End::Done { size: (w, h) } => format!("{place}{input} -> {output}: {w}x{h}, {seconds:.1} s"),
            End::Skipped => format!("{place}{input}: {output} exists, skipped"),
            End::Failed { text } => format!("ssmoesr: {text}"),
            End::Cancelled => format!("ssmoesr: {input}: cancelled"),
        };
        if !self.quiet || matches!(end, End::Failed { .. } | End::Cancelled) {
            self.line(&text);
        }
        if self.json {
            let mut value = json!({ "input": input, "output": output, "seconds": seconds });
            let more = match end {
                End::Done { size } => json!({ "status": "done", "width": size.0, "height": size.1 }),
                End::Skipped => json!({ "status": "skipped" }),
                End::Failed { text } => json!({ "status": "failed", "error": text }),
                End::Cancelled => json!({ "status": "cancelled" }),
            };
            if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
                value.extend(more);
            }
            let _ = writeln!(std::io::stdout(), "{value}");
        }
    }

    /// The last words of a folder run.
    pub(crate) fn summary(&mut self, done: usize, skipped: usize, failures: &[String]) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.quiet || !failures.is_empty() {
            self.line(&format!("{done} written, {skipped} skipped, {} failed", failures.len()));
            for failure in failures {
                self.line(&format!("  {failure}"));
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(text)),
            None => write_line(text),
        }
    }
}

fn write_line(text: &str) {
    // A reader that went away is no reason to stop the work.
    let _ = writeln!(std::io::stderr(), "{text}");
}
