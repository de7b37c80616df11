//! From a file's bytes to its lines, with the offset of each.
//!
//! The window holds what has been read and not consumed, and a little before it: each read starts with those last bytes
//! again. When they have changed or gone, the file was truncated (and perhaps filled again) since the last read, even if
//! it is longer than before. An unfinished last line stays in the window until its end arrives.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;
use fs_err as fs;

use super::encoding::{Encoding, Terminator};

/// Bytes that are read together.
const BLOCK: usize = 64 << 10;
/// Bytes before the read position that are compared again.
const TAIL: usize = 256;

/// Where bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file as it is.
    Plain(fs::File),
    /// A gzip file; offsets count decompressed bytes, and it can only be read forwards.
    Gzip {
        decoder: Box<MultiGzDecoder<BufReader<fs::File>>>,
        at: u64,
    },
}

impl Source {
    pub(super) fn gzip(file: fs::File) -> Self {
        Self::Gzip {
            decoder: Box::new(MultiGzDecoder::new(BufReader::new(file))),
            at: 0,
        }
    }
}

/// One line of the window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    /// Where it starts in the file.
    pub(super) start: u64,
    /// Where the next one starts.
    pub(super) end: u64,
    content: Content,
    /// Whether it was longer than the limit.
    pub(super) truncated: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Content {
    Window(Range<usize>),
    Held,
}

/// What comes next in a file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// A whole line.
    Line(Line),
    /// Nothing more at present.
    End,
    /// The file is not the one it was: shorter, or with other content.
    Truncated,
}

#[derive(Debug)]
pub(super) struct LineReader {
    source: Source,
    encoding: Encoding,
    terminator: Terminator,
    max: usize,
    window: Vec<u8>,
    /// The offset of the window's first byte.
    base: u64,
    /// The start of the first line that has not been given out, as an index into the window.
    cursor: usize,
    /// Up to here there is no terminator.
    searched: usize,
    /// The start of a line that is longer than the limit, while its end is looked for.
    oversized: Option<u64>,
    held: Vec<u8>,
}

enum Filled {
    Data,
    End,
    Truncated,
}

impl LineReader {
    /// Lines from `offset` on, none longer than `max` bytes.
    pub(super) fn new(
        source: Source,
        offset: u64,
        encoding: Encoding,
        terminator: Terminator,
        max: usize,
    ) -> io::Result<Self> {
        let mut reader = Self {
            source,
            encoding,
            terminator,
            max,
            window: Vec::new(),
            base: offset,
            cursor: 0,
            searched: 0,
            oversized: None,
            held: Vec::new(),
        };
        reader.find_byte_order()?;
        Ok(reader)
    }

