//! The input over systemd's journal.
//!
//! `journalctl` follows the journal and writes its export format, so that no library of systemd is needed; its cursor is
//! what the registry keeps, moved on acknowledgement like the offset of a file. Without `journalctl` the stream fails and
//! says so.

mod export;
mod fields;

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use event::{AckTracker, Documents, Event, UnitState};
use serde_json::json;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tracing::warn;

use crate::build::{BuildError, StreamConfig};
use crate::config::Config;
use crate::registry::Entry;
use crate::{Input, InputContext};
use export::{Entries, JournalEntry};

/// A stream over the journal.
#[derive(Debug)]
pub(crate) struct Journald {
    stream_id: String,
    documents: Arc<Documents>,
    program: String,
    arguments: Vec<String>,
    seek: Seek,
}

/// Where to start when nothing has been delivered yet.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Seek {
    Head,
    Tail,
    /// So long before now.
    Since(Duration),
}

const BATCH_EVENTS: usize = 512;
/// How long entries are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// How long to wait before a `journalctl` that ended is started again.
const RESTART: Duration = Duration::from_secs(5);
/// How much of what `journalctl` says on its error stream is kept.
const MAX_COMPLAINT: u64 = 4096;

impl Journald {
    pub(crate) fn build(mut stream: StreamConfig<'_>) -> Result<Box<dyn Input>, BuildError> {
        let config = Config {
            stream: &stream.id,
            settings: stream.settings,
        };
        let (arguments, seek) = (arguments(config)?, seek(config)?);
        let own = json!({"input": {"type": "journald"}, "event": {"kind": "event"}});
        let own = own.as_object().cloned().unwrap_or_default();
        let documents = Arc::new(stream.documents("filebeat", own));
        Ok(Box::new(Self {
            stream_id: stream.id,
            documents,
            program: "journalctl".to_owned(),
            arguments,
            seek,
        }))
    }
}

/// The filters of a stream as `journalctl` takes them.
fn arguments(config: Config<'_>) -> Result<Vec<String>, BuildError> {
    let mut arguments: Vec<String> = ["--output=export", "--follow", "--all", "--quiet"]
        .map(str::to_owned)
        .to_vec();
    for path in config.texts(&["paths"])? {
        let is_file = std::path::Path::new(&path)
            .extension()
            .is_some_and(|extension| extension == "journal");
        match path.as_str() {
            "" | "SYSTEM_JOURNAL" => {}
            "LOCAL_SYSTEM_JOURNAL" => arguments.push("--system".to_owned()),
            path if is_file => arguments.push(format!("--file={path}")),
            path => arguments.push(format!("--directory={path}")),
        }
    }
    arguments.extend(config.texts(&["units"])?.iter().map(|unit| format!("--unit={unit}")));
    let identifiers = config.texts(&["syslog_identifiers"])?;
    arguments.extend(
        identifiers
            .iter()
            .map(|identifier| format!("--identifier={identifier}")),
    );
    let matches = match config.value("include_matches.match") {
        Some(_) => config.texts(&["include_matches.match"])?,
        None if config
            .value("include_matches")
            .is_some_and(serde_json::Value::is_object) =>
        {
            Vec::new()
        }
        None => config.texts(&["include_matches"])?,
    };
    let facilities = config
        .texts(&["facilities"])?
        .into_iter()
        .map(|facility| format!("SYSLOG_FACILITY={facility}"));
    let transports = config
        .texts(&["transports"])?
        .into_iter()
        .map(|transport| format!("_TRANSPORT={transport}"));
    for wanted in matches.into_iter().chain(facilities).chain(transports) {
        if !wanted.contains('=') || wanted.starts_with('-') {
            return Err(config.error(
                "include_matches",
                format!("`{wanted}` is not of the form `FIELD=value`"),
            ));
        }
        arguments.push(wanted);
    }
    Ok(arguments)
}

fn seek(config: Config<'_>) -> Result<Seek, BuildError> {
    match config.text(&["seek"])?.unwrap_or("head") {
        "head" | "cursor" => Ok(Seek::Head),
        "tail" => Ok(Seek::Tail),
        "since" => match config
            .text(&["since"])?
            .map(|text| text.trim_start_matches('-'))
            .and_then(settings::parse_duration)
        {
            Some(age) => Ok(Seek::Since(age)),
            None => Err(config.error("since", "it must be a duration such as `-24h`")),
        },
        other => Err(config.error("seek", format!("`{other}` is not known"))),
    }
}

/// The cursors of entries on their way, in order.
type Cursors = Arc<Mutex<VecDeque<(u64, String)>>>;

#[async_trait]
impl Input for Journald {
    async fn run(self: Box<Self>, context: InputContext) {
        let mut reading = Reading::new(&self, &context);
        while !context.stop.is_cancelled() {
            let ended = reading.follow(&self, &context).await;
            match ended {
                Ended::Stopped => break,
                Ended::CannotStart(problem) => {
                    context
                        .reporter
                        .report_stream(&self.stream_id, UnitState::Failed, problem);
                }
                Ended::Broken(problem) => {
                    warn!(
                        stream.id = self.stream_id,
                        problem, "journalctl ended; it is started again"
                    );
                    context
                        .reporter
                        .report_stream(&self.stream_id, UnitState::Degraded, problem);
                }
            }
            tokio::select! {
                () = context.stop.cancelled() => break,
                () = tokio::time::sleep(RESTART) => {}
            }
        }
        context.reporter.report_stream(&self.stream_id, UnitState::Stopped, "");
    }
}

