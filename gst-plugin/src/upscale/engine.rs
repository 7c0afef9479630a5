//! Engines shared by the elements of a process, loaded once, each on a thread of its own.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ssmoesr_core::{CancelToken, ColorInfo, Error, ErrorKind, Frame, Options, PixelFormat, Upscaler};

/// How long a waiter sleeps before it looks at its cancel token, where nobody wakes it.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// What two elements must have in common to share an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    model: Option<String>,
    device: String,
    precision: String,
    threads: u32,
}

impl Key {
    /// The part of `options` that is fixed when an engine is made.
    pub(super) fn of(options: &Options) -> Self {
        // One folder has one key, however its path is spelt. A name that is no path stays a name.
        let resolve = |m: &String| match Path::new(m).canonicalize() {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(_) => m.clone(),
        };
        Self {
            model: options.model.as_ref().map(resolve),
            device: options.device.clone(),
            precision: options.precision.clone(),
            threads: options.threads,
        }
    }
}

/// A model on a device, and whose turn it is to use it.
pub(super) struct Engine {
    upscaler: Arc<Upscaler>,
    busy: Mutex<bool>,
    freed: Condvar,
    users: AtomicU32,
}

/// An element's hold on an engine, which counts it as a user.
pub(super) struct User(Arc<Engine>);

impl User {
    /// Counts one more.
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        engine.users.fetch_add(1, Ordering::Relaxed);
        Self(engine)
    }

    /// What is used.
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Held while a frame is computed.
pub(super) struct Turn<'a>(&'a Engine);

impl Engine {
    /// The engine proper.
    pub(super) fn upscaler(&self) -> &Arc<Upscaler> {
        &self.upscaler
    }

    /// Number of elements that use it.
    pub(super) fn users(&self) -> u32 {
        self.users.load(Ordering::Relaxed)
    }

    /// Waits until no other element computes; `None` where `cancel` comes first.
    pub(super) fn turn(&self, cancel: &CancelToken) -> Option<Turn<'_>> {
        let mut busy = lock(&self.busy);
        while *busy {
            if cancel.is_cancelled() {
                return None;
            }
            busy = self.freed.wait_timeout(busy, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy = true;
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.busy) = false;
        self.0.freed.notify_one();
    }
}

/// What a load ends with. The error is shared by all who waited for it.
pub(super) type Loaded = Result<Arc<Engine>, Arc<Error>>;

/// Called once with the result, on the loading thread or, where the engine is there already, at once.
pub(super) type Receiver = Box<dyn FnOnce(Loaded) + Send>;

enum Entry {
    Loading(Vec<Receiver>),
    Loaded(Weak<Engine>),
}

static ENGINES: LazyLock<Mutex<HashMap<Key, Entry>>> = LazyLock::new(Mutex::default);

/// Locks, also after a panic elsewhere: nothing here is left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gets the engine of `key`: the one in use, the one being loaded, or a new one.
///
/// A load is never broken off (reading weights has no way out), but nobody has to wait for it: an engine that all have
/// lost interest in is dropped as soon as it is there.
pub(super) fn request(key: Key, options: Options, receiver: Receiver) {
    let mut engines = lock(&ENGINES);
    match engines.get_mut(&key) {
        Some(Entry::Loading(receivers)) => {
            receivers.push(receiver);
            return;
        }
        Some(Entry::Loaded(engine)) => {
            if let Some(engine) = engine.upgrade() {
                drop(engines);
                receiver(Ok(engine));
                return;
            }
        }
        None => {}
    }
    engines.retain(|_, e| !matches!(e, Entry::Loaded(engine) if engine.strong_count() == 0));
    engines.insert(key.clone(), Entry::Loading(vec![receiver]));
    drop(engines);
    let thread_key = key.clone();
    let spawned = std::thread::Builder::new()
        .name("ssmoesr-load".into())
        .spawn(move || publish(&thread_key, load(&options)));
    if let Err(e) = spawned {
        let text = "cannot start a thread to load the model";
        publish(&key, Err(Arc::new(Error::new(ErrorKind::Limit, text).because(e))));
    }
}

/// An upscaler whose weights are read and packed: the first frame would do it, where no flush can end it.
fn warm(options: &Options) -> Result<Arc<Upscaler>, Error> {
    let upscaler = Upscaler::shared(options)?;
    // The published family keeps one expert at a time, so nothing would be won for much work.
    if upscaler.model().family == "native" {
        let scale = upscaler.model().scales.first().copied().unwrap_or(options.scale);
        let mut options = options.clone();
        options.scale = scale;
        let small = Frame::new(PixelFormat::Gray8, 1, 1, ColorInfo::default())?;
        let mut large = Frame::new(PixelFormat::Gray8, scale, scale, ColorInfo::default())?;
        let mut silent = |_| ControlFlow::Continue(());
        let (token, mut view) = (CancelToken::new(), large.view_mut());
        match upscaler.run(&small.view(), &mut view, &options, &mut silent, &token) {
            Err(e) if matches!(e.kind(), ErrorKind::Model | ErrorKind::Io) => return Err(e),
            // Whatever else is wrong, the first frame says better: options may change until then.
            _ => {}
        }
    }
    Ok(upscaler)
}

fn load(options: &Options) -> Loaded {
    let made = catch_unwind(AssertUnwindSafe(|| warm(options)));
    match made {
        Ok(Ok(upscaler)) => Ok(Arc::new(Engine {
            upscaler,
            busy: Mutex::new(false),
            freed: Condvar::new(),
            users: AtomicU32::new(0),
        })),
        Ok(Err(e)) => Err(Arc::new(e)),
        Err(panic) => Err(Arc::new(defect("loading the model", panic.as_ref()))),
    }
}

/// Ends the load of `key`: later requests find the engine, earlier ones are told.
fn publish(key: &Key, loaded: Loaded) {
    let receivers = {
        let mut engines = lock(&ENGINES);
        let before = match &loaded {
            Ok(engine) => engines.insert(key.clone(), Entry::Loaded(Arc::downgrade(engine))),
            Err(_) => engines.remove(key),
        };
        match before {
            Some(Entry::Loading(receivers)) => receivers,
            _ => Vec::new(),
        }
    };
    for receiver in receivers {
        receiver(loaded.clone());
    }
}

/// A caught panic as an error.
pub(super) fn defect(doing: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Error::new(ErrorKind::Internal, format!("defect while {doing}: {text}; please report it"))
}
