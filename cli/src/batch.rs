//! `ssmoesr upscale`: one picture, a pipe, or a folder, one picture after the other.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ssmoesr_core::{
    CancelToken, Error, ErrorKind, FileKind, Frame, Options, Overwrite, Picture, Upscaler, check_target,
    encode_picture, read_picture, read_picture_bytes, write_picture,
};
use walkdir::WalkDir;

use crate::Usage;
use crate::args::Upscale;
use crate::report::{End, Report};

/// How the whole run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Cancelled,
}

/// Where a picture comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Pipe,
    File(PathBuf),
}

impl Place {
    fn name(&self, pipe: &str) -> String {
        match self {
            Self::Pipe => pipe.to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

#[derive(Debug)]
struct Job {
    input: Place,
    output: Place,
}

/// All the work of one call.
#[derive(Debug)]
struct Plan {
    jobs: Vec<Job>,
    /// What could not even be listed.
    failures: Vec<String>,
    /// True for a folder: outputs that exist are skipped, folders made.
    folder: bool,
}

pub(crate) fn run(args: &Upscale, cancel: &CancelToken) -> anyhow::Result<Outcome> {
    let plan = plan(&args.input, &args.output)?;
    if args.json && plan.jobs.iter().any(|job| job.output == Place::Pipe) {
        return Err(Usage("--json and a picture cannot both go to standard output".to_owned()).into());
    }
    let mut worker = Worker {
        options: &args.options.0,
        overwrite: if args.force { Overwrite::Replace } else { Overwrite::Refuse },
        folder: plan.folder,
        upscaler: None,
        cancel,
        report: Report::new(args.quiet, args.json),
    };
    let outcome = worker.all(plan);
    worker.report.finish();
    outcome
}

fn plan(input: &Path, output: &Path) -> anyhow::Result<Plan> {
    let place = |path: &Path| if path == Path::new("-") { Place::Pipe } else { Place::File(path.to_owned()) };
    let (from, mut to) = (place(input), place(output));
    if from != Place::Pipe
        && let Err(e) = std::fs::metadata(input)
    {
        // Told before anything about OUT: a missing folder would be taken for a picture.
        anyhow::bail!("cannot read {}: {e}", input.display());
    }
    if from != Place::Pipe && input.is_dir() {
        if to == Place::Pipe || output.is_file() {
            return Err(Usage("IN is a folder, so OUT must be one".to_owned()).into());
        }
        return folder_plan(input, output);
    }
    if to != Place::Pipe && output.is_dir() {
        let Some(name) = input.file_name().filter(|_| from != Place::Pipe) else {
            return Err(
                Usage("OUT is a folder: name the file for a picture from standard input".to_owned()).into()
            );
        };
        to = Place::File(output.join(name));
    }
    Ok(Plan { jobs: vec![Job { input: from, output: to }], failures: Vec::new(), folder: false })
}

/// Every picture below `input`, by name; outputs keep path and name.
fn folder_plan(input: &Path, output: &Path) -> anyhow::Result<Plan> {
    let real = |path: &Path| path.canonicalize().ok();
    let out = real(output);
    if out.is_some() && out == real(input) {
        return Err(Usage("IN and OUT are the same folder".to_owned()).into());
    }
    let mut plan = Plan { jobs: Vec::new(), failures: Vec::new(), folder: true };
    let walk = WalkDir::new(input).follow_links(true).sort_by_file_name().into_iter();
    // Results of an earlier run inside IN are not inputs.
    let walk = walk.filter_entry(|e| !e.file_type().is_dir() || out.is_none() || real(e.path()) != out);
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let path = entry.path();
                if FileKind::from_extension(path).is_some() {
                    let relative = path.strip_prefix(input).unwrap_or(path);
                    let output = Place::File(output.join(relative));
                    plan.jobs.push(Job { input: Place::File(path.to_owned()), output });
                }
            }
            Ok(_) => {}
            Err(e) => plan.failures.push(format!("cannot list a folder: {e}")),
        }
    }
    if plan.jobs.is_empty() && plan.failures.is_empty() {
        anyhow::bail!("no PNG, JPEG, WebP or TIFF pictures in {}", input.display());
    }
    Ok(plan)
}

struct Worker<'a> {
    options: &'a Options,
    overwrite: Overwrite,
    folder: bool,
    /// Loaded when the first good picture is there: a bad one is told at once.
    upscaler: Option<Upscaler>,
    cancel: &'a CancelToken,
    report: Report,
}

/// Why a picture was not made.
enum Stop {
    /// This picture only.
    Picture(Error),
    /// The model or device: no picture can be made.
    All(Error),
}

