//! From an output's block in the policy to running tasks, and back to rest.

use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8PathBuf;
use clock::SharedClock;
use event::{EventSender, Reporter, UnitState};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::counters::{Counters, CountersSnapshot};
use crate::dead_letter::DeadLetters;
use crate::disk_queue::{DiskQueue, DiskQueueOptions, Overflow};
use crate::elasticsearch::connection::{Connection, Shared};
use crate::elasticsearch::settings::ElasticsearchSettings;
use crate::file::{FileOutput, FileSettings};
use crate::intake::{self, Spill};
use crate::kafka::{KafkaProducer, KafkaSettings};
use crate::logstash::{LogstashConnection, LogstashSettings};
use crate::queue::{FlushRule, Queue};
use crate::queue_cipher::QueueCipher;
use crate::setting::Block;
use crate::workers::{Transmit, Worker};
use crate::{file, kafka, probe};

/// Batches in a lane between inputs and queue; more only hides that the queue is full.
const LANE: usize = 4;
const DISK_QUEUE_BYTES: u64 = 1 << 30;
const ENCRYPTION: &str = "queue.disk.encryption.enabled";
const SMALLEST_DISK_QUEUE: u64 = 10_000_000;

/// What the surroundings give to an output.
#[derive(Clone)]
pub struct OutputContext {
    /// Time for dead letters and file names.
    pub clock: SharedClock,
    /// This output's own folder: disk queue and dead letters.
    pub data_dir: Utf8PathBuf,
    /// The output unit's health.
    pub reporter: Reporter,
    /// The agent's version, for the User-Agent.
    pub version: String,
    /// Keeps the `ssl` block in line with its files.
    pub reloader: tls::Reloader,
    /// Seals the disk queue when `queue.disk.encryption.enabled` asks for it.
    pub queue_cipher: Option<QueueCipher>,
    /// Where output `console` writes; without it that type is refused.
    pub console: Option<Arc<Mutex<dyn Write + Send>>>,
}

impl std::fmt::Debug for OutputContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputContext")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Why an output cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A value is missing or wrong.
    #[error("output `{output}`: `{setting}` must be {wanted}")]
    Setting {
        /// The output's name in the policy.
        output: String,
        /// The key.
        setting: String,
        /// What it should be.
        wanted: String,
    },
    /// A type that this agent does not have.
    #[error(
        "output `{output}`: type `{kind}` is not supported; supported are elasticsearch, logstash, kafka, file and console"
    )]
    UnknownType {
        /// The output's name in the policy.
        output: String,
        /// The type.
        kind: String,
    },
    /// The `ssl` block cannot be used.
    #[error("output `{output}`: {source}")]
    Ssl {
        /// The output's name in the policy.
        output: String,
        /// What is wrong.
        source: tls::SslError,
    },
    /// The disk queue's folder cannot be used.
    #[error("output `{output}`: cannot open the disk queue in `{directory}`")]
    DiskQueue {
        /// The output's name in the policy.
        output: String,
        /// The folder.
        directory: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running output.
#[derive(Debug)]
pub struct OutputHandle {
    /// For sources that cannot give an event twice: waits for room, or overflows to disk.
    pub events: EventSender,
    /// For sources that give an event again after a restart (files): waits for room.
    pub replayable: EventSender,
    name: String,
    reporter: Reporter,
    counters: Arc<Counters>,
    queue: Arc<Queue>,
    disk: Option<Arc<DiskQueue>>,
    spill: Spill,
    tasks: Tasks,
}

#[derive(Debug)]
struct Tasks {
    intake: TaskTracker,
    stop_intake: CancellationToken,
    refill: TaskTracker,
    stop_refill: CancellationToken,
    workers: TaskTracker,
    stop_workers: CancellationToken,
}

/// How a stop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopOutcome {
    /// Everything was acknowledged.
    Clean,
    /// The deadline came first; events of replayable sources will be sent again, the others are on disk.
    Undelivered {
        /// Events that were not acknowledged.
        events: usize,
    },
}

