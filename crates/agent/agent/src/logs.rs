//! The agent's own log files: `elastic-agent-YYYYMMDD[-n].ndjson`, by size and number.
//!
//! [`LogWriter`] is what the binary hands to its subscriber; nothing here is global. [`ecs_line`] is the shape of a line.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8PathBuf;
use clock::SharedClock;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde_json::{Map, Value, json};

const NAME: &str = "elastic-agent";

/// How log files are kept. Source: `agent.logging.files` defaults.
#[derive(Clone, Debug)]
pub struct LogFileOptions {
    /// The folder.
    pub directory: Utf8PathBuf,
    /// Bytes after which the next file starts.
    pub rotate_every_bytes: u64,
    /// Files that are kept, the current one included.
    pub keep_files: usize,
}

impl LogFileOptions {
    /// 7 files of 20 MiB.
    pub fn new(directory: Utf8PathBuf) -> Self {
        Self {
            directory,
            rotate_every_bytes: 20 * 1024 * 1024,
            keep_files: 7,
        }
    }
}

/// Appends whole lines to the newest log file. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Mutex<LogFile>>);

#[derive(Debug)]
struct LogFile {
    options: LogFileOptions,
    clock: SharedClock,
    current: Option<(fs::File, u64, String)>,
}

impl LogWriter {
    /// A writer that opens its file with the first line.
    pub fn new(options: LogFileOptions, clock: SharedClock) -> Self {
        Self(Arc::new(Mutex::new(LogFile {
            options,
            clock,
            current: None,
        })))
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let today = self.clock.now().strftime("%Y%m%d").to_string();
        let usable = |(_, length, day): &(fs::File, u64, String)| {
            *day == today && length + bytes.len() as u64 <= self.options.rotate_every_bytes
        };
        if !self.current.as_ref().is_some_and(usable) {
            self.current = Some(self.open(&today, bytes.len() as u64)?);
        }
        let Some((file, length, _)) = &mut self.current else {
            return Ok(());
        };
        file.write_all(bytes)?;
        *length += bytes.len() as u64;
        Ok(())
    }

    /// Today's newest file while the line fits in, else the next one; surplus files go.
    fn open(&self, today: &str, line: u64) -> io::Result<(fs::File, u64, String)> {
        crate::sealed::private_directory(&self.options.directory)?;
        let newest = numbered_log_files(&self.options.directory)?
            .pop()
            .filter(|(day, _, _)| day == today);
        let name = |suffix: &str| self.options.directory.join(format!("{NAME}-{today}{suffix}.ndjson"));
        let (path, length) = match newest {
            None => (name(""), 0),
            Some((_, number, path)) => match fs::metadata(&path).map_or(0, |metadata| metadata.len()) {
                length if length == 0 || length + line <= self.options.rotate_every_bytes => (path, length),
                _ => (name(&format!("-{}", number + 1)), 0),
            },
        };
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        self.remove_surplus()?;
        Ok((file, length, today.to_owned()))
    }

    fn remove_surplus(&self) -> io::Result<()> {
        let files = log_files(&self.options.directory)?;
        let surplus = files.len().saturating_sub(self.options.keep_files);
        for path in &files[..surplus] {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The log files in a folder, oldest first.
pub fn log_files(directory: &camino::Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    Ok(numbered_log_files(directory)?
        .into_iter()
        .map(|(_, _, path)| path)
        .collect())
}

/// Log files with their day and number, oldest first.
fn numbered_log_files(directory: &camino::Utf8Path) -> io::Result<Vec<(String, u32, Utf8PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let Ok(path) = Utf8PathBuf::from_path_buf(entry?.path()) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default();
        let Some(middle) = name
            .strip_prefix("elastic-agent-")
            .and_then(|rest| rest.strip_suffix(".ndjson"))
        else {
            continue;
        };
        let (day, number) = middle.split_once('-').unwrap_or((middle, "0"));
        if let (8, Ok(number)) = (day.len(), number.parse::<u32>()) {
            files.push((day.to_owned(), number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// One line of the agent's log, in the fields that the monitoring streams expect. `fields` are the event's own.
pub fn ecs_line(
    time: jiff::Timestamp,
    level: &str,
    message: &str,
    logger: &str,
    fields: Map<String, Value>,
) -> Vec<u8> {
    let mut line = json!({
        "log.level": level.to_lowercase(),
        "@timestamp": clock::rfc3339_millis(time),
        "message": message,
        "log.logger": logger,
        "log.source": NAME,
        "ecs.version": "1.6.0",
    });
    if let Value::Object(line) = &mut line {
        for (key, value) in fields {
            line.entry(key).or_insert(value);
        }
    }
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_rotate_by_size_and_only_some_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(folder.path().join("logs")).unwrap();
        let clock = clock::TestClock::at("2026-01-02T03:04:05Z".parse().unwrap());
        let options = LogFileOptions {
            directory: directory.clone(),
            rotate_every_bytes: 10,
            keep_files: 3,
        };
        let mut writer = LogWriter::new(options, clock.clone());
        for number in 0..12 {
            writer.write_all(format!("line {number:02}\n").as_bytes()).unwrap();
        }
        let names: Vec<_> = log_files(&directory)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        let expected = [9, 10, 11].map(|number| format!("elastic-agent-20260102-{number}.ndjson"));
        assert_eq!(names, expected);
        clock.step(jiff::SignedDuration::from_hours(24));
        writer.write_all(b"next day\n").unwrap();
        assert!(
            log_files(&directory)
                .unwrap()
                .last()
                .unwrap()
                .ends_with("elastic-agent-20260103.ndjson")
        );
    }

    #[test]
    fn a_line_is_one_json_object() {
        let line = ecs_line(
            "2026-01-02T03:04:05Z".parse().unwrap(),
            "INFO",
            "hello \"x\"",
            "agent",
            Map::new(),
        );
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (value["log.level"].as_str(), value["message"].as_str()),
            (Some("info"), Some("hello \"x\""))
        );
    }
}
