//! The registry's two files: a checkpoint of generation N and the operations that follow it.

use std::io::{self, BufRead, BufReader, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::Crc;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

/// A new checkpoint is written when the operations pass this many bytes.
const GROWN: u64 = 4 << 20;
/// A longer line was not written by us.
const MAX_LINE: u64 = 1 << 20;

/// One line: what is known of one source from here on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Operation {
    #[serde(rename = "s")]
    pub(super) stream: String,
    #[serde(rename = "k")]
    pub(super) id: String,
    #[serde(rename = "p")]
    pub(super) position: u64,
    /// Absent when it has not changed.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<Value>,
    #[serde(rename = "gone", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

/// The first line of a checkpoint.
#[derive(Debug, Deserialize, Serialize)]
struct Head {
    version: u32,
    generation: u64,
}

#[derive(Debug)]
pub(super) struct RegistryFiles {
    directory: Utf8PathBuf,
    generation: u64,
    operations: fs::File,
    /// How far the file of operations is known to be whole.
    length: u64,
}

impl RegistryFiles {
    pub(super) fn open(directory: &Utf8Path) -> io::Result<(Self, Vec<Operation>)> {
        fs::create_dir_all(directory)?;
        let (generation, mut known) = read_checkpoint(&directory.join("checkpoint"))?;
        let path = operations_path(directory, generation);
        known.extend(read_operations(&path)?);
        let operations = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let length = end_with_newline(&operations, &path)?;
        sync_directory(directory)?;
        remove_other_generations(directory, generation)?;
        Ok((
            Self {
                directory: directory.to_owned(),
                generation,
                operations,
                length,
            },
            known,
        ))
    }

    /// Appends and syncs. After a failure the file is as it was.
    pub(super) fn append(&mut self, operations: &[Operation]) -> io::Result<()> {
        let mut lines = Vec::new();
        for operation in operations {
            write_line(&mut lines, operation)?;
        }
        let written = self
            .operations
            .write_all(&lines)
            .and_then(|()| self.operations.sync_data());
        match written {
            Ok(()) => self.length += lines.len() as u64,
            // A torn line must not run into the next one.
            Err(_) => self.operations.set_len(self.length)?,
        }
        written
    }

    pub(super) fn is_grown(&self) -> bool {
        self.length > GROWN
    }

    /// Starts a new generation: everything that is known, then an empty file of operations.
    pub(super) fn checkpoint(&mut self, known: &[Operation]) -> io::Result<()> {
        let generation = self.generation + 1;
        let mut lines = Vec::new();
        write_line(&mut lines, &Head { version: 1, generation })?;
        for operation in known {
            write_line(&mut lines, operation)?;
        }
        let operations = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(operations_path(&self.directory, generation))?;
        let beside = self.directory.join("checkpoint.new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        fs::rename(&beside, self.directory.join("checkpoint"))?;
        sync_directory(&self.directory)?;
        self.operations = operations;
        self.length = 0;
        let old = std::mem::replace(&mut self.generation, generation);
        fs::remove_file(operations_path(&self.directory, old))
    }
}

fn operations_path(directory: &Utf8Path, generation: u64) -> Utf8PathBuf {
    directory.join(format!("operations.{generation}"))
}

fn write_line(lines: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value).map_err(io::Error::other)?;
    write!(lines, "{:08x} ", checksum(&json))?;
    lines.extend_from_slice(&json);
    lines.push(b'\n');
    Ok(())
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The JSON of a line whose checksum is right.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == checksum(json)).then_some(json)
}

fn read_checkpoint(path: &Utf8Path) -> io::Result<(u64, Vec<Operation>)> {
    let lines = read_lines(path)?;
    let head = lines
        .first()
        .and_then(|line| serde_json::from_slice::<Head>(checked(line)?).ok());
    let Some(head) = head else {
        if !lines.is_empty() {
            warn!(%path, "the registry's checkpoint is damaged; its sources are read again");
        }
        return Ok((newest_generation(path)?, Vec::new()));
    };
    Ok((head.generation, parse(path, &lines[1..])))
}

/// Without a checkpoint the newest file of operations is better than none.
fn newest_generation(checkpoint: &Utf8Path) -> io::Result<u64> {
    let directory = checkpoint.parent().unwrap_or(checkpoint);
    let mut newest = 0;
    for entry in fs::read_dir(directory)? {
        newest = newest.max(generation_of(&entry?.file_name().to_string_lossy()).unwrap_or(0));
    }
    Ok(newest)
}

fn generation_of(file_name: &str) -> Option<u64> {
    file_name.strip_prefix("operations.")?.parse().ok()
}

fn read_operations(path: &Utf8Path) -> io::Result<Vec<Operation>> {
    Ok(parse(path, &read_lines(path)?))
}

fn parse(path: &Utf8Path, lines: &[Vec<u8>]) -> Vec<Operation> {
    let operations: Vec<Operation> = lines
        .iter()
        .filter_map(|line| serde_json::from_slice(checked(line)?).ok())
        .collect();
    let damaged = lines.len() - operations.len();
    if damaged > 0 {
        warn!(%path, damaged, "lines of the registry are damaged and left out; some events may be sent again");
    }
    operations
}

fn read_lines(path: &Utf8Path) -> io::Result<Vec<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        lines.push(line);
    }
}

/// A crash may have left half a line; the next one must start on its own.
fn end_with_newline(file: &fs::File, path: &Utf8Path) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut last = Vec::new();
    if length > 0 {
        use std::io::{Seek, SeekFrom};
        let mut reader = fs::File::open(path)?;
        reader.seek(SeekFrom::Start(length - 1))?;
        reader.take(1).read_to_end(&mut last)?;
    }
    if last.is_empty() || last == b"\n" {
        return Ok(length);
    }
    let mut file = file;
    file.write_all(b"\n")?;
    file.sync_data()?;
    Ok(length + 1)
}

fn remove_other_generations(directory: &Utf8Path, generation: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if generation_of(&entry.file_name().to_string_lossy()).is_some_and(|other| other != generation) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync_directory(directory: &Utf8Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
