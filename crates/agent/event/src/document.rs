//! Events, their streams, and how a document is put together.
//!
//! Two ways lead to the bytes of a document. The plain way copies [`Stream::prefix`] and appends the few fields that
//! differ; it is open to streams whose processors have all been folded into the constants ([`Documents::is_plain`]).
//! The other way merges fields over the constants, runs the processors on the tree and writes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ack::Ack;
use crate::fields::{self, Fields};
use crate::processors::{LocaleFormat, Outcome, Processors};

/// One document on its way.
#[derive(Debug)]
pub struct Event {
    /// Where it belongs.
    pub stream: Arc<Stream>,
    /// One JSON object, no newline.
    pub body: Bytes,
    /// The document's `_id`, when a replay must not make a second document.
    pub id: Option<String>,
    /// How the source learns of its arrival.
    pub ack: Ack,
}

/// Where inputs put their events: bounded, so that waiting for room is the back-pressure.
pub type EventSender = mpsc::Sender<Vec<Event>>;

/// The three parts of a data stream's name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DataStream {
    /// `logs`, `metrics` ..
    #[serde(rename = "type")]
    pub kind: String,
    /// `system.syslog` ..
    pub dataset: String,
    /// `default` ..
    pub namespace: String,
}

impl DataStream {
    /// `<type>-<dataset>-<namespace>`.
    pub fn index(&self) -> String {
        format!("{}-{}-{}", self.kind, self.dataset, self.namespace)
    }
}

/// What all events of one stream have in common.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The stream's id in the policy.
    pub id: String,
    /// The type of its input: `filestream`, `system/metrics` ..
    pub input_type: String,
    /// The parts of the index name.
    pub data_stream: DataStream,
    /// The index or data stream to write to.
    pub index: String,
    /// The ingest pipeline that the policy names.
    pub pipeline: Option<String>,
    /// The constant start of every document: `{"a":1,"b":{..}` without the closing brace. Never empty of fields, so that
    /// `,"key":value}` can follow at once.
    pub prefix: Bytes,
}

/// Makes the documents of one stream.
#[derive(Debug)]
pub struct Documents {
    prepared: RwLock<Arc<Prepared>>,
    processors: Processors,
    zone: Option<FollowedZone>,
}

/// What is the same for all documents at present.
#[derive(Debug)]
struct Prepared {
    stream: Arc<Stream>,
    constants: Fields,
}

/// `event.timezone` is constant until the clocks change.
#[derive(Debug)]
struct FollowedZone {
    format: LocaleFormat,
    since: Instant,
    /// Seconds after `since` when it was looked at last.
    checked: AtomicU64,
}

/// How often the zone of the machine is looked at.
const ZONE_CHECK_SECONDS: u64 = 60;

/// Fields that sources write themselves; a constant among them closes the plain way.
const WRITTEN_BY_SOURCES: [&str; 4] = ["@timestamp", "message", "log", "error"];

impl Documents {
    /// Prepares a stream: `constants` are the fields of every event, `processors` those of the input and the stream.
    /// Leading processors that do not look at the event are folded into the constants.
    pub fn new(
        id: String,
        input_type: String,
        data_stream: DataStream,
        pipeline: Option<String>,
        mut constants: Fields,
        mut processors: Processors,
    ) -> Self {
        constants.insert("data_stream".to_owned(), json!(data_stream));
        let zone = processors.fold_into(&mut constants).map(|format| FollowedZone {
            format,
            since: Instant::now(),
            checked: AtomicU64::new(0),
        });
        let index = data_stream.index();
        let prefix = prefix_of(&constants);
        let stream = Arc::new(Stream {
            id,
            input_type,
            data_stream,
            index,
            pipeline,
            prefix,
        });
        Self {
            prepared: RwLock::new(Arc::new(Prepared { stream, constants })),
            processors,
            zone,
        }
    }

