//! The built plug-in in the programs people use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ssmoesr_tests::child::{self, LIMIT};
use ssmoesr_tests::models::TestModel;

/// A folder with the plug-in and nothing else, and the programs' view of it.
struct Installed {
    folder: tempfile::TempDir,
}

/// The plug-in that cargo built beside this test.
fn plugin() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    [deps.join("libgstssmoesr.so"), deps.parent().unwrap().join("libgstssmoesr.so")]
        .into_iter()
        .find(|p| p.is_file())
        .expect("libgstssmoesr.so beside the test: cargo builds it with the rlib")
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(plugin(), folder.path().join("libgstssmoesr.so")).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, program: &str, arguments: &str) -> Output {
        self.run_with(program, arguments, &[])
    }

    fn run_with(&self, program: &str, arguments: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program);
        command
            .args(arguments.split_whitespace())
            .env("GST_PLUGIN_PATH", self.path())
            .env("GST_REGISTRY", self.path().join("registry"))
            .env("G_DEBUG", "fatal-warnings")
            .envs(environment.iter().copied());
        child::run(&mut command, LIMIT)
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn gst_inspect_shows_it() {
    let shown = text(&Installed::new().run("gst-inspect-1.0", "ssmoesr"));
    for want in ["GstSsmoesr", "MIT/X11", "none (0)", "max-output-pixels", "fidelity", "[ 4, 32768, 4 ]"] {
        assert!(shown.contains(want), "{want} is missing in {shown}");
    }
    // A property without nick or blurb would show as (null).
    assert!(!shown.contains("(null)"), "{shown}");
}

#[test]
fn gst_launch_writes_frames_four_times_larger() {
    let installed = Installed::new();
    let file = installed.path().join("out.raw");
    let output = installed.run(
        "gst-launch-1.0",
        &format!(
            "-q videotestsrc num-buffers=2 ! video/x-raw,format=RGB,width=16,height=12 ! ssmoesr scale=4 ! \
             filesink location={}",
            file.display()
        ),
    );
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 2 * 64 * 48 * 3);
}

/// What gst-launch-1.0 says where it cannot play; the first error is the element's own.
#[track_caller]
fn refused(installed: &Installed, properties: &str, words: &[&str]) {
    let output = installed.run("gst-launch-1.0", &format!("videotestsrc ! ssmoesr {properties} ! fakesink"));
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    let first = said.lines().find(|l| l.starts_with("ERROR")).unwrap_or_default();
    assert!(words.iter().all(|word| first.contains(word)), "{said}");
}

#[test]
fn gst_launch_says_which_model_is_missing() {
    let words = ["Cannot load the model", "/nowhere/at-all"];
    refused(&Installed::new(), "model=/nowhere/at-all", &words);
}

/// Comes from the loading thread, while gst-launch-1.0 may not listen yet.
#[test]
fn gst_launch_says_which_file_is_damaged() {
    let model = TestModel::damaged();
    let words = ["Cannot load the model", "decoder.safetensors"];
    refused(&Installed::new(), &format!("model={}", model.path()), &words);
}

/// Objects that outlive a program that plays `pipeline`.
fn alive(installed: &Installed, pipeline: &str, succeeds: bool) -> Vec<String> {
    let traced = [("GST_TRACERS", "leaks"), ("GST_DEBUG", "GST_TRACER:7"), ("GST_DEBUG_NO_COLOR", "1")];
    let output = installed.run_with("gst-launch-1.0", pipeline, &traced);
    let said = text(&output);
    assert_eq!(output.status.success(), succeeds, "{pipeline}\n{said}");
    // Declared by the tracer, in a line with %s for the name of the type.
    assert!(said.contains("object-alive"), "no tracer: {said}");
    said.lines()
        .filter(|l| l.contains("object-alive, type-name=(string)") && !l.contains("(string)%"))
        .map(str::to_owned)
        .collect()
}

/// GStreamer's leaks tracer names every object that outlives a program.
#[test]
fn nothing_is_left_behind() {
    let (good, damaged) = (TestModel::bicubic(), TestModel::damaged());
    let (good, damaged) = (format!("device=cpu model={}", good.path()), format!("model={}", damaged.path()));
    let source = "videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=16,height=12";
    let installed = Installed::new();
    for (pipeline, succeeds) in [
        (format!("{source} ! ssmoesr {good} ! fakesink"), true),
        (format!("{source} ! ssmoesr {good} ! queue ! ssmoesr scale=8 {good} ! fakesink"), true),
        (format!("{source} ! ssmoesr {damaged} ! fakesink"), false),
        (format!("{source} ! ssmoesr model=/nowhere/at-all ! fakesink"), false),
        (format!("{source},interlace-mode=interleaved ! ssmoesr {good} ! fakesink"), false),
        (format!("{source} ! ssmoesr max-output-pixels=9 {good} ! fakesink"), false),
    ] {
        // What leaks does so every time; once may be a thread on its way out, which the end of the program overtook.
        let alive = (0..3).map(|_| alive(&installed, &pipeline, succeeds)).take_while(|a| !a.is_empty());
        let alive: Vec<_> = alive.collect();
        assert!(alive.len() < 3, "{pipeline}\n{alive:#?}");
    }
}

/// A library that is missing when the registry is written bans the plug-in until the cache is deleted.
#[test]
fn the_plugin_needs_nothing_unusual() {
    let output = child::run(Command::new("readelf").arg("-d").arg(plugin()), LIMIT);
    let dump = text(&output);
    let needed: Vec<&str> = dump
        .lines()
        .filter(|l| l.contains("(NEEDED)"))
        .filter_map(|l| l.split_once('[').and_then(|(_, r)| r.split_once(']')).map(|(name, _)| name))
        .collect();
    assert!(needed.len() > 4, "{dump}");
    let usual = ["libc.so", "libm.so", "libgcc_s.so", "libglib-2.0", "libgobject-2.0", "libgst", "ld-linux"];
    for library in needed {
        assert!(usual.iter().any(|u| library.starts_with(u)), "needs {library}");
    }
}
