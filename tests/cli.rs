//! The command as users meet it: bad input, folders, pipes, exit codes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ssmoesr_core::{ColorInfo, FileKind, Frame, Metadata, PixelFormat, encode_picture};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssmoesr"));
    // The default device, whatever the caller has set.
    command.env_remove("SSMOESR_DEVICE").env_remove("SSMOESR_MODEL").stdin(Stdio::null());
    command
}

fn upscale(input: impl AsRef<Path>, output: impl AsRef<Path>, more: &[&str]) -> Output {
    command().arg("upscale").arg(input.as_ref()).arg(output.as_ref()).args(more).output().unwrap()
}

fn picture(kind: FileKind, format: PixelFormat, width: u32, height: u32) -> Vec<u8> {
    let mut frame = Frame::new(format, width, height, ColorInfo::default()).unwrap();
    for (i, byte) in frame.plane_mut(0).iter_mut().enumerate() {
        *byte = (i * 7 % 200 + 20) as u8;
    }
    encode_picture(kind, &frame.view(), &Metadata::default(), "x").unwrap()
}

/// A folder that goes away with the test.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Names of all files, also hidden ones.
    fn files(&self) -> Vec<String> {
        fn list(folder: &Path, names: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { list(&path, names) } else { names.push(path) }
            }
        }
        let mut names = Vec::new();
        list(self.0.path(), &mut names);
        let mut names: Vec<_> = names
            .iter()
            .map(|p| p.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

/// One clear line that holds `words`, and this exit code.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("ssmoesr: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(output.stdout.is_empty());
}

/// A PNG that is nothing but a head with this size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let crc = !ihdr.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg()))
    });
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(ihdr);
    png.extend(crc.to_be_bytes());
    png.extend(b"\0\0\0\x04IDAT");
    png
}

#[test]
fn bad_pictures_are_one_clear_line_and_nothing_is_written() {
    let whole = picture(FileKind::Png, PixelFormat::Rgb8, 40, 30);
    for (name, bytes, words) in [
        ("cut.png", &whole[..whole.len() / 2], &["ends too early", "again"][..]),
        ("empty.png", b"", &["empty"]),
        ("text.png", b"this is a text and no picture", &["not a PNG, JPEG, WebP or TIFF"]),
        ("wide.png", &png_header(65_000, 65_000), &["65000x65000", "32768"]),
        ("flat.png", &png_header(65_000, 2), &["65000x2", "32768"]),
    ] {
        let room = Room::new();
        let input = room.put(name, bytes);
        let output = upscale(&input, room.path("out.png"), &[]);
        refused(&output, 1, &[&["cannot read", name], words].concat());
        assert_eq!(room.files(), [name]);
    }
}

#[test]
fn places_that_cannot_be_are_told() {
    let room = Room::new();
    let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 4));
    refused(&upscale(room.path("none.png"), room.path("b.png"), &[]), 1, &["none.png", "No such file"]);
    refused(&upscale(room.path("none"), room.path("out"), &[]), 1, &["none"]);
    refused(&upscale(&input, room.path("none/b.png"), &[]), 1, &["none/b.png", "folder"]);
    refused(&upscale(&input, room.path("b.bmp"), &[]), 1, &["b.bmp", ".png"]);
    refused(&upscale(&input, &input, &[]), 1, &["a.png", "exists already"]);
    assert_eq!(room.files(), ["a.png"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files_is_told_before_the_work() {
    let room = Room::new();
    let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 4));
    // Read-only for root, too.
    refused(&upscale(&input, "/proc/b.png", &[]), 1, &["cannot write /proc/b.png"]);
    // Root may write everywhere else; others are refused by the folder's mode.
    use std::os::unix::fs::PermissionsExt;
    let closed = room.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write into folders without write permission");
    } else {
        refused(&upscale(&input, closed.join("b.png"), &[]), 1, &["cannot write", "permission"]);
    }
}

