//! The `kafka` output's block: keys and defaults.
//!
//! Source: the output's reference. `version` is not needed, since brokers tell what they speak; the level of compression
//! is the library's own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::processors::When;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::Compression;
use secret::Secret;
use serde_json::Value;
use tls::ClientTls;

use super::partition::Partitioning;
use crate::OutputError;
use crate::elasticsearch::settings::positive;
use crate::format_string::FormatString;
use crate::queue::FlushRule;
use crate::setting::Block;
use crate::wire::HostPort;

const DEFAULT_PORT: u16 = 9092;

/// Settings of output `kafka`.
#[derive(Debug)]
pub(crate) struct KafkaSettings {
    pub(crate) hosts: Vec<HostPort>,
    pub(crate) tls: Option<Arc<ClientTls>>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) client_id: String,
    /// The first whose condition holds is taken.
    pub(crate) topics: Vec<TopicRule>,
    pub(crate) key: Option<FormatString>,
    /// The same for every record.
    pub(crate) headers: IndexMap<StrBytes, Option<Bytes>>,
    pub(crate) partitioning: Partitioning,
    pub(crate) compression: Compression,
    /// A document that is larger is dropped.
    pub(crate) max_message_bytes: usize,
    pub(crate) acks: Acks,
    /// How long a request may take.
    pub(crate) timeout: Duration,
    /// How long a broker may wait for its replicas.
    pub(crate) broker_timeout: Duration,
    /// How long the number of a topic's partitions is believed.
    pub(crate) metadata_refresh: Duration,
    pub(crate) workers: usize,
    pub(crate) rule: FlushRule,
    pub(crate) queue_events: usize,
    pub(crate) backoff_init: Duration,
    pub(crate) backoff_max: Duration,
}

/// Who must have a record before it counts as delivered; the number is the protocol's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Acks {
    /// Nobody: what is lost on the way is lost.
    None = 0,
    Leader = 1,
    AllInSync = -1,
}

/// How the agent signs in.
#[derive(Clone, Debug)]
pub(crate) struct Sasl {
    pub(crate) mechanism: Mechanism,
    pub(crate) username: String,
    pub(crate) password: Secret,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Where events go for which a condition holds.
#[derive(Debug)]
pub(crate) struct TopicRule {
    pub(crate) topic: FormatString,
    pub(crate) when: Option<When>,
}

impl KafkaSettings {
    pub(crate) fn from_block(block: &Block<'_>) -> Result<Self, OutputError> {
        let max_events = positive(block, "bulk_max_size", 2048)?;
        Ok(Self {
            hosts: hosts(block)?,
            tls: match block.at("ssl") {
                Some(ssl) if block.flag("ssl.enabled", true)? => Some(crate::probe::client_tls(block.name, ssl)?),
                _ => None,
            },
            sasl: sasl(block)?,
            client_id: block.text("client_id")?.unwrap_or_else(|| "Elastic".to_owned()),
            topics: topics(block)?,
            key: format(block, "key")?,
            headers: headers(block)?,
            partitioning: Partitioning::from_block(block)?,
            compression: compression(block)?,
            max_message_bytes: positive(block, "max_message_bytes", 1_000_000)?,
            acks: acks(block)?,
            timeout: duration(block, "timeout", Duration::from_secs(30))?,
            broker_timeout: duration(block, "broker_timeout", Duration::from_secs(10))?,
            metadata_refresh: duration(block, "metadata.refresh_frequency", Duration::from_mins(10))?,
            workers: positive(block, "worker", 1)?.min(64),
            rule: FlushRule {
                min_events: positive(block, "queue.mem.flush.min_events", 1600)?.min(max_events),
                max_events,
                timeout: duration(block, "queue.mem.flush.timeout", Duration::from_secs(10))?,
            },
            queue_events: positive(block, "queue.mem.events", 3200)?,
            backoff_init: duration(block, "backoff.init", Duration::from_secs(1))?,
            backoff_max: duration(block, "backoff.max", Duration::from_mins(1))?,
        })
    }

    pub(crate) fn host_names(&self) -> String {
        let names: Vec<_> = self.hosts.iter().map(HostPort::to_string).collect();
        names.join(", ")
    }

