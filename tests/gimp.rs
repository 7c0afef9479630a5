//! The plug-in in a GIMP without a window, its results held against the command's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ssmoesr_core::{ColorInfo, Frame, Metadata, Overwrite, PixelFormat, read_picture, write_picture};

#[path = "gimp/icc.rs"]
mod icc;

/// Seconds after which a GIMP hangs: no machine is so slow.
const PATIENCE: &str = "1200";

/// A picture of flat shapes, ramps and noise; `value(x, y, c)` in 0..=65535.
fn value(x: u32, y: u32, c: u32) -> u32 {
    let disc = (x % 40).abs_diff(20).pow(2) + (y % 30).abs_diff(15).pow(2) < 90;
    let ramp = x * 350 + y * 200 + c * 9000;
    let noise = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ (c * 31)).wrapping_mul(2_654_435_761) >> 20;
    (if disc { 60_000 - c * 20_000 } else { ramp % 50_000 }) + noise
}

fn picture(format: PixelFormat, width: u32, height: u32) -> Frame {
    let mut frame = Frame::new(format, width, height, ColorInfo::default()).unwrap();
    let (bytes, pixel) = (format.sample_bytes(), format.pixel_bytes(0));
    let samples = (pixel / bytes) as u32;
    for (i, px) in frame.plane_mut(0).chunks_exact_mut(pixel).enumerate() {
        let (x, y) = (i as u32 % width, i as u32 / width);
        let inside = x.abs_diff(width / 2).pow(2) + y.abs_diff(height / 2).pow(2) < 200;
        for (c, out) in px.chunks_exact_mut(bytes).enumerate() {
            let alpha = format.has_alpha() && c as u32 == samples - 1;
            let v = match (alpha, format.has_alpha() && samples == 4) {
                (true, _) => u32::from(inside) * 65_535,
                // A red disc, and green that nobody shall see.
                (_, true) => {
                    if inside {
                        [65_535, 8_000, 8_000][c]
                    } else {
                        [0, 65_535, 0][c]
                    }
                }
                _ => value(x, y, c as u32).min(65_535),
            };
            match out {
                [one] => *one = (v >> 8) as u8,
                two => two.copy_from_slice(&(v as u16).to_ne_bytes()),
            }
        }
    }
    frame
}

fn save(path: &Path, frame: &Frame, icc: Option<Vec<u8>>) {
    let mut meta = Metadata::default();
    meta.icc = icc;
    write_picture(path, &frame.view(), &meta, Overwrite::Replace).unwrap();
}