#[test]
fn wrong_calls_exit_with_2() {
    let room = Room::new();
    let input = room.put("in/a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 4));
    let code = |args: &[&str]| command().args(args).output().unwrap().status.code();
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["upscale"]), Some(2));
    assert_eq!(code(&["enlarge", "a", "b"]), Some(2));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["--version"]), Some(0));
    let output = upscale(&input, room.path("b.png"), &["--scale", "5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("4 or 8"));
    refused(&upscale(room.path("in"), &input, &[]), 2, &["folder"]);
    refused(&upscale(room.path("in"), room.path("in"), &[]), 2, &["same folder"]);
    refused(&upscale(room.path("in"), "-", &[]), 2, &["folder"]);
    refused(&upscale(&input, "-", &["--json"]), 2, &["--json"]);
    assert_eq!(room.files(), ["in/a.png"]);
}

#[test]
fn an_empty_folder_and_a_missing_model_are_told() {
    let room = Room::new();
    room.put("in/readme.txt", b"no picture");
    refused(&upscale(room.path("in"), room.path("out"), &[]), 1, &["no PNG, JPEG, WebP or TIFF"]);
    let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 4));
    let model = room.path("no-such-model").display().to_string();
    refused(&upscale(&input, room.path("b.png"), &["--model", &model]), 1, &["no-such-model"]);
    assert_eq!(room.files(), ["a.png", "in/readme.txt"]);
}

