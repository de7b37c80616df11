//! The write-ahead log of data streams: acknowledged means synced here.
//!
//! Segment files are named by the number of their first record. A file opens with 16 bytes (magic, that number), then
//! records: length, CRC-32 of the payload, payload. A payload is a group of documents. A record that is cut short or
//! fails its checksum at the end of the last file was never acknowledged: the file is cut back to the record before it.
//! When whole records follow it, it is damage in the middle of what was acknowledged: those records are kept, the bytes
//! between are told and set aside in a file beside the log. The same in an earlier file is an error, unless it was told
//! and set aside before.

use std::io::{Read, Seek, SeekFrom, Write};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use store::SeqNo;

use crate::folder::{OpenError, sync_directory, write_beside};

const MAGIC: &[u8; 8] = b"FLTWAL01";
const HEADER: u64 = 16;
/// A segment is closed when it has grown beyond this.
const SEGMENT_BYTES: u64 = 64 << 20;
/// What is in the indices already is dropped from the open segment only when it is at least this much.
const WORTH_A_SEGMENT: u64 = 4 << 20;
/// A longer record is damage, not data.
const LONGEST_RECORD: usize = 1 << 30;
const NO_ID: u32 = u32::MAX;
/// Backing index, number, length of the id, length of the source.
const SMALLEST_ENTRY: usize = 20;

/// The number of a record, from 0, over all segments.
pub(crate) type Position = u64;

/// A document as it is logged.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The number of the backing index in the catalogue.
    pub(crate) backing: u32,
    pub(crate) seq_no: SeqNo,
    /// Only ids that the client gave.
    pub(crate) id: Option<String>,
    pub(crate) source: Bytes,
}

impl Entry {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.backing);
        out.put_u64_le(self.seq_no);
        match &self.id {
            Some(id) => {
                out.put_u32_le(id.len() as u32);
                out.put_slice(id.as_bytes());
            }
            None => out.put_u32_le(NO_ID),
        }
        out.put_u32_le(self.source.len() as u32);
        out.put_slice(&self.source);
    }

    fn decode(payload: &mut Bytes) -> Option<Self> {
        let backing = payload.try_get_u32_le().ok()?;
        let seq_no = payload.try_get_u64_le().ok()?;
        let id = match payload.try_get_u32_le().ok()? {
            NO_ID => None,
            length => Some(String::from_utf8(take(payload, length as usize)?.to_vec()).ok()?),
        };
        let length = payload.try_get_u32_le().ok()?;
        let source = take(payload, length as usize)?;
        Some(Self {
            backing,
            seq_no,
            id,
            source,
        })
    }
}

fn take(payload: &mut Bytes, length: usize) -> Option<Bytes> {
    (payload.len() >= length).then(|| payload.split_to(length))
}

#[derive(Debug)]
struct Segment {
    path: Utf8PathBuf,
    first: Position,
}

/// A file that the log is appended to.
trait LogFile: Write + Seek + std::fmt::Debug + Send {
    /// Returns when everything written is on the disk.
    fn sync_data(&self) -> std::io::Result<()>;

    /// Cuts the file.
    fn set_len(&self, length: u64) -> std::io::Result<()>;
}