/// Makes and starts the output `name` from its block in the policy. Must be called inside a runtime.
///
/// # Errors
/// A wrong setting, files of `ssl` that cannot be loaded, a disk queue that cannot be opened. An unreachable host is no
/// error: the unit reports it.
pub fn build(name: &str, value: &Value, context: OutputContext) -> Result<OutputHandle, OutputError> {
    let expanded = settings::expand_dotted_keys(value.clone()).map_err(|setting| OutputError::Setting {
        output: name.to_owned(),
        setting,
        wanted: "either a value or a group of settings, not both".to_owned(),
    })?;
    let block = Block { name, value: &expanded };
    let plan = Plan::new(&block, &context)?;
    for warning in &plan.warnings {
        tracing::warn!(output = name, "{warning}");
    }
    let disk = open_disk_queue(&block, &context)?;
    Ok(start(name, plan, disk, context))
}

/// Everything that differs between output types.
struct Plan {
    connections: Vec<Box<dyn Transmit>>,
    rule: FlushRule,
    queue_events: usize,
    backoff: Backoff,
    counters: Arc<Counters>,
    healthy: String,
    warnings: Vec<String>,
    /// Finds out before the first event whether the other side answers.
    first_contact: Option<probe::FirstContact>,
}

impl Plan {
    fn new(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let kind = block.text("type")?.unwrap_or_default();
        match kind.as_str() {
            "elasticsearch" | "remote_elasticsearch" => Self::elasticsearch(block, context),
            "logstash" => Self::logstash(block, context),
            "kafka" => Self::kafka(block, context),
            "file" => Self::file(block, context),
            "console" => Self::console(block, context),
            _ => Err(OutputError::UnknownType {
                output: block.name.to_owned(),
                kind,
            }),
        }
    }

    fn elasticsearch(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let mut settings = ElasticsearchSettings::from_block(block)?;
        let (client, mut warnings) = probe::client(block.name, &settings)?;
        warnings.append(&mut settings.warnings);
        context.reloader.watch(client.tls());
        let counters = Arc::new(Counters::default());
        let connections = settings.hosts.len() * settings.workers;
        let rule = FlushRule {
            min_events: settings.batch_min(),
            max_events: settings.bulk_max_size,
            timeout: settings.flush_timeout,
        };
        let hosts: Vec<_> = settings
            .hosts
            .iter()
            .map(crate::elasticsearch::connection::host_of)
            .collect();
        let shared = Arc::new(Shared {
            client: client.clone(),
            counters: Arc::clone(&counters),
            dead_letters: DeadLetters::new(block.name, context, &counters),
            user_agent: format!("Elastic-Agent/{} (flotilla; output)", context.version),
            current_host: AtomicUsize::new(0),
            settings: settings.clone(),
        });
        let connection = |number: usize| -> Box<dyn Transmit> {
            Box::new(Connection {
                shared: Arc::clone(&shared),
                host: number % settings.hosts.len(),
            })
        };
        Ok(Self {
            connections: (0..connections).map(connection).collect(),
            rule,
            queue_events: settings.queue_events,
            backoff: Backoff::new(settings.backoff_init, settings.backoff_max),
            counters,
            healthy: format!("Connected to {}", hosts.join(", ")),
            warnings,
            first_contact: Some(probe::FirstContact { settings, client }),
        })
    }

    fn logstash(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let settings = Arc::new(LogstashSettings::from_block(block)?);
        if let Some(tls) = &settings.tls {
            context.reloader.watch(tls);
        }
        let counters = Arc::new(Counters::default());
        let connections = settings.hosts.len() * settings.workers;
        let connection = |number: usize| -> Box<dyn Transmit> {
            let host = settings.hosts[number % settings.hosts.len()].clone();
            Box::new(LogstashConnection::new(
                Arc::clone(&settings),
                host,
                Arc::clone(&counters),
            ))
        };
        Ok(Self {
            connections: (0..connections).map(connection).collect(),
            rule: settings.rule,
            queue_events: settings.queue_events,
            backoff: Backoff::new(settings.backoff_init, settings.backoff_max),
            healthy: format!("Connected to {}", settings.host_names()),
            warnings: settings.tls.as_ref().map(|tls| tls.warnings()).unwrap_or_default(),
            counters,
            first_contact: None,
        })
    }