    /// Whether topic, key or partition of an event depend on its fields.
    pub(crate) fn reads_fields(&self) -> bool {
        let constant = |rule: &TopicRule| rule.when.is_none() && rule.topic.is_constant();
        !self.topics.iter().all(constant)
            || self.key.as_ref().is_some_and(|key| !key.is_constant())
            || self.partitioning.reads_fields()
    }
}

fn duration(block: &Block<'_>, setting: &str, default: Duration) -> Result<Duration, OutputError> {
    Ok(block.duration(setting)?.unwrap_or(default))
}

fn hosts(block: &Block<'_>) -> Result<Vec<HostPort>, OutputError> {
    let hosts: Option<Vec<_>> = block
        .list("hosts")?
        .iter()
        .map(|host| HostPort::parse(host, DEFAULT_PORT))
        .collect();
    hosts
        .filter(|hosts| !hosts.is_empty())
        .ok_or_else(|| block.invalid("hosts", "at least one `host:port`"))
}

fn format(block: &Block<'_>, setting: &str) -> Result<Option<FormatString>, OutputError> {
    let Some(text) = block.text(setting)? else {
        return Ok(None);
    };
    FormatString::parse(&text)
        .map(Some)
        .map_err(|wanted| block.invalid(setting, &wanted))
}

/// The rules of `topics`, then `topic` for what none of them takes.
fn topics(block: &Block<'_>) -> Result<Vec<TopicRule>, OutputError> {
    let mut rules = match block.at("topics") {
        None => Vec::new(),
        Some(Value::Array(rules)) => rules
            .iter()
            .map(|rule| topic_rule(rule).map_err(|wanted| block.invalid("topics", &wanted)))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(block.invalid("topics", "a list of rules with `topic` and `when`")),
    };
    rules.extend(format(block, "topic")?.map(|topic| TopicRule { topic, when: None }));
    if rules.is_empty() {
        return Err(block.invalid("topic", "the name of a topic"));
    }
    Ok(rules)
}

fn topic_rule(rule: &Value) -> Result<TopicRule, String> {
    let known = |key: &String| matches!(key.as_str(), "topic" | "when");
    if let Some(unknown) = rule
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
        .find(|key| !known(key))
    {
        return Err(format!(
            "a list of rules with `topic` and `when`; `{unknown}` is not supported"
        ));
    }
    let topic = rule["topic"].as_str().ok_or("a list of rules, each with a `topic`")?;
    let when = rule.get("when").filter(|when| !when.is_null()).map(When::parse);
    Ok(TopicRule {
        topic: FormatString::parse(topic)?,
        when: when
            .transpose()
            .map_err(|wrong| format!("a list of rules; of `{topic}` {wrong}"))?,
    })
}

fn headers(block: &Block<'_>) -> Result<IndexMap<StrBytes, Option<Bytes>>, OutputError> {
    let wrong = || block.invalid("headers", "a list of `key` and `value`");
    let pairs = match block.at("headers") {
        None => return Ok(IndexMap::new()),
        Some(pairs) => pairs.as_array().ok_or_else(wrong)?,
    };
    let pair = |pair: &Value| {
        let text = |name: &str| pair.get(name).and_then(crate::format_string::plain);
        Some((StrBytes::from_string(text("key")?), Some(Bytes::from(text("value")?))))
    };
    pairs.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)
}

fn compression(block: &Block<'_>) -> Result<Compression, OutputError> {
    match block.text("compression")?.as_deref() {
        None | Some("gzip") => Ok(Compression::Gzip),
        Some("none") => Ok(Compression::None),
        Some("snappy") => Ok(Compression::Snappy),
        Some("lz4") => Ok(Compression::Lz4),
        Some("zstd") => Ok(Compression::Zstd),
        Some(_) => Err(block.invalid("compression", "none, gzip, snappy, lz4 or zstd")),
    }
}

fn acks(block: &Block<'_>) -> Result<Acks, OutputError> {
    match block.integer("required_acks")? {
        None | Some(1) => Ok(Acks::Leader),
        Some(0) => Ok(Acks::None),
        Some(-1) => Ok(Acks::AllInSync),
        Some(_) => Err(block.invalid("required_acks", "0, 1 or -1")),
    }
}

fn sasl(block: &Block<'_>) -> Result<Option<Sasl>, OutputError> {
    if block.at("kerberos").is_some() && block.flag("kerberos.enabled", true)? {
        return Err(block.invalid(
            "kerberos",
            "absent: this agent has user names, passwords and certificates",
        ));
    }
    let Some(username) = block.text("username")? else {
        return Ok(None);
    };
    let password = block
        .text("password")?
        .ok_or_else(|| block.invalid("password", "set, since `username` is"))?;
    let mechanism = match block.text("sasl.mechanism")?.as_deref() {
        None | Some("PLAIN") => Mechanism::Plain,
        Some("SCRAM-SHA-256") => Mechanism::ScramSha256,
        Some("SCRAM-SHA-512") => Mechanism::ScramSha512,
        Some(_) => return Err(block.invalid("sasl.mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")),
    };
    Ok(Some(Sasl {
        mechanism,
        username,
        password: Secret::from(password),
    }))
}