    fn find_byte_order(&mut self) -> io::Result<()> {
        let mut start = [0; 2];
        if let (Encoding::Utf16Bom(_), Source::Plain(file)) = (self.encoding, &self.source) {
            let read = file.file().read_at(&mut start, 0)?;
            self.encoding = self.encoding.with_start(&start[..read]);
            self.terminator = self.terminator.for_encoding(self.encoding);
        }
        Ok(())
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Where the next line starts.
    pub(super) fn position(&self) -> u64 {
        self.oversized.unwrap_or(self.base + self.cursor as u64)
    }

    /// The file itself, for its metadata.
    pub(super) fn file(&self) -> &fs::File {
        match &self.source {
            Source::Plain(file) => file,
            Source::Gzip { decoder, .. } => decoder.get_ref().get_ref(),
        }
    }

    pub(super) fn is_gzip(&self) -> bool {
        matches!(self.source, Source::Gzip { .. })
    }

    /// The bytes of a line that was given out last, without its terminator.
    pub(super) fn content(&self, line: &Line) -> &[u8] {
        let bytes = match &line.content {
            Content::Window(range) => &self.window[range.clone()],
            Content::Held => &self.held,
        };
        self.terminator.trim(bytes)
    }

    /// The next line. Blocks on the file.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            let aligned = (self.base % 2) as usize;
            if let Some(found) = self.terminator.find(&self.window, self.searched, aligned) {
                return Ok(Next::Line(self.take_line(found)));
            }
            self.searched = self
                .window
                .len()
                .saturating_sub(self.terminator.len() - 1)
                .max(self.cursor);
            self.hold_oversized();
            match self.fill()? {
                Filled::Data => {}
                Filled::End => return Ok(Next::End),
                Filled::Truncated => return Ok(Next::Truncated),
            }
        }
    }

    fn take_line(&mut self, terminator: usize) -> Line {
        let end = terminator + self.terminator.len();
        let range = self.cursor..terminator;
        self.cursor = end;
        self.searched = end;
        let end = self.base + end as u64;
        if let Some(start) = self.oversized.take() {
            return Line {
                start,
                end,
                content: Content::Held,
                truncated: true,
            };
        }
        let start = self.base + range.start as u64;
        let truncated = range.len() > self.max;
        let range = if truncated {
            range.start..range.start + self.max
        } else {
            range
        };
        Line {
            start,
            end,
            content: Content::Window(range),
            truncated,
        }
    }

    /// Keeps only the start of a line that is too long, so that memory stays bounded.
    fn hold_oversized(&mut self) {
        if self.oversized.is_none() && self.searched - self.cursor > self.max {
            self.oversized = Some(self.base + self.cursor as u64);
            self.held = self.window[self.cursor..self.cursor + self.max].to_vec();
        }
        if self.oversized.is_some() {
            self.cursor = self.searched;
        }
    }

    /// Lets go of memory that is only needed while reading.
    pub(super) fn rest(&mut self) {
        self.drop_consumed();
        self.window.shrink_to(TAIL);
        if self.oversized.is_none() {
            self.held = Vec::new();
        }
    }

    fn drop_consumed(&mut self) {
        let dropped = self.cursor.saturating_sub(TAIL);
        // Units of two bytes stay where they are.
        let dropped = dropped - dropped % 2;
        self.window.drain(..dropped);
        self.base += dropped as u64;
        self.cursor -= dropped;
        self.searched -= dropped;
    }

    fn fill(&mut self) -> io::Result<Filled> {
        self.drop_consumed();
        match &mut self.source {
            Source::Plain(file) => {
                let old = self.window.len();
                let tail = old.min(TAIL);
                let mut before = [0; TAIL];
                before[..tail].copy_from_slice(&self.window[old - tail..]);
                self.window.resize(old + BLOCK, 0);
                let position = self.base + (old - tail) as u64;
                let read = file.file().read_at(&mut self.window[old - tail..], position);
                let same =
                    read.as_ref().is_ok_and(|read| *read >= tail) && self.window[old - tail..old] == before[..tail];
                self.window[old - tail..old].copy_from_slice(&before[..tail]);
                self.window
                    .truncate(old + read.as_ref().map_or(0, |read| read.saturating_sub(tail)));
                read?;
                match (same, self.window.len() > old) {
                    (false, _) => Ok(Filled::Truncated),
                    (true, true) => Ok(Filled::Data),
                    (true, false) if tail == 0 && self.is_beyond_end()? => Ok(Filled::Truncated),
                    (true, false) => Ok(Filled::End),
                }
            }
            Source::Gzip { decoder, at } => {
                let old = self.window.len();
                skip(decoder, at, self.base + old as u64)?;
                self.window.resize(old + BLOCK, 0);
                let read = decoder.read(&mut self.window[old..]);
                self.window.truncate(old + read.as_ref().map_or(0, |read| *read));
                *at += read? as u64;
                Ok(if self.window.len() > old {
                    Filled::Data
                } else {
                    Filled::End
                })
            }
        }
    }

    fn is_beyond_end(&self) -> io::Result<bool> {
        Ok(self.file().metadata()?.len() < self.base)
    }
}