    fn kafka(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let settings = Arc::new(KafkaSettings::from_block(block)?);
        if let Some(tls) = &settings.tls {
            context.reloader.watch(tls);
        }
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(kafka::Shared {
            dead_letters: DeadLetters::new(block.name, context, &counters),
            counters: Arc::clone(&counters),
            settings: Arc::clone(&settings),
        });
        let connection = |_| -> Box<dyn Transmit> { Box::new(KafkaProducer::new(Arc::clone(&shared))) };
        Ok(Self {
            connections: (0..settings.workers).map(connection).collect(),
            rule: settings.rule,
            queue_events: settings.queue_events,
            backoff: Backoff::new(settings.backoff_init, settings.backoff_max),
            counters,
            healthy: format!("Connected to {}", settings.host_names()),
            warnings: settings.tls.as_ref().map(|tls| tls.warnings()).unwrap_or_default(),
            first_contact: None,
        })
    }

    fn file(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let settings = FileSettings::from_block(block)?;
        let healthy = format!("Writing to {}", settings.path);
        let counters = Arc::new(Counters::default());
        let output = FileOutput::new(settings, Arc::clone(&context.clock), Arc::clone(&counters));
        Ok(Self::local(Box::new(output), counters, healthy))
    }

    fn console(block: &Block<'_>, context: &OutputContext) -> Result<Self, OutputError> {
        let Some(console) = context.console.clone() else {
            return Err(block.invalid("type", "another one: this process has no console to write to"));
        };
        let counters = Arc::new(Counters::default());
        let output = file::ConsoleOutput::new(console, Arc::clone(&counters));
        Ok(Self::local(
            Box::new(output),
            counters,
            "Writing to the console".to_owned(),
        ))
    }

    fn local(output: Box<dyn Transmit>, counters: Arc<Counters>, healthy: String) -> Self {
        Self {
            connections: vec![output],
            rule: FlushRule {
                min_events: 200,
                max_events: 2048,
                timeout: Duration::from_secs(1),
            },
            queue_events: 3200,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_mins(1)),
            counters,
            healthy,
            warnings: Vec::new(),
            first_contact: None,
        }
    }
}

/// `queue.disk.{enabled,max_size,segment_size,overflow,path,encryption.enabled}`; on unless `enabled` is false.
fn open_disk_queue(block: &Block<'_>, context: &OutputContext) -> Result<Option<Arc<DiskQueue>>, OutputError> {
    if !block.flag("queue.disk.enabled", true)? {
        return Ok(None);
    }
    let max_bytes = match block.bytes("queue.disk.max_size")? {
        None | Some(0) => DISK_QUEUE_BYTES,
        Some(size) if size < SMALLEST_DISK_QUEUE => {
            return Err(block.invalid("queue.disk.max_size", "at least 10MB"));
        }
        Some(size) => size,
    };
    let segment_bytes = block
        .bytes("queue.disk.segment_size")?
        .unwrap_or(16 << 20)
        .clamp(1 << 20, max_bytes / 2);
    let overflow = match block.text("queue.disk.overflow")?.as_deref() {
        None | Some("drop_oldest") => Overflow::DropOldest,
        Some("drop_newest") => Overflow::DropNewest,
        Some(_) => return Err(block.invalid("queue.disk.overflow", "drop_oldest or drop_newest")),
    };
    let directory = block
        .text("queue.disk.path")?
        .map_or_else(|| context.data_dir.join("diskqueue"), Utf8PathBuf::from);
    let options = DiskQueueOptions {
        max_bytes,
        segment_bytes,
        overflow,
    };
    let cipher = queue_cipher(block, context)?;
    match DiskQueue::open(&directory, options, cipher) {
        Ok(queue) => Ok(Some(Arc::new(queue))),
        Err(source) => Err(OutputError::DiskQueue {
            output: block.name.to_owned(),
            directory,
            source,
        }),
    }
}

fn queue_cipher(block: &Block<'_>, context: &OutputContext) -> Result<Option<QueueCipher>, OutputError> {
    if !wants_encryption(block)? {
        return Ok(None);
    }
    match &context.queue_cipher {
        Some(cipher) => Ok(Some(cipher.clone())),
        None => Err(block.invalid(ENCRYPTION, "false: this process has no key to encrypt with")),
    }
}

fn wants_encryption(block: &Block<'_>) -> Result<bool, OutputError> {
    block.flag(ENCRYPTION, false)
}

/// Whether the output `definition` asks for an encrypted disk queue.
pub fn asks_for_encryption(definition: &Value) -> bool {
    let Ok(expanded) = settings::expand_dotted_keys(definition.clone()) else {
        return false;
    };
    let block = Block {
        name: "",
        value: &expanded,
    };
    wants_encryption(&block).unwrap_or(false)
}

