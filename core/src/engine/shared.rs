//! Upscalers that a process shares: weights and working memory are there once, however many hosts ask.

use super::inspect::locate;
use super::upscaler::{Upscaler, Wanted};
use crate::error::Result;
use crate::options::Options;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What two requests must have in common.
type Key = (PathBuf, Wanted);

/// One upscaler, or the room for it: whoever holds the lock may be loading.
type Room = Arc<Mutex<Weak<Upscaler>>>;

/// A handful at most. Empty, it holds no memory: a library that is unloaded leaves nothing behind.
static ROOMS: Mutex<Vec<(Key, Room)>> = Mutex::new(Vec::new());

impl Upscaler {
    /// The upscaler of this process for the model, device and threads that `options` name: the one in use, or a new
    /// one. It goes when the last user lets it go. Who comes while it is being loaded waits for it.
    ///
    /// # Errors
    /// As [`Upscaler::new`].
    pub fn shared(options: &Options) -> Result<Arc<Self>> {
        options.validate()?;
        let (folder, _) = locate(options.model.as_deref())?;
        let folder = folder.canonicalize().unwrap_or(folder);
        let key = (folder, Wanted::of(options)?);
        let room = {
            let mut rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
            match rooms.iter().find(|(k, _)| *k == key) {
                Some((_, room)) => Arc::clone(room),
                None => {
                    let room = Room::default();
                    rooms.push((key, Arc::clone(&room)));
                    room
                }
            }
        };
        let mut held = room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upscaler) = held.upgrade() {
            return Ok(upscaler);
        }
        let made = Self::new(options).map(Arc::new);
        match &made {
            Ok(upscaler) => *held = Arc::downgrade(upscaler),
            Err(_) => {
                drop(held);
                drop(room);
                leave_empty_rooms();
            }
        }
        made
    }
}

impl Drop for Upscaler {
    fn drop(&mut self) {
        leave_empty_rooms();
    }
}

/// Lets rooms go in which there is no upscaler and for which nobody waits.
fn leave_empty_rooms() {
    let mut rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
    let in_use = |room: &Room| room.try_lock().map_or(true, |held| held.strong_count() > 0);
    rooms.retain(|(_, room)| Arc::strong_count(room) > 1 || in_use(room));
    if rooms.is_empty() {
        *rooms = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_all_who_ask_for_the_same() {
        let mut options = Options::default();
        options.device = "cpu".to_owned();
        options.threads = 3;
        let all: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|_| s.spawn(|| Upscaler::shared(&options).unwrap())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(all.iter().all(|u| Arc::ptr_eq(u, &all[0])));
        let mut other = options.clone();
        other.threads = 2;
        assert!(!Arc::ptr_eq(&Upscaler::shared(&other).unwrap(), &all[0]));
        let old = Arc::downgrade(&all[0]);
        drop(all);
        assert!(old.upgrade().is_none(), "it goes with its last user");
        // The same folder by another way.
        let folder = Upscaler::shared(&options).unwrap();
        options.model = Some(format!("{}/../{}", folder.model().folder.display(), folder.model().name));
        assert!(Arc::ptr_eq(&Upscaler::shared(&options).unwrap(), &folder));
    }
}
