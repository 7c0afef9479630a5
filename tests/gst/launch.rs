//! The built plug-in in the programs people use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
        Command::new(program)
            .args(arguments.split_whitespace())
            .env("GST_PLUGIN_PATH", self.path())
            .env("GST_REGISTRY", self.path().join("registry"))
            .env("G_DEBUG", "fatal-warnings")
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}"))
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

#[test]
fn gst_launch_says_which_model_is_missing() {
    let output =
        Installed::new().run("gst-launch-1.0", "videotestsrc ! ssmoesr model=/nowhere/at-all ! fakesink");
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    let first = said.lines().find(|l| l.starts_with("ERROR")).unwrap_or_default();
    assert!(first.contains("Cannot load the model") && first.contains("/nowhere/at-all"), "{said}");
}

/// A library that is missing when the registry is written bans the plug-in until the cache is deleted.
#[test]
fn the_plugin_needs_nothing_unusual() {
    let output = Command::new("readelf").arg("-d").arg(plugin()).output().expect("readelf (binutils)");
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
