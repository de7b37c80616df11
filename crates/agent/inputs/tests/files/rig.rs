//! An input with a sink behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use event::{AgentMetadata, Event, Reporter, UnitType};
use inputs::{BuildContext, InputContext, InputPaths, Registry};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long enough for a slow machine; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Folder {
    _folder: tempfile::TempDir,
    pub(crate) path: Utf8PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        Self { _folder: folder, path }
    }
}

pub(crate) fn build_context(root: &Utf8Path) -> BuildContext {
    BuildContext {
        agent: AgentMetadata {
            id: "0b6f9d1e-7f4e-4c56-9a34-5f0d2f1c7a10".into(),
            ephemeral_id: "6a1e2c44-0d0f-4b53-8c1b-3f9be0f3a001".into(),
            name: "web-01".into(),
            version: "9.2.0".into(),
            snapshot: false,
        },
        host: json!({"name": "web-01"}).as_object().unwrap().clone(),
        paths: InputPaths {
            home: root.into(),
            data: root.into(),
            logs: root.into(),
        },
        reloader: tls::Reloader::new(),
    }
}

/// Settings that react at once.
pub(crate) fn file_input(paths: &[String], more: Value) -> Value {
    let mut stream = json!({
        "id": "files",
        "paths": paths,
        "data_stream": {"dataset": "filestream.generic"},
        "prospector.scanner.check_interval": "20ms",
        "backoff.init": "5ms",
        "backoff.max": "20ms",
    });
    for (key, value) in more.as_object().unwrap() {
        stream[key] = value.clone();
    }
    json!({"type": "filestream", "id": "in", "streams": [stream]})
}

/// Waits until the file system looks as it should.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it never came true");
}

/// A running input.
pub(crate) struct Running {
    pub(crate) events: mpsc::Receiver<Vec<Event>>,
    pub(crate) reporter: Reporter,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    registry: Arc<Registry>,
}

impl Running {
    pub(crate) fn start(folder: &Utf8Path, input: &Value) -> Self {
        let registry = Registry::open(&folder.join("registry")).unwrap();
        let (sender, events) = mpsc::channel(4);
        let reporter = Reporter::new("filestream-default-in", UnitType::Input);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for built in inputs::build(input, &build_context(folder)).unwrap() {
            let context = InputContext {
                events: sender.clone(),
                reporter: reporter.clone(),
                clock: clock::system(),
                registry: Arc::clone(&registry),
                stop: stop.clone(),
            };
            tasks.spawn(built.input.run(context));
        }
        Self {
            events,
            reporter,
            stop,
            tasks,
            registry,
        }
    }

    pub(crate) async fn next(&mut self) -> Vec<Event> {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("no events came")
            .expect("the input has ended")
    }

    /// Receives and acknowledges until `enough`.
    pub(crate) async fn collect(&mut self, seen: &mut Seen, mut enough: impl FnMut(&Seen) -> bool) {
        while !enough(seen) {
            for event in self.next().await {
                seen.add(&event);
                event.ack.acknowledge();
            }
        }
    }

    /// Collects until this many documents have come in.
    pub(crate) async fn documents(&mut self, count: usize) -> Vec<Value> {
        let mut documents = Vec::new();
        while documents.len() < count {
            for event in self.next().await {
                documents.push(serde_json::from_slice(&event.body).unwrap());
                event.ack.acknowledge();
            }
        }
        documents
    }

    /// Tells the input to stop and does not wait for it.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops cleanly. What is still in the channel is not acknowledged.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = tokio::time::timeout(PATIENCE, self.tasks.join_next())
            .await
            .expect("the input does not stop")
        {
            ended.unwrap();
        }
        drop(self.events);
        tokio::task::spawn_blocking(move || drop(self.registry)).await.unwrap();
    }
}

/// Messages with how often they came, and the ids they came with.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) messages: BTreeMap<String, usize>,
    pub(crate) ids: BTreeMap<String, Option<String>>,
    pub(crate) conflicting_ids: Vec<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, event: &Event) {
        let document: Value = serde_json::from_slice(&event.body).expect("a document is JSON");
        let message = document["message"].as_str().expect("a message is a text").to_owned();
        *self.messages.entry(message.clone()).or_default() += 1;
        if let Some(earlier) = self.ids.insert(message.clone(), event.id.clone())
            && earlier != event.id
        {
            self.conflicting_ids.push(message);
        }
    }

    pub(crate) fn has(&self, message: &str) -> bool {
        self.messages.contains_key(message)
    }

    pub(crate) fn doubled(&self) -> Vec<&String> {
        self.messages
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(message, _)| message)
            .collect()
    }
}
