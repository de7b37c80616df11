//! Events that the other side refused for good, kept for a person to look at: `<dir>/dead-letter.ndjson`, bounded.
//!
//! One line an event: when, for which index, why, and the document itself. When the file passes its bound it becomes
//! `dead-letter.ndjson.1` and a new one starts, so at most twice the bound is on disk.

use std::io::Write;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use clock::SharedClock;
use event::acknowledge_all;
use fs_err as fs;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::OutputContext;
use crate::counters::Counters;
use crate::queue::Queued;

const FILE: &str = "dead-letter.ndjson";
const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// An event that the other side does not want, now or later.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) queued: Queued,
    /// As HTTP has it: 400 the document, 413 its size ..
    pub(crate) status: u16,
    pub(crate) reason: String,
}

/// Where one output's refused events go.
#[derive(Debug)]
pub(crate) struct DeadLetters(Arc<Grave>);

#[derive(Debug)]
struct Grave {
    output: String,
    directory: Utf8PathBuf,
    clock: SharedClock,
    counters: Arc<Counters>,
}

/// One refused event.
#[derive(Serialize)]
struct DeadLetter<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    output: &'a str,
    index: &'a str,
    status: u16,
    reason: &'a str,
    document: &'a RawValue,
}

impl DeadLetters {
    pub(crate) fn new(output: &str, context: &OutputContext, counters: &Arc<Counters>) -> Self {
        Self(Arc::new(Grave {
            output: output.to_owned(),
            directory: context.data_dir.clone(),
            clock: Arc::clone(&context.clock),
            counters: Arc::clone(counters),
        }))
    }

    /// Counts, keeps and acknowledges refused events: the source must move on. Returns what to say about them.
    pub(crate) async fn bury(&self, refused: Vec<Refused>) -> Option<String> {
        let Refused { status, reason, .. } = refused.first()?;
        let count = refused.len();
        let message = format!("the output refused {count} events (status {status}, {reason})");
        Counters::add(&self.0.counters.dropped, count);
        tracing::warn!(
            events = count,
            status,
            reason,
            "the output refused events; they are kept in the dead-letter file"
        );
        let grave = Arc::clone(&self.0);
        let kept = tokio::task::spawn_blocking(move || {
            let lines: Vec<Vec<u8>> = refused.iter().filter_map(|refused| grave.letter(refused)).collect();
            let kept = grave.append(&lines).map(|()| lines.len());
            acknowledge_all(refused.into_iter().map(|refused| refused.queued.event.ack));
            kept
        });
        match kept.await {
            Ok(Ok(kept)) => Counters::add(&self.0.counters.dead_lettered, kept),
            Ok(Err(error)) => tracing::error!(error = %error, "cannot write the dead-letter file"),
            Err(error) => tracing::error!(error = %error, "cannot write the dead-letter file"),
        }
        Some(message)
    }
}

impl Grave {
    fn letter(&self, refused: &Refused) -> Option<Vec<u8>> {
        let event = &refused.queued.event;
        let text = std::str::from_utf8(&event.body).ok()?;
        let document = RawValue::from_string(text.to_owned()).ok()?;
        let letter = DeadLetter {
            timestamp: clock::rfc3339_millis(self.clock.now()),
            output: &self.output,
            index: &event.stream.index,
            status: refused.status,
            reason: &refused.reason,
            document: &document,
        };
        let mut line = serde_json::to_vec(&letter).ok()?;
        line.push(b'\n');
        Some(line)
    }

    fn append(&self, lines: &[Vec<u8>]) -> std::io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(FILE);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_BYTES) {
            fs::rename(&path, self.directory.join(format!("{FILE}.1")))?;
        }
        let mut file = private_append(&path)?;
        for line in lines {
            file.write_all(line)?;
        }
        file.sync_data()
    }
}

/// Opens a file of mode 0600 to append to.
pub(crate) fn private_append(path: &Utf8Path) -> std::io::Result<fs::File> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