#[test]
fn a_folder_of_bad_pictures_lists_them_all() {
    let room = Room::new();
    room.put("in/a.png", b"");
    room.put("in/deep/b.jpg", b"text, and no picture");
    let output = upscale(room.path("in"), room.path("out"), &["--json"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("0 written, 0 skipped, 2 failed"), "{text}");
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (line, name) in lines.iter().zip(["a.png", "b.jpg"]) {
        assert_eq!(line["status"], "failed");
        assert!(line["input"].as_str().unwrap().ends_with(name));
        assert!(line["error"].as_str().unwrap().contains(name));
    }
    assert_eq!(room.files(), ["in/a.png", "in/deep/b.jpg"]);
}

/// These need a device that runs the shipped model.
mod with_model {
    use std::io::Write;

    use ssmoesr_core::{read_picture, read_picture_bytes};

    use super::*;

    fn pipe(bytes: &[u8], args: &[&str]) -> Output {
        let mut child = command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap()
    }

    fn good(output: &Output) {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn every_kind_and_depth_of_picture() {
        use PixelFormat as F;
        let room = Room::new();
        for (i, (kind, extension, format)) in [
            (FileKind::Png, "png", F::Gray8),
            (FileKind::Png, "png", F::GrayA8),
            (FileKind::Png, "png", F::Rgba16),
            (FileKind::Jpeg, "jpg", F::Rgb8),
            (FileKind::WebP, "webp", F::Rgba8),
            (FileKind::Tiff, "tif", F::Rgb16),
        ]
        .into_iter()
        .enumerate()
        {
            let input = room.put(&format!("{i}.{extension}"), &picture(kind, format, 5, 3));
            let to = room.path(&format!("big{i}.{extension}"));
            good(&upscale(&input, &to, &["--quiet"]));
            let big = read_picture(&to).unwrap();
            assert_eq!((big.frame.format(), big.frame.width(), big.frame.height()), (format, 20, 12));
            assert_eq!(big.kind, kind);
        }
    }

    #[test]
    fn alpha_to_jpeg_is_refused_before_the_work() {
        let room = Room::new();
        let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgba8, 4, 4));
        refused(&upscale(&input, room.path("b.jpg"), &[]), 1, &["a.png", "transparency", "PNG"]);
        assert_eq!(room.files(), ["a.png"]);
    }

    #[test]
    fn folders_go_on_after_a_bad_picture_and_skip_what_is_done() {
        let room = Room::new();
        room.put("in/a.png", b"");
        room.put("in/b.PNG", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 3));
        room.put("in/deep/c.jpg", &picture(FileKind::Jpeg, PixelFormat::Gray8, 3, 4));
        room.put("in/notes.txt", b"no picture");
        // The output lies inside of the input: the second run must not take it for input.
        let (from, to) = (room.path("in"), room.path("in/out"));
        let output = upscale(&from, &to, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains("2 written, 0 skipped, 1 failed"), "{text}");
        assert_eq!(
            room.files(),
            ["in/a.png", "in/b.PNG", "in/deep/c.jpg", "in/notes.txt", "in/out/b.PNG", "in/out/deep/c.jpg"]
        );
        std::fs::remove_file(room.path("in/a.png")).unwrap();
        let before = room.path("in/out/b.PNG").metadata().unwrap().modified().unwrap();
        let output = upscale(&from, &to, &["--json"]);
        good(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("\"skipped\"").count(), 2);
        assert_eq!(room.path("in/out/b.PNG").metadata().unwrap().modified().unwrap(), before);
        let output = upscale(&from, &to, &["--json", "--force"]);
        good(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("\"done\"").count(), 2);
    }

    #[test]
    fn pipes_carry_the_same_bytes_as_files() {
        let room = Room::new();
        let bytes = picture(FileKind::Png, PixelFormat::Rgb8, 6, 5);
        let output = pipe(&bytes, &["upscale", "-", "-"]);
        good(&output);
        let big = read_picture_bytes(&output.stdout, "x").unwrap();
        assert_eq!((big.frame.width(), big.frame.height()), (24, 20));
        let input = room.put("a.png", &bytes);
        good(&upscale(&input, room.path("b.png"), &[]));
        assert_eq!(std::fs::read(room.path("b.png")).unwrap(), output.stdout);
        refused(&pipe(b"", &["upscale", "-", "-"]), 1, &["standard input", "empty"]);
    }

    #[test]
    fn force_replaces_and_json_tells_the_size() {
        let room = Room::new();
        let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 4, 3));
        room.put("b.png", b"old");
        let output = upscale(&input, room.path("b.png"), &["--force", "--json", "--scale", "8"]);
        good(&output);
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&line["status"], &line["width"], &line["height"]),
            (&"done".into(), &32.into(), &24.into())
        );
        assert_eq!(read_picture(&room.path("b.png")).unwrap().frame.width(), 32);
    }

    /// Whether SIGINT (2) is caught, by the mask that the kernel shows.
    #[cfg(target_os = "linux")]
    fn handles_interrupts(pid: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0
    }

    #[cfg(unix)]
    #[test]
    fn an_interrupt_leaves_nothing_behind() {
        let room = Room::new();
        let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 800, 600));
        let child = command()
            .args(["upscale", "--scale", "8", "--fidelity", "0"])
            .arg(&input)
            .arg(room.path("b.png"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Soon after the handler stands, which is before any work; the picture takes far longer.
        #[cfg(target_os = "linux")]
        while !handles_interrupts(child.id()) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        refused(&output, 130, &["cancelled"]);
        assert_eq!(room.files(), ["a.png"]);
    }

    /// A process that may have little memory takes smaller tiles, or says what is missing. It never aborts.
    #[cfg(target_os = "linux")]
    #[test]
    fn little_memory_makes_small_tiles_or_a_clear_line() {
        let room = Room::new();
        let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 300, 300));
        let with = |kib: u32| {
            let program = command().get_program().to_owned();
            Command::new("sh")
                .args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")])
                .arg(program)
                .args(["upscale", "--force", "--threads", "1"])
                .arg(&input)
                .arg(room.path("b.png"))
                .output()
                .unwrap()
        };
        // A tile of the whole picture wants 330 MiB.
        for kib in [1_000_000, 330_000] {
            let output = with(kib);
            good(&output);
            assert_eq!(read_picture(&room.path("b.png")).unwrap().frame.width(), 1200);
        }
        std::fs::remove_file(room.path("b.png")).unwrap();
        let output = with(130_000);
        refused(&output, 1, &["MiB", "smallest tiles", "address space"]);
        assert_eq!(room.files(), ["a.png"]);
    }

    #[test]
    fn a_plan_and_a_measurement_are_numbers() {
        let room = Room::new();
        let input = room.put("a.png", &picture(FileKind::Png, PixelFormat::Rgb8, 40, 30));
        let text = |args: &[&str]| {
            let output = command().args(args).output().unwrap();
            good(&output);
            String::from_utf8(output.stdout).unwrap()
        };
        let path = input.to_str().unwrap();
        let plan: serde_json::Value =
            serde_json::from_str(&text(&["plan", path, "--scale", "8", "--json"])).unwrap();
        assert_eq!(plan["output"], serde_json::json!([320, 240]));
        assert!(plan["tiles"] == 1 && plan["working_bytes"].as_u64().unwrap() > 100_000, "{plan}");
        let table = text(&["plan", path, "--tile-size", "96"]);
        assert!(table.contains("160x120") && table.contains("MiB") && table.contains("time"), "{table}");
        assert!(plan["seconds"].as_f64().unwrap() > 0.0, "{plan}");
        let small = ["bench", "--width", "16", "--height", "16", "--runs", "1"];
        let report: serde_json::Value =
            serde_json::from_str(&text(&[small.as_slice(), &["--json"]].concat())).unwrap();
        assert!(report["frame_ms"].as_f64().unwrap() > 0.0);
        for stage in report["stages"].as_array().unwrap() {
            assert!(stage["ms"].as_f64().unwrap() > 0.0 && stage["gflop"].as_f64().unwrap() > 0.0, "{stage}");
            assert!(!stage["ops"].as_array().unwrap().is_empty());
            let sum = |of: &str| -> f64 {
                stage[of].as_array().unwrap().iter().map(|x| x["ms"].as_f64().unwrap()).sum()
            };
            assert!((sum("ops") - sum("parts")).abs() < 1e-6 * sum("ops"), "{stage}");
        }
        assert!(text(&small).contains("GFLOP/s"));
    }

    #[test]
    fn the_shipped_model_is_shown() {
        let output = command().args(["model", "info"]).output().unwrap();
        good(&output);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("name") && text.contains("licence"), "{text}");
    }
}

