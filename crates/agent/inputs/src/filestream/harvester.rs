//! Reads one open file to its end, and on as it grows, until a reason to close it comes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event::{Event, EventSender};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::identity::Look;
use super::lines::{LineReader, Next};
use super::owner::Owner;
use super::parsers::{Message, Parsers};
use super::settings::{FileSettings, LineSettings};
use super::writer::{Batch, EventWriter, FileFacts};

/// A batch is closed when its documents pass this many bytes ..
const BATCH_BYTES: usize = 512 << 10;
/// .. or this number.
const BATCH_EVENTS: usize = 1024;

/// Longer than any parser waits.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// What the harvester of a file and the scanner share.
#[derive(Debug)]
pub(super) struct SharedFile {
    facts: Mutex<FileFacts>,
    /// Up to here the file has been read, acknowledged or not.
    position: AtomicU64,
    /// Wakes the harvester: the file has changed.
    pub(super) changed: Notify,
}

impl SharedFile {
    pub(super) fn new(facts: FileFacts, position: u64) -> Self {
        Self {
            facts: Mutex::new(facts),
            position: AtomicU64::new(position),
            changed: Notify::new(),
        }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, FileFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }
}

/// Why a file was closed.
#[derive(Debug)]
pub(super) enum Ended {
    /// A setting says so: inactive, removed, renamed, at its end, open for too long. The look is from before the last
    /// read: what was written since makes it another one.
    Closed(Option<Look>),
    /// A gzip file has been read to its end.
    Finished,
    /// The stream or this file is to stop.
    Stopped,
    /// The file's content has been replaced.
    Truncated,
    /// It cannot be read.
    Failed(io::Error),
}

/// One open file.
#[derive(Debug)]
pub(super) struct FileReader {
    pub(super) lines: LineReader,
    pub(super) parsers: Option<Parsers>,
    pub(super) settings: Arc<FileSettings>,
    pub(super) writer: EventWriter,
    pub(super) shared: Arc<SharedFile>,
    pub(super) counters: Arc<Counters>,
    /// How the file looked before the last read.
    pub(super) look: Option<Look>,
    /// Whose file it was at the last read.
    pub(super) owner: Option<Owner>,
}

/// Why a batch is no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reached {
    Limit,
    End,
    Truncated,
}

/// What all harvesters of a stream use.
#[derive(Clone, Debug)]
pub(super) struct HarvestContext {
    pub(super) events: EventSender,
    /// Whoever reads holds one, until the batch is in the channel.
    pub(super) permits: Arc<Semaphore>,
    /// Ends the whole stream. Only this may drop a batch that has been read: a file that is closed for a reason of its
    /// own still hands over what it has.
    pub(super) stop: CancellationToken,
    /// Cancelled when open files are to be read to their ends and no further (`read_until_eof`), before `stop`.
    pub(super) finish: CancellationToken,
}

/// Reads until there is a reason to stop.
pub(super) async fn harvest(mut reader: FileReader, context: HarvestContext, stop: CancellationToken) -> Ended {
    let settings = Arc::clone(&reader.settings);
    let opened = Instant::now();
    let mut last_event = Instant::now();
    let mut backoff = settings.backoff_init;
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            permit = Arc::clone(&context.permits).acquire_owned() => permit,
        };
        let read = tokio::task::spawn_blocking(move || {
            let batch = reader.read_batch();
            (reader, batch)
        });
        let Ok((returned, batch)) = read.await else {
            return Ended::Failed(io::Error::other("the reading thread ended badly"));
        };
        reader = returned;
        let (events, reached) = match batch {
            Ok(batch) => batch,
            Err(error) => return Ended::Failed(error),
        };
        if !events.is_empty() {
            last_event = Instant::now();
            backoff = settings.backoff_init;
            reader.counters.events.add(events.len() as u64);
            tokio::select! {
                () = context.stop.cancelled() => return Ended::Stopped,
                sent = context.events.send(events) => if sent.is_err() { return Ended::Stopped },
            }
        }
        drop(permit);
        let too_long = settings
            .close
            .after_interval
            .is_some_and(|interval| opened.elapsed() >= interval);
        match reached {
            Reached::Truncated => return Ended::Truncated,
            _ if too_long => return Ended::Closed(None),
            Reached::Limit => continue,
            Reached::End if reader.lines.is_gzip() => return Ended::Finished,
            Reached::End if context.finish.is_cancelled() => return Ended::Stopped,
            Reached::End => {}
        }
        let idle = last_event.elapsed();
        if let Some(reason) = reader.reason_to_close(&settings, idle) {
            return reason;
        }
        let wait = reader.wait(backoff, &settings, idle);
        backoff = (backoff * 2).min(settings.backoff_max);
        tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            () = context.finish.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
            () = reader.shared.changed.notified() => {}
        }
    }
}

impl FileReader {
    /// How long there is nothing to do at the end of the file.
    fn wait(&self, backoff: Duration, settings: &FileSettings, idle: Duration) -> Duration {
        let until_closed = settings.close.inactive.map(|inactive| inactive.saturating_sub(idle));
        let deadline = self.parsers.as_ref().and_then(Parsers::deadline);
        let until_expired = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        [until_closed, until_expired]
            .into_iter()
            .flatten()
            .fold(backoff, Duration::min)
            .max(Duration::from_millis(10))
    }

