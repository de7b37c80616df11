//! The agent's own metrics as a data stream: what the process uses, and what its outputs did.
//!
//! Source of names: agent data reference, section 4 (`metrics-elastic_agent.elastic_agent`). One program does everything
//! here, so there is one `elastic_agent.process`.

use std::time::Duration;

use event::document::DataStream;
use event::fields::Fields;
use event::{Ack, AgentMetadata, Documents, Event, EventSender, Processors, Reporter, UnitState};
use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The type under which it stands in the component model.
pub(crate) const INPUT_TYPE: &str = "agent/metrics";
const DEFAULT_PERIOD: Duration = Duration::from_mins(1);
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// Sends one document each period until `stop`.
pub(crate) async fn run(
    definition: Value,
    agent: AgentMetadata,
    clock: clock::SharedClock,
    events: EventSender,
    reporter: Reporter,
    stop: CancellationToken,
) {
    let period = period(&definition);
    let documents = documents(&definition, &agent);
    reporter.report(UnitState::Healthy, "Healthy");
    loop {
        let event = process_facts().and_then(|facts| documents.event(clock.now(), facts, Ack::none()));
        let Some(event) = event else {
            reporter.report(UnitState::Degraded, "the process's own figures in /proc cannot be read");
            return;
        };
        if send(&events, event, &stop).await.is_none() {
            return;
        }
        tokio::select! { () = tokio::time::sleep(period) => {}, () = stop.cancelled() => return }
    }
}

async fn send(events: &EventSender, event: Event, stop: &CancellationToken) -> Option<()> {
    tokio::select! { sent = events.send(vec![event]) => sent.ok(), () = stop.cancelled() => None }
}

fn period(definition: &Value) -> Duration {
    let text = definition.get("period").and_then(Value::as_str);
    text.and_then(settings::parse_duration)
        .unwrap_or(DEFAULT_PERIOD)
        .max(SHORTEST_PERIOD)
}

fn documents(definition: &Value, agent: &AgentMetadata) -> Documents {
    let namespace = definition
        .pointer("/data_stream/namespace")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let data_stream = DataStream {
        kind: "metrics".to_owned(),
        dataset: "elastic_agent.elastic_agent".to_owned(),
        namespace: namespace.to_owned(),
    };
    let mut constants = agent.constants("metricbeat", &data_stream);
    if let Some(Value::Object(own)) = constants.get_mut("elastic_agent") {
        own.insert("process".to_owned(), json!("elastic-agent"));
    }
    constants.insert(
        "component".to_owned(),
        json!({"id": "elastic-agent", "binary": "elastic-agent"}),
    );
    constants.insert("metricset".to_owned(), json!({"name": "stats"}));
    let id = "metrics-monitoring-agent".to_owned();
    Documents::new(
        id,
        INPUT_TYPE.to_owned(),
        data_stream,
        None,
        constants,
        Processors::default(),
    )
}

/// `system.process` of this process.
pub(crate) fn process_facts() -> Option<Fields> {
    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let per_second = procfs::ticks_per_second().max(1);
    let time = |ticks: u64| json!({"ticks": ticks, "time": {"ms": ticks * 1000 / per_second}});
    let total = stat.utime + stat.stime;
    let mut all = time(total);
    all["value"] = json!(total * 1000 / per_second);
    let facts = json!({"system": {"process": {
        "cpu": {"user": time(stat.utime), "system": time(stat.stime), "total": all},
        "memory": {"size": stat.rss_bytes().get()},
        "fd": {"open": process.fd_count().unwrap_or_default(), "limit": limits(&process)},
    }}});
    match facts {
        Value::Object(facts) => Some(facts),
        _ => None,
    }
}

fn limits(process: &Process) -> Value {
    let number = |limit: LimitValue| match limit {
        LimitValue::Value(value) => json!(value),
        LimitValue::Unlimited => Value::Null,
    };
    match process.limits() {
        Ok(limits) => json!({
            "soft": number(limits.max_open_files.soft_limit), "hard": number(limits.max_open_files.hard_limit),
        }),
        Err(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_tells_what_the_process_uses() {
        let agent = AgentMetadata {
            id: "a".to_owned(),
            ephemeral_id: "e".to_owned(),
            name: "host".to_owned(),
            version: "9.6.0".to_owned(),
            snapshot: false,
        };
        let documents = documents(&json!({"data_stream": {"namespace": "blue"}}), &agent);
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let event = documents.event(now, process_facts().unwrap(), Ack::none()).unwrap();
        assert_eq!(event.stream.index, "metrics-elastic_agent.elastic_agent-blue");
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["elastic_agent"]["process"], "elastic-agent");
        assert!(body["system"]["process"]["memory"]["size"].as_u64().unwrap() > 100_000);
        assert!(body["system"]["process"]["fd"]["open"].as_u64().unwrap() > 2);
    }
}
