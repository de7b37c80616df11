//! What Fleet Server says about a remote output.

use protocol::indices;
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};

use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::outputs;

/// The newest report; `UNKNOWN` when there is none.
///
/// # Errors
/// No such output.
pub async fn newest(console: &Console, id: &str) -> Result<Value, FleetError> {
    outputs::read(console, id).await?;
    let request = SearchRequest::new(indices::OUTPUT_HEALTH)
        .query(Query::term("output", id))
        .size(1)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = console.store.search(request).await?;
    let Some(hit) = found.hits.into_iter().next() else {
        return Ok(json!({"state": "UNKNOWN", "message": "", "timestamp": ""}));
    };
    let report = hit.document.source.to_value();
    Ok(
        json!({"state": report["state"], "message": report["message"].as_str().unwrap_or_default(), "timestamp": report["@timestamp"]}),
    )
}