fn load(path: &Path) -> Frame {
    read_picture(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).frame
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn model() -> PathBuf {
    root().join("models/photo").canonicalize().unwrap()
}

/// What the command makes of a picture.
fn by_command(input: &Path, output: &Path) -> Frame {
    let command = Path::new(env!("CARGO_BIN_EXE_ssmoesr-gimp")).with_file_name("ssmoesr");
    assert!(command.is_file(), "run with `cargo test --workspace`: it builds the command");
    let status = Command::new(command)
        .arg("upscale")
        .args([input, output])
        .args(["--scale", "4", "--quiet", "--force"])
        .env("SSMOESR_MODEL", model())
        .status()
        .unwrap();
    assert!(status.success());
    load(output)
}

/// Where GIMP runs: a profile of its own, with the plug-in and only those of GIMP's that the cases need.
struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new(theirs: &Path, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let room = folder.path();
        let plug_ins = room.join("profile/plug-ins");
        let own = plug_ins.join("ssmoesr-gimp");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(room.join("in")).unwrap();
        fs::create_dir_all(room.join("out")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_ssmoesr-gimp"), own.join("ssmoesr-gimp")).unwrap();
        for name in names {
            std::os::unix::fs::symlink(theirs.join(name), plug_ins.join(name)).unwrap();
        }
        fs::write(room.join("profile/gimprc"), "(plug-in-path \"${gimp_dir}/plug-ins\")\n").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_inputs(&self) {
        use PixelFormat as F;
        for (name, format) in [
            ("rgb8", F::Rgb8),
            ("rgba8", F::Rgba8),
            ("gray8", F::Gray8),
            ("graya8", F::GrayA8),
            ("rgb16", F::Rgb16),
            ("gray16", F::Gray16),
        ] {
            save(&self.path(&format!("in/{name}.png")), &picture(format, 48, 40), None);
        }
        save(&self.path("in/icc.png"), &picture(F::Rgb8, 48, 40), Some(icc::wide_profile()));
        save(&self.path("in/icc16.png"), &picture(F::Rgb16, 48, 40), Some(icc::wide_profile()));
        save(&self.path("in/wide.png"), &picture(F::Rgb8, 200, 60), None);
    }

    fn out(&self, name: &str) -> Frame {
        load(&self.path(&format!("out/{name}.png")))
    }

    /// What the command makes of `ROOM/NAME.png`.
    fn expected(&self, name: &str) -> Frame {
        by_command(&self.path(&format!("{name}.png")), &self.path("expected.png"))
    }
}

/// Largest difference of samples where both show something.
fn difference(a: &Frame, b: &Frame) -> u32 {
    assert_eq!((a.width(), a.height(), a.format()), (b.width(), b.height(), b.format()));
    let (bytes, pixel) = (a.format().sample_bytes(), a.format().pixel_bytes(0));
    let sample = |px: &[u8], i: usize| match bytes {
        1 => u32::from(px[i]),
        _ => u32::from(u16::from_ne_bytes([px[2 * i], px[2 * i + 1]])),
    };
    let last = pixel / bytes - 1;
    let mut worst = 0;
    for (a, b) in a.plane(0).chunks_exact(pixel).zip(b.plane(0).chunks_exact(pixel)) {
        // GIMP clears colours under full transparency when it writes PNG.
        let hidden = pixel / bytes % 2 == 0 && sample(a, last) == 0 && sample(b, last) == 0;
        for i in (0..=last).filter(|_| !hidden) {
            worst = worst.max(sample(a, i).abs_diff(sample(b, i)));
        }
    }
    worst
}

/// Mean of a component of whole bytes.
fn mean(frame: &Frame, component: usize) -> f64 {
    let pixel = frame.format().pixel_bytes(0);
    let values = frame.plane(0).chunks_exact(pixel).map(|px| f64::from(px[component]));
    values.sum::<f64>() / (frame.plane(0).len() / pixel) as f64
}

/// A part of a picture of whole bytes.
fn crop(frame: &Frame, (x, y, w, h): (usize, usize, usize, usize)) -> Frame {
    let pixel = frame.format().pixel_bytes(0);
    let mut part = Frame::new(frame.format(), w as u32, h as u32, frame.color()).unwrap();
    for (row, out) in part.plane_mut(0).chunks_exact_mut(w * pixel).enumerate() {
        let from = ((y + row) * frame.width() as usize + x) * pixel;
        out.copy_from_slice(&frame.plane(0)[from..][..w * pixel]);
    }
    part
}

struct Facts(BTreeMap<String, String>, String);

impl Facts {
    fn read(log: &str) -> Self {
        let lines = log.lines().filter_map(|l| l.split_once("fact ")?.1.split_once('='));
        Self(lines.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect(), log.to_owned())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no fact {name} in\n{}", self.1))
    }
}

fn run(command: &mut Command) -> Facts {
    let output = command.stdin(Stdio::null()).output().expect("GIMP starts");
    // What GIMP says of its own goes to either.
    let log = [output.stdout, output.stderr].concat();
    Facts::read(&String::from_utf8_lossy(&log))
}

#[test]
fn gimp_2_10_gets_what_the_command_makes() {
    let console = Path::new("/usr/bin/gimp-console-2.10");
    assert!(console.is_file(), "GIMP 2.10 is not installed: run scripts/setup.sh test");
    let room = Room::new(Path::new("/usr/lib/gimp/2.0/plug-ins"), &["script-fu", "file-png"]);
    room.make_inputs();
    let script = format!(
        "(begin (define room \"{}\") (load \"{}\"))",
        room.folder.path().display(),
        root().join("tests/gimp/cases.scm").display()
    );
    let facts = run(Command::new("timeout")
        .args([PATIENCE, "gimp-console-2.10", "-idf", "-b", &script, "-b", "(gimp-quit 0)"])
        .env("GIMP2_DIRECTORY", room.path("profile"))
        .env("SSMOESR_MODEL", model()));
    check(&room, &facts);
    // What the manual tells to type.
    fs::copy(room.path("in/rgb8.png"), room.path("photo.png")).unwrap();
    let lines = documented("gimp-console-2.10 ");
    assert_eq!(lines.len(), 1);
    run(Command::new("timeout")
        .args([PATIENCE, "bash", "-c", &lines[0]])
        .current_dir(room.path("."))
        .env("GIMP2_DIRECTORY", room.path("profile"))
        .env("SSMOESR_MODEL", model()));
    assert_eq!(difference(&load(&room.path("large.png")), &room.expected("in/rgb8")), 0);
    // The names of precisions: 8 bit 150, 16 bit 250.
    assert_eq!(facts.get("precision-rgb8"), "150 150");
    assert_eq!(facts.get("precision-rgb16"), "250 250");
    let file = room.path("in/icc x4");
    assert_eq!(facts.get("name"), file.display().to_string());
    // In 3.x GIMP itself takes no other words.
    assert_eq!(facts.get("refused-scope"), "yes same");
    assert!(facts.1.contains("scope is \"9\", possible: layer (0)"), "{}", facts.1);
}

/// GIMP 3.x, each in a root folder of its own.
#[test]
#[ignore = "needs root and two Debian systems: make test-gimp3"]
fn gimp_3_gets_what_the_command_makes() {
    let roots = std::env::var_os("SSMOESR_TEST_GIMP3").expect("make test-gimp3 says where they are");
    for system in std::env::split_paths(&roots) {
        gimp_3(&system);
    }
}

fn gimp_3(system: &Path) {
    let theirs = Path::new("/usr/lib/x86_64-linux-gnu/gimp/3.0/plug-ins");
    let room = Room::new(theirs, &["script-fu", "python-eval", "file-png"]);
    room.make_inputs();
    fs::copy(root().join("tests/gimp/cases.py"), room.path("cases.py")).unwrap();
    let models = room.path("models");
    fs::create_dir(&models).unwrap();
    for file in fs::read_dir(model()).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, models.join(file.file_name().unwrap())).unwrap();
    }
    // The room under the same name inside.
    let inside = system.join(room.folder.path().strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let mount = |args: &[&std::ffi::OsStr]| {
        assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success(), "{args:?}");
    };
    mount(&["mount".as_ref(), "--bind".as_ref(), room.folder.path().as_ref(), inside.as_ref()]);
    let script = format!("room='{0}'; exec(open('{0}/cases.py').read())", room.folder.path().display());
    let manual = fs::read_to_string(root().join("docs/GIMP.md")).unwrap();
    let python = manual.split("```python\n").nth(1).and_then(|t| t.split("```").next()).unwrap();
    fs::write(room.path("batch.py"), python).unwrap();
    fs::copy(room.path("in/rgb8.png"), room.path("photo.png")).unwrap();
    let words: Vec<OsString> = vec![
        PATIENCE.into(),
        "chroot".into(),
        system.into(),
        "gimp-console".into(),
        "-idf".into(),
        "--batch-interpreter".into(),
        "python-fu-eval".into(),
        "-b".into(),
        script.into(),
        "--quit".into(),
    ];
    let facts = run(Command::new("timeout")
        .args(words)
        .env("GIMP3_DIRECTORY", room.path("profile"))
        .env("SSMOESR_MODEL", &models));
    let lines = documented("gimp-console -");
    assert_eq!(lines.len(), 2);
    let mut made = Vec::new();
    for line in lines {
        let line = format!("cd {} && {line}", room.folder.path().display());
        run(Command::new("timeout")
            .args([PATIENCE.as_ref(), "chroot".as_ref(), system.as_os_str(), "bash".as_ref(), "-c".as_ref()])
            .arg(line)
            .env("GIMP3_DIRECTORY", room.path("profile"))
            .env("SSMOESR_MODEL", &models));
        made.push(fs::rename(room.path("large.png"), room.path(&format!("large{}.png", made.len()))).is_ok());
    }
    mount(&["umount".as_ref(), inside.as_ref()]);
    assert_eq!(made, [true, true], "the lines of the manual write large.png");
    let expected = room.expected("in/rgb8");
    assert_eq!(difference(&load(&room.path("large0.png")), &expected), 0);
    assert_eq!(difference(&load(&room.path("large1.png")), &expected), 0);
    fs::remove_dir(&inside).unwrap();
    eprintln!("{}: GIMP {}", system.display(), facts.get("version"));
    check(&room, &facts);
    // Stored with the curve of sRGB: 2.10 has no such pictures.
    for precision in ["275", "675"] {
        check_precision(&room, &facts, precision);
    }
    check_profile(&room, &facts, "perceptual");
    assert_eq!(facts.get("refused-several"), "yes same");
    assert_eq!(facts.get("name"), room.path("in/icc x4.xcf").display().to_string());
}

