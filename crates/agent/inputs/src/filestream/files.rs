//! The files of one stream: which of those that are there is which of those that are known, and where to go on reading.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use event::AckTracker;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::harvester::SharedFile;
use super::identity::{Head, Inode, Look, Prefix, have_equal_tails, read_head};
use super::scan::Found;
use super::settings::{FileSettings, Identity};
use super::writer::FileFacts;
use crate::registry::{Entry, Registry};

/// What the registry keeps of a file besides its offset.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Meta {
    #[serde(rename = "path")]
    path: String,
    /// `None` once the file at this inode is another one.
    #[serde(rename = "ino")]
    inode: Option<Inode>,
    #[serde(rename = "born", default, skip_serializing_if = "Option::is_none")]
    born: Option<u64>,
    #[serde(rename = "fp")]
    prefix: Prefix,
}

/// One content of one file.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) entry: Arc<Entry>,
    pub(super) tracker: AckTracker,
    pub(super) shared: Arc<SharedFile>,
    meta: Meta,
    look: Option<Look>,
    content_size: Option<u64>,
    /// Whether the last scan found it.
    present: bool,
    /// Scans in a row that did not find it.
    missing: u32,
    /// Stops its harvester, while it has one.
    pub(super) running: Option<CancellationToken>,
    /// Its harvester was told to stop because the content is another one.
    replaced: bool,
    /// How it looked when it was closed; it is opened again when it looks otherwise.
    closed: Option<Look>,
    /// Since when it has been closed and read.
    closed_at: Option<Timestamp>,
    /// A gzip file that has been read.
    finished: bool,
    /// The inode that this content was truncated away from.
    truncated_from: Option<Inode>,
}

/// A name for a [`Tracked`] inside this process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct FileId(u64);

/// All files of one stream.
#[derive(Debug)]
pub(super) struct Files {
    stream: String,
    settings: Arc<FileSettings>,
    registry: Arc<Registry>,
    tracked: HashMap<FileId, Tracked>,
    index: HashMap<Key, FileId>,
    /// Files that are copies of a tracked one, and not read as long as that one is there.
    copies: HashMap<Inode, FileId>,
    next_id: u64,
    scans: u64,
}

/// What finds a tracked file again: depends on `file_identity`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Inode(Inode),
    Path(String),
}

/// So many scans in a row must miss a file before it is forgotten.
const MISSING_SCANS: u32 = 3;

impl Files {
    /// The files that the registry knows of this stream, and those it takes over from others.
    pub(super) fn load(stream: &str, settings: Arc<FileSettings>, registry: Arc<Registry>) -> Self {
        let mut files = Self {
            stream: stream.to_owned(),
            settings,
            tracked: HashMap::new(),
            index: HashMap::new(),
            copies: HashMap::new(),
            next_id: 0,
            scans: 0,
            registry: Arc::clone(&registry),
        };
        for other in &files.settings.take_over_from {
            files.inherit(other);
        }
        for entry in registry.entries(stream) {
            let meta = serde_json::from_value::<Meta>(entry.meta().clone());
            match meta {
                Ok(meta) => {
                    files.track(entry, meta);
                }
                Err(error) => debug!(%error, "an entry of the registry is not of a file"),
            }
        }
        files
    }

    /// Makes the entries of another stream this one's own, for the files that its patterns name. Offsets stay.
    fn inherit(&self, other: &str) {
        if other == self.stream {
            return;
        }
        for entry in self.registry.entries(other) {
            let meta = entry.meta().clone();
            let Ok(Meta { path, .. }) = serde_json::from_value::<Meta>(meta.clone()) else {
                continue;
            };
            if self.settings.names(&Utf8PathBuf::from(&path)) {
                info!(path, from = other, "a file is taken over from another stream");
                self.registry.insert(&self.stream, entry.id(), entry.position(), meta);
                entry.remove();
            }
        }
    }