/// Reads and forgets up to `target`.
fn skip(decoder: &mut impl Read, at: &mut u64, target: u64) -> io::Result<()> {
    let mut scratch = [0; 4096];
    while *at < target {
        let wanted = usize::try_from(target - *at).unwrap_or(usize::MAX).min(scratch.len());
        match decoder.read(&mut scratch[..wanted])? {
            0 => return Ok(()),
            read => *at += read as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(content: &[u8]) -> Self {
            let fixture = Self {
                folder: tempfile::tempdir().unwrap(),
            };
            fs::write(fixture.path(), content).unwrap();
            fixture
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("f")
        }

        fn append(&self, content: &[u8]) {
            fs::OpenOptions::new()
                .append(true)
                .open(self.path())
                .unwrap()
                .write_all(content)
                .unwrap();
        }

        fn reader(&self, offset: u64, max: usize) -> LineReader {
            let terminator = Terminator::named("auto", Encoding::Utf8).unwrap();
            LineReader::new(
                Source::Plain(fs::File::open(self.path()).unwrap()),
                offset,
                Encoding::Utf8,
                terminator,
                max,
            )
            .unwrap()
        }
    }

    fn read_all(reader: &mut LineReader) -> (Vec<(u64, String)>, Next) {
        let mut lines = Vec::new();
        loop {
            match reader.next().unwrap() {
                Next::Line(line) => {
                    lines.push((line.start, String::from_utf8(reader.content(&line).to_vec()).unwrap()));
                }
                other => return (lines, other),
            }
        }
    }

    fn texts(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines
            .iter()
            .map(|(offset, text)| (*offset, (*text).to_owned()))
            .collect()
    }

    #[test]
    fn lines_have_offsets_and_an_unfinished_one_waits() {
        let fixture = Fixture::new(b"one\r\ntwo\nthr");
        let mut reader = fixture.reader(0, 1000);
        assert_eq!(read_all(&mut reader), (texts(&[(0, "one"), (5, "two")]), Next::End));
        assert_eq!(reader.position(), 9);
        reader.rest();
        fixture.append(b"ee\nfour\n");
        assert_eq!(read_all(&mut reader), (texts(&[(9, "three"), (15, "four")]), Next::End));
    }

    #[test]
    fn a_shorter_file_is_truncated() {
        let fixture = Fixture::new(b"one\ntwo\n");
        let mut reader = fixture.reader(0, 1000);
        read_all(&mut reader);
        fs::write(fixture.path(), b"x\n").unwrap();
        assert_eq!(reader.next().unwrap(), Next::Truncated);
        let mut reader = fixture.reader(8, 1000);
        assert_eq!(reader.next().unwrap(), Next::Truncated);
    }

    #[test]
    fn a_refilled_file_is_truncated_even_when_it_is_longer() {
        let fixture = Fixture::new(b"one\ntwo\n");
        let mut reader = fixture.reader(0, 1000);
        read_all(&mut reader);
        reader.rest();
        fs::write(fixture.path(), b"new\nlines\nwhich\nare\nmore\n").unwrap();
        assert_eq!(reader.next().unwrap(), Next::Truncated);
    }

    #[test]
    fn blocks_join_without_a_seam() {
        let mut content = Vec::new();
        let mut expected = Vec::new();
        for number in 0..30_000_u64 {
            expected.push((content.len() as u64, format!("line {number}")));
            content.extend_from_slice(format!("line {number}\n").as_bytes());
        }
        let fixture = Fixture::new(&content);
        let (lines, end) = read_all(&mut fixture.reader(0, 1000));
        assert_eq!(end, Next::End);
        assert_eq!(lines, expected);
        let (lines, _) = read_all(&mut fixture.reader(expected[20_000].0, 1000));
        assert_eq!(lines, expected[20_000..]);
    }

    #[test]
    fn long_lines_are_cut_and_counted_whole() {
        let long = "x".repeat(200_000);
        let fixture = Fixture::new(format!("a\n{long}\nb\n12345678\nc").as_bytes());
        let mut reader = fixture.reader(0, 5);
        let mut seen = Vec::new();
        while let Next::Line(line) = reader.next().unwrap() {
            seen.push((line.start, line.end, line.truncated, reader.content(&line).len()));
        }
        let end = 2 + 200_001;
        assert_eq!(
            seen,
            [
                (0, 2, false, 1),
                (2, end, true, 5),
                (end, end + 2, false, 1),
                (end + 2, end + 11, true, 5)
            ]
        );
    }

    #[test]
    fn gzip_is_read_from_an_offset() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"one\ntwo\nthree\n").unwrap();
        let fixture = Fixture::new(&encoder.finish().unwrap());
        let source = Source::gzip(fs::File::open(fixture.path()).unwrap());
        let terminator = Terminator::named("auto", Encoding::Utf8).unwrap();
        let mut reader = LineReader::new(source, 4, Encoding::Utf8, terminator, 100).unwrap();
        assert_eq!(read_all(&mut reader), (texts(&[(4, "two"), (8, "three")]), Next::End));
    }
}