    fn prepared(&self) -> Arc<Prepared> {
        if let Some(zone) = &self.zone {
            self.follow_zone(zone);
        }
        Arc::clone(&self.prepared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prepares the constants again when the machine's offset has changed since.
    fn follow_zone(&self, zone: &FollowedZone) {
        let seconds = zone.since.elapsed().as_secs();
        if seconds < zone.checked.load(Ordering::Relaxed) + ZONE_CHECK_SECONDS {
            return;
        }
        zone.checked.store(seconds, Ordering::Relaxed);
        self.set_zone(zone.format.now());
    }

    fn set_zone(&self, zone: String) {
        let mut prepared = self.prepared.write().unwrap_or_else(PoisonError::into_inner);
        let mut constants = prepared.constants.clone();
        let known = fields::get(&constants, "event.timezone").and_then(Value::as_str);
        if known != Some(&zone) && fields::put(&mut constants, "event.timezone", Value::String(zone)).is_ok() {
            let stream = Stream {
                prefix: prefix_of(&constants),
                ..Stream::clone(&prepared.stream)
            };
            *prepared = Arc::new(Prepared {
                stream: Arc::new(stream),
                constants,
            });
        }
    }

    /// The stream that the documents belong to.
    pub fn stream(&self) -> Arc<Stream> {
        Arc::clone(&self.prepared().stream)
    }

    /// Whether a source may append `@timestamp`, `message` and `log` to the prefix itself.
    pub fn is_plain(&self) -> bool {
        self.processors.is_empty()
            && !WRITTEN_BY_SOURCES
                .iter()
                .any(|key| self.prepared().constants.contains_key(*key))
    }

    /// The document with `fields` over the constants, after the processors; `None` when they dropped it. The document's
    /// `_id` is what processors or parsers left in `@metadata._id`.
    pub fn document(&self, time: Timestamp, fields: Fields) -> Option<(Bytes, Option<String>)> {
        let mut document = Fields::new();
        document.insert("@timestamp".to_owned(), Value::String(clock::rfc3339_millis(time)));
        fields::merge(&mut document, fields);
        fields::merge_missing(&mut document, &self.prepared().constants);
        if self.processors.apply(&mut document) == Outcome::Drop {
            return None;
        }
        let id = match document.shift_remove("@metadata") {
            Some(Value::Object(mut metadata)) => metadata
                .shift_remove("_id")
                .and_then(|id| id.as_str().map(str::to_owned)),
            _ => None,
        };
        let bytes = serde_json::to_vec(&document).expect("a tree with text keys can always be written");
        Some((Bytes::from(bytes), id))
    }

    /// An event for a source without positions: [`Documents::document`] with the stream and `ack`. A dropped event
    /// acknowledges at once.
    pub fn event(&self, time: Timestamp, fields: Fields, ack: Ack) -> Option<Event> {
        let Some((body, id)) = self.document(time, fields) else {
            ack.acknowledge();
            return None;
        };
        Some(Event {
            stream: self.stream(),
            body,
            id,
            ack,
        })
    }
}

fn prefix_of(constants: &Fields) -> Bytes {
    let mut bytes = serde_json::to_vec(constants).expect("a tree with text keys can always be written");
    bytes.pop();
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(constants: Value, processors: Value) -> Documents {
        let data_stream = DataStream {
            kind: "logs".into(),
            dataset: "generic".into(),
            namespace: "default".into(),
        };
        let constants = constants.as_object().unwrap().clone();
        let processors = Processors::from_policy(&processors).unwrap();
        Documents::new(
            "s".into(),
            "filestream".into(),
            data_stream,
            None,
            constants,
            processors,
        )
    }

    #[test]
    fn constant_processors_fold_into_the_prefix() {
        let documents = documents(
            json!({"agent": {"id": "a"}}),
            json!([{"add_fields": {"target": "", "fields": {"team": "ops"}}}, {"add_tags": {"tags": ["x"]}}]),
        );
        assert!(documents.is_plain());
        let mut body = documents.stream().prefix.to_vec();
        body.extend_from_slice(br#","message":"m"}"#);
        let expected = json!({"agent": {"id": "a"}, "team": "ops", "tags": ["x"], "message": "m",
            "data_stream": {"type": "logs", "dataset": "generic", "namespace": "default"}});
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
        assert_eq!(documents.stream().index, "logs-generic-default");
    }

    #[test]
    fn a_constant_that_sources_write_closes_the_plain_way() {
        let documents = documents(
            json!({}),
            json!([{"add_fields": {"target": "log", "fields": {"level": "info"}}}]),
        );
        assert!(!documents.is_plain());
        let fields = json!({"log": {"offset": 5}}).as_object().unwrap().clone();
        let (body, _) = documents.document(Timestamp::UNIX_EPOCH, fields).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["log"], json!({"offset": 5, "level": "info"}));
        assert_eq!(body["@timestamp"], json!("1970-01-01T00:00:00.000Z"));
    }

    #[test]
    fn the_zone_follows_the_clocks() {
        let documents = documents(json!({}), json!([{"add_locale": null}]));
        assert!(documents.is_plain());
        documents.set_zone("+11:30".to_owned());
        let prefix = String::from_utf8(documents.stream().prefix.to_vec()).unwrap();
        assert!(prefix.contains(r#""timezone":"+11:30""#), "{prefix}");
    }

    #[test]
    fn a_dropped_event_is_acknowledged() {
        let documents = documents(
            json!({}),
            json!([{"drop_event": {"when": {"equals": {"message": "noise"}}}}]),
        );
        let tracker = crate::AckTracker::new(|_| {});
        let fields = json!({"message": "noise"}).as_object().unwrap().clone();
        assert!(
            documents
                .event(Timestamp::UNIX_EPOCH, fields, tracker.issue(1))
                .is_none()
        );
        assert_eq!(tracker.pending(), 0);
    }
}
