//! Output `kafka`: documents as records of the topics that the policy names.
//!
//! Messages and record batches are written by `kafka-protocol`; the connection is ours, so that it is verified and
//! explained like every other. `broker` speaks with one broker, `cluster` knows who leads which partition, `partition`
//! chooses one; here an event gets its topic and key, and learns what became of it.

mod broker;
mod cluster;
mod partition;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use event::acknowledge_all;
use event::fields::Fields;
use jiff::Timestamp;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use serde::Deserialize;

use self::cluster::{Cluster, Place, Refusal};
use self::partition::Partitioner;
pub(crate) use self::settings::KafkaSettings;
use crate::counters::Counters;
use crate::dead_letter::{DeadLetters, Refused};
use crate::metadata::with_metadata;
use crate::queue::Queued;
use crate::workers::{Transmit, Transmitted, Trouble};

/// What all connections of one output share.
pub(crate) struct Shared {
    pub(crate) settings: Arc<KafkaSettings>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dead_letters: DeadLetters,
}

/// One producer with its own connections.
pub(crate) struct KafkaProducer {
    shared: Arc<Shared>,
    partitioner: Partitioner,
    cluster: Cluster,
}

/// Where an event goes, before its topic's partitions are known.
struct Addressed {
    queued: Queued,
    fields: Fields,
    topic: String,
    key: Option<String>,
}

/// Events for one partition and the records made of them, in the same order.
#[derive(Default)]
struct Share {
    events: Vec<Queued>,
    records: Vec<Record>,
}

impl KafkaProducer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            partitioner: Partitioner::new(shared.settings.partitioning.clone()),
            cluster: Cluster::new(Arc::clone(&shared.settings)),
            shared,
        }
    }

    /// Splits `events` by partition; their topics have been found.
    fn share_out(&mut self, events: Vec<Addressed>) -> BTreeMap<Place, Share> {
        let mut shares: BTreeMap<Place, Share> = BTreeMap::new();
        let mut known: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for event in events {
            let partitions = known
                .entry(event.topic.clone())
                .or_insert_with(|| self.cluster.partitions(&event.topic));
            let chosen = self
                .partitioner
                .choose(&event.fields, event.key.as_deref(), partitions.len().max(1));
            let partition = partitions.get(chosen).copied().unwrap_or_default();
            let share = shares.entry((event.topic, partition)).or_default();
            let number = share.records.len();
            let record = record(&event.queued, event.key, number, &self.shared.settings.headers);
            share.records.push(record);
            share.events.push(event.queued);
        }
        shares
    }

    /// Sends the shares; what became of each.
    async fn produce(&mut self, shares: BTreeMap<Place, Share>) -> Vec<(Vec<Queued>, Result<(), Refusal>)> {
        let compression = self.shared.settings.compression;
        let encoding = tokio::task::spawn_blocking(move || {
            let (mut events, mut batches, mut broken) = (Vec::new(), BTreeMap::new(), Vec::new());
            for (place, share) in shares {
                match encode(&share.records, compression) {
                    Ok(batch) => {
                        batches.insert(place.clone(), batch);
                        events.push((place, share.events));
                    }
                    Err(error) => broken.push((share.events, Err(Refusal::Other(error)))),
                }
            }
            (events, batches, broken)
        });
        // The events go down with a panic of the encoder; their sources will send them again.
        let Ok((events, batches, broken)) = encoding.await else {
            return Vec::new();
        };
        let sent: usize = batches.values().map(Bytes::len).sum();
        let mut outcomes = self.cluster.produce(batches).await;
        Counters::add(&self.shared.counters.bytes_written, sent);
        Counters::add(&self.shared.counters.batches, events.len());
        let lost = || Err(Refusal::Other("no outcome is known".to_owned()));
        let told = events
            .into_iter()
            .map(|(place, events)| (events, outcomes.remove(&place).unwrap_or_else(lost)));
        told.chain(broken).collect()
    }

    fn delivered(&self, events: Vec<Queued>) -> usize {
        let count = events.len();
        Counters::add(&self.shared.counters.acknowledged, count);
        acknowledge_all(events.into_iter().map(|queued| queued.event.ack));
        count
    }

    fn trouble(&self, error: &str) -> Trouble {
        Counters::add(&self.shared.counters.failed_requests, 1);
        Trouble::Refused(format!("cannot deliver to Kafka: {error}"))
    }
}

