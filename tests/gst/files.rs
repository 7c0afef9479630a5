//! What players do with a file: the behaviours that GStreamer's own validation scenarios look at.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use ssmoesr_tests::child;
use ssmoesr_tests::models::TestModel;

use crate::util::{Pipe, stat};

/// Frames of the file; 25 a second, a key frame every 10.
const FRAMES: u64 = 50;

const FRAME_MS: u64 = 40;

/// A film of H.264 with tone in MP4, as they lie around, and a model that is fast.
struct Film {
    folder: tempfile::TempDir,
    model: TestModel,
}

impl Film {
    fn new() -> Self {
        let film = Self { folder: tempfile::tempdir().unwrap(), model: TestModel::bicubic() };
        crate::util::run(&format!(
            "videotestsrc pattern=ball num-buffers={FRAMES} ! \
             video/x-raw,format=I420,width=64,height=48,framerate=25/1,pixel-aspect-ratio=12/11 ! \
             x264enc key-int-max=10 tune=zerolatency ! mp4mux name=mux ! filesink location={} \
             audiotestsrc num-buffers=86 ! audio/x-raw,rate=44100 ! avenc_aac ! mux.",
            film.path().display()
        ));
        film
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("in.mp4")
    }
}

/// The film being played.
struct Player {
    pipe: Pipe,
    /// Timestamps that left the element, in milliseconds, since the last look.
    shown: Arc<Mutex<Vec<u64>>>,
    _film: Film,
}

impl Player {
    fn new(sync: bool) -> Self {
        let film = Film::new();
        let pipe = Pipe::new(&format!(
            "filesrc location={} ! decodebin name=decode \
             ssmoesr name=sr device=cpu model={} ! fakesink name=sink sync={sync}",
            film.path().display(),
            film.model.path()
        ));
        // By hand: what the parser links, it links once, and a decoder makes its pads anew on every way up.
        let input = pipe.element.static_pad("sink").unwrap();
        pipe.pipeline.by_name("decode").unwrap().connect_pad_added(move |_, pad| {
            if pad
                .current_caps()
                .is_some_and(|caps| caps.structure(0).is_some_and(|s| s.name() == "video/x-raw"))
            {
                pad.link(&input).unwrap();
            }
        });
        let shown: Arc<Mutex<Vec<u64>>> = Arc::default();
        let list = shown.clone();
        pipe.element.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            list.lock().unwrap().push(info.buffer().unwrap().pts().unwrap().mseconds());
            gst::PadProbeReturn::Ok
        });
        Self { pipe, shown, _film: film }
    }

    fn start(sync: bool, state: gst::State) -> Self {
        let player = Self::new(sync);
        player.pipe.state(state);
        player.settled();
        player
    }

    /// Waits for the end of a change that needs data.
    #[track_caller]
    fn settled(&self) {
        self.pipe.wait(gst::MessageType::AsyncDone);
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }

    #[track_caller]
    fn seek(&self, ms: u64) {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        self.pipe.pipeline.seek_simple(flags, gst::ClockTime::from_mseconds(ms)).unwrap();
        self.settled();
    }

    /// The frame that the sink shows.
    fn sample(&self) -> u64 {
        let sink = self.pipe.pipeline.by_name("sink").unwrap();
        let sample = sink.property::<gst::Sample>("last-sample");
        sample.buffer().unwrap().pts().unwrap().mseconds()
    }

    #[track_caller]
    fn play_out(&self) -> Vec<u64> {
        self.pipe.state(gst::State::Playing);
        self.pipe.wait(gst::MessageType::Eos);
        self.take()
    }
}

fn frames(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|frame| frame * FRAME_MS).collect()
}

#[test]
fn every_frame_comes_out_at_its_time() {
    let player = Player::new(false);
    let arrived: Arc<Mutex<Vec<_>>> = Arc::default();
    let list = arrived.clone();
    player.pipe.element.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        list.lock().unwrap().push(buffer.pts().unwrap().mseconds());
        gst::PadProbeReturn::Ok
    });
    assert_eq!(player.play_out(), frames(0..FRAMES));
    assert_eq!(*arrived.lock().unwrap(), frames(0..FRAMES));
    let caps = |pad: &str| player.pipe.element.static_pad(pad).unwrap().current_caps().unwrap();
    let (i, o) = (caps("sink"), caps("src"));
    let [i, o] = [&i, &o].map(|caps| gst_video::VideoInfo::from_caps(caps).unwrap());
    assert_eq!((o.width(), o.height()), (256, 192));
    assert_eq!((o.fps(), o.par()), (gst::Fraction::new(25, 1), gst::Fraction::new(12, 11)));
    assert_eq!((o.fps(), o.par(), o.colorimetry()), (i.fps(), i.par(), i.colorimetry()));
}

