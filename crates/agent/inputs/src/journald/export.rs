//! The journal's export format: `NAME=value` lines, or for values of any bytes the name, their number as 64 bits little
//! endian, and the bytes; an empty line ends an entry.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// One entry: names and values in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct JournalEntry(pub(super) Vec<(String, String)>);

/// The entries of a stream.
#[derive(Debug)]
pub(super) struct Entries<R> {
    reader: R,
    /// Kept between calls, so that a call that is given up loses nothing.
    line: Vec<u8>,
    entry: JournalEntry,
    /// A value of raw bytes that is being read.
    binary: Option<Binary>,
}

#[derive(Debug)]
struct Binary {
    name: String,
    bytes: Vec<u8>,
    /// Where the value ends, once its length is known: 8 bytes of length, the value, a newline.
    end: Option<usize>,
}

/// A longer value is cut.
const MAX_VALUE: usize = 1 << 20;
/// A value that claims to be longer is not from a journal.
const MAX_CLAIM: usize = 768 << 20;
/// More fields of one entry are dropped.
const MAX_FIELDS: usize = 1024;

impl<R: AsyncBufRead + Unpin> Entries<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            entry: JournalEntry::default(),
            binary: None,
        }
    }

    /// The next entry; `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> io::Result<Option<JournalEntry>> {
        loop {
            if self.binary.is_some() {
                self.read_binary().await?;
                continue;
            }
            if self.read_line().await? == 0 {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if line.is_empty() {
                let entry = std::mem::take(&mut self.entry);
                if !entry.0.is_empty() {
                    return Ok(Some(entry));
                }
            } else if let Some(equals) = memchr::memchr(b'=', line) {
                self.add(&String::from_utf8_lossy(&line[..equals]), &line[equals + 1..]);
            } else {
                let name = String::from_utf8_lossy(line).into_owned();
                self.binary = Some(Binary {
                    name,
                    bytes: Vec::new(),
                    end: None,
                });
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<usize> {
        let room = (MAX_VALUE + 1).saturating_sub(self.line.len()).max(1);
        let read = (&mut self.reader)
            .take(room as u64)
            .read_until(b'\n', &mut self.line)
            .await?;
        if self.line.len() > MAX_VALUE && !self.line.ends_with(b"\n") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line of the journal is too long",
            ));
        }
        Ok(read.max(self.line.len()))
    }

    async fn read_binary(&mut self) -> io::Result<()> {
        let Some(binary) = &mut self.binary else { return Ok(()) };
        let wanted = binary.end.unwrap_or(8);
        while binary.bytes.len() < wanted {
            let missing = wanted - binary.bytes.len();
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = available.len().min(missing);
            binary.bytes.extend_from_slice(&available[..taken]);
            self.reader.consume(taken);
        }
        if binary.end.is_none() {
            let length = binary
                .bytes
                .first_chunk::<8>()
                .map_or(0, |length| u64::from_le_bytes(*length));
            let length = usize::try_from(length).ok().filter(|length| *length <= MAX_CLAIM);
            let length = length
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a value of the journal is too long"))?;
            binary.end = Some(8 + length + 1);
            return Ok(());
        }
        if let Some(Binary { name, bytes, .. }) = self.binary.take() {
            self.add(&name, &bytes[8..bytes.len() - 1]);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if self.entry.0.len() < MAX_FIELDS {
            let value = &value[..value.len().min(MAX_VALUE)];
            self.entry
                .0
                .push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        }
    }
}