    fn track(&mut self, entry: Arc<Entry>, meta: Meta) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        if let Some(key) = self.key(meta.inode, &meta.path) {
            self.index.insert(key, id);
        }
        let for_acks = Arc::clone(&entry);
        let facts = self.facts(&meta);
        let tracked = Tracked {
            tracker: AckTracker::new(move |position| for_acks.advance(position)),
            shared: Arc::new(SharedFile::new(facts, entry.position())),
            entry,
            meta,
            look: None,
            content_size: None,
            present: false,
            missing: 0,
            running: None,
            replaced: false,
            closed: None,
            closed_at: None,
            finished: false,
            truncated_from: None,
        };
        self.tracked.insert(id, tracked);
        id
    }

    fn key(&self, inode: Option<Inode>, path: &str) -> Option<Key> {
        match self.settings.identity {
            Identity::Path => Some(Key::Path(path.to_owned())),
            _ => inode.map(Key::Inode),
        }
    }

    fn facts(&self, meta: &Meta) -> FileFacts {
        let whole = meta.prefix.length == self.settings.fingerprint.length;
        let wanted = self.settings.identity == Identity::Fingerprint && whole;
        FileFacts {
            path: meta.path.clone(),
            inode: meta.inode.unwrap_or(Inode { device: 0, inode: 0 }),
            fingerprint: wanted.then(|| meta.prefix.hash.clone()),
            owner: None,
        }
    }

    /// How tracked inodes looked last, so that a scan need not open what has not changed.
    pub(super) fn known(&self) -> HashMap<Inode, Look> {
        self.tracked
            .values()
            .filter_map(|file| Some((file.meta.inode?, file.look?)))
            .collect()
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> Option<&mut Tracked> {
        self.tracked.get_mut(&id)
    }

    /// Decides for every file that a scan found. Reads the ends of files that may be copies: blocks.
    pub(super) fn reconcile(&mut self, found: Vec<Found>, now: Timestamp) {
        self.scans += 1;
        self.tracked.values_mut().for_each(|file| file.present = false);
        let mut newcomers = Vec::new();
        for found in found {
            let key = self.key(Some(found.look.inode), found.path.as_str());
            let known = key.and_then(|key| self.index.get(&key)).copied();
            match known {
                Some(id) if self.is_same(id, &found) => self.see(id, found),
                Some(id) => self.replace(id, found, &mut newcomers),
                None => newcomers.push(found),
            }
        }
        for found in newcomers {
            self.adopt(found, now);
        }
        if let Some(grace) = self.settings.delete_after {
            self.delete_read(grace, now);
        }
        self.clean(now);
    }

    fn is_same(&self, id: FileId, found: &Found) -> bool {
        let Some(file) = self.tracked.get(&id) else {
            return false;
        };
        let born = [file.meta.born, found.look.born];
        if file.meta.inode != Some(found.look.inode) || matches!(born, [Some(old), Some(new)] if old != new) {
            return false;
        }
        if self.settings.resend_on_touch && file.was_touched(&found.look) {
            return false;
        }
        let Some((head, size)) = &found.content else {
            return true;
        };
        // The harvester of an open file sees for itself when it becomes shorter.
        let shorter = file.running.is_none() && size.is_some_and(|size| size < file.shared.position());
        head.begins_with(&file.meta.prefix) && !shorter
    }

    fn see(&mut self, id: FileId, found: Found) {
        let full = self.settings.fingerprint.length;
        let Some(file) = self.tracked.get_mut(&id) else { return };
        let mut meta = file.meta.clone();
        meta.path = found.path.into_string();
        meta.inode = Some(found.look.inode);
        meta.born = found.look.born;
        if let Some((head, size)) = found.content {
            if head.0.len() > meta.prefix.length && meta.prefix.length < full {
                meta.prefix = head.prefix();
            }
            file.content_size = size;
        }
        file.present = true;
        file.missing = 0;
        if file.look != Some(found.look) {
            file.look = Some(found.look);
            file.shared.changed.notify_one();
        }
        self.set_meta(id, meta);
    }

    fn set_meta(&mut self, id: FileId, meta: Meta) {
        let facts = self.facts(&meta);
        let Some(file) = self.tracked.get_mut(&id) else { return };
        if file.meta == meta {
            return;
        }
        *file.shared.facts() = facts;
        file.entry
            .set_meta(serde_json::to_value(&meta).expect("plain fields can always be written as JSON"));
        file.meta = meta;
    }

    /// The inode (or path) of a known file has another content now.
    fn replace(&mut self, id: FileId, found: Found, newcomers: &mut Vec<Found>) {
        let Some(file) = self.tracked.get_mut(&id) else { return };
        if let Some(running) = &file.running {
            // Its harvester ends, then the next scan takes the file up as a new one.
            file.present = true;
            file.replaced = true;
            running.cancel();
            return;
        }
        self.lose(id);
        newcomers.push(found);
    }

    /// Parts a content from its inode: what was not read may turn up in a copy.
    pub(super) fn lose(&mut self, id: FileId) {
        let Some(file) = self.tracked.get(&id) else { return };
        let mut meta = file.meta.clone();
        if let Some(key) = self.key(meta.inode, &meta.path) {
            self.index.remove(&key);
        }
        let Some(inode) = meta.inode.take() else { return };
        info!(
            path = meta.path,
            "a file was truncated or replaced; it is read from its start"
        );
        if let Some(file) = self.tracked.get_mut(&id) {
            file.truncated_from = Some(inode);
            file.present = false;
            file.missing = 0;
            file.look = None;
            file.closed = None;
            file.replaced = false;
        }
        self.set_meta(id, meta);
    }

    /// A file that no tracked one was found to be by its inode: a copy, a moved content, or a new file.
    fn adopt(&mut self, found: Found, now: Timestamp) {
        let Some((head, size)) = &found.content else { return };
        if head.0.is_empty() {
            return;
        }
        let (head, size) = (head.clone(), *size);
        let candidates: Vec<FileId> = if self.settings.identity == Identity::Path {
            Vec::new()
        } else {
            self.tracked
                .keys()
                .copied()
                .filter(|id| self.may_be(*id, &found, &head))
                .collect()
        };
        for id in candidates {
            let file = &self.tracked[&id];
            let alive = file.present || file.running.is_some();
            let position = file.shared.position();
            if alive && self.is_copy(id, &found) {
                self.copies.insert(found.look.inode, id);
                return;
            }
            if !alive && size.is_none_or(|size| size >= position) {
                self.take_over(id, found);
                return;
            }
            if !alive && self.copies.get(&found.look.inode) == Some(&id) {
                // A copy of less than what has been read: nothing of it is new.
                self.start(found, &head, size.unwrap_or(position));
                return;
            }
        }
        let old = self.is_ignored(&found.look, now);
        if old && (size.is_none() || self.settings.clean_inactive.is_some()) {
            return;
        }
        let at_end = old || (self.settings.start_at_end && self.scans == 1);
        let position = if at_end { size.unwrap_or(0) } else { 0 };
        self.start(found, &head, position);
    }

    /// Whether `found` begins with what is known of the tracked content, and that is enough to go by.
    fn may_be(&self, id: FileId, found: &Found, head: &Head) -> bool {
        let file = &self.tracked[&id];
        let prefix = &file.meta.prefix;
        if prefix.length == 0 || file.truncated_from == Some(found.look.inode) || !head.begins_with(prefix) {
            return false;
        }
        // A few equal bytes prove nothing, unless the name says that it is a copy (`app.log` -> `app.log.1`).
        let is_named_after = found
            .path
            .as_str()
            .strip_prefix(&file.meta.path)
            .is_some_and(|rest| !rest.is_empty());
        prefix.length == self.settings.fingerprint.length || is_named_after
    }

    /// Whether `found` may be a copy of a file that is still there or still being read.
    fn is_copy(&self, id: FileId, found: &Found) -> bool {
        let file = &self.tracked[&id];
        let path = std::path::Path::new(&file.meta.path);
        // Without a path to the other file its end cannot be compared; it is let be until the other one is closed.
        if !file.present || file.replaced || have_equal_tails(found.path.as_std_path(), path).unwrap_or(true) {
            return true;
        }
        // Unequal ends prove nothing when the other file has just been truncated: copied first, then emptied.
        let now = read_head(path, self.settings.compression, self.settings.fingerprint);
        now.is_ok_and(|(look, head, size)| {
            let shorter = size.is_some_and(|size| size < file.shared.position());
            Some(look.inode) != file.meta.inode || shorter || !head.begins_with(&file.meta.prefix)
        })
    }

    fn take_over(&mut self, id: FileId, found: Found) {
        let Some(file) = self.tracked.get_mut(&id) else { return };
        info!(path = %found.path, before = file.meta.path, "a file goes on under another name or inode");
        let old_key = self.key(self.tracked[&id].meta.inode, &self.tracked[&id].meta.path);
        if let Some(key) = old_key {
            self.index.remove(&key);
        }
        if let Some(key) = self.key(Some(found.look.inode), found.path.as_str()) {
            self.index.insert(key, id);
        }
        self.copies.remove(&found.look.inode);
        if let Some(file) = self.tracked.get_mut(&id) {
            file.truncated_from = None;
            file.closed = None;
            file.finished = false;
        }
        self.see(id, found);
    }

    fn start(&mut self, found: Found, head: &Head, position: u64) {
        let meta = Meta {
            path: found.path.to_string(),
            inode: Some(found.look.inode),
            born: found.look.born,
            prefix: head.prefix(),
        };
        let json = serde_json::to_value(&meta).expect("plain fields can always be written as JSON");
        let id = format!("{:016x}", rand::random::<u64>());
        let entry = self.registry.insert(&self.stream, &id, position, json);
        self.copies.remove(&found.look.inode);
        let id = self.track(entry, meta);
        self.see(id, found);
    }

    fn is_ignored(&self, look: &Look, now: Timestamp) -> bool {
        self.settings.ignore_older.is_some_and(|age| is_older(look, age, now))
    }

    /// Deletes files that have been closed for `grace`, read to their ends and acknowledged, and that nobody has changed.
    fn delete_read(&self, grace: Duration, now: Timestamp) {
        for file in self.tracked.values() {
            let waited = file
                .closed_at
                .is_some_and(|since| now.duration_since(since).unsigned_abs() >= grace && now >= since);
            if !waited || file.running.is_some() || file.tracker.pending() > 0 || !file.is_read_to_its_end() {
                continue;
            }
            let path = &file.meta.path;
            let unchanged = fs_err::symlink_metadata(path).is_ok_and(|there| Some(Look::of(&there)) == file.look);
            if !unchanged {
                continue;
            }
            match fs_err::remove_file(path) {
                Ok(()) => info!(path, "a file has been read and acknowledged, and is deleted"),
                Err(error) => warn!(%error, "a file has been read and cannot be deleted"),
            }
        }
    }

    /// Forgets what is gone for good.
    fn clean(&mut self, now: Timestamp) {
        let mut forgotten = Vec::new();
        for (id, file) in &mut self.tracked {
            if file.running.is_some() {
                continue;
            }
            if !file.present && file.is_gone() {
                file.missing = file.missing.saturating_add(1);
            }
            let gone = self.settings.clean_removed || file.meta.inode.is_none();
            let removed = gone && file.missing >= MISSING_SCANS;
            let read = file.content_size.is_some_and(|size| size <= file.shared.position());
            let too_old = |age: Duration| read && file.look.is_some_and(|look| is_older(&look, age, now));
            let inactive = self.settings.clean_inactive.is_some_and(too_old);
            if (removed || inactive) && file.tracker.pending() == 0 {
                forgotten.push(*id);
            }
        }
        for id in forgotten {
            let Some(file) = self.tracked.remove(&id) else { continue };
            debug!(path = file.meta.path, "a file is forgotten");
            if let Some(key) = self.key(file.meta.inode, &file.meta.path)
                && self.index.get(&key) == Some(&id)
            {
                self.index.remove(&key);
            }
            self.copies.retain(|_, original| *original != id);
            file.entry.remove();
        }
    }

    /// The files that should be open and are not, at most `limit` when it is not zero.
    pub(super) fn to_open(&self, now: Timestamp) -> Vec<FileId> {
        let running = self.tracked.values().filter(|file| file.running.is_some()).count();
        let room = match self.settings.harvester_limit {
            0 => usize::MAX,
            limit => limit.saturating_sub(running),
        };
        let waits = |file: &Tracked| {
            file.present
                && file.running.is_none()
                && !file.finished
                && file.content_size.is_none_or(|size| size > file.shared.position())
                && (file.closed.is_none() || file.closed != file.look)
                && !file.look.is_some_and(|look| self.is_ignored(&look, now))
        };
        let mut waiting: Vec<FileId> = self
            .tracked
            .iter()
            .filter(|(_, file)| waits(file))
            .map(|(id, _)| *id)
            .collect();
        // Oldest first, so that a limit starves none.
        waiting.sort_by_key(|id| id.0);
        waiting.truncate(room);
        waiting
    }

    /// A harvester has ended; `true` when the file must be looked at again at once.
    pub(super) fn closed(&mut self, id: FileId, look: Option<Look>, now: Timestamp) -> bool {
        let Some(file) = self.tracked.get_mut(&id) else {
            return false;
        };
        file.running = None;
        file.closed = look;
        file.closed_at = look.map(|_| now);
        let replaced = std::mem::take(&mut file.replaced);
        if replaced {
            self.lose(id);
        }
        replaced
    }

    /// A gzip file has been read to its end.
    pub(super) fn finished(&mut self, id: FileId, now: Timestamp) {
        if let Some(file) = self.tracked.get_mut(&id) {
            file.running = None;
            file.finished = true;
            file.closed_at = Some(now);
        }
    }
}

impl Tracked {
    /// Whether only the time of the file has changed since the last scan.
    fn was_touched(&self, now: &Look) -> bool {
        let read = self.finished || self.shared.position() >= now.size;
        read && self
            .look
            .is_some_and(|look| look.size == now.size && look.modified != now.modified)
    }

    fn is_read_to_its_end(&self) -> bool {
        self.finished || self.look.is_some_and(|look| look.size == self.entry.position())
    }

    /// A folder that cannot be read says nothing about the files in it.
    fn is_gone(&self) -> bool {
        let there = fs_err::symlink_metadata(&self.meta.path);
        self.meta.inode.is_none() || !matches!(there, Err(error) if error.kind() != std::io::ErrorKind::NotFound)
    }

    /// Where the file was last seen, and how its inode looked.
    pub(super) fn place(&self) -> (Utf8PathBuf, Option<Inode>) {
        (Utf8PathBuf::from(&self.meta.path), self.meta.inode)
    }
}

fn is_older(look: &Look, age: Duration, now: Timestamp) -> bool {
    now.as_nanosecond() - look.modified > i128::try_from(age.as_nanos()).unwrap_or(i128::MAX)
}