#[test]
fn seeks_forward_and_backward_while_playing() {
    let player = Player::start(true, gst::State::Playing);
    for target in [400, 800, 1200, 1600, 1200, 600, 200, 0] {
        player.seek(target);
        assert_eq!(player.take().into_iter().find(|ms| *ms == target), Some(target), "{target}");
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(player.play_out().last(), Some(&((FRAMES - 1) * FRAME_MS)));
}

#[test]
fn scrubbing_shows_the_frame_under_the_pointer() {
    let player = Player::start(true, gst::State::Paused);
    assert_eq!(player.sample(), 0);
    for target in [0, 1000, 40, 1960, 920, 960, 1000, 480, 1880, 0] {
        player.seek(target);
        assert_eq!(player.sample(), target);
    }
}

#[test]
fn a_seek_with_a_stop_plays_that_part() {
    let player = Player::start(true, gst::State::Paused);
    player.take();
    let (flags, set) = (gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::SeekType::Set);
    let ms = gst::ClockTime::from_mseconds;
    player.pipe.pipeline.seek(1.0, flags, set, ms(400), set, ms(800)).unwrap();
    player.settled();
    assert_eq!(player.play_out(), frames(10..20));
}

#[test]
fn pauses_lose_nothing() {
    let player = Player::start(true, gst::State::Paused);
    for _ in 0..6 {
        player.pipe.state(gst::State::Playing);
        std::thread::sleep(Duration::from_millis(70));
        player.pipe.state(gst::State::Paused);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(player.play_out(), frames(0..FRAMES));
}

#[test]
fn backwards() {
    let player = Player::start(true, gst::State::Paused);
    player.take();
    let (flags, set) = (gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::SeekType::Set);
    let end = gst::ClockTime::from_mseconds(FRAMES * FRAME_MS);
    player.pipe.pipeline.seek(-1.0, flags, set, gst::ClockTime::ZERO, set, end).unwrap();
    player.settled();
    let mut want = frames(0..FRAMES);
    want.reverse();
    assert_eq!(player.play_out(), want);
}

#[test]
fn hundreds_of_rapid_state_changes() {
    use gst::State::{Null, Paused, Playing, Ready};
    let player = Player::new(true);
    let ways = [Paused, Playing, Paused, Ready, Playing, Null, Playing, Ready, Paused, Null];
    // As many different distances between changes as there are frames.
    for (i, state) in ways.iter().cycle().take(400).enumerate() {
        player.pipe.state(*state);
        std::thread::sleep(Duration::from_micros(i as u64 * 7919 % 5000));
    }
    player.pipe.state(Null);
    player.take();
    assert_eq!(player.play_out(), frames(0..FRAMES));
    assert_eq!(stat(&player.pipe.element, "frames"), FRAMES);
}

/// Set in a child process of the test below: what it has to forget.
const LEAKS: &str = "SSMOESR_TEST_LEAKS";

/// Seeks, pauses and ways down and up in a program of its own, which GStreamer's leaks tracer watches to its end.
#[test]
fn seeks_leave_nothing_behind() {
    if let Ok(forget) = std::env::var(LEAKS) {
        let player = Player::start(true, gst::State::Paused);
        for target in [400, 1200, 1960, 40, 0] {
            player.seek(target);
        }
        player.pipe.state(gst::State::Playing);
        player.pipe.state(gst::State::Ready);
        player.pipe.state(gst::State::Paused);
        player.settled();
        player.seek(800);
        if forget == "element" {
            std::mem::forget(player.pipe.element.clone());
        }
        drop(player);
        // SAFETY: nothing of GStreamer is used after it in this process, which runs this test alone.
        #[allow(unsafe_code, reason = "the tracer reports at the end of GStreamer")]
        unsafe {
            gst::deinit();
        }
        return;
    }
    let alive = |forget: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "files::seeks_leave_nothing_behind", "--nocapture"]);
        child.envs([(LEAKS, forget), ("GST_TRACERS", "leaks"), ("GST_DEBUG", "GST_TRACER:7")]);
        let output = child::run(&mut child, child::LIMIT);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let of_object = |l: &&str| l.contains("object-alive, type-name=(string)") && !l.contains("(string)%");
        let alive: Vec<_> = said.lines().filter(of_object).map(str::to_owned).collect();
        // GStreamer warns of leaks, and warnings end this program.
        assert_eq!(output.status.success(), alive.is_empty(), "{said}");
        alive
    };
    assert!(!alive("element").is_empty(), "the tracer sees what was forgotten");
    // What leaks does so every time; once may be a thread on its way out, which the end of the program overtook.
    let left: Vec<_> = (0..3).map(|_| alive("nothing")).take_while(|a| !a.is_empty()).collect();
    assert!(left.len() < 3, "{left:#?}");
}
