//! A small bounded cache of checked credentials.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

/// Entries older than this are checked against the store again, so that a revocation by another process takes effect.
const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(30);

/// Two generations: when the younger is full or old it becomes the elder and the elder is dropped, so that what is used
/// stays and what nobody asks for goes.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    capacity: usize,
    generations: Mutex<Generations<V>>,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<String, Entry<V>>,
    old: HashMap<String, Entry<V>>,
    /// When the younger one began.
    since: Timestamp,
    /// Rises with each invalidation: an entry read before it must not be put in after it.
    epoch: u64,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    value: V,
    checked: Timestamp,
}

impl<V: Clone> Cache<V> {
    /// Keeps between `capacity` and twice as many entries.
    pub(crate) fn new(capacity: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            since: Timestamp::MIN,
            epoch: 0,
        };
        Self {
            capacity,
            generations: Mutex::new(generations),
        }
    }

    /// The fresh entry of `key`.
    pub(crate) fn fresh(&self, key: &str, now: Timestamp) -> Option<V> {
        let mut generations = self.lock();
        generations.age(now);
        let found = if let Some(entry) = generations.young.get(key) {
            entry.clone()
        } else {
            let entry = generations.old.remove(key)?;
            self.insert(&mut generations, key, entry.clone());
            entry
        };
        (now.duration_since(found.checked) < TIME_TO_LIVE).then_some(found.value)
    }

    /// Lets go of what has grown old.
    pub(crate) fn tidy(&self, now: Timestamp) {
        self.lock().age(now);
    }

    /// To be taken before the store is read, and given to [`Cache::put`].
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Remembers `value`, unless something was invalidated since `epoch`.
    pub(crate) fn put(&self, key: &str, value: V, now: Timestamp, epoch: u64) {
        let mut generations = self.lock();
        generations.age(now);
        if generations.epoch == epoch {
            self.insert(&mut generations, key, Entry { value, checked: now });
        }
    }

    /// Forgets `key`.
    pub(crate) fn invalidate(&self, key: &str) {
        let mut generations = self.lock();
        generations.epoch += 1;
        generations.young.remove(key);
        generations.old.remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut generations = self.lock();
        generations.epoch += 1;
        generations.young.clear();
        generations.old.clear();
    }

    fn insert(&self, generations: &mut Generations<V>, key: &str, entry: Entry<V>) {
        if generations.young.len() >= self.capacity {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key.to_owned(), entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<V>> {
        self.generations.lock().expect("no holder of this lock can panic")
    }
}

impl<V> Generations<V> {
    fn age(&mut self, now: Timestamp) {
        if now.duration_since(self.since) >= TIME_TO_LIVE {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(2);
        for number in 0..100 {
            cache.put(&format!("k{number}"), number, at(0), 0);
            cache.put("used", -1, at(0), 0);
            assert_eq!(cache.fresh("used", at(1)), Some(-1));
        }
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 4);
    }

    #[test]
    fn entries_grow_old_and_can_be_forgotten() {
        let cache = Cache::new(2);
        cache.put("k", 1, at(0), cache.epoch());
        assert_eq!(cache.fresh("k", at(29)), Some(1));
        assert_eq!(cache.fresh("k", at(30)), None);
        cache.invalidate("k");
        assert_eq!(cache.fresh("k", at(1)), None);
    }

    #[test]
    fn what_nobody_asks_for_goes() {
        let cache = Cache::new(2);
        cache.put("k", 1, at(0), cache.epoch());
        cache.tidy(at(30));
        assert_eq!(cache.lock().old.len(), 1);
        cache.tidy(at(59));
        assert_eq!(cache.lock().old.len(), 1);
        cache.tidy(at(60));
        assert!(cache.lock().old.is_empty());
    }

    #[test]
    fn what_was_read_before_an_invalidation_is_not_remembered() {
        let cache = Cache::new(2);
        let epoch = cache.epoch();
        cache.invalidate("k");
        cache.put("k", 1, at(0), epoch);
        assert_eq!(cache.fresh("k", at(0)), None);
    }
}
