//! How far actions are: from the action documents and what the agents answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use protocol::{ActionDocument, indices};
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};

use crate::Console;
use crate::domain::error::FleetError;

/// The newest action documents that are looked at.
const MOST_ACTIONS: usize = 2000;

/// The newest actions, from `page` (from 0), in the shape of the API.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console, page: usize, per_page: usize, errors: usize) -> Result<Vec<Value>, FleetError> {
    let request = SearchRequest::new(indices::ACTIONS)
        .size(MOST_ACTIONS)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = console.store.search(request).await?;
    let mut order = Vec::new();
    let mut actions: BTreeMap<String, ActionDocument> = BTreeMap::new();
    let mut cancelled: BTreeMap<String, String> = BTreeMap::new();
    for hit in found.hits {
        let Ok(action) = hit.document.source.parse::<ActionDocument>() else {
            continue;
        };
        if let Some(target) = action.data.as_ref().and_then(|data| data.get("target_id")?.as_str()) {
            cancelled.insert(target.to_owned(), action.timestamp.clone());
            continue;
        }
        if let Some(known) = actions.get_mut(&action.action_id) {
            known.agents.extend(action.agents);
        } else {
            order.push(action.action_id.clone());
            actions.insert(action.action_id.clone(), action);
        }
    }
    let mut items = Vec::new();
    for id in order.into_iter().skip(page * per_page).take(per_page) {
        if let Some(action) = actions.get(&id) {
            items.push(item(console, action, cancelled.get(&id), errors).await?);
        }
    }
    Ok(items)
}

async fn item(
    console: &Console,
    action: &ActionDocument,
    cancelled_at: Option<&String>,
    errors: usize,
) -> Result<Value, FleetError> {
    let request = SearchRequest {
        track_total_hits: u64::MAX,
        ..SearchRequest::new(indices::ACTION_RESULTS)
            .query(Query::term("action_id", action.action_id.as_str()))
            .size(errors.max(1))
            .sort_by("@timestamp", SortOrder::Descending)
    };
    let results = console.store.search(request).await?;
    let failed_query = Query::all_of(vec![
        Query::term("action_id", action.action_id.as_str()),
        Query::Exists("error".into()),
    ]);
    let failed_request = SearchRequest {
        track_total_hits: u64::MAX,
        ..SearchRequest::new(indices::ACTION_RESULTS)
            .query(failed_query)
            .size(errors)
    };
    let failed = console.store.search(failed_request).await?;
    let completed = results
        .hits
        .first()
        .and_then(|hit| hit.document.source.to_value().get("@timestamp").cloned());
    let total = action.agents.len() as u64;
    let is_expired = action
        .expiration
        .as_deref()
        .and_then(|time| time.parse::<Timestamp>().ok())
        .is_some_and(|time| time < console.clock.now());
    let status = if cancelled_at.is_some() {
        "CANCELLED"
    } else if results.total >= total && failed.total > 0 {
        "FAILED"
    } else if results.total >= total {
        "COMPLETE"
    } else if is_expired {
        "EXPIRED"
    } else {
        "IN_PROGRESS"
    };
    let mut item = json!({
        "actionId": action.action_id, "type": action.action_type, "status": status,
        "nbAgentsActionCreated": total, "nbAgentsActioned": total, "nbAgentsAck": results.total, "nbAgentsFailed": failed.total,
        "creationTime": action.timestamp, "expiration": action.expiration, "is_automatic": false,
        "hasRolloutPeriod": action.rollout_duration_seconds.is_some(),
    });
    if results.total >= total {
        item["completionTime"] = completed.unwrap_or_default();
    }
    if let Some(start) = &action.start_time {
        item["startTime"] = start.as_str().into();
    }
    if let Some(time) = cancelled_at {
        item["cancellationTime"] = time.as_str().into();
    }
    let data = action.data.as_ref();
    if let Some(version) = data.and_then(|data| data.get("version")) {
        item["version"] = version.clone();
    }
    if let Some(policy) = data.and_then(|data| data.get("policy_id")) {
        item["newPolicyId"] = policy.clone();
    }
    if failed.total > 0 {
        let error = |hit: store::Hit| {
            let result = hit.document.source.to_value();
            json!({"agentId": result["agent_id"], "error": result["error"], "timestamp": result["@timestamp"]})
        };
        item["latestErrors"] = failed.hits.into_iter().map(error).collect();
    }
    Ok(item)
}