impl LogFile for fs::File {
    fn sync_data(&self) -> std::io::Result<()> {
        Self::sync_data(self)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        Self::set_len(self, length)
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct Wal {
    directory: Utf8PathBuf,
    file: Box<dyn LogFile>,
    length: u64,
    next: Position,
    /// Oldest first; the last one is open.
    segments: Vec<Segment>,
    /// The file may hold a half-written record behind `length`.
    dirty: bool,
}

impl Wal {
    /// Opens the log, repairs a torn tail and calls `replay` for every document in it. A new log starts at `first`: the
    /// indices may know of records of an earlier one.
    pub(crate) fn open(
        directory: &Utf8Path,
        first: Position,
        replay: &mut dyn FnMut(Position, Entry) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder {
            path: directory.to_owned(),
            source,
        };
        let mut segments = list(directory).map_err(failed)?;
        let mut next = first;
        let count = segments.len();
        let mut kept = Vec::new();
        for (number, segment) in segments.drain(..).enumerate() {
            let last = number + 1 == count;
            if number > 0 && segment.first != next {
                let reason = format!(
                    "the log goes on with record {}, record {next} was expected",
                    segment.first
                );
                return Err(OpenError::Damaged {
                    path: segment.path,
                    reason,
                });
            }
            next = segment.first;
            if read_segment(&segment, last, &mut next, replay)? {
                kept.push(segment);
            }
        }
        let (file, length, segment) = match kept.pop() {
            Some(segment) => {
                let mut file = fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&segment.path)
                    .map_err(failed)?;
                let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
                (file, length, segment)
            }
            None => create(directory, next).map_err(failed)?,
        };
        kept.push(segment);
        Ok(Self {
            directory: directory.to_owned(),
            file: Box::new(file),
            length,
            next,
            segments: kept,
            dirty: false,
        })
    }

    /// The number that the next record gets.
    pub(crate) fn next(&self) -> Position {
        self.next
    }

    /// Writes one record for each payload and syncs them together.
    ///
    /// After an error nothing of it counts: what may stand in the file is cut off before the next append.
    pub(crate) fn append(&mut self, payloads: &[BytesMut]) -> std::io::Result<()> {
        if self.dirty {
            self.cut()?;
        }
        if self.length > SEGMENT_BYTES {
            self.roll()?;
        }
        self.dirty = true;
        let mut written = 0;
        for payload in payloads {
            let mut head = [0; 8];
            head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
            self.file.write_all(&head)?;
            self.file.write_all(payload)?;
            written += 8 + payload.len() as u64;
        }
        self.file.sync_data()?;
        self.length += written;
        self.next += payloads.len() as u64;
        self.dirty = false;
        Ok(())
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_data()?;
        self.dirty = false;
        Ok(())
    }

    fn roll(&mut self) -> std::io::Result<()> {
        let (file, length, segment) = create(&self.directory, self.next)?;
        self.file = Box::new(file);
        self.length = length;
        self.segments.push(segment);
        Ok(())
    }

    /// Deletes what lies before `position`: it is in the indices. Starts a new segment when all of a large one is.
    pub(crate) fn trim(&mut self, position: Position) -> std::io::Result<()> {
        if position >= self.next && self.length > WORTH_A_SEGMENT && !self.dirty {
            self.roll()?;
        }
        while self.segments.len() > 1 && self.segments[1].first <= position {
            let gone = self.segments.remove(0);
            fs::remove_file(&gone.path)?;
        }
        Ok(())
    }
}

fn list(directory: &Utf8Path) -> std::io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let first = name
            .to_str()
            .and_then(|name| name.strip_suffix(".wal"))
            .and_then(|stem| stem.parse().ok());
        if let (Some(first), Some(name)) = (first, name.to_str()) {
            found.push(Segment {
                path: directory.join(name),
                first,
            });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Makes an empty log that goes on at `first`, for a copy of the indices.
pub(crate) fn create_empty(directory: &Utf8Path, first: Position) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    create(directory, first).map(|_| ())
}

fn create(directory: &Utf8Path, first: Position) -> std::io::Result<(fs::File, u64, Segment)> {
    let path = directory.join(format!("{first:020}.wal"));
    let mut file = fs::File::create(&path)?;
    file.write_all(MAGIC)?;
    file.write_all(&first.to_le_bytes())?;
    file.sync_all()?;
    sync_directory(directory)?;
    Ok((file, HEADER, Segment { path, first }))
}

/// Reads one segment; `false` when it was cut down to nothing and removed.
fn read_segment(
    segment: &Segment,
    last: bool,
    next: &mut Position,
    replay: &mut dyn FnMut(Position, Entry) -> Result<(), OpenError>,
) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Folder {
        path: segment.path.clone(),
        source,
    };
    let damaged = |reason: String| OpenError::Damaged {
        path: segment.path.clone(),
        reason,
    };
    let file = fs::File::open(&segment.path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER as usize];
    let header_read = reader.read_exact(&mut header).is_ok();
    if !header_read || &header[..8] != MAGIC || header[8..] != segment.first.to_le_bytes() {
        // The file was being made when the process ended: nothing can have been acknowledged from it.
        if last && size <= HEADER {
            tracing::warn!(path = %segment.path, "removed a log file that was cut short while it was made");
            fs::remove_file(&segment.path).map_err(failed)?;
            return Ok(false);
        }
        return Err(damaged("its header is wrong".to_owned()));
    }
    let mut good = HEADER;
    while good < size {
        let Some(payload) = read_record(&mut reader, size - good).map_err(failed)? else {
            if !last && !set_aside(&segment.path, good).exists() {
                return Err(damaged(format!("the record at byte {good} is damaged")));
            }
            if let Some((next_good, records)) = salvage(&segment.path, good).map_err(failed)? {
                reader.seek(SeekFrom::Start(next_good)).map_err(failed)?;
                good = next_good;
                // Their numbers are lost, and nobody may get them a second time.
                *next += records;
                continue;
            }
            tracing::warn!(path = %segment.path, bytes = size - good, "cut off the torn, never acknowledged end of the log");
            let file = fs::OpenOptions::new().write(true).open(&segment.path).map_err(failed)?;
            file.set_len(good).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            break;
        };
        good += 8 + payload.len() as u64;
        let mut payload = payload;
        while !payload.is_empty() {
            let entry = Entry::decode(&mut payload)
                .ok_or_else(|| damaged(format!("the record before byte {good} cannot be read")))?;
            replay(*next, entry)?;
        }
        *next += 1;
    }
    Ok(true)
}

