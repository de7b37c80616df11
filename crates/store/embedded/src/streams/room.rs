//! How many documents may wait for the index thread: each is parsed and takes about a kilobyte.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// More make the log thread wait, and with it whoever writes.
const DOCUMENTS: usize = 8_000;

/// Counts those that wait.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: Mutex<usize>,
    fewer: Condvar,
}

/// The place of some documents, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    documents: usize,
}

impl Room {
    /// Waits until there is room. A request that is larger than all of it gets in when it is alone.
    pub(crate) fn take(self: &Arc<Self>, documents: usize) -> Place {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |waiting: &mut usize| *waiting > 0 && *waiting + documents > DOCUMENTS;
        let mut waiting = self
            .fewer
            .wait_while(waiting, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        *waiting += documents;
        Place {
            room: self.clone(),
            documents,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.room.waiting.lock().unwrap_or_else(PoisonError::into_inner) -= self.documents;
        self.room.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_comes_to_a_full_room_waits_until_another_leaves() {
        let room = Arc::new(Room::default());
        let first = room.take(DOCUMENTS - 1);
        let small = room.take(1);
        let (told, news) = mpsc::channel();
        let waits = std::thread::spawn({
            let room = room.clone();
            move || {
                let place = room.take(2);
                told.send(()).map(|()| place)
            }
        });
        drop(small);
        assert!(news.try_recv().is_err());
        drop(first);
        assert!(news.recv().is_ok());
        drop(waits.join());
        assert_eq!(*room.waiting.lock().unwrap_or_else(PoisonError::into_inner), 0);
    }

    #[test]
    fn one_that_is_larger_than_the_room_gets_in_alone() {
        let room = Arc::new(Room::default());
        drop(room.take(DOCUMENTS * 2));
        drop(room.take(DOCUMENTS));
    }
}
