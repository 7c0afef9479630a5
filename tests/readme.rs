//! The README's commands, run as they stand on tiny input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use ssmoesr_tests::child;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Lines of all `sh` blocks.
fn commands(readme: &str) -> Vec<&str> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in readme.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => out.push(line),
            _ => {}
        }
    }
    out
}

/// Where cargo put what it built: the command and the plug-in, in this profile instead of `release`.
fn built() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().and_then(Path::parent).unwrap().to_path_buf();
    assert!(folder.join("ssmoesr").is_file(), "run with `cargo test --workspace`: it builds the command");
    folder
}

fn shell(folder: &Path, line: &str) {
    let built = built();
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(folder)
        .env("PATH", path)
        .env("GST_PLUGIN_PATH", folder.join("plugins"))
        .env("GST_REGISTRY", folder.join("registry"))
        .env("PKG_CONFIG_PATH", folder.join("usr/lib/pkgconfig"))
        .env("PKG_CONFIG_SYSROOT_DIR", folder)
        .env("LD_LIBRARY_PATH", folder.join("usr/lib"))
        .env_remove("SSMOESR_MODEL");
    let output = child::run(&mut command, child::LIMIT);
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_commands_work() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    assert_eq!(commands.len(), 18, "{commands:?}");

    let room = tempfile::tempdir().unwrap();
    let room = room.path();
    let plugin = [built().join("deps/libgstssmoesr.so"), built().join("libgstssmoesr.so")];
    let plugin = plugin.iter().find(|p| p.is_file()).expect("cargo builds the plug-in with the workspace");
    std::fs::create_dir_all(room.join("plugins")).unwrap();
    std::fs::create_dir(room.join("album")).unwrap();
    std::fs::copy(plugin, room.join("plugins/libgstssmoesr.so")).unwrap();
    let mut install = Command::new("make");
    install
        .args(["-s", "install", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", room.display()))
        .env("BUILT", built())
        .current_dir(root());
    let install = child::run(&mut install, child::LIMIT);
    assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
    for file in ["bin/ssmoesr", "lib/gstreamer-1.0/libgstssmoesr.so", "share/ssmoesr/models/photo/model.json"]
    {
        assert!(room.join("usr").join(file).is_file(), "{file}");
    }
    std::fs::write(room.join("small.ppm"), [b"P6 8 6 255\n".as_slice(), &[90; 8 * 6 * 3]].concat()).unwrap();
    std::os::unix::fs::symlink(root().join("examples"), room.join("examples")).unwrap();
    let tiny = "videotestsrc num-buffers=1 ! video/x-raw,width=32,height=16";
    for line in [
        &format!("gst-launch-1.0 -q {tiny} ! jpegenc ! filesink location=photo.jpg"),
        &format!("gst-launch-1.0 -q {tiny} ! videoconvert ! pngenc ! filesink location=album/one.png"),
        // Of a single frame with sound, the muxer leaves out the frame.
        &format!(
            "gst-launch-1.0 -q {} ! videoconvert ! x264enc ! mp4mux name=mux ! filesink location=in.mp4 \
             audiotestsrc num-buffers=9 ! avenc_aac ! mux.",
            tiny.replace("num-buffers=1", "num-buffers=5")
        ),
    ] {
        shell(room, line);
    }

    for line in commands {
        if let Some(targets) = line.strip_prefix("make ") {
            // What they run is tested elsewhere; here, that make knows them.
            let mut make = Command::new("make");
            make.arg("-n").args(targets.split(' ')).current_dir(root());
            assert!(child::run(&mut make, child::LIMIT).status.success(), "{line}");
        } else if let Some(export) = line.strip_prefix("export ") {
            // Here they lead to what the tests built.
            let known = [
                "GST_PLUGIN_PATH=$PWD/target/release",
                "PKG_CONFIG_PATH=$HOME/.local/lib/pkgconfig LD_LIBRARY_PATH=$HOME/.local/lib",
            ];
            assert!(known.contains(&export), "{export}");
        } else {
            // Without a camera and a screen.
            let line = line
                .replace("v4l2src", "videotestsrc is-live=true num-buffers=3")
                .replace("autovideosink", "fakesink")
                .replace("playbin ", "playbin video-sink=fakesink audio-sink=fakesink ");
            shell(room, &line);
        }
    }
    for made in
        ["photo_large.png", "large.png", "enlarged/one.png", "piped.png", "close.png", "out.mp4", "big.ppm"]
    {
        assert!(std::fs::metadata(room.join(made)).is_ok_and(|m| m.len() > 100), "{made}");
    }
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut links = 0;
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ARCHITECTURE.md",
        "docs/C-API.md",
        "docs/GIMP.md",
        "docs/GSTREAMER.md",
        "docs/ROADMAP.md",
    ] {
        let document = root().join(document);
        let text = std::fs::read_to_string(&document).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            if !link.starts_with("http") {
                assert!(document.parent().unwrap().join(link).exists(), "{}: {link}", document.display());
                links += 1;
            }
        }
    }
    assert!(links > 8, "{links}");
}
