//! The life of a stream over files: scan, decide, open, and again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clock::SharedClock;
use event::{Documents, UnitState};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::counters::Counters;
use super::files::{FileId, Files};
use super::harvester::{Ended, FileReader, HarvestContext, harvest};
use super::identity::{Look, open};
use super::lines::LineReader;
use super::scan::scan;
use super::settings::FileSettings;
use super::writer::EventWriter;
use crate::InputContext;

/// Reads of one stream at the same time.
const PARALLEL_READS: usize = 2;
/// The shortest time between two scans, whatever happens.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// One running stream.
pub(super) struct Watch {
    stream_id: String,
    documents: Arc<Documents>,
    settings: Arc<FileSettings>,
    context: InputContext,
    counters: Arc<Counters>,
    harvest: HarvestContext,
    open: JoinSet<(FileId, Ended)>,
    /// What is wrong at present with files that could be found and not be read.
    trouble: Option<String>,
}

impl Watch {
    pub(super) fn new(
        stream_id: String,
        documents: Arc<Documents>,
        settings: Arc<FileSettings>,
        context: InputContext,
    ) -> Self {
        let harvest = HarvestContext {
            events: context.events.clone(),
            permits: Arc::new(Semaphore::new(PARALLEL_READS)),
            stop: match settings.read_until_eof {
                Some(_) => CancellationToken::new(),
                None => context.stop.clone(),
            },
            finish: context.stop.clone(),
        };
        Self {
            stream_id,
            documents,
            settings,
            context,
            counters: Arc::default(),
            harvest,
            open: JoinSet::new(),
            trouble: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.report(UnitState::Configuring, "Looking for files");
        let counters = Arc::clone(&self.counters);
        self.context
            .reporter
            .count_stream(&self.stream_id, Arc::new(move || counters.json()));
        let mut files = Files::load(
            &self.stream_id,
            Arc::clone(&self.settings),
            Arc::clone(&self.context.registry),
        );
        while !self.context.stop.is_cancelled() {
            let Some(scanned) = self.scan(files).await else { return };
            files = scanned;
            self.start_harvesters(&mut files).await;
            self.wait(&mut files).await;
        }
        self.close(&mut files).await;
        debug!(stream.id = self.stream_id, counters = %self.counters.json(), "files are closed");
        self.report(UnitState::Stopped, "");
    }

    /// Waits for the open files, with `read_until_eof` until they have been read or its time is over.
    async fn close(&mut self, files: &mut Files) {
        let limit = Instant::now() + self.settings.read_until_eof.unwrap_or_default();
        loop {
            tokio::select! {
                ended = self.open.join_next() => match ended {
                    Some(ended) => {
                        self.handle(files, ended);
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(limit), if !self.harvest.stop.is_cancelled() => self.harvest.stop.cancel(),
            }
        }
    }

    fn report(&self, state: UnitState, error: &str) {
        self.context.reporter.report_stream(&self.stream_id, state, error);
    }

    /// One pass over the patterns. `None` when the scanning thread ended badly.
    async fn scan(&mut self, mut files: Files) -> Option<Files> {
        let settings = Arc::clone(&self.settings);
        let now = self.context.clock.now();
        let scanned = tokio::task::spawn_blocking(move || {
            let mut scanned = scan(&settings, &files.known());
            files.reconcile(std::mem::take(&mut scanned.files), now);
            (files, scanned.problems)
        });
        match scanned.await {
            Ok((files, problems)) => {
                self.report_problems(&problems);
                Some(files)
            }
            Err(error) => {
                self.report(UnitState::Failed, &format!("looking for files failed: {error}"));
                None
            }
        }
    }

    fn report_problems(&mut self, problems: &[io::Error]) {
        let registry = self
            .context
            .registry
            .last_problem()
            .map(|problem| format!("cannot keep offsets: {problem}"));
        let first = problems.first().map(|first| match problems.len() {
            1 => first.to_string(),
            count => format!("{first} (and {} more)", count - 1),
        });
        match registry.or(first).or_else(|| self.trouble.take()) {
            Some(problem) => self.report(UnitState::Degraded, &problem),
            None => self.report(UnitState::Healthy, ""),
        }
    }

    async fn start_harvesters(&mut self, files: &mut Files) {
        let waiting = files.to_open(self.context.clock.now());
        if self.settings.event_ids && !waiting.is_empty() {
            // An id must outlive a crash before the first event carries it.
            let registry = Arc::clone(&self.context.registry);
            let flushed = tokio::task::spawn_blocking(move || registry.flush()).await;
            if !flushed.unwrap_or(false) {
                self.trouble = Some("cannot keep offsets; no file is opened".to_owned());
                return;
            }
        }
        for id in waiting {
            self.start_harvester(files, id);
        }
    }

    fn start_harvester(&mut self, files: &mut Files, id: FileId) {
        let Some(file) = files.get_mut(id) else { return };
        let stop = self.harvest.stop.child_token();
        file.running = Some(stop.clone());
        let writer = EventWriter {
            documents: Arc::clone(&self.documents),
            clock: SharedClock::clone(&self.context.clock),
            tracker: file.tracker.clone(),
            id_prefix: self.settings.event_ids.then(|| file.entry.id().to_owned()),
        };
        let (path, inode) = file.place();
        let shared = Arc::clone(&file.shared);
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&self.counters));
        let context = self.harvest.clone();
        let open_file = move || -> io::Result<Option<FileReader>> {
            let source = open(path.as_std_path(), settings.compression)?;
            let lines = &settings.lines;
            let limit = lines.message_max_bytes;
            let reader = LineReader::new(
                source,
                shared.position(),
                lines.encoding,
                lines.terminator.clone(),
                limit,
            )?;
            if Some(Look::of(&reader.file().metadata()?).inode) != inode {
                return Ok(None);
            }
            let parsers = (!lines.parsers.is_empty()).then(|| lines.parsers.start());
            Ok(Some(FileReader {
                lines: reader,
                parsers,
                settings,
                writer,
                shared,
                counters,
                look: None,
                owner: None,
            }))
        };
        let counters = Arc::clone(&self.counters);
        self.open.spawn(async move {
            let ended = match tokio::task::spawn_blocking(open_file).await {
                Ok(Ok(Some(reader))) => {
                    counters.files_opened.add(1);
                    let ended = harvest(reader, context, stop).await;
                    counters.files_closed.add(1);
                    ended
                }
                // Renamed since the scan; the next one finds it.
                Ok(Ok(None)) => Ended::Closed(None),
                Ok(Err(error)) => Ended::Failed(error),
                Err(error) => Ended::Failed(io::Error::other(error)),
            };
            (id, ended)
        });
    }

    /// Until the next scan is due.
    async fn wait(&mut self, files: &mut Files) {
        let due = Instant::now() + self.settings.check_interval;
        let earliest = Instant::now() + MIN_PAUSE.min(self.settings.check_interval);
        let mut until = due;
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                Some(ended) = self.open.join_next() => {
                    if self.handle(files, ended) {
                        until = earliest;
                    }
                }
            }
        }
    }

    /// Takes note of a closed file; `true` when a scan should follow soon.
    fn handle(&mut self, files: &mut Files, ended: Result<(FileId, Ended), tokio::task::JoinError>) -> bool {
        let Ok((id, ended)) = ended else {
            self.counters.errors.add(1);
            self.trouble = Some("a reading task ended badly".to_owned());
            return false;
        };
        let now = self.context.clock.now();
        match ended {
            Ended::Stopped => files.closed(id, None, now),
            Ended::Closed(look) => {
                let again = files.closed(id, look, now);
                // With a limit on open files another one may be waiting.
                again || self.settings.harvester_limit > 0
            }
            Ended::Finished => {
                files.finished(id, now);
                self.settings.harvester_limit > 0
            }
            Ended::Truncated => {
                files.closed(id, None, now);
                files.lose(id);
                true
            }
            Ended::Failed(error) => {
                self.counters.errors.add(1);
                warn!(stream.id = self.stream_id, %error, "a file cannot be read; will try again");
                self.trouble = Some(error.to_string());
                files.closed(id, None, now)
            }
        }
    }
}
