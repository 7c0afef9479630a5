//! Computing beside GIMP's thread: the worker knows nothing of GIMP, and GIMP's thread goes on serving its windows.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ssmoesr_core::Progress;

use crate::face::Gimp;
use crate::trouble::Trouble;

/// Longest time between two turns of GIMP's windows.
const TURN: Duration = Duration::from_millis(50);

/// What the worker tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    /// The picture is worked on in so many tiles.
    Tiles(u64),
    Progress(Progress),
}

/// Runs `work` on its own thread and shows in GIMP how far it is.
///
/// # Errors
/// Those of `work`; a panic in it becomes one line.
pub(crate) fn run<T: Send>(
    gimp: &dyn Gimp,
    work: impl FnOnce(&mut dyn FnMut(Note)) -> Result<T, Trouble> + Send,
) -> Result<T, Trouble> {
    std::thread::scope(|scope| {
        let (tell, notes) = channel();
        let worker = std::thread::Builder::new()
            .name("enlarge".to_owned())
            .spawn_scoped(scope, move || {
                work(&mut |note| {
                    // Nobody listens only where GIMP's thread has ended, and this process with it.
                    let _ = tell.send(note);
                })
            })
            .map_err(|e| Trouble::Said(format!("No thread can be started: {e}. Close other programs.")))?;
        let mut meter = Meter::new(Instant::now());
        loop {
            match notes.recv_timeout(TURN) {
                Ok(note) => {
                    meter.note(note, Instant::now());
                    while let Ok(note) = notes.try_recv() {
                        meter.note(note, Instant::now());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let (fraction, text) = meter.read(Instant::now());
            gimp.progress(fraction, &text);
            gimp.turn();
        }
        worker.join().unwrap_or_else(|_| {
            Err(Trouble::said(
                "Internal error: the work stopped at a defect of this plug-in. Please report it.",
            ))
        })
    })
}

/// From notes to what is shown. Between two notes the bar moves on at the speed seen so far, never backwards.
struct Meter {
    tiles: u64,
    now: Progress,
    /// When the first unit began, and when the last one ended.
    began: Instant,
    ended: Instant,
    shown: f64,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self { tiles: 0, now: Progress { done: 0, total: 0 }, began: now, ended: now, shown: 0.0 }
    }

    fn note(&mut self, note: Note, now: Instant) {
        match note {
            Note::Tiles(tiles) => self.tiles = tiles,
            Note::Progress(progress) => {
                if progress.done == 0 {
                    self.began = now;
                }
                (self.now, self.ended) = (progress, now);
            }
        }
    }

    /// Fraction in `[0, 1]` and what to say.
    fn read(&mut self, now: Instant) -> (f64, String) {
        let Progress { done, total } = self.now;
        if total == 0 {
            return (0.0, "Loading the network".to_owned());
        }
        let since = now.duration_since(self.ended).as_secs_f64();
        let unit = self.ended.duration_since(self.began).as_secs_f64() / done.max(1) as f64;
        // Nothing is known before the first unit has ended.
        let inside = if done == 0 { 0.0 } else { (since / unit.max(1e-3)).min(0.9) };
        let fraction = (done as f64 + inside) / total as f64;
        self.shown = self.shown.max(fraction.min(1.0));
        if done == total {
            return (self.shown, "Finishing".to_owned());
        }
        // What matters most comes first: a narrow window cuts the rest off.
        let mut words = Vec::new();
        if done > 0 {
            let left = (unit * (total - done) as f64 - since).max(0.0);
            words.push(format!("{} left", about(left)));
        }
        if let Some(stage) = done.checked_div(self.tiles) {
            words.push(format!("step {} of {}", stage + 1, total.div_ceil(self.tiles)));
            if self.tiles > 1 {
                words.push(format!("tile {} of {}", done % self.tiles + 1, self.tiles));
            }
        }
        let mut text = words.join(", ");
        // All of it is ASCII.
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (self.shown, text)
    }
}

/// A time as people say it.
pub(crate) fn about(seconds: f64) -> String {
    match seconds {
        s if s < 1.5 => "about a second".to_owned(),
        s if s < 20.0 => format!("about {s:.0} s"),
        s if s < 90.0 => format!("about {:.0} s", (s / 5.0).round() * 5.0),
        s if s < 5400.0 => format!("about {:.0} min", s / 60.0),
        s => format!("about {:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::fake::Fake;

    #[test]
    fn the_bar_only_grows_and_says_what_is_left() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        assert_eq!(meter.read(at(10)), (0.0, "Loading the network".to_owned()));
        meter.note(Note::Tiles(6), at(20));
        let progress = |done| Note::Progress(Progress { done, total: 12 });
        meter.note(progress(0), at(100));
        assert_eq!(meter.read(at(900)).1, "Step 1 of 2, tile 1 of 6");
        meter.note(progress(1), at(2100));
        assert_eq!(meter.read(at(2100)).1, "About 20 s left, step 1 of 2, tile 2 of 6");
        let mut last = 0.0;
        for ms in (2100..9000).step_by(50) {
            if ms == 6000 {
                meter.note(progress(2), at(ms));
            }
            let (fraction, _) = meter.read(at(ms));
            assert!(fraction >= last && fraction < 3.0 / 12.0);
            last = fraction;
        }
        meter.note(progress(7), at(9000));
        assert!(meter.read(at(9000)).1.ends_with(" left, step 2 of 2, tile 2 of 6"));
        meter.note(progress(12), at(9100));
        assert_eq!(meter.read(at(9100)), (1.0, "Finishing".to_owned()));
    }

    #[test]
    fn times_are_round() {
        let said: Vec<_> = [0.2, 7.4, 43.0, 100.0, 7300.0].into_iter().map(about).collect();
        assert_eq!(said, ["about a second", "about 7 s", "about 45 s", "about 2 min", "about 2.0 h"]);
    }

    #[test]
    fn windows_have_their_turn_while_the_worker_works() {
        let fake = Fake::new(1, 1);
        let turns = fake.counter();
        // The worker goes on when the windows had turns: however slow the machine is, they come between its units.
        let wait = |more: usize| {
            let (from, began) = (turns.load(Relaxed), Instant::now());
            while turns.load(Relaxed) < from + more {
                assert!(began.elapsed() < Duration::from_secs(60), "the windows stand still");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let answer = run(&fake, |tell| {
            tell(Note::Tiles(1));
            for done in 0..=3 {
                tell(Note::Progress(Progress { done, total: 3 }));
                wait(2);
            }
            Ok(42)
        });
        assert_eq!(answer, Ok(42));
        assert!(turns.load(Relaxed) >= 8);
        let fractions = fake.fractions();
        assert!(
            fractions.windows(2).all(|w| w[0] <= w[1]) && fractions.last() == Some(&1.0),
            "{fractions:?}"
        );
    }

    #[test]
    fn a_panic_becomes_a_line() {
        let fake = Fake::new(1, 1);
        let answer: Result<(), _> = run(&fake, |_| panic!("planted"));
        let text = answer.unwrap_err().to_string();
        assert!(text.starts_with("Internal error") && !text.contains("planted"), "{text}");
    }
}
