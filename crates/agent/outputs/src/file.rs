//! Outputs `file` and `console`: one document a line.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use clock::SharedClock;
use event::acknowledge_all;
use fs_err as fs;

use crate::OutputError;
use crate::counters::Counters;
use crate::dead_letter::private_append;
use crate::queue::Queued;
use crate::setting::Block;
use crate::workers::{Transmit, Transmitted, Trouble};

/// Settings of output `file`.
#[derive(Clone, Debug)]
pub(crate) struct FileSettings {
    pub(crate) path: Utf8PathBuf,
    filename: String,
    rotate_every_bytes: u64,
    number_of_files: usize,
}

impl FileSettings {
    pub(crate) fn from_block(block: &Block<'_>) -> Result<Self, OutputError> {
        let path = block
            .text("path")?
            .ok_or_else(|| block.invalid("path", "the folder to write to"))?;
        let kilobytes = crate::elasticsearch::settings::positive(block, "rotate_every_kb", 10_240)?;
        Ok(Self {
            path: path.into(),
            filename: block.text("filename")?.unwrap_or_else(|| "elastic-agent".to_owned()),
            rotate_every_bytes: kilobytes as u64 * 1024,
            number_of_files: crate::elasticsearch::settings::positive(block, "number_of_files", 7)?.max(2),
        })
    }
}

/// Writes to `<path>/<filename>-YYYYMMDD[-n].ndjson`, synced before events are acknowledged.
#[derive(Debug)]
pub(crate) struct FileOutput {
    writer: Arc<Mutex<RotatedFile>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct RotatedFile {
    settings: FileSettings,
    clock: SharedClock,
    current: Option<(Utf8PathBuf, fs::File)>,
}

impl FileOutput {
    pub(crate) fn new(settings: FileSettings, clock: SharedClock, counters: Arc<Counters>) -> Self {
        Self {
            writer: Arc::new(Mutex::new(RotatedFile {
                settings,
                clock,
                current: None,
            })),
            counters,
        }
    }
}

#[async_trait]
impl Transmit for FileOutput {
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted {
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let written = writer.write(&lines(&batch));
            (batch, written)
        });
        finish(written.await, &self.counters)
    }
}

impl RotatedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let full = match &self.current {
            Some((path, _)) => fs::metadata(path)?.len() >= self.settings.rotate_every_bytes,
            None => true,
        };
        if full {
            self.current = Some(self.next_file()?);
        }
        let Some((_, file)) = &mut self.current else {
            return Ok(());
        };
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn next_file(&self) -> std::io::Result<(Utf8PathBuf, fs::File)> {
        fs::create_dir_all(&self.settings.path)?;
        let day = self.clock.now().strftime("%Y%m%d").to_string();
        for number in 0_u32.. {
            let suffix = if number == 0 {
                String::new()
            } else {
                format!("-{number}")
            };
            let path = self
                .settings
                .path
                .join(format!("{}-{day}{suffix}.ndjson", self.settings.filename));
            let usable = fs::metadata(&path).is_ok_and(|metadata| metadata.len() < self.settings.rotate_every_bytes);
            if usable || !path.exists() {
                self.remove_oldest()?;
                let file = private_append(&path)?;
                return Ok((path, file));
            }
        }
        Err(std::io::Error::other("no file name left for today"))
    }

    fn remove_oldest(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.settings.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{}-", self.settings.filename)) && name.ends_with(".ndjson") {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(self.settings.number_of_files);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Writes to what the binary handed in.
pub(crate) struct ConsoleOutput {
    console: Arc<Mutex<dyn Write + Send>>,
    counters: Arc<Counters>,
}

impl ConsoleOutput {
    pub(crate) fn new(console: Arc<Mutex<dyn Write + Send>>, counters: Arc<Counters>) -> Self {
        Self { console, counters }
    }
}

#[async_trait]
impl Transmit for ConsoleOutput {
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted {
        let console = Arc::clone(&self.console);
        let written = tokio::task::spawn_blocking(move || {
            let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
            let written = console.write_all(&lines(&batch)).and_then(|()| console.flush());
            (batch, written)
        });
        finish(written.await, &self.counters)
    }
}

fn lines(batch: &[Queued]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(batch.iter().map(|queued| queued.event.body.len() + 1).sum());
    for queued in batch {
        lines.extend_from_slice(&queued.event.body);
        lines.push(b'\n');
    }
    lines
}

fn finish(
    written: Result<(Vec<Queued>, std::io::Result<()>), tokio::task::JoinError>,
    counters: &Counters,
) -> Transmitted {
    match written {
        Ok((batch, Ok(()))) => {
            let settled = batch.len();
            Counters::add(&counters.acknowledged, settled);
            Counters::add(&counters.batches, 1);
            acknowledge_all(batch.into_iter().map(|queued| queued.event.ack));
            Transmitted {
                settled,
                ..Transmitted::default()
            }
        }
        Ok((batch, Err(error))) => {
            Counters::add(&counters.failed_requests, 1);
            Transmitted {
                settled: 0,
                again: vec![batch],
                trouble: Some(Trouble::Refused(error.to_string())),
            }
        }
        Err(_) => Transmitted::default(),
    }
}
