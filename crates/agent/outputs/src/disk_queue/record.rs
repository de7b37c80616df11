//! How a record lies in a segment: `length u32 | crc32 u32 | payload`, little endian.

use std::collections::VecDeque;
use std::io::{self, Read};

use flate2::Crc;

use crate::queue_cipher::QueueCipher;

pub(super) const HEADER: usize = 8;
/// In a record's length: its payload is sealed.
const SEALED: u32 = 1 << 31;
/// No record is larger: the largest event is bounded by its input (10 MiB lines) well below.
const MAX_RECORD: u32 = 64 * 1024 * 1024;

/// One record: what is needed to ship the event again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Data stream or index.
    pub index: String,
    /// Ingest pipeline.
    pub pipeline: Option<String>,
    /// Document id.
    pub id: Option<String>,
    /// The document: one JSON object.
    pub body: Vec<u8>,
}

pub(super) struct Payload {
    bytes: Vec<u8>,
    pub(super) sealed: bool,
}

impl Payload {
    pub(super) fn on_disk(&self) -> u64 {
        (HEADER + self.bytes.len()) as u64
    }

    pub(super) fn plain(&self, number: u64, cipher: Option<&QueueCipher>) -> Option<Vec<u8>> {
        if self.sealed {
            cipher?.open(number, &self.bytes)
        } else {
            Some(self.bytes.clone())
        }
    }
}

/// The next whole record's payload; `None` at the end and at damage.
pub(super) fn read_payload(reader: &mut impl Read) -> io::Result<Option<Payload>> {
    let mut header = [0; HEADER];
    if !read_whole(reader, &mut header)? {
        return Ok(None);
    }
    let (length, checksum) = header.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let checksum = u32::from_le_bytes(checksum.try_into().expect("four bytes"));
    let (sealed, length) = (length & SEALED != 0, length & !SEALED);
    if length > MAX_RECORD || length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    let whole = read_whole(reader, &mut bytes)? && crc(&bytes) == checksum;
    Ok(whole.then_some(Payload { bytes, sealed }))
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub(super) fn encode(record: &Record, number: u64, cipher: Option<&QueueCipher>, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    into.extend_from_slice(&[0; HEADER]);
    for text in [Some(&record.index), record.pipeline.as_ref(), record.id.as_ref()] {
        // A length of `u32::MAX` is "none".
        let length = text.map_or(u32::MAX, |text| text.len() as u32);
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(text.map_or(&[], |text| text.as_bytes()));
    }
    into.extend_from_slice(&record.body);
    let mut flag = 0;
    if let Some(cipher) = cipher {
        let sealed = cipher.seal(number, &into[start + HEADER..])?;
        into.truncate(start + HEADER);
        into.extend_from_slice(&sealed);
        flag = SEALED;
    }
    let payload = &into[start + HEADER..];
    let (length, checksum) = (payload.len() as u32 | flag, crc(payload));
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

pub(super) fn decode(payload: &[u8]) -> Option<Record> {
    let mut rest = payload;
    let mut texts: VecDeque<Option<String>> = VecDeque::new();
    for _ in 0..3 {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            texts.push_back(None);
            rest = after;
            continue;
        }
        let (text, after) = after.split_at_checked(length as usize)?;
        texts.push_back(Some(String::from_utf8(text.to_vec()).ok()?));
        rest = after;
    }
    let index = texts.pop_front()??;
    let pipeline = texts.pop_front()?;
    let id = texts.pop_front()?;
    Some(Record {
        index,
        pipeline,
        id,
        body: rest.to_vec(),
    })
}
