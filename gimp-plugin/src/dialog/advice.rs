//! What the values of the dialog will take, and a piece of the picture enlarged with them: found out by a thread of its
//! own while the dialog is open. The piece also tells how fast this machine is.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use ssmoesr_core::{CancelToken, Frame, Options, PixelFormat, Upscaler};

use crate::memory;
use crate::trouble::Trouble;
use crate::worker::about;

/// A piece of the picture and the size of all that is wanted.
pub(super) struct Question {
    pub(super) options: Options,
    /// Width and height in pixels of what the network will see.
    pub(super) seen: (u32, u32),
    /// Width and height of the result.
    pub(super) result: (i64, i64),
    pub(super) piece: Frame,
}

/// What is told, in the order in which it is found.
pub(super) enum Advice {
    /// One line about the result; `true` asks for attention.
    Line(String, bool),
    /// One line that says why it cannot be.
    Refusal(String),
    Preview(Box<Preview>),
}

/// The piece before (every pixel as a square) and after, in R, G, B of 8 bit.
pub(super) struct Preview {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

/// Side of the preview on the screen, in pixels.
pub(super) const SIDE: u32 = 256;

/// Share of the free memory from which on a result counts as large.
const LARGE: f64 = 0.5;
/// Seconds from which on it counts as long.
const LONG: f64 = 600.0;

pub(super) struct Advisor {
    questions: Option<Sender<Question>>,
    advice: Receiver<Advice>,
    cancel: CancelToken,
    thread: Option<JoinHandle<()>>,
}

impl Advisor {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub(super) fn start() -> Result<Self, Trouble> {
        let (questions, asked) = channel();
        let (tell, advice) = channel();
        let cancel = CancelToken::new();
        let stop = cancel.clone();
        let thread = std::thread::Builder::new()
            .name("preview".to_owned())
            .spawn(move || answer_all(&asked, &tell, &stop))
            .map_err(|e| Trouble::Said(format!("No thread can be started: {e}. Close other programs.")))?;
        Ok(Self { questions: Some(questions), advice, cancel, thread: Some(thread) })
    }

    pub(super) fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            let _ = questions.send(question);
        }
    }

    /// What was found since the last call.
    pub(super) fn news(&self) -> Option<Advice> {
        self.advice.try_recv().ok()
    }
}

