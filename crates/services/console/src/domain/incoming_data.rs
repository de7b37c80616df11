//! Whether agents have sent data: the last step of adding one.

use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};

use crate::Console;
use crate::domain::error::FleetError;

fn of_agents(ids: &[String]) -> SearchRequest {
    let values = ids.iter().map(|id| Value::from(id.as_str())).collect();
    let indices = ["logs-*-*", "metrics-*-*", "traces-*-*"].map(str::to_owned).to_vec();
    SearchRequest {
        indices,
        ignore_unavailable: true,
        ..SearchRequest::default()
    }
    .query(Query::Terms("agent.id".into(), values))
}

/// Whether the agent has sent any document.
///
/// # Errors
/// The store cannot answer.
pub async fn has_data(console: &Console, id: &str) -> Result<bool, FleetError> {
    let request = SearchRequest {
        track_total_hits: 1,
        ..of_agents(&[id.to_owned()]).size(0)
    };
    Ok(console.store.search(request).await?.total > 0)
}

/// The newest documents of the agents.
///
/// # Errors
/// The store cannot answer.
pub async fn newest(console: &Console, ids: &[String]) -> Result<Vec<Value>, FleetError> {
    let found = console
        .store
        .search(of_agents(ids).size(5).sort_by("@timestamp", SortOrder::Descending))
        .await?;
    let hit = |hit: store::Hit| json!({"_index": hit.document.index, "_id": hit.document.id, "_source": hit.document.source.to_value()});
    Ok(found.hits.into_iter().map(hit).collect())
}