/// The lines of `docs/GIMP.md` that begin with `program`.
fn documented(program: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/GIMP.md")).unwrap();
    text.lines().filter(|line| line.starts_with(program)).map(str::to_owned).collect()
}

/// A picture in another precision than that of a file keeps it, and becomes what the command makes of it.
fn check_precision(room: &Room, facts: &Facts, precision: &str) {
    assert_eq!(facts.get(&format!("kept-{precision}")), precision);
    let expected = room.expected(&format!("out/source-{precision}"));
    let off = difference(&room.out(&format!("precision-{precision}")), &expected);
    // Half a step of the precision, in codes of 16 bits: halves have 11 bits; linear ones are coarse where the
    // curve is steep. The source was rounded to 16 bits too, and the network makes more of that.
    let limit = match precision {
        "550" => 20,
        "200" => 10,
        _ => 4,
    };
    assert!(off <= limit, "precision {precision}: {off} of 65535");
}

/// A picture with a profile that is not stored with its curve: the network saw it as with the curve.
fn check_profile(room: &Room, facts: &Facts, name: &str) {
    // 2.10 changes the profile with the precision, 3.x does not; what belongs together is the same.
    let profile = |kind: &str| facts.get(&format!("{name}-{kind}-profile"));
    assert_eq!(profile("float"), profile("float-source"));
    let expected = room.expected(&format!("out/{name}-float-source"));
    let off = difference(&room.out(&format!("{name}-float")), &expected);
    // One step of 8 bits: babl computes the profile's curve by an approximation, in the conversions of this test, too.
    assert!(off <= 257, "{name}: {off} of 65535");
}

