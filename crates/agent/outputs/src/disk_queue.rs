//! A bounded queue in a folder, for events whose source cannot give them twice.
//!
//! Segments named by the number of their first record (`00000000000000000000.queue`) hold records
//! `length u32 | crc32 u32 | payload`, little endian. An append is synced before it returns, so what was taken survives a
//! crash. `head` names the first record that is not acknowledged; a lost or torn `head` costs duplicates, never events.
//! With a [`QueueCipher`] each payload is sealed (AES-256-GCM, bound to its record's number) and the top bit of its length
//! is set, so that records of before and after encryption was switched on lie in one queue. A torn tail is cut at open. When the bound is reached the oldest segment or the new records go, as configured.
//!
//! All calls block: use them from `spawn_blocking`.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::queue_cipher::QueueCipher;

mod record;
pub use record::Record;
use record::{crc, decode, encode, read_payload};

const SUFFIX: &str = "queue";
const HEAD: &str = "head";

/// What to do when the bound is reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overflow {
    /// The oldest segment goes: recent data matters more.
    #[default]
    DropOldest,
    /// New records are refused: nothing that was taken goes.
    DropNewest,
}

/// Bounds of a [`DiskQueue`].
#[derive(Clone, Copy, Debug)]
pub struct DiskQueueOptions {
    /// Bytes of all segments, at most.
    pub max_bytes: u64,
    /// A new segment starts when the last has this many bytes.
    pub segment_bytes: u64,
    /// What goes when the bound is reached.
    pub overflow: Overflow,
}

/// The queue. See the module.
#[derive(Debug)]
pub struct DiskQueue {
    directory: Utf8PathBuf,
    options: DiskQueueOptions,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By number of the first record.
    segments: BTreeMap<u64, Segment>,
    /// The last segment, open for appending.
    writer: Option<fs::File>,
    /// Number of the next record to append.
    next: u64,
    /// Everything below is acknowledged.
    head: u64,
    /// Next record to hand out.
    cursor: Cursor,
    dropped: u64,
    /// Reads what is sealed; new records are sealed with it.
    cipher: Option<QueueCipher>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    records: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    segment: u64,
    offset: u64,
    record: u64,
}

