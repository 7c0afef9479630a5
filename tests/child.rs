//! Programs run with a time limit, so that one that hangs fails its test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on shall stop")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Longer than any program of the tests takes on a slow and loaded machine.
pub const LIMIT: Duration = Duration::from_secs(240);

/// Runs `command` to its end and returns what it wrote.
///
/// # Panics
/// Where it cannot be started or does not end within `limit`; it is killed then, and what it wrote is shown.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    // A group of its own: what a shell has started ends with it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    // Read while it runs: a full pipe would stop it.
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if started.elapsed() > limit {
            let group = format!("-{}", child.id());
            Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
            child.wait().unwrap();
            break None;
        }
        sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else {
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        panic!("{command:?} did not end within {limit:?}\n{out}\n{err}");
    };
    Output { status, stdout, stderr }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_collected() {
        let output = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), LIMIT);
        assert_eq!(
            (output.status.code(), &*output.stdout, &*output.stderr),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    #[should_panic(expected = "did not end within 100ms")]
    fn what_hangs_fails() {
        // The shell's own child holds the pipes.
        run(Command::new("sh").args(["-c", "sleep 60; true"]), Duration::from_millis(100));
    }
}