/// What is right in every GIMP.
fn check(room: &Room, facts: &Facts) {
    assert_eq!(facts.get("all"), "done");
    for name in ["rgb8", "rgba8", "gray8", "graya8", "rgb16", "gray16", "icc"] {
        let expected = room.expected(&format!("in/{name}"));
        assert_eq!(difference(&room.out(name), &expected), 0, "{name}");
        let (was, is) = facts.get(&format!("base-{name}")).split_once(' ').unwrap();
        assert_eq!(was, is, "{name}");
        let (was, is) = facts.get(&format!("precision-{name}")).split_once(' ').unwrap();
        assert_eq!(was, is, "{name}");
    }
    let fringe = room.out("rgba8");
    let green = fringe.plane(0).chunks_exact(4).filter(|px| px[3] > 0 && px[1] > px[0]).count();
    assert_eq!(green, 0, "pixels with the colour that lay under transparency");

    assert_eq!(facts.get("resolution").replace(".0", ""), "123 45");
    assert_eq!((facts.get("profile"), facts.get("guide")), ("same", "20"));
    assert_eq!((facts.get("comment"), facts.get("layer-name")), ("a comment", facts.get("layer-name")));
    assert!(facts.get("layer-name").ends_with(" x4"));

    for precision in ["200", "350", "550", "600", "650", "700"] {
        check_precision(room, facts, precision);
    }
    let (small, large) = (load(&room.path("in/icc.png")), room.out("icc"));
    for c in 0..3 {
        let off = mean(&small, c) - mean(&large, c);
        assert!(off.abs() <= 1.0, "component {c} moved by {off} of 255 on the whole");
    }
    for name in ["icc", "icc16"] {
        check_profile(room, facts, name);
    }
    assert_eq!(facts.get("base-indexed"), "0");
    assert_eq!(difference(&room.out("indexed"), &room.expected("out/indexed-source")), 0);

    // Layer at (7, -3), selected from (107, 17) on: 100, 20 of the layer; seen is from 64, 0 on.
    let seen = crop(&load(&room.path("in/wide.png")), (64, 0, 98, 60));
    save(&room.path("seen.png"), &seen, None);
    let large = room.expected("seen");
    assert_eq!(difference(&room.out("part"), &crop(&large, (144, 80, 120, 80))), 0);
    assert!(facts.get("part-layer").ends_with(" 0"), "the result is in the image itself");
    assert_eq!(facts.get("part-place"), "428 68 120 80");
    assert_eq!(facts.get("part-grown"), "28 -12 800 240");
    assert_eq!(facts.get("part-canvas"), "800 240");

    assert_eq!(facts.get("place-layers"), "2");
    assert_eq!(facts.get("place-over"), "12 8 192 160");
    assert_eq!(facts.get("place-under"), "0 0 192 160");
    assert!(facts.get("place-mask").ends_with("192 160"));
    assert_eq!(difference(&room.out("in-place"), &room.expected("in/rgba8")), 0);

    let (soft, twin) = (room.out("soft"), room.out("soft-twin"));
    let outside = (0, 0, 100, 240);
    assert_eq!(difference(&crop(&soft, outside), &crop(&twin, outside)), 0);
    let inside = (200, 80, 80, 40);
    assert_ne!(difference(&crop(&soft, inside), &crop(&twin, inside)), 0);

    assert_eq!(facts.get("visible-layers"), "2");
    let visible = room.out("visible");
    let expected = room.expected("out/visible-source");
    let opaque = visible.plane(0).chunks_exact(visible.format().pixel_bytes(0));
    let colours: Vec<u8> = opaque.flat_map(|px| px[..3].to_vec()).collect();
    assert_eq!(colours, expected.plane(0));

    assert_eq!(facts.get("mask-place"), "0 0 192 160");
    assert_eq!(facts.get("mask-value"), "0");

    for refused in [
        "indexed",
        "mask",
        "scale",
        "model",
        "nothing-selected",
        "beside",
        "channel",
        "locked",
        "group",
        "floating",
    ] {
        assert_eq!(facts.get(&format!("refused-{refused}")), "yes same", "{refused}");
    }
    let words = [
        "indexed image cannot",
        "layer mask",
        "Scale is",
        "no-such-model",
        "Nothing is selected",
        "does not touch",
        "is a channel",
        "are locked",
        "is a group",
        "floating selection",
    ];
    for said in words {
        assert!(facts.1.contains(said), "nobody was told \"{said}\":\n{}", facts.1);
    }
}