    fn reason_to_close(&self, settings: &FileSettings, idle: Duration) -> Option<Ended> {
        let close = settings.close;
        let waiting = self.parsers.as_ref().is_some_and(|parsers| parsers.held().is_some());
        if waiting {
            return None;
        }
        if close.on_eof || close.inactive.is_some_and(|inactive| idle >= inactive) {
            return Some(Ended::Closed(self.look));
        }
        if !close.removed && !close.renamed {
            return None;
        }
        match self.lines.file().metadata() {
            Ok(metadata) if close.removed && metadata.nlink() == 0 => Some(Ended::Closed(self.look)),
            Ok(metadata) if close.renamed => {
                let path = self.shared.facts().path.clone();
                let there = fs_err::metadata(path).ok().map(|there| Look::of(&there).inode);
                (there != Some(Look::of(&metadata).inode)).then_some(Ended::Closed(self.look))
            }
            Ok(_) => None,
            Err(error) => Some(Ended::Failed(error)),
        }
    }

    /// Reads the next events, at most a batch. Blocks.
    fn read_batch(&mut self) -> io::Result<(Vec<Event>, Reached)> {
        let metadata = self.lines.file().metadata()?;
        self.look = Some(Look::of(&metadata));
        self.owner = self.settings.owner_names.of(&metadata, self.owner.take());
        let mut facts = self.shared.facts().clone();
        facts.owner.clone_from(&self.owner);
        let mut batch = self.writer.batch(facts);
        let settings = Arc::clone(&self.settings);
        let mut issued = self.lines.position();
        let direct = self.parsers.is_none() && batch.is_plain();
        let reached = loop {
            if batch.events.len() >= BATCH_EVENTS || batch.bytes() >= BATCH_BYTES {
                break Reached::Limit;
            }
            let line = match self.lines.next()? {
                Next::Line(line) => line,
                Next::End => break Reached::End,
                Next::Truncated => break Reached::Truncated,
            };
            let text = self.lines.encoding().decode(self.lines.content(&line));
            self.counters.read(line.end - line.start, line.truncated);
            let flags: &[&'static str] = if line.truncated { &["truncated"] } else { &[] };
            if direct {
                if is_wanted(&settings.lines, &text) {
                    batch.push_line(line.start, line.end, &text, flags);
                    issued = line.end;
                }
                continue;
            }
            let message = Message {
                start: line.start,
                end: line.end,
                text: text.into_owned(),
                flags: flags.to_vec(),
                ..Message::default()
            };
            issued = push_parsed(self.parsers.as_mut(), message, &settings.lines, &mut batch).max(issued);
        };
        if let (Some(parsers), Reached::End | Reached::Truncated) = (&mut self.parsers, reached) {
            // Where nothing can follow any more, there is nothing to wait for.
            let is_last = reached == Reached::Truncated || self.lines.is_gzip();
            let now = if is_last {
                Instant::now() + FOREVER
            } else {
                Instant::now()
            };
            let mut expired = Vec::new();
            parsers.expire(now, &mut expired);
            issued = push_messages(expired, parsers.held(), &settings.lines, &mut batch).max(issued);
        }
        // What was filtered at the end must not be read again either.
        let read = self.lines.position();
        let done = self
            .parsers
            .as_ref()
            .and_then(Parsers::held)
            .map_or(read, |held| held.min(read));
        if done > issued {
            batch.skip_to(done);
        }
        let events = std::mem::take(&mut batch.events);
        // What waits in a parser is read again should the file be closed and opened.
        self.shared.position.store(done, Ordering::Release);
        if reached == Reached::End {
            self.lines.rest();
        }
        Ok((events, reached))
    }
}

fn push_parsed(parsers: Option<&mut Parsers>, message: Message, settings: &LineSettings, batch: &mut Batch<'_>) -> u64 {
    let Some(parsers) = parsers else {
        return push_messages(vec![message], None, settings, batch);
    };
    let mut parsed = Vec::new();
    parsers.push(message, &mut parsed);
    push_messages(parsed, parsers.held(), settings, batch)
}

/// Puts messages into the batch; gives the position that the last of them was issued with.
fn push_messages(messages: Vec<Message>, held: Option<u64>, settings: &LineSettings, batch: &mut Batch<'_>) -> u64 {
    let mut issued = 0;
    for mut message in messages {
        message.end = held.map_or(message.end, |held| held.min(message.end));
        if is_wanted(settings, &message.text) || message.without_text {
            issued = message.end;
            batch.push_message(message);
        }
    }
    issued
}

/// Empty lines are never shipped; then `include_lines`, then `exclude_lines`.
fn is_wanted(settings: &LineSettings, text: &str) -> bool {
    !text.is_empty()
        && (settings.include_lines.is_empty() || settings.include_lines.iter().any(|pattern| pattern.is_match(text)))
        && !settings.exclude_lines.iter().any(|pattern| pattern.is_match(text))
}