impl DiskQueue {
    /// Opens the queue in `directory`, which is made when missing.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read or written; a damaged record is not an error.
    pub fn open(directory: &Utf8Path, options: DiskQueueOptions, cipher: Option<QueueCipher>) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut segments = BTreeMap::new();
        for first in segment_numbers(directory)? {
            let segment = recover(&segment_path(directory, first))?;
            segments.insert(first, segment);
        }
        let next = segments
            .last_key_value()
            .map_or(0, |(first, segment)| first + segment.records);
        let head = read_head(directory).unwrap_or(0);
        let next = next.max(head);
        let mut inner = Inner {
            segments,
            writer: None,
            next,
            head: head.min(next),
            cursor: Cursor::default(),
            dropped: 0,
            cipher,
        };
        inner.remove_acknowledged(directory)?;
        inner.rewind(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            options,
            inner: Mutex::new(inner),
        })
    }

    /// Appends `records` and syncs them. Returns how many records were lost to the bound.
    ///
    /// # Errors
    /// Nothing of `records` may be counted on; the next append starts a new segment.
    pub fn append(&self, records: &[Record]) -> io::Result<u64> {
        if records.is_empty() {
            return Ok(0);
        }
        let mut inner = self.lock();
        let dropped_before = inner.dropped;
        let result = inner.append(&self.directory, self.options, records);
        if result.is_err() {
            // What the failed write left behind is cut off when the folder is opened again.
            inner.abandon_writer(&self.directory);
        }
        result.map(|()| inner.dropped - dropped_before)
    }

    /// The next records that were not handed out since the start, at most `max`, each with its number.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn read(&self, max: usize) -> io::Result<Vec<(u64, Record)>> {
        let mut inner = self.lock();
        inner.read(&self.directory, max)
    }

    /// Everything below `head` was delivered: its room is free again.
    ///
    /// # Errors
    /// The head cannot be stored; the records will be handed out again after a restart.
    pub fn acknowledge(&self, head: u64) -> io::Result<()> {
        let mut inner = self.lock();
        if head <= inner.head {
            return Ok(());
        }
        inner.head = head.min(inner.next);
        write_head(&self.directory, inner.head)?;
        inner.remove_acknowledged(&self.directory)
    }

    /// Records that wait for acknowledgement.
    pub fn len(&self) -> u64 {
        let inner = self.lock();
        let oldest = inner.segments.first_key_value().map_or(inner.next, |(first, _)| *first);
        inner.next - inner.head.max(oldest)
    }

    /// Whether every record is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that were not handed out yet.
    pub fn unread(&self) -> u64 {
        let inner = self.lock();
        inner.next.saturating_sub(inner.cursor.record)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    fn append(&mut self, directory: &Utf8Path, options: DiskQueueOptions, records: &[Record]) -> io::Result<()> {
        let mut block = Vec::new();
        let mut count = 0;
        for record in records {
            let before = block.len();
            encode(record, self.next + count, self.cipher.as_ref(), &mut block)?;
            if self.bytes() + block.len() as u64 > options.max_bytes {
                match options.overflow {
                    Overflow::DropNewest => {
                        block.truncate(before);
                        self.dropped += 1;
                        continue;
                    }
                    Overflow::DropOldest => self.drop_oldest(directory, options.max_bytes, block.len() as u64)?,
                }
            }
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let first = self.writable_segment(directory, options.segment_bytes)?;
        let writer = self.writer.as_mut().expect("`writable_segment` opened it");
        writer.write_all(&block)?;
        writer.sync_data()?;
        let segment = self.segments.entry(first).or_default();
        segment.bytes += block.len() as u64;
        segment.records += count;
        self.next += count;
        Ok(())
    }

    /// Removes segments from the old end until `wanted` bytes fit, but never the one that is written to.
    fn drop_oldest(&mut self, directory: &Utf8Path, max_bytes: u64, wanted: u64) -> io::Result<()> {
        while self.bytes() + wanted > max_bytes && self.segments.len() > 1 {
            let Some((first, segment)) = self.segments.pop_first() else {
                break;
            };
            fs::remove_file(segment_path(directory, first))?;
            let end = first + segment.records;
            self.dropped += end - self.head.clamp(first, end);
            self.head = self.head.max(end);
            if self.cursor.record < end {
                self.cursor = Cursor {
                    segment: end,
                    offset: 0,
                    record: end,
                };
            }
        }
        Ok(())
    }

    /// The segment to append to, opened; a new one when there is none or the last is full.
    fn writable_segment(&mut self, directory: &Utf8Path, segment_bytes: u64) -> io::Result<u64> {
        if let (Some(_), Some((first, segment))) = (&self.writer, self.segments.last_key_value())
            && segment.bytes < segment_bytes
        {
            return Ok(*first);
        }
        let first = self.next;
        let file = crate::dead_letter::private_append(&segment_path(directory, first))?;
        file.set_len(0)?;
        fs::File::open(directory)?.sync_all()?;
        self.writer = Some(file);
        self.segments.insert(first, Segment::default());
        Ok(first)
    }

    fn abandon_writer(&mut self, directory: &Utf8Path) {
        self.writer = None;
        let Some((&first, segment)) = self.segments.last_key_value() else {
            return;
        };
        let whole = segment.bytes;
        let empty = segment.records == 0;
        let path = segment_path(directory, first);
        let cut = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(whole));
        if let Err(error) = cut {
            tracing::debug!(error = %error, "cannot cut a failed write off the disk queue");
        }
        if empty {
            self.segments.remove(&first);
        }
    }

    fn read(&mut self, directory: &Utf8Path, max: usize) -> io::Result<Vec<(u64, Record)>> {
        let mut records = Vec::new();
        while records.len() < max && self.cursor.record < self.next {
            let Some(segment) = self.segments.get(&self.cursor.segment).copied() else {
                self.cursor = self.first_cursor_at_or_after(self.cursor.record);
                continue;
            };
            let end = self.cursor.segment + segment.records;
            if self.cursor.record >= end {
                let next = self
                    .segments
                    .range(self.cursor.segment + 1..)
                    .next()
                    .map(|(first, _)| *first);
                let Some(next) = next else { break };
                self.cursor = Cursor {
                    segment: next,
                    offset: 0,
                    record: next,
                };
                continue;
            }
            let wanted = (end - self.cursor.record).min((max - records.len()) as u64);
            self.read_segment(directory, wanted, &mut records)?;
        }
        Ok(records)
    }

    fn read_segment(&mut self, directory: &Utf8Path, wanted: u64, into: &mut Vec<(u64, Record)>) -> io::Result<()> {
        let mut file = fs::File::open(segment_path(directory, self.cursor.segment))?;
        file.seek(SeekFrom::Start(self.cursor.offset))?;
        let mut reader = io::BufReader::new(file);
        for _ in 0..wanted {
            let Some(payload) = read_payload(&mut reader)? else {
                tracing::warn!(queue = %directory, "a record of the disk queue is damaged; the rest of its segment is lost");
                self.cursor = self.first_cursor_at_or_after(self.cursor.segment + 1);
                return Ok(());
            };
            let plain = payload.plain(self.cursor.record, self.cipher.as_ref());
            if let Some(record) = plain.as_deref().and_then(decode) {
                into.push((self.cursor.record, record));
            } else {
                let why = "it was sealed with another key, or changed";
                tracing::warn!(queue = %directory, sealed = payload.sealed, why, "a record of the disk queue cannot be read");
            }
            self.cursor.offset += payload.on_disk();
            self.cursor.record += 1;
        }
        Ok(())
    }

    fn first_cursor_at_or_after(&self, record: u64) -> Cursor {
        let first = self
            .segments
            .range(record..)
            .next()
            .map_or(self.next, |(first, _)| *first);
        Cursor {
            segment: first,
            offset: 0,
            record: first,
        }
    }

    fn remove_acknowledged(&mut self, directory: &Utf8Path) -> io::Result<()> {
        let done: Vec<u64> = self
            .segments
            .iter()
            .filter(|(first, segment)| *first + segment.records <= self.head && **first < self.head)
            .map(|(first, _)| *first)
            .collect();
        for first in done {
            if self.segments.last_key_value().is_some_and(|(last, _)| *last == first) {
                self.writer = None;
            }
            fs::remove_file(segment_path(directory, first))?;
            self.segments.remove(&first);
        }
        Ok(())
    }

    /// Puts the cursor on the first record that is not acknowledged.
    fn rewind(&mut self, directory: &Utf8Path) -> io::Result<()> {
        let first = self.segments.first_key_value().map_or(self.next, |(first, _)| *first);
        self.cursor = Cursor {
            segment: first,
            offset: 0,
            record: first,
        };
        let Some(skip) = self.head.checked_sub(first) else {
            return Ok(());
        };
        let mut passed = Vec::new();
        let skip = skip.min(self.segments.get(&first).map_or(0, |segment| segment.records));
        self.read_segment_if(directory, skip, &mut passed)
    }

    fn read_segment_if(&mut self, directory: &Utf8Path, count: u64, into: &mut Vec<(u64, Record)>) -> io::Result<()> {
        if count == 0 {
            Ok(())
        } else {
            self.read_segment(directory, count, into)
        }
    }
}