/// `make install` of the command alone, below a folder of its own.
fn make(room: &Room, action: &str) {
    let built = Path::new(env!("CARGO_BIN_EXE_ssmoesr")).parent().unwrap();
    let output = Command::new("make")
        .args(["-s", action, "PREFIX=/usr", "PARTS=command"])
        .arg(format!("DESTDIR={}", room.0.path().display()))
        .env("BUILT", built)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pages_and_completions_are_installed_and_taken_away() {
    let room = Room::new();
    make(&room, "install");
    let files = room.files();
    for file in [
        "usr/bin/ssmoesr",
        "usr/share/bash-completion/completions/ssmoesr",
        "usr/share/zsh/site-functions/_ssmoesr",
        "usr/share/fish/vendor_completions.d/ssmoesr.fish",
        "usr/share/man/man1/ssmoesr.1",
    ] {
        assert!(files.iter().any(|f| f == file), "{file} is not in {files:?}");
    }
    // One page for each that the command knows: it lists them where a name is wrong.
    let refused = command().args(["man", "nobody"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    let mut known: Vec<_> = text.trim().rsplit_once("there are: ").unwrap().1.split(", ").collect();
    let mut pages: Vec<_> =
        files.iter().filter_map(|f| f.strip_prefix("usr/share/man/man1/")?.strip_suffix(".1")).collect();
    known.sort_unstable();
    pages.sort_unstable();
    assert!(known.len() > 9 && known == pages, "left: known, right: installed\n{known:?}\n{pages:?}");
    let read = |name: &str| std::fs::read_to_string(room.path(name)).unwrap();
    let page = read("usr/share/man/man1/ssmoesr.1");
    for word in [".SH NAME", ".SH \"EXIT STATUS\"", "SSMOESR_MODEL"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(read("usr/share/man/man1/ssmoesr-upscale.1").contains("\\-\\-fidelity"));
    // The shells that are here read their scripts.
    for (shell, script) in [
        ("bash", "usr/share/bash-completion/completions/ssmoesr"),
        ("zsh", "usr/share/zsh/site-functions/_ssmoesr"),
        ("fish", "usr/share/fish/vendor_completions.d/ssmoesr.fish"),
    ] {
        assert!(read(script).contains("fidelity"), "{shell}");
        if let Ok(status) = Command::new(shell).arg("-n").arg(room.path(script)).status() {
            assert!(status.success(), "{shell}");
        }
    }
    make(&room, "uninstall");
    assert_eq!(room.files(), Vec::<String>::new());
}
