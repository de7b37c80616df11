//! Where the agent's log lines go: its own files, or a terminal.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use agent::SetLogLevel;
use agent::logs::{LogFileOptions, LogWriter, ecs_line};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, reload};

use super::arguments::CommonArguments;

/// For commands: warnings and above to standard error, more with `-v` and `-d`.
pub(super) fn to_stderr(common: &CommonArguments) {
    let level = level_of(common).unwrap_or(LevelFilter::WARN);
    let _already_set = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init();
}

/// For the daemon: its log files, or standard error with `-e`. The returned function changes the level.
pub(super) fn of_daemon(common: &CommonArguments) -> SetLogLevel {
    let fixed = level_of(common);
    let (filter, handle) = reload::Layer::new(levels(fixed.unwrap_or(LevelFilter::INFO)));
    let registry = tracing_subscriber::registry();
    let _already_set = if common.to_stderr {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
                    .with_target(false)
                    .with_filter(filter),
            )
            .try_init()
    } else {
        let writer = LogWriter::new(LogFileOptions::new(common.paths().log_files()), clock::system());
        registry
            .with(
                EcsLayer {
                    writer: Mutex::new(writer),
                }
                .with_filter(filter),
            )
            .try_init()
    };
    Arc::new(move |level: &str| {
        let wanted = fixed.unwrap_or_else(|| level_named(level));
        if let Err(error) = handle.reload(levels(wanted)) {
            tracing::debug!(error = %error, "cannot change the log level");
        }
    })
}

/// For an agent inside `flotilla up`: its log files take everything from INFO on, standard error only what needs a person
/// (the variable `FLOTILLA_LOG` sets another filter).
pub(crate) fn of_process(directory: camino::Utf8PathBuf) -> SetLogLevel {
    let (filter, handle) = reload::Layer::new(levels(LevelFilter::INFO));
    let writer = LogWriter::new(LogFileOptions::new(directory), clock::system());
    let files = EcsLayer {
        writer: Mutex::new(writer),
    }
    .with_filter(filter);
    let person = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_filter(EnvFilter::try_from_env("FLOTILLA_LOG").unwrap_or_else(|_| EnvFilter::new("warn,rustls=error")));
    let _already_set = tracing_subscriber::registry().with(files).with(person).try_init();
    Arc::new(move |level: &str| {
        if let Err(error) = handle.reload(levels(level_named(level))) {
            tracing::debug!(error = %error, "cannot change the log level");
        }
    })
}

fn level_of(common: &CommonArguments) -> Option<LevelFilter> {
    if common.debug.is_some() {
        return Some(LevelFilter::DEBUG);
    }
    common.verbose.then_some(LevelFilter::INFO)
}

/// The TLS library warns of each client that sends an address as its server name, as many do and nobody can change: a line
/// for every connection. Only DEBUG shows it.
fn levels(level: LevelFilter) -> Targets {
    let of_library = if level >= LevelFilter::DEBUG {
        level
    } else {
        level.min(LevelFilter::ERROR)
    };
    Targets::new().with_default(level).with_target("rustls", of_library)
}

fn level_named(level: &str) -> LevelFilter {
    match level {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warning" | "warn" => LevelFilter::WARN,
        "error" | "critical" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// Writes each event as one line of JSON with the fields that the monitoring streams expect.
struct EcsLayer {
    writer: Mutex<LogWriter>,
}

impl<S: Subscriber> Layer<S> for EcsLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(line) = metadata.line() {
            let origin = serde_json::json!({"file": {"name": metadata.file().unwrap_or_default(), "line": line}});
            fields.others.insert("log.origin".to_owned(), origin);
        }
        let now = jiff::Timestamp::now();
        let line = ecs_line(
            now,
            metadata.level().as_str(),
            &fields.message,
            metadata.target(),
            fields.others,
        );
        // A log that cannot be written has nowhere to complain to.
        let _full_disk = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&line);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            let name = match field.name() {
                "error" => "error.message",
                other => other,
            };
            self.others.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}