fn start(name: &str, plan: Plan, disk: Option<Arc<DiskQueue>>, context: OutputContext) -> OutputHandle {
    let queue = Arc::new(Queue::new(plan.queue_events));
    let (events, events_lane) = mpsc::channel(LANE);
    let (replayable, replayable_lane) = mpsc::channel(LANE);
    let tasks = Tasks::new();
    let spill = Spill {
        queue: Arc::clone(&queue),
        disk: disk.clone(),
        counters: Arc::clone(&plan.counters),
        reporter: context.reporter.clone(),
        spilled: Arc::new(Notify::new()),
    };
    context.reporter.report(UnitState::Configuring, "Connecting");
    tasks.intake.spawn(intake::replayable(
        replayable_lane,
        Arc::clone(&queue),
        tasks.stop_intake.clone(),
    ));
    tasks
        .intake
        .spawn(spill.clone().run(events_lane, tasks.stop_intake.clone()));
    if let Some(disk) = &disk {
        let refill = intake::refill(
            Arc::clone(&queue),
            Arc::clone(disk),
            Arc::clone(&spill.spilled),
            tasks.stop_refill.clone(),
        );
        tasks.refill.spawn(refill);
    }
    if let Some(contact) = plan.first_contact {
        let contact = contact.run(context.reporter.clone(), plan.healthy.clone(), plan.backoff.clone());
        tasks
            .refill
            .spawn(tasks.stop_refill.clone().run_until_cancelled_owned(contact));
    } else {
        context.reporter.report(UnitState::Healthy, plan.healthy.clone());
    }
    for connection in plan.connections {
        let worker = Worker {
            queue: Arc::clone(&queue),
            rule: plan.rule,
            backoff: plan.backoff.clone(),
            reporter: context.reporter.clone(),
            counters: Arc::clone(&plan.counters),
            healthy: plan.healthy.clone(),
        };
        tasks.workers.spawn(worker.run(connection, tasks.stop_workers.clone()));
    }
    OutputHandle {
        events,
        replayable,
        name: name.to_owned(),
        reporter: context.reporter,
        counters: plan.counters,
        queue,
        disk,
        spill,
        tasks,
    }
}

impl Tasks {
    fn new() -> Self {
        Self {
            intake: TaskTracker::new(),
            stop_intake: CancellationToken::new(),
            refill: TaskTracker::new(),
            stop_refill: CancellationToken::new(),
            workers: TaskTracker::new(),
            stop_workers: CancellationToken::new(),
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop_intake.cancel();
        self.stop_refill.cancel();
        self.stop_workers.cancel();
    }
}

impl OutputHandle {
    /// The output's name in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The unit's health.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// What was counted since the start.
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// Events in memory, those in flight included.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Events and bytes on disk.
    pub fn on_disk(&self) -> (u64, u64) {
        self.disk.as_ref().map_or((0, 0), |disk| (disk.len(), disk.bytes()))
    }

    /// Delivers what it has, at most until `deadline` from now, then stops. The inputs must have stopped, or the clones
    /// of the senders must be gone; what still arrives after the deadline is not taken.
    pub async fn stop_and_wait(self, deadline: Duration) -> StopOutcome {
        let Self {
            events,
            replayable,
            reporter,
            queue,
            spill,
            tasks,
            ..
        } = self;
        reporter.report(UnitState::Stopping, "Delivering what is left");
        drop((events, replayable));
        tasks.stop_refill.cancel();
        tasks.refill.close();
        tasks.refill.wait().await;
        queue.drain();
        tasks.intake.close();
        let delivered = async {
            tasks.intake.wait().await;
            queue.is_settled().await;
        };
        let clean = tokio::time::timeout(deadline, delivered).await.is_ok();
        tasks.stop_intake.cancel();
        tasks.intake.wait().await;
        tasks.stop_workers.cancel();
        tasks.workers.close();
        tasks.workers.wait().await;
        let left = queue.close();
        let undelivered = left.len();
        let unsaved = intake::only_in_memory(left);
        if !unsaved.is_empty() {
            spill.save(unsaved).await;
        }
        reporter.report(UnitState::Stopped, "Stopped");
        if clean {
            StopOutcome::Clean
        } else {
            StopOutcome::Undelivered { events: undelivered }
        }
    }
}
