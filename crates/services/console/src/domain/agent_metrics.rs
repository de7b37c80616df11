//! What agents use of their hosts, from the metrics that they ship about themselves.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use query::SearchRequest;
use serde_json::{Value, json};
use store::StoreError;

use crate::Console;
use crate::domain::error::FleetError;

/// How far back the averages go.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Averages over the last five minutes, summed over the processes of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentMetrics {
    /// Of one core; none before two documents have arrived.
    pub cpu_avg: Option<f64>,
    /// Bytes.
    pub memory_size_byte_avg: Option<f64>,
}

impl AgentMetrics {
    /// As the API shows it.
    pub fn to_json(self) -> Value {
        let mut metrics = json!({});
        if let Some(cpu) = self.cpu_avg {
            metrics["cpu_avg"] = ((cpu * 100_000.0).trunc() / 100_000.0).into();
        }
        if let Some(memory) = self.memory_size_byte_avg {
            metrics["memory_size_byte_avg"] = memory.trunc().into();
        }
        metrics
    }
}

/// The metrics of these agents, by id; those without any are left out.
///
/// # Errors
/// The store cannot answer.
pub async fn of_agents(console: &Console, ids: &[String]) -> Result<BTreeMap<String, AgentMetrics>, FleetError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let since = clock::rfc3339_millis(console.clock.now() - WINDOW);
    let process = json!({
        "memory": {"avg": {"field": "system.process.memory.size"}},
        "cpu_first": {"min": {"field": "system.process.cpu.total.value"}},
        "cpu_last": {"max": {"field": "system.process.cpu.total.value"}},
        "first": {"min": {"field": "@timestamp"}},
        "last": {"max": {"field": "@timestamp"}},
    });
    let processes = json!({"processes": {"terms": {"field": "elastic_agent.process", "size": 100}, "aggs": process}});
    let body = json!({
        "size": 0,
        "query": {"bool": {"filter": [{"terms": {"elastic_agent.id": ids}}, {"range": {"@timestamp": {"gte": since}}}]}},
        "aggs": {"agents": {"terms": {"field": "elastic_agent.id", "size": ids.len()}, "aggs": processes}},
    });
    let request = SearchRequest {
        indices: vec!["metrics-elastic_agent.*-*".to_owned()],
        ignore_unavailable: true,
        ..SearchRequest::from_json(&body)?
    };
    let answer = match console.store.search(request).await {
        Ok(answer) => Value::Object(answer.aggregations),
        Err(StoreError::IndexNotFound(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let of_agent = |bucket: &Value| {
        Some((
            bucket["key"].as_str()?.to_owned(),
            summed(buckets(&bucket["processes"])),
        ))
    };
    Ok(buckets(&answer["agents"]).filter_map(of_agent).collect())
}

fn buckets(aggregation: &Value) -> impl Iterator<Item = &Value> {
    aggregation["buckets"].as_array().into_iter().flatten()
}

fn summed<'a>(processes: impl Iterator<Item = &'a Value>) -> AgentMetrics {
    let add = |sum: Option<f64>, more: Option<f64>| match (sum, more) {
        (sum, None) => sum,
        (sum, Some(more)) => Some(sum.unwrap_or_default() + more),
    };
    processes.fold(AgentMetrics::default(), |sum, process| AgentMetrics {
        cpu_avg: add(sum.cpu_avg, cpu(process)),
        memory_size_byte_avg: add(sum.memory_size_byte_avg, process["memory"]["value"].as_f64()),
    })
}

/// Milliseconds of processor time for each millisecond.
fn cpu(process: &Value) -> Option<f64> {
    let of = |name: &str| process[name]["value"].as_f64();
    let elapsed = of("last")? - of("first")?;
    let used = of("cpu_last")? - of("cpu_first")?;
    (elapsed > 0.0 && used >= 0.0).then(|| used / elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_summed_and_one_document_has_no_rate() {
        let process = |cpu_last: f64, last: f64| json!({"memory": {"value": 100.5}, "cpu_first": {"value": 0.0}, "cpu_last": {"value": cpu_last}, "first": {"value": 0.0}, "last": {"value": last}});
        let both = summed([process(300.0, 1000.0), process(0.0, 0.0)].iter());
        assert_eq!(both.to_json(), json!({"cpu_avg": 0.3, "memory_size_byte_avg": 201.0}));
        assert_eq!(summed([].iter()).to_json(), json!({}));
    }
}