/// Looks behind the bad record at `bad` for the next good one: its place, and how many records lie between. The bytes
/// between are set aside in a file of their own, once, and the place is told.
fn salvage(path: &Utf8Path, bad: u64) -> std::io::Result<Option<(u64, u64)>> {
    let bytes = fs::read(path)?;
    let Some(next_good) = next_record(&bytes, bad as usize + 1) else {
        return Ok(None);
    };
    let lost = &bytes[bad as usize..next_good];
    let aside = set_aside(path, bad);
    if !aside.exists() {
        write_beside(&aside, lost)?;
    }
    tracing::error!(
        path = %path, byte = bad, bytes = lost.len(), kept = %aside,
        "a record in the middle of the log is damaged; what follows it was recovered, its own documents are lost"
    );
    Ok(Some((next_good as u64, records_in(lost))))
}

/// Where the bytes of a damaged stretch are kept.
fn set_aside(path: &Utf8Path, bad: u64) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{path}.damaged-at-{bad}"))
}

/// How many records a damaged stretch was: exact where their lengths are whole, else as many as have room in it. Too many
/// leaves numbers out; too few would give numbers a second time.
fn records_in(stretch: &[u8]) -> u64 {
    let (mut at, mut count) = (0_usize, 0);
    while let Some(length) = stretch
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map(u32::from_le_bytes)
    {
        at = at.saturating_add(8).saturating_add(length as usize);
        count += 1;
        if at == stretch.len() {
            return count;
        }
    }
    (stretch.len() / (8 + SMALLEST_ENTRY)).max(1) as u64
}

/// The first place from `from` on where a record with a fitting length and checksum, made of documents, begins.
fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(8)).find(|&at| {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = word(at) as usize;
        let Some(payload) = bytes.get(at + 8..(at + 8).saturating_add(length)) else {
            return false;
        };
        // The first entry's own lengths are looked at before the checksum, which is dear at every byte of a file.
        (SMALLEST_ENTRY..=LONGEST_RECORD).contains(&length)
            && first_entry_fits(payload)
            && crc32fast::hash(payload) == word(at + 4)
    })
}

fn first_entry_fits(payload: &[u8]) -> bool {
    let word = |at: usize| {
        payload
            .get(at..at + 4)
            .and_then(|four| four.try_into().ok())
            .map(u32::from_le_bytes)
    };
    let id = match word(12) {
        Some(NO_ID) => 0,
        Some(length) => length as usize,
        None => return false,
    };
    let source = word(16_usize.saturating_add(id)).map_or(usize::MAX, |length| length as usize);
    id <= payload.len() && source <= payload.len() - id
}

/// One record; `None` when it is cut short or its checksum is wrong.
fn read_record(reader: &mut impl Read, left: u64) -> std::io::Result<Option<Bytes>> {
    let mut head = [0; 8];
    if left < 8 {
        return Ok(None);
    }
    reader.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length > LONGEST_RECORD || length as u64 > left - 8 || length == 0 {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload)?;
    Ok((crc32fast::hash(&payload) == checksum).then(|| Bytes::from(payload)))
}