impl Drop for Advisor {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(asked: &Receiver<Question>, tell: &Sender<Advice>, stop: &CancelToken) {
    let mut ready: Option<(Options, Upscaler)> = None;
    while let Ok(mut question) = asked.recv() {
        // Only the newest values count.
        while let Ok(newer) = asked.try_recv() {
            question = newer;
        }
        if stop.is_cancelled() {
            return;
        }
        if let Err(Trouble::Said(text)) = answer(&question, &mut ready, tell, stop) {
            let _ = tell.send(Advice::Refusal(text));
        }
    }
}

fn answer(
    question: &Question,
    ready: &mut Option<(Options, Upscaler)>,
    tell: &Sender<Advice>,
    stop: &CancelToken,
) -> Result<(), Trouble> {
    let options = &question.options;
    let same = |made: &Options| {
        (&made.model, &made.device, made.threads) == (&options.model, &options.device, options.threads)
    };
    let upscaler = match ready.take() {
        Some((made, upscaler)) if same(&made) => upscaler,
        _ => Upscaler::new(options)?,
    };
    let (_, upscaler) = ready.insert((options.clone(), upscaler));
    let (width, height) = question.seen;
    let (w, h) = upscaler.output_size(width, height, options.scale)?;
    let bytes = question.piece.format().pixel_bytes(0) as u64;
    let own = u64::from(w) * u64::from(h) * bytes;
    let free = memory::available();
    let (fitting, plan) = memory::fit(|o| upscaler.plan(width, height, o), options, own, free)?;
    let needed = plan.bytes().saturating_add(own);
    let large = free.is_some_and(|free| needed as f64 > LARGE * free as f64);
    let size = format!("{} x {} pixels", question.result.0, question.result.1);
    let memory = memory::size(needed);
    let _ = tell.send(Advice::Line(format!("{size}, {memory} of memory"), large));

    let (piece, scale) = (&question.piece, options.scale);
    let mut after = Frame::new(piece.format(), piece.width() * scale, piece.height() * scale, piece.color())?;
    let mut seconds = f64::MAX;
    // The first run also loads the weights.
    for _ in 0..2 {
        let began = Instant::now();
        let mut go_on = |_| ControlFlow::Continue(());
        upscaler.run(&piece.view(), &mut after.view_mut(), options, &mut go_on, stop)?;
        seconds = seconds.min(began.elapsed().as_secs_f64());
    }
    let work = upscaler.plan(piece.width(), piece.height(), options)?.gflop;
    let time = plan.gflop / work.max(1e-9) * seconds;
    let mut line = format!("{size}, {memory} of memory, {}", about(time));
    if fitting != *options {
        line += ", in smaller tiles as memory is short";
    }
    let _ = tell.send(Advice::Line(line, large || time > LONG));
    let _ = tell.send(Advice::Preview(Box::new(preview(piece, &after, scale as usize))));
    Ok(())
}

fn preview(piece: &Frame, after: &Frame, scale: usize) -> Preview {
    let (width, height) = (after.width() as usize, after.height() as usize);
    let pixels = |frame: &Frame, divide: usize| {
        let stride = frame.width() as usize;
        (0..width * height)
            .flat_map(|i| shown(frame, i / width / divide * stride + i % width / divide))
            .collect()
    };
    Preview { width, height, before: pixels(piece, scale), after: pixels(after, 1) }
}

/// One pixel as the screen shows it, over white where it is transparent.
fn shown(frame: &Frame, index: usize) -> [u8; 3] {
    let format = frame.format();
    let pixel = &frame.plane(0)[index * format.pixel_bytes(0)..][..format.pixel_bytes(0)];
    let value = |i: usize| match format.sample_bytes() {
        1 => f32::from(pixel[i]) / 255.0,
        2 => f32::from(u16::from_ne_bytes([pixel[2 * i], pixel[2 * i + 1]])) / 65535.0,
        _ => crate::exchange::sample(pixel, i).clamp(0.0, 1.0),
    };
    let (colours, alpha) = match format {
        PixelFormat::Gray8 | PixelFormat::Gray16 => ([0; 3], None),
        PixelFormat::GrayA8 | PixelFormat::GrayA16 => ([0; 3], Some(1)),
        PixelFormat::Rgba8 | PixelFormat::Rgba16 | PixelFormat::RgbaF32 => ([0, 1, 2], Some(3)),
        _ => ([0, 1, 2], None),
    };
    let alpha = alpha.map_or(1.0, value);
    colours.map(|c| (255.0 * (value(c) * alpha + 1.0 - alpha) + 0.5) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmoesr_core::ColorInfo;

    fn question(model: Option<&str>, seen: (u32, u32)) -> Question {
        let mut options = Options::default();
        options.model = model.map(str::to_owned);
        let mut piece = Frame::new(PixelFormat::Rgba8, 16, 8, ColorInfo::default()).unwrap();
        piece.plane_mut(0).chunks_exact_mut(4).for_each(|px| px.copy_from_slice(&[200, 100, 0, 255]));
        let result = (i64::from(seen.0) * 4, i64::from(seen.1) * 4);
        Question { options, seen, result, piece }
    }

    #[test]
    fn the_newest_question_is_answered() {
        let advisor = Advisor::start().unwrap();
        advisor.ask(question(None, (1000, 700)));
        let mut lines = Vec::new();
        let preview = loop {
            match advisor.advice.recv().unwrap() {
                Advice::Line(line, _) => lines.push(line),
                Advice::Refusal(text) => panic!("{text}"),
                Advice::Preview(preview) => break preview,
            }
        };
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|l| l.starts_with("4000 x 2800 pixels, ")), "{lines:?}");
        assert!(lines[1].contains("about"), "{lines:?}");
        assert_eq!((preview.width, preview.height), (64, 32));
        assert_eq!(preview.before[..3], [200, 100, 0]);
        assert!(preview.after.chunks_exact(3).all(|px| px[0] > 170 && px[2] < 30));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let advisor = Advisor::start().unwrap();
        advisor.ask(question(Some("no-such-model"), (8, 8)));
        let Advice::Refusal(text) = advisor.advice.recv().unwrap() else { panic!("no refusal") };
        assert!(text.contains("no-such-model"), "{text}");
        advisor.ask(question(None, (1 << 19, 1 << 19)));
        let Advice::Refusal(text) = advisor.advice.recv().unwrap() else { panic!("no refusal") };
        assert!(text.contains("memory") || text.contains("large"), "{text}");
    }

    #[test]
    fn transparency_shows_white() {
        let mut frame = Frame::new(PixelFormat::GrayA16, 1, 1, ColorInfo::default()).unwrap();
        assert_eq!(shown(&frame, 0), [255; 3]);
        frame.plane_mut(0).copy_from_slice(&[0, 0, 255, 255]);
        assert_eq!(shown(&frame, 0), [0; 3]);
    }
}