fn segment_numbers(directory: &Utf8Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(".queue"))
            .and_then(|name| name.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn segment_path(directory: &Utf8Path, first: u64) -> Utf8PathBuf {
    directory.join(format!("{first:020}.{SUFFIX}"))
}

/// Counts the whole records of a segment and cuts off what follows them.
fn recover(path: &Utf8Path) -> io::Result<Segment> {
    let mut segment = Segment::default();
    let mut reader = io::BufReader::new(fs::File::open(path)?);
    while let Some(payload) = read_payload(&mut reader)? {
        segment.records += 1;
        segment.bytes += payload.on_disk();
    }
    if fs::metadata(path)?.len() > segment.bytes {
        tracing::warn!(path = %path, "cutting a torn write off the disk queue");
        fs::OpenOptions::new().write(true).open(path)?.set_len(segment.bytes)?;
    }
    Ok(segment)
}

/// `head`: the number and its checksum, in text, so that a person can read it.
fn write_head(directory: &Utf8Path, head: u64) -> io::Result<()> {
    let beside = directory.join("head.new");
    let mut file = fs::File::create(&beside)?;
    writeln!(file, "{head} {}", crc(head.to_string().as_bytes()))?;
    drop(file);
    fs::rename(&beside, directory.join(HEAD))
}

fn read_head(directory: &Utf8Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join(HEAD)).ok()?;
    let (number, checksum) = text.trim().split_once(' ')?;
    (checksum.parse() == Ok(crc(number.as_bytes()))).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: DiskQueueOptions = DiskQueueOptions {
        max_bytes: 1 << 20,
        segment_bytes: 200,
        overflow: Overflow::DropOldest,
    };

    fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("queue")).unwrap();
        (directory, path)
    }

    fn record(number: u64) -> Record {
        Record {
            index: "metrics-x-default".to_owned(),
            pipeline: number.is_multiple_of(2).then(|| "p".to_owned()),
            id: None,
            body: format!("{{\"n\":{number}}}").into_bytes(),
        }
    }

    fn fill(queue: &DiskQueue, numbers: std::ops::Range<u64>) {
        for number in numbers {
            queue.append(&[record(number)]).unwrap();
        }
    }

    fn numbers(read: &[(u64, Record)]) -> Vec<u64> {
        read.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn records_come_back_in_order_across_segments_and_restarts() {
        let (_guard, path) = directory();
        let queue = DiskQueue::open(&path, OPTIONS, None).unwrap();
        fill(&queue, 0..20);
        let read = queue.read(5).unwrap();
        assert_eq!(numbers(&read), [0, 1, 2, 3, 4]);
        assert_eq!(read[3].1, record(3));
        queue.acknowledge(3).unwrap();
        drop(queue);

        let queue = DiskQueue::open(&path, OPTIONS, None).unwrap();
        assert_eq!(queue.len(), 17);
        assert_eq!(numbers(&queue.read(100).unwrap()), (3..20).collect::<Vec<_>>());
        assert!(queue.read(100).unwrap().is_empty());
        fill(&queue, 20..22);
        assert_eq!(numbers(&queue.read(100).unwrap()), [20, 21]);
        queue.acknowledge(22).unwrap();
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_torn_tail_is_cut_and_what_was_synced_stays() {
        let (_guard, path) = directory();
        let queue = DiskQueue::open(&path, OPTIONS, None).unwrap();
        fill(&queue, 0..4);
        drop(queue);
        let last = segment_path(&path, *segment_numbers(&path).unwrap().last().unwrap());
        let whole = fs::read(&last).unwrap();
        for cut in 1..record::HEADER + 3 {
            let mut torn = whole.clone();
            torn.extend_from_slice(&[7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7][..cut]);
            fs::write(&last, &torn).unwrap();
            let queue = DiskQueue::open(&path, OPTIONS, None).unwrap();
            assert_eq!(numbers(&queue.read(10).unwrap()), [0, 1, 2, 3], "cut {cut}");
            assert_eq!(fs::read(&last).unwrap(), whole);
        }
    }

    #[test]
    fn a_torn_head_costs_duplicates_only() {
        let (_guard, path) = directory();
        let queue = DiskQueue::open(
            &path,
            DiskQueueOptions {
                segment_bytes: 1 << 20,
                ..OPTIONS
            },
            None,
        )
        .unwrap();
        fill(&queue, 0..4);
        queue.acknowledge(2).unwrap();
        drop(queue);
        fs::write(path.join(HEAD), "2 1").unwrap();
        let queue = DiskQueue::open(&path, OPTIONS, None).unwrap();
        assert_eq!(numbers(&queue.read(10).unwrap()), [0, 1, 2, 3]);
    }

    #[test]
    fn the_bound_drops_what_was_configured_and_counts_it() {
        let check = |overflow: Overflow, first_left: u64, last_left: u64| {
            let (_guard, path) = directory();
            let queue = DiskQueue::open(
                &path,
                DiskQueueOptions {
                    max_bytes: 1000,
                    segment_bytes: 200,
                    overflow,
                },
                None,
            )
            .unwrap();
            let dropped: u64 = (0..60).map(|number| queue.append(&[record(number)]).unwrap()).sum();
            let left = queue.read(100).unwrap();
            assert!(queue.bytes() <= 1000);
            assert_eq!(left.len() as u64 + dropped, 60, "{overflow:?}");
            let bodies: Vec<_> = left.iter().map(|(_, record)| record.body.clone()).collect();
            assert!(bodies.contains(&record(first_left).body));
            assert!(!bodies.contains(&record(last_left).body));
        };
        check(Overflow::DropOldest, 59, 0);
        check(Overflow::DropNewest, 0, 59);
    }

    #[test]
    fn what_is_sealed_cannot_be_read_without_its_key_and_is_not_lost_with_it() {
        let (_guard, path) = directory();
        fill(&DiskQueue::open(&path, OPTIONS, None).unwrap(), 0..3);
        let cipher = QueueCipher::new(&[7; 32]);
        let queue = DiskQueue::open(&path, OPTIONS, Some(cipher.clone())).unwrap();
        fill(&queue, 3..9);
        drop(queue);
        let on_disk: Vec<u8> = segment_numbers(&path)
            .unwrap()
            .into_iter()
            .flat_map(|first| fs::read(segment_path(&path, first)).unwrap())
            .collect();
        let shows = |number: u64| {
            let body = record(number).body;
            on_disk.windows(body.len()).any(|window| window == body)
        };
        assert!(shows(2) && !shows(3) && !shows(8));
        let queue = DiskQueue::open(&path, OPTIONS, Some(cipher)).unwrap();
        let read = queue.read(100).unwrap();
        assert_eq!(numbers(&read), (0..9).collect::<Vec<_>>());
        assert_eq!(read[5].1, record(5));
        drop(queue);
        for foreign in [None, Some(QueueCipher::new(&[8; 32]))] {
            let queue = DiskQueue::open(&path, OPTIONS, foreign).unwrap();
            assert_eq!(numbers(&queue.read(100).unwrap()), [0, 1, 2]);
        }
    }

    #[test]
    fn a_sealed_record_belongs_to_its_place() {
        let cipher = QueueCipher::new(&[7; 32]);
        let sealed = cipher.seal(4, b"payload").unwrap();
        assert_eq!(cipher.open(4, &sealed).unwrap(), b"payload");
        assert!(cipher.open(5, &sealed).is_none());
        assert!(cipher.open(4, &sealed[..3]).is_none());
    }
}
