//! The cluster as one producer sees it: who leads which partition, and a connection to each leader.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::broker::Broker;
use super::settings::{Acks, KafkaSettings};
use crate::wire::HostPort;

/// A new topic has no leaders at first: so often, and so long apart, the cluster is asked again.
const METADATA_TRIES: usize = 12;
const METADATA_WAIT: Duration = Duration::from_millis(250);

/// A topic and the number of one of its partitions.
pub(super) type Place = (String, i32);

/// Why records were not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The broker will never take this batch: its size, or a record in it.
    Content { status: u16, reason: String },
    /// What keeps the broker from taking anything at present.
    Other(String),
}

pub(super) struct Cluster {
    settings: Arc<KafkaSettings>,
    brokers: HashMap<i32, HostPort>,
    connections: HashMap<i32, Broker>,
    topics: HashMap<String, Topic>,
}

struct Topic {
    /// The leader of each partition.
    leaders: BTreeMap<i32, i32>,
    known_since: Instant,
}

impl Cluster {
    pub(super) fn new(settings: Arc<KafkaSettings>) -> Self {
        Self {
            settings,
            brokers: HashMap::new(),
            connections: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    /// The partitions of `topic`, none when it was not [found](Self::find).
    pub(super) fn partitions(&self, topic: &str) -> Vec<i32> {
        let found = self.topics.get(topic);
        found.map_or_else(Vec::new, |topic| topic.leaders.keys().copied().collect())
    }

    /// Sees to it that the leaders of `topics` are known, and not from too long ago. A cluster that creates topics by
    /// itself creates those that are missing.
    pub(super) async fn find(&mut self, topics: impl Iterator<Item = &str>) -> Result<(), String> {
        let refresh = self.settings.metadata_refresh;
        let unknown: Vec<String> = topics
            .filter(|topic| {
                let known = self.topics.get(*topic);
                known.is_none_or(|known| known.known_since.elapsed() > refresh)
            })
            .map(str::to_owned)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        for _ in 1..METADATA_TRIES {
            if self.look_up(&unknown).await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(METADATA_WAIT).await;
        }
        match self.look_up(&unknown).await? {
            None => Ok(()),
            Some(missing) => Err(missing),
        }
    }

    /// Asks for `topics` once; what is missing and may come by itself is told as `Some`.
    async fn look_up(&mut self, topics: &[String]) -> Result<Option<String>, String> {
        let answer = self.metadata(topics).await?;
        for broker in &answer.brokers {
            let (host, port) = (broker.host.as_str().to_owned(), broker.port as u16);
            let address = HostPort { host, port };
            if self.brokers.get(&broker.node_id.0) != Some(&address) {
                self.connections.remove(&broker.node_id.0);
                self.brokers.insert(broker.node_id.0, address);
            }
        }
        let mut missing = None;
        for topic in &answer.topics {
            let name = topic.name.as_ref().map_or("", |name| name.0.as_str());
            match leaders(topic) {
                Ok(leaders) => {
                    let known_since = Instant::now();
                    self.topics.insert(name.to_owned(), Topic { leaders, known_since });
                }
                Err(error) if error.is_retriable() => missing = Some(explain(name, error)),
                Err(error) => return Err(explain(name, error)),
            }
        }
        Ok(missing)
    }

    async fn metadata(&mut self, topics: &[String]) -> Result<MetadataResponse, String> {
        let names = topics.iter().map(|topic| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(topic.clone()))))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(names.collect()))
            .with_allow_auto_topic_creation(true);
        let known: Vec<i32> = self.connections.keys().copied().collect();
        for id in known {
            if let Some(mut broker) = self.connections.remove(&id)
                && let Ok(Ok(answer)) = tokio::time::timeout(self.settings.timeout, broker.ask(&request)).await
            {
                self.connections.insert(id, broker);
                return Ok(answer);
            }
        }
        let mut reasons = Vec::new();
        for host in &self.settings.hosts {
            match ask_once(host, &self.settings, &request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => reasons.push(error),
            }
        }
        Err(reasons.join("; "))
    }

    /// Produces `batches` at their leaders, all leaders at once; the outcome for each place.
    pub(super) async fn produce(&mut self, batches: BTreeMap<Place, Bytes>) -> HashMap<Place, Result<(), Refusal>> {
        let mut by_leader: BTreeMap<i32, BTreeMap<Place, Bytes>> = BTreeMap::new();
        for ((topic, partition), records) in batches {
            let leaders = self.topics.get(&topic).map(|topic| &topic.leaders);
            let leader = leaders.and_then(|leaders| leaders.get(&partition)).copied();
            by_leader
                .entry(leader.unwrap_or(-1))
                .or_default()
                .insert((topic, partition), records);
        }
        let requests: Vec<_> = by_leader
            .into_iter()
            .map(|(leader, batches)| {
                let connection = self.connections.remove(&leader);
                let address = self.brokers.get(&leader).cloned();
                produce_at(leader, connection, address, Arc::clone(&self.settings), batches)
            })
            .collect();
        let mut outcomes = HashMap::new();
        for (leader, connection, outcome) in join_all(requests).await {
            if let Some(connection) = connection {
                self.connections.insert(leader, connection);
            }
            outcomes.extend(outcome);
        }
        self.forget_moved(&outcomes);
        outcomes
    }

    /// After a refusal the topic's leaders are asked for again: one of them may have moved.
    fn forget_moved(&mut self, outcomes: &HashMap<Place, Result<(), Refusal>>) {
        for ((topic, _), outcome) in outcomes {
            if matches!(outcome, Err(Refusal::Other(_))) {
                self.topics.remove(topic);
            }
        }
    }
}