#[cfg(test)]
mod faults;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(number: u64) -> Entry {
        let id = number.is_multiple_of(2).then(|| format!("id-{number}"));
        Entry {
            backing: 1,
            seq_no: number,
            id,
            source: Bytes::from(format!("{{\"n\":{number}}}")),
        }
    }

    fn payload(number: u64) -> BytesMut {
        let mut payload = BytesMut::new();
        entry(number).encode(&mut payload);
        payload
    }

    fn open(directory: &Utf8Path) -> (Wal, Vec<u64>) {
        let mut seen = Vec::new();
        let wal = Wal::open(directory, 0, &mut |_, entry| {
            seen.push(entry.seq_no);
            Ok(())
        })
        .unwrap();
        (wal, seen)
    }

    fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        (directory, path)
    }

    #[test]
    fn what_was_appended_is_replayed() {
        let (_guard, path) = temporary();
        let (mut wal, seen) = open(&path);
        assert!(seen.is_empty());
        wal.append(&[payload(0), payload(1)]).unwrap();
        wal.append(&[payload(2)]).unwrap();
        drop(wal);
        let (mut wal, seen) = open(&path);
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(wal.next(), 3);
        wal.roll().unwrap();
        wal.trim(3).unwrap();
        drop(wal);
        let (wal, seen) = open(&path);
        assert!(seen.is_empty());
        assert_eq!(wal.next(), 3);
    }

    /// A log of five records in one file: the file, and where its header and each record end.
    fn five_records(path: &Utf8Path) -> (Utf8PathBuf, Vec<u64>) {
        let (mut wal, _) = open(path);
        let mut ends = vec![HEADER];
        for number in 0..5 {
            wal.append(&[payload(number)]).unwrap();
            ends.push(wal.length);
        }
        (path.join(format!("{:020}.wal", 0)), ends)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// A file cut at any byte, with or without noise behind, gives back every record before the cut.
        #[test]
        fn a_torn_tail_is_repaired(cut in 0_usize..200, noise in proptest::collection::vec(any::<u8>(), 0..20)) {
            let (_guard, path) = temporary();
            let (file, ends) = five_records(&path);
            let bytes = fs::read(&file).unwrap();
            let cut = (HEADER as usize + cut).min(bytes.len());
            let mut torn = bytes[..cut].to_vec();
            torn.extend(&noise);
            // Noise that happens to complete the cut record byte by byte is no noise.
            prop_assume!(noise.is_empty() || !bytes[cut..].starts_with(&noise[..1]));
            fs::write(&file, &torn).unwrap();
            let whole = ends.iter().filter(|end| **end as usize <= cut).count() as u64 - 1;
            let (mut wal, seen) = open(&path);
            prop_assert_eq!(seen, (0..whole).collect::<Vec<_>>());
            wal.append(&[payload(whole)]).unwrap();
            drop(wal);
            let (_, seen) = open(&path);
            prop_assert_eq!(seen, (0..=whole).collect::<Vec<_>>());
        }
    }

    /// Flips one bit in each byte of the middle record, one file each: all the others come back, at every start.
    #[test]
    fn what_follows_a_damaged_record_is_recovered() {
        let (_guard, path) = temporary();
        let (file, ends) = five_records(&path);
        let whole = fs::read(&file).unwrap();
        for at in ends[2]..ends[3] {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 1;
            fs::write(&file, &bytes).unwrap();
            let (mut wal, seen) = open(&path);
            assert_eq!(seen, [0, 1, 3, 4], "byte {at}");
            assert_eq!(wal.next(), 5);
            wal.append(&[payload(5)]).unwrap();
            drop(wal);
            let (_, seen) = open(&path);
            assert_eq!(seen, [0, 1, 3, 4, 5], "byte {at}, a second start");
        }
        let aside = path.join(format!("{:020}.wal.damaged-at-{}", 0, ends[2]));
        assert_eq!(fs::metadata(aside).unwrap().len(), ends[3] - ends[2]);
    }

    /// Damages the lengths of two records that follow each other: what is behind them comes back, no number is given twice,
    /// and the log goes on over new files.
    #[test]
    fn several_damaged_records_in_a_row_are_passed_over() {
        let (_guard, path) = temporary();
        let (file, ends) = five_records(&path);
        let mut bytes = fs::read(&file).unwrap();
        for record in [1, 2] {
            for byte in 0..8 {
                bytes[ends[record] as usize + byte] ^= 0x5a;
            }
        }
        fs::write(&file, &bytes).unwrap();
        let (mut wal, seen) = open(&path);
        assert_eq!(seen, [0, 3, 4]);
        assert!(wal.next() >= 5, "numbers are never too low");
        let next = wal.next();
        wal.append(&[payload(5)]).unwrap();
        wal.roll().unwrap();
        wal.append(&[payload(6)]).unwrap();
        drop(wal);
        let (wal, seen) = open(&path);
        assert_eq!(seen, [0, 3, 4, 5, 6], "a start after the log went on in another file");
        assert_eq!(wal.next(), next + 2);
    }

    #[test]
    fn damage_before_the_end_is_told() {
        let (_guard, path) = temporary();
        let (mut wal, _) = open(&path);
        wal.append(&[payload(0)]).unwrap();
        wal.roll().unwrap();
        wal.append(&[payload(1)]).unwrap();
        drop(wal);
        let file = path.join(format!("{:020}.wal", 0));
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let error = Wal::open(&path, 0, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
