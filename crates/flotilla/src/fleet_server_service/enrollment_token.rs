//! Enrollment tokens, from the documents.

use anyhow::{Context, Result};
use query::SearchRequest;
use secret::Secret;
use serde_json::{Value, json};
use store::Store;

use crate::printer::Hint;

use protocol::indices::{ENROLLMENT_API_KEYS, POLICIES};

/// An active token of the policy; of the default Fleet Server policy when none is named.
pub(crate) async fn of_policy(store: &dyn Store, policy_id: &str) -> Result<Secret> {
    let policy_id = match policy_id {
        "" => default_policy(store).await?,
        named => named.to_owned(),
    };
    let query = json!({"bool": {"filter": [{"term": {"policy_id": policy_id}}, {"term": {"active": true}}]}});
    let key = first(store, ENROLLMENT_API_KEYS, &query, &Value::Null).await?;
    key.as_ref()
        .and_then(|key| key["api_key"].as_str())
        .map(Secret::from)
        .ok_or_else(|| {
            Hint::error(
                format!("no enrollment token for the policy `{policy_id}` was found in Elasticsearch"),
                "look at the policy's id (--fleet-server-policy, --join-policy), or make a token for it and pass it with --enrollment-token",
            )
        })
}

/// The oldest active token of a policy that is not the Fleet Server's own.
pub(crate) async fn of_agents(store: &dyn Store) -> Result<Secret> {
    let mut query = json!({"bool": {"filter": [{"term": {"active": true}}]}});
    if let Ok(servers) = default_policy(store).await {
        query["bool"]["must_not"] = json!([{"term": {"policy_id": servers}}]);
    }
    let oldest_first = json!([{"created_at": "asc"}]);
    let key = first(store, ENROLLMENT_API_KEYS, &query, &oldest_first).await?;
    key.as_ref()
        .and_then(|key| key["api_key"].as_str())
        .map(Secret::from)
        .ok_or_else(|| {
            Hint::error(
                "no enrollment token for agents was found in Elasticsearch",
                "make one in the console, or name its policy with --join-policy",
            )
        })
}

async fn default_policy(store: &dyn Store) -> Result<String> {
    let newest_first = json!([{"revision_idx": "desc"}]);
    let policy = first(
        store,
        POLICIES,
        &json!({"term": {"default_fleet_server": true}}),
        &newest_first,
    )
    .await?;
    policy
        .as_ref()
        .and_then(|policy| policy["policy_id"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| {
            Hint::error(
                "Elasticsearch holds no default Fleet Server policy",
                "pass --fleet-server-policy with the id of the policy that this Fleet Server belongs to",
            )
        })
}

async fn first(store: &dyn Store, index: &str, query: &Value, sort: &Value) -> Result<Option<Value>> {
    let mut body = json!({"size": 1, "query": query});
    if !sort.is_null() {
        body["sort"] = sort.clone();
    }
    let request = SearchRequest {
        indices: vec![index.to_owned()],
        ignore_unavailable: true,
        ..SearchRequest::from_json(&body).context("a search of our own is well formed")?
    };
    let found = store
        .search(request)
        .await
        .with_context(|| format!("cannot read `{index}`"))?;
    let Some(hit) = found.hits.into_iter().next() else {
        return Ok(None);
    };
    let document = serde_json::from_slice(hit.document.source.bytes())
        .with_context(|| format!("`{index}` holds a document that is no JSON"))?;
    Ok(Some(document))
}