async fn ask_once(
    host: &HostPort,
    settings: &Arc<KafkaSettings>,
    request: &MetadataRequest,
) -> Result<MetadataResponse, String> {
    let mut broker = Broker::connect(host, settings).await?;
    let asking = tokio::time::timeout(settings.timeout, broker.ask(request));
    let answer = asking
        .await
        .unwrap_or_else(|_| Err("no answer within the timeout".to_owned()));
    answer.map_err(|error| format!("{host}: {error}"))
}

/// One request with all batches for one leader. A connection that failed is not given back.
async fn produce_at(
    leader: i32,
    connection: Option<Broker>,
    address: Option<HostPort>,
    settings: Arc<KafkaSettings>,
    batches: BTreeMap<Place, Bytes>,
) -> (i32, Option<Broker>, HashMap<Place, Result<(), Refusal>>) {
    let places: Vec<Place> = batches.keys().cloned().collect();
    let failed = |error: String| {
        places
            .iter()
            .map(|place| (place.clone(), Err(Refusal::Other(error.clone()))))
            .collect()
    };
    let connected = match (connection, address) {
        (Some(broker), _) => Ok(broker),
        (None, Some(address)) => Broker::connect(&address, &settings).await,
        (None, None) => Err("a partition has no leader at present".to_owned()),
    };
    let mut broker = match connected {
        Ok(broker) => broker,
        Err(error) => return (leader, None, failed(error)),
    };
    let producing = tokio::time::timeout(settings.timeout, exchange(&mut broker, &settings, batches));
    match producing.await {
        Ok(Ok(Some(answer))) => {
            let outcomes = read_outcomes(&answer, &places);
            (leader, Some(broker), outcomes)
        }
        Ok(Ok(None)) => {
            let all_taken = places.iter().map(|place| (place.clone(), Ok(()))).collect();
            (leader, Some(broker), all_taken)
        }
        Ok(Err(error)) => (leader, None, failed(error)),
        Err(_) => (leader, None, failed("no acknowledgement within the timeout".to_owned())),
    }
}

/// `None`: no answer was asked for.
async fn exchange(
    broker: &mut Broker,
    settings: &KafkaSettings,
    batches: BTreeMap<Place, Bytes>,
) -> Result<Option<ProduceResponse>, String> {
    let request = produce_request(settings, batches);
    if settings.acks == Acks::None {
        broker.tell(&request).await?;
        return Ok(None);
    }
    broker.ask(&request).await.map(Some)
}

fn produce_request(settings: &KafkaSettings, batches: BTreeMap<Place, Bytes>) -> ProduceRequest {
    let mut topics: BTreeMap<String, Vec<PartitionProduceData>> = BTreeMap::new();
    for ((topic, partition), records) in batches {
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records));
        topics.entry(topic).or_default().push(data);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic)))
            .with_partition_data(partitions)
    });
    ProduceRequest::default()
        .with_acks(settings.acks as i16)
        .with_timeout_ms(i32::try_from(settings.broker_timeout.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(topics.collect())
}

/// The outcome for each of `places`; one that the answer leaves out was not taken.
fn read_outcomes(answer: &ProduceResponse, places: &[Place]) -> HashMap<Place, Result<(), Refusal>> {
    let told = answer.responses.iter().flat_map(|topic| {
        let name = topic.name.0.as_str();
        let partitions = topic.partition_responses.iter();
        partitions.map(move |partition| ((name, partition.index), partition.error_code))
    });
    let told: HashMap<(&str, i32), i16> = told.collect();
    let outcome = |(topic, partition): &Place| match told.get(&(topic.as_str(), *partition)) {
        None => Err(Refusal::Other(format!(
            "topic `{topic}`: the broker's answer leaves it out"
        ))),
        Some(code) => match ResponseError::try_from_code(*code) {
            None => Ok(()),
            Some(error @ (ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge)) => {
                Err(Refusal::Content {
                    status: 413,
                    reason: explain(topic, error),
                })
            }
            Some(error @ (ResponseError::InvalidRecord | ResponseError::InvalidTimestamp)) => Err(Refusal::Content {
                status: 400,
                reason: explain(topic, error),
            }),
            Some(error) => Err(Refusal::Other(explain(topic, error))),
        },
    };
    places.iter().map(|place| (place.clone(), outcome(place))).collect()
}

fn leaders(topic: &MetadataResponseTopic) -> Result<BTreeMap<i32, i32>, ResponseError> {
    if let Some(error) = ResponseError::try_from_code(topic.error_code) {
        return Err(error);
    }
    // A partition whose leader is away gets nothing until it has one again.
    let led = topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0);
    let leaders: BTreeMap<i32, i32> = led
        .map(|partition| (partition.partition_index, partition.leader_id.0))
        .collect();
    if leaders.is_empty() {
        return Err(ResponseError::LeaderNotAvailable);
    }
    Ok(leaders)
}

/// What failed and what to do about it.
fn explain(topic: &str, error: ResponseError) -> String {
    let hint = match error {
        ResponseError::TopicAuthorizationFailed => "; this user may not write there: grant it Describe and Write",
        ResponseError::UnknownTopicOrPartition => "; create the topic, or let the cluster create topics by itself",
        ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend => {
            "; fewer replicas are in sync than the topic's `min.insync.replicas` asks for"
        }
        _ => "",
    };
    format!("topic `{topic}`: {error}{hint}")
}