#[async_trait]
impl Transmit for KafkaProducer {
    async fn transmit(&mut self, batch: Vec<Queued>) -> Transmitted {
        let (addressed, mut refused) = address(batch, &self.shared.settings);
        let mut transmitted = Transmitted::default();
        if let Err(error) = self
            .cluster
            .find(addressed.iter().map(|event| event.topic.as_str()))
            .await
        {
            let events = addressed.into_iter().map(|event| event.queued).collect();
            transmitted.again.push(events);
            transmitted.trouble = Some(self.trouble(&error));
        } else {
            let shares = self.share_out(addressed);
            for (mut events, outcome) in self.produce(shares).await {
                match outcome {
                    Ok(()) => transmitted.settled += self.delivered(events),
                    // Halves are tried until the event is alone that the broker does not want.
                    Err(Refusal::Content { .. }) if events.len() > 1 => {
                        let second = events.split_off(events.len() / 2);
                        transmitted.again.extend([events, second]);
                    }
                    Err(Refusal::Content { status, reason }) => {
                        refused.extend(events.into_iter().map(|queued| Refused {
                            queued,
                            status,
                            reason: reason.clone(),
                        }));
                    }
                    Err(Refusal::Other(error)) => {
                        transmitted.trouble = Some(self.trouble(&error));
                        transmitted.again.push(events);
                    }
                }
            }
        }
        transmitted.again.retain(|events| !events.is_empty());
        transmitted.settled += refused.len();
        let dropped = self.shared.dead_letters.bury(refused).await;
        transmitted.trouble = transmitted.trouble.or(dropped.map(Trouble::Dropped));
        transmitted
    }
}

/// Topic and key of each event; those that have none, and those that are too large, are refused.
fn address(batch: Vec<Queued>, settings: &KafkaSettings) -> (Vec<Addressed>, Vec<Refused>) {
    let reads_fields = settings.reads_fields();
    let (mut addressed, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
    for queued in batch {
        let size = queued.event.body.len();
        if size > settings.max_message_bytes {
            refused.push(Refused {
                queued,
                status: 413,
                reason: format!("the event's {size} bytes are more than `max_message_bytes`"),
            });
            continue;
        }
        let fields = if reads_fields {
            serde_json::from_slice(&queued.event.body).unwrap_or_default()
        } else {
            Fields::new()
        };
        match topic_of(&fields, settings) {
            Ok(topic) => addressed.push(Addressed {
                // As in the original, an event without the key's field has no key.
                key: settings.key.as_ref().and_then(|key| key.render(&fields).ok()),
                topic,
                fields,
                queued,
            }),
            Err(reason) => refused.push(Refused {
                queued,
                status: 400,
                reason,
            }),
        }
    }
    (addressed, refused)
}

/// The longest name that a topic can have.
const LONGEST_TOPIC: usize = 249;

fn topic_of(fields: &Fields, settings: &KafkaSettings) -> Result<String, String> {
    let rule = settings
        .topics
        .iter()
        .find(|rule| rule.when.as_ref().is_none_or(|when| when.holds(fields)))
        .ok_or("no rule of `topics` holds for the event, and there is no `topic`")?;
    let topic = rule
        .topic
        .render(fields)
        .map_err(|field| format!("the event has no `{field}`, which its topic is named after"))?;
    let wrong = topic.is_empty() || topic.len() > LONGEST_TOPIC || matches!(topic.as_str(), "." | "..");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if wrong || !topic.chars().all(allowed) {
        return Err(format!("`{topic}` cannot be the name of a topic"));
    }
    Ok(topic)
}

/// The record of an event that is the `number`th of its batch.
fn record(queued: &Queued, key: Option<String>, number: usize, headers: &IndexMap<StrBytes, Option<Bytes>>) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: number as i64,
        // Records belong to one batch when both numbers rise together; of the sequence only the first is sent.
        sequence: NO_SEQUENCE + number as i32,
        timestamp: time_of(&queued.event.body),
        key: key.map(Bytes::from),
        value: Some(Bytes::from(with_metadata(&queued.event))),
        headers: headers.clone(),
    }
}

fn encode(records: &[Record], compression: Compression) -> Result<Bytes, String> {
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut batch, records, &options).map_err(|error| error.to_string())?;
    Ok(batch.freeze())
}

/// Milliseconds of the event's own time; without a usable one of the present.
fn time_of(body: &[u8]) -> i64 {
    #[derive(Deserialize)]
    struct Timed {
        #[serde(rename = "@timestamp")]
        timestamp: Timestamp,
    }
    serde_json::from_slice::<Timed>(body)
        .map_or_else(|_| Timestamp::now(), |timed| timed.timestamp)
        .as_millisecond()
}

/// Whether one of the hosts can be connected to and signed in at; else what is wrong with each.
pub(crate) async fn first_contact(settings: &Arc<KafkaSettings>) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    for host in &settings.hosts {
        match broker::Broker::connect(host, settings).await {
            Ok(_) => return Ok(()),
            Err(error) => reasons.push(error),
        }
    }
    Err(reasons)
}