enum Ended {
    Stopped,
    CannotStart(String),
    Broken(String),
}

/// What outlives one `journalctl`.
struct Reading {
    tracker: AckTracker,
    cursors: Cursors,
    /// The cursor of the last entry that was read, or that the registry kept.
    last: Option<String>,
    number: u64,
}

impl Reading {
    fn new(input: &Journald, context: &InputContext) -> Self {
        let entry = journal_entry(input, context);
        let last = entry
            .meta()
            .get("cursor")
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned);
        let cursors = Cursors::default();
        let acknowledged = Arc::clone(&cursors);
        let number = entry.position();
        let tracker = AckTracker::new(move |position| {
            if let Some(cursor) = take_until(&acknowledged, position) {
                entry.advance_with(position, json!({"cursor": cursor}));
            }
        });
        Self {
            tracker,
            cursors,
            last,
            number,
        }
    }

    /// Runs `journalctl` until it ends or the stream is to stop.
    async fn follow(&mut self, input: &Journald, context: &InputContext) -> Ended {
        let mut command = Command::new(&input.program);
        command
            .args(&input.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match (&self.last, &input.seek) {
            (Some(cursor), _) => command.arg(format!("--after-cursor={cursor}")),
            (None, Seek::Head) => command.arg("--no-tail"),
            (None, Seek::Tail) => command.arg("--lines=0"),
            (None, Seek::Since(age)) => command.arg(format!("--since=-{}s", age.as_secs())),
        };
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return Ended::CannotStart(format!(
                    "cannot run `{}`, which reads the journal: {error}",
                    input.program
                ));
            }
        };
        let Some(output) = child.stdout.take() else {
            return Ended::Broken("journalctl has no output".to_owned());
        };
        let complaint = tokio::spawn(complaint(child.stderr.take()));
        context.reporter.report_stream(&input.stream_id, UnitState::Healthy, "");
        let ended = self.read(BufReader::new(output), input, context).await;
        let stopped = stop(&mut child).await;
        let complaint = complaint.await.unwrap_or_default();
        match ended {
            Ended::Broken(problem) if !complaint.is_empty() => Ended::Broken(format!("{problem}: {complaint}")),
            Ended::Broken(problem) => Ended::Broken(format!("{problem} ({stopped})")),
            other => other,
        }
    }

    async fn read(
        &mut self,
        output: BufReader<tokio::process::ChildStdout>,
        input: &Journald,
        context: &InputContext,
    ) -> Ended {
        let mut entries = Entries::new(output);
        let mut batch: Vec<Event> = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            let gathered = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                () = context.stop.cancelled() => return Ended::Stopped,
                () = gathered => None,
                next = entries.next() => Some(next),
            };
            let end = match next {
                None => None,
                Some(Ok(Some(entry))) => {
                    batch.extend(self.event(entry, input, context));
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                    if batch.len() < BATCH_EVENTS {
                        continue;
                    }
                    None
                }
                Some(Ok(None)) => Some("journalctl has ended".to_owned()),
                Some(Err(error)) => Some(format!("cannot read what journalctl writes: {error}")),
            };
            due = None;
            if !batch.is_empty() {
                tokio::select! {
                    () = context.stop.cancelled() => return Ended::Stopped,
                    sent = context.events.send(std::mem::take(&mut batch)) => if sent.is_err() { return Ended::Stopped },
                }
            }
            if let Some(end) = end {
                return Ended::Broken(end);
            }
        }
    }

    fn event(&mut self, entry: JournalEntry, input: &Journald, context: &InputContext) -> Option<Event> {
        let now = context.clock.now();
        let (time, cursor, fields) = fields::of(entry, now);
        self.number += 1;
        if let Some(cursor) = cursor {
            lock(&self.cursors).push_back((self.number, cursor.clone()));
            self.last = Some(cursor);
        }
        input.documents.event(time, fields, self.tracker.issue(self.number))
    }
}

fn lock(cursors: &Cursors) -> std::sync::MutexGuard<'_, VecDeque<(u64, String)>> {
    cursors.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes away the cursors up to `position`; gives the last of them.
fn take_until(cursors: &Cursors, position: u64) -> Option<String> {
    let mut cursors = lock(cursors);
    let mut last = None;
    while cursors.front().is_some_and(|(number, _)| *number <= position) {
        last = cursors.pop_front().map(|(_, cursor)| cursor);
    }
    last
}

/// The stream's place in the registry.
fn journal_entry(input: &Journald, context: &InputContext) -> Arc<Entry> {
    let known = context
        .registry
        .entries(&input.stream_id)
        .into_iter()
        .find(|entry| entry.id() == "journal");
    known.unwrap_or_else(|| context.registry.insert(&input.stream_id, "journal", 0, json!({})))
}

/// The end of what the program says on its error stream.
async fn complaint(errors: Option<tokio::process::ChildStderr>) -> String {
    let mut text = Vec::new();
    if let Some(errors) = errors
        && errors.take(MAX_COMPLAINT).read_to_end(&mut text).await.is_err()
    {
        return String::new();
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

async fn stop(child: &mut Child) -> String {
    match child.try_wait() {
        Ok(Some(status)) => status.to_string(),
        _ => match child.kill().await {
            Ok(()) => "stopped".to_owned(),
            Err(error) => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