impl Worker<'_> {
    fn all(&mut self, plan: Plan) -> anyhow::Result<Outcome> {
        let count = plan.jobs.len();
        let (mut done, mut skipped, mut failures) = (0, 0, plan.failures);
        for (index, job) in plan.jobs.iter().enumerate() {
            let (input, output) = (job.input.name("standard input"), job.output.name("standard output"));
            self.report.begin(index, count, input.clone(), output);
            let end = if self.cancel.is_cancelled() {
                End::Cancelled
            } else if self.folder && self.is_finished(job) {
                End::Skipped
            } else {
                match self.one(job) {
                    Ok(size) => End::Done { size },
                    Err(Stop::All(e)) => return Err(e.into()),
                    Err(Stop::Picture(e)) if e.kind() == ErrorKind::Cancelled => End::Cancelled,
                    Err(Stop::Picture(e)) => {
                        // Texts about files name them; those of the engine do not.
                        let text = e.to_string();
                        End::Failed {
                            text: if text.contains(&input) || text.starts_with("cannot write") {
                                text
                            } else {
                                format!("{input}: {text}")
                            },
                        }
                    }
                }
            };
            self.report.end(&end);
            match end {
                End::Done { .. } => done += 1,
                End::Skipped => skipped += 1,
                End::Failed { text } => failures.push(text),
                End::Cancelled => return Ok(Outcome::Cancelled),
            }
        }
        if self.folder {
            self.report.summary(done, skipped, &failures);
        }
        Ok(if failures.is_empty() { Outcome::Done } else { Outcome::Failed })
    }

    fn is_finished(&self, job: &Job) -> bool {
        // Files appear under their name only when complete.
        matches!(&job.output, Place::File(path) if path.exists()) && self.overwrite == Overwrite::Refuse
    }

    /// Makes one picture and gives its size.
    fn one(&mut self, job: &Job) -> Result<(u32, u32), Stop> {
        let check = |path: &Path, overwrite| check_target(path, overwrite).map_err(Stop::Picture);
        let mut kind = None;
        if let Place::File(path) = &job.output
            && !self.folder
        {
            kind = Some(check(path, self.overwrite)?);
        }
        let picture = read(&job.input).map_err(Stop::Picture)?;
        if let Place::File(path) = &job.output
            && self.folder
        {
            make_folder(path).map_err(Stop::Picture)?;
            kind = Some(check(path, self.overwrite)?);
        }
        let kind = kind.unwrap_or(picture.kind);
        let frame = self.enlarge(&picture, kind)?;
        let (view, meta) = (frame.view(), &picture.meta);
        match &job.output {
            Place::File(path) => write_picture(path, &view, meta, self.overwrite),
            Place::Pipe => encode_picture(kind, &view, meta, "standard output").and_then(|bytes| {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes)
                    .and_then(|()| out.flush())
                    .map_err(|e| Error::new(ErrorKind::Io, "cannot write standard output").because(e))
            }),
        }
        .map_err(Stop::Picture)?;
        Ok((frame.width(), frame.height()))
    }

    fn enlarge(&mut self, picture: &Picture, kind: FileKind) -> Result<Frame, Stop> {
        let upscaler = match self.upscaler.take() {
            Some(upscaler) => upscaler,
            None => Upscaler::new(self.options).map_err(Stop::All)?,
        };
        let upscaler = self.upscaler.insert(upscaler);
        let small = picture.frame.view();
        let size = upscaler.output_size(small.width(), small.height(), self.options.scale);
        let (width, height) = size.map_err(|e| match e.kind() {
            ErrorKind::Option => Stop::All(e),
            _ => Stop::Picture(e),
        })?;
        kind.check(small.format(), width, height).map_err(Stop::Picture)?;
        let mut large = Frame::new(small.format(), width, height, small.color()).map_err(Stop::Picture)?;
        let report = &mut self.report;
        let mut progress = |p| {
            report.progress(p);
            ControlFlow::Continue(())
        };
        upscaler
            .run(&small, &mut large.view_mut(), self.options, &mut progress, self.cancel)
            .map_err(Stop::Picture)?;
        Ok(large)
    }
}

fn read(input: &Place) -> Result<Picture, Error> {
    match input {
        Place::File(path) => read_picture(path),
        Place::Pipe => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(|e| Error::new(ErrorKind::Io, "cannot read standard input").because(e))?;
            read_picture_bytes(&bytes, "standard input")
        }
    }
}

fn make_folder(file: &Path) -> Result<(), Error> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|e| {
        Error::new(ErrorKind::Io, format!("cannot write {}: its folder cannot be made", file.display()))
            .because(e)
    })
}
