//! `ssmoesr_stream`: the frames of one video on a thread of their own.

use crate::entry::{entry, guarded};
use crate::options::{self, RawOptions};
use crate::picture::{Checked, RawPicture};
use crate::queue::{Begin, Queue};
use crate::reserve;
use crate::status::{AGAIN, Failure, OK, Outcome, Status};
use crate::upscaler::{self, object, pictures};
use ssmoesr_core::{Options, Stream, Upscaler, Worker};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// One frame as the worker gets it.
#[derive(Clone, Copy)]
struct Job {
    input: Checked,
    output: Checked,
}

/// What the handle leads to. Never changed until it is freed, so that threads may share it.
struct Video {
    upscaler: Arc<Upscaler>,
    options: Options,
    queue: Arc<Queue<Job>>,
    /// Waited for when this is dropped: each frame is guarded, and a closed queue ends it.
    _worker: Worker,
}

/// `ssmoesr_stream`, behind which C sees nothing.
#[repr(C)]
struct Opaque([u8; 0]);

impl Drop for Video {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Video {
    fn start(upscaler: Arc<Upscaler>, options: Options) -> Outcome<Self> {
        let queue = Arc::new(Queue::new());
        let (theirs, stream) = (Arc::clone(&queue), Stream::new(Arc::clone(&upscaler)));
        let settings = options.clone();
        let worker = Worker::start(c"ssmoesr-stream", move || work(&theirs, stream, &settings))?;
        Ok(Self { upscaler, options, queue, _worker: worker })
    }
}

/// Enlarges frame after frame until the queue is closed.
fn work(queue: &Queue<Job>, mut stream: Stream, options: &Options) {
    queue.serve(|job, next, Begin { cut }| {
        if cut {
            stream.reset();
        }
        reserve::check()?;
        // Where a device goes on alone, it is asked for a frame before the one before is back. What cannot be begun is told when its
        // turn comes.
        if let Some(next) = next {
            for (job, before) in [(job, 0), (next, 1)] {
                #[allow(unsafe_code, reason = "the host's memory")]
                // SAFETY: as below; of the next frame the queue says that it is not handed out while this closure runs.
                let Ok(input) = (unsafe { job.input.frame() }) else { break };
                if stream.begun() == before && !stream.begin(&input, options, queue.token()).unwrap_or(false)
                {
                    break;
                }
            }
        }
        #[allow(unsafe_code, reason = "the host's memory")]
        // SAFETY: the header gives the memory of a frame to the library until it was fetched or the stream freed, and
        // the queue hands out a frame only when this closure has returned; `submit` checked that the two are apart.
        let (input, mut output) = unsafe { (job.input.frame()?, job.output.frame_mut()?) };
        Ok(stream.run(&input, &mut output, options, queue.token())?)
    });
}

/// The object behind a handle.
///
/// # Safety
/// `stream` is NULL, or came from `ssmoesr_stream_new` and is not freed during `'a`.
#[allow(unsafe_code, reason = "a pointer that C kept")]
unsafe fn video<'a>(stream: *const Opaque) -> Outcome<&'a Video> {
    // SAFETY: the caller's promise. Nobody has a `&mut Video` before it is freed.
    unsafe { stream.cast::<Video>().as_ref() }.ok_or_else(|| Failure::argument("stream: NULL"))
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_stream_new(
    upscaler: *const upscaler::Opaque,
    options: *const RawOptions,
    stream: *mut *mut Opaque,
) -> Status {
    entry("ssmoesr_stream_new", || {
        if stream.is_null() {
            return Err(Failure::argument("stream: NULL"));
        }
        // SAFETY: not NULL, so the header asks for a pointer that can be written.
        unsafe { *stream = ptr::null_mut() };
        reserve::check()?;
        // SAFETY: the header asks for NULL or a live handle, and options that were set up.
        let (handle, options) = unsafe {
            let handle = object(upscaler)?;
            (handle, options::read(options, &handle.options)?)
        };
        let video = Video::start(Arc::clone(&handle.upscaler), options)?;
        // SAFETY: as above.
        unsafe { *stream = Box::into_raw(Box::new(video)).cast() };
        Ok(OK)
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_stream_free(stream: *mut *mut Opaque) {
    // Not through `entry`: a free between a failure and a look at its text leaves the text alone.
    let _ = guarded(|| {
        // SAFETY: the header asks for NULL or a pointer to NULL or to a handle that nobody else uses.
        if let Some(place) = unsafe { stream.as_mut() }.filter(|p| !p.is_null()) {
            let video = std::mem::replace(place, ptr::null_mut());
            // SAFETY: it came from `Box::into_raw` in `ssmoesr_stream_new` and is not used again.
            drop(unsafe { Box::from_raw(video.cast::<Video>()) });
        }
        Ok(())
    });
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_stream_submit(
    stream: *const Opaque,
    input: *const RawPicture,
    output: *const RawPicture,
    tag: *mut c_void,
) -> Status {
    entry("ssmoesr_stream_submit", || {
        reserve::check()?;
        // SAFETY: the header asks for NULL or a live handle, and pictures that were set up.
        let (video, (input, output)) = unsafe {
            let video = video(stream)?;
            (video, pictures(&video.upscaler, &video.options, input, output)?)
        };
        // The tag goes through untouched and is never followed.
        let tag = tag.expose_provenance();
        Ok(if video.queue.submit(Job { input, output }, tag) { OK } else { AGAIN })
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_stream_wait(
    stream: *const Opaque,
    timeout_ms: i32,
    tag: *mut *mut c_void,
) -> Status {
    entry("ssmoesr_stream_wait", || {
        // SAFETY: the header asks for NULL or a live handle.
        let video = unsafe { video(stream) }?;
        let limit = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let (number, outcome) = match video.queue.wait(limit) {
            Ok(frame) => frame,
            Err(status) => return Ok(status),
        };
        // SAFETY: NULL, or the header asks for a pointer that can be written.
        if let Some(tag) = unsafe { tag.as_mut() } {
            *tag = ptr::with_exposed_provenance_mut(number);
        }
        outcome.map(|()| OK)
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_stream_flush(stream: *const Opaque) -> Status {
    entry("ssmoesr_stream_flush", || {
        // SAFETY: the header asks for NULL or a live handle.
        unsafe { video(stream) }?.queue.flush();
        Ok(OK)
    })
}
