//! How far actions are: from the action documents and what the agents answered. Revisions of policies count as actions, too.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use protocol::{ActionDocument, ActionResultDocument, indices};
use query::{Query, RangeBound, SearchRequest, SortOrder, SourceFilter};
use serde_json::{Value, json};

use crate::Console;
use crate::domain::agents;
use crate::domain::error::FleetError;

/// The newest documents that are looked at.
const MOST: usize = 2000;

/// Which actions.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// From 0.
    pub page: usize,
    /// Actions of a page.
    pub per_page: usize,
    /// Errors that are told of each.
    pub errors: usize,
    /// Only those of a day, in UTC.
    pub day: Option<Date>,
    /// Only those of so long ago, or younger.
    pub newest: Option<SignedDuration>,
}

impl Wanted {
    /// What the documents have to be.
    fn query(&self, now: Timestamp) -> Query {
        let time = |time: Timestamp| clock::rfc3339_millis(time);
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| Query::Range {
            field: "@timestamp".into(),
            from: from.map(|from| RangeBound::inclusive(time(from))),
            to: to.map(|to| RangeBound::exclusive(time(to))),
        };
        let begins = |day: Date| {
            let zoned = day.to_zoned(TimeZone::UTC).ok();
            zoned.map(|zoned| zoned.timestamp())
        };
        let mut clauses = Vec::new();
        if let Some(day) = self.day {
            clauses.push(between(begins(day), day.tomorrow().ok().and_then(begins)));
        }
        if let Some(age) = self.newest {
            clauses.push(between(now.checked_sub(age).ok(), None));
        }
        Query::all_of(clauses)
    }
}

/// The newest actions, in the shape of the API.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console, wanted: &Wanted) -> Result<Vec<Value>, FleetError> {
    let mut all: Vec<(String, Entry)> = asked(console, wanted).await?;
    all.extend(revisions(console, wanted).await?);
    all.sort_by(|left, right| right.0.cmp(&left.0));
    let mut items = Vec::new();
    let page = all.into_iter().skip(wanted.page.saturating_mul(wanted.per_page));
    for (_, entry) in page.take(wanted.per_page) {
        items.push(match entry {
            Entry::Asked(action, cancelled_at) => {
                item(console, &action, cancelled_at.as_deref(), wanted.errors).await?
            }
            Entry::Revision(item) => item,
        });
    }
    Ok(items)
}

/// Something that agents were to do.
enum Entry {
    /// An action, and when it was taken back.
    Asked(Box<ActionDocument>, Option<String>),
    /// A policy's revision, ready.
    Revision(Value),
}

async fn newest(console: &Console, index: &str, query: Query) -> Result<Vec<store::Document>, FleetError> {
    let request = SearchRequest::new(index)
        .query(query)
        .size(MOST)
        .sort_by("@timestamp", SortOrder::Descending);
    match console.store.search(request).await {
        Err(store::StoreError::IndexNotFound(_)) => Ok(Vec::new()),
        found => Ok(found?.hits.into_iter().map(|hit| hit.document).collect()),
    }
}

/// The actions with the time at which they were asked for.
async fn asked(console: &Console, wanted: &Wanted) -> Result<Vec<(String, Entry)>, FleetError> {
    let mut actions: BTreeMap<String, ActionDocument> = BTreeMap::new();
    let mut cancelled: BTreeMap<String, String> = BTreeMap::new();
    for document in newest(console, indices::ACTIONS, wanted.query(console.clock.now())).await? {
        let Ok(action) = document.source.parse::<ActionDocument>() else {
            continue;
        };
        if let Some(target) = action.data.as_ref().and_then(|data| data.get("target_id")?.as_str()) {
            cancelled.insert(target.to_owned(), action.timestamp.clone());
            continue;
        }
        // One that names many agents is spread over documents.
        match actions.get_mut(&action.action_id) {
            Some(known) => known.agents.extend(action.agents),
            None => drop(actions.insert(action.action_id.clone(), action)),
        }
    }
    let entry = |(id, action): (String, ActionDocument)| {
        let time = action.timestamp.clone();
        (time, Entry::Asked(Box::new(action), cancelled.get(&id).cloned()))
    };
    Ok(actions.into_iter().map(entry).collect())
}

async fn item(
    console: &Console,
    action: &ActionDocument,
    cancelled_at: Option<&str>,
    errors: usize,
) -> Result<Value, FleetError> {
    let of_action = || Query::term("action_id", action.action_id.as_str());
    let outcome = Query::term("action_input_type", ActionResultDocument::UPGRADE_OUTCOME);
    let acknowledged = Query::all_of(vec![of_action(), Query::none_of(vec![outcome])]);
    let results = answers(console, acknowledged, 1).await?;
    let failed = Query::all_of(vec![of_action(), Query::Exists("error".into())]);
    let failed = answers(console, failed, errors).await?;
    let total = action.other.get("total").and_then(Value::as_u64);
    let total = total.unwrap_or(action.agents.len() as u64);
    // An agent may have refused an upgrade and have told of it as well.
    let failures = failed.total.min(total);
    let is_complete = results.total >= total;
    let mut item = json!({
        "actionId": action.action_id, "type": action.action_type,
        "status": status(console.clock.now(), action, cancelled_at.is_some(), is_complete, failures > 0),
        "nbAgentsActionCreated": total, "nbAgentsActioned": action.agents.len(),
        "nbAgentsAck": results.total, "nbAgentsFailed": failures,
        "creationTime": action.timestamp, "expiration": action.expiration, "is_automatic": false,
        "hasRolloutPeriod": action.rollout_duration_seconds.is_some(),
    });
    if is_complete && let Some(last) = results.hits.first() {
        item["completionTime"] = last.document.source.to_value()["@timestamp"].clone();
    }
    if let Some(start) = &action.start_time {
        item["startTime"] = start.as_str().into();
    }
    if let Some(time) = cancelled_at {
        item["cancellationTime"] = time.into();
    }
    let data = action.data.as_ref();
    for (field, name) in [("version", "version"), ("policy_id", "newPolicyId")] {
        if let Some(value) = data.and_then(|data| data.get(field)) {
            item[name] = value.clone();
        }
    }
    if failures > 0 {
        item["latestErrors"] = latest_errors(console, failed.hits).await?;
    }
    Ok(item)
}

async fn answers(console: &Console, query: Query, size: usize) -> Result<store::SearchResponse, FleetError> {
    let request = SearchRequest {
        track_total_hits: u64::MAX,
        ..SearchRequest::new(indices::ACTION_RESULTS)
            .query(query)
            .size(size)
            .sort_by("@timestamp", SortOrder::Descending)
    };
    Ok(console.store.search(request).await?)
}

fn status(
    now: Timestamp,
    action: &ActionDocument,
    is_cancelled: bool,
    is_complete: bool,
    has_failed: bool,
) -> &'static str {
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let has_passed = |time: Option<Timestamp>| time.is_some_and(|time| time < now);
    let begins = time(&action.start_time).or_else(|| action.timestamp.parse().ok());
    let spread = action.rollout_duration_seconds.map(SignedDuration::from_secs);
    let rolled_out = begins
        .zip(spread)
        .and_then(|(begins, spread)| begins.checked_add(spread).ok());
    match (is_cancelled, is_complete) {
        (true, _) => "CANCELLED",
        (_, true) if has_failed => "FAILED",
        (_, true) => "COMPLETE",
        _ if has_passed(time(&action.expiration)) => "EXPIRED",
        _ if has_passed(rolled_out) => "ROLLOUT_PASSED",
        _ => "IN_PROGRESS",
    }
}

async fn latest_errors(console: &Console, hits: Vec<store::Hit>) -> Result<Value, FleetError> {
    let results: Vec<Value> = hits.iter().map(|hit| hit.document.source.to_value()).collect();
    let ids = results
        .iter()
        .filter_map(|result| result["agent_id"].as_str().map(str::to_owned));
    let hosts = agents::host_names(console, ids.collect()).await?;
    let error = |result: &Value| {
        let mut error =
            json!({"agentId": result["agent_id"], "error": result["error"], "timestamp": result["@timestamp"]});
        if let Some(host) = result["agent_id"].as_str().and_then(|id| hosts.get(id)) {
            error["hostname"] = host.as_str().into();
        }
        error
    };
    Ok(results.iter().map(error).collect())
}

/// The revisions of policies that have agents: an agent that runs it, or a newer one, has acknowledged it.
async fn revisions(console: &Console, wanted: &Wanted) -> Result<Vec<(String, Entry)>, FleetError> {
    let query = Query::all_of(vec![
        wanted.query(console.clock.now()),
        Query::greater_than("revision_idx", 1),
    ]);
    let mut entries = Vec::new();
    let running: HashMap<String, Vec<i64>> = agents::running_revisions(console).await?;
    let request = SearchRequest {
        source: SourceFilter::Some {
            includes: ["policy_id", "revision_idx", "@timestamp"].map(str::to_owned).to_vec(),
            excludes: Vec::new(),
        },
        ..SearchRequest::new(indices::POLICIES)
            .query(query)
            .size(wanted.page.saturating_add(1).saturating_mul(wanted.per_page).min(MOST))
            .sort_by("@timestamp", SortOrder::Descending)
    };
    for hit in console.store.search(request).await?.hits {
        let document = hit.document.source.to_value();
        let (policy, revision) = (
            document["policy_id"].as_str().unwrap_or_default(),
            document["revision_idx"].as_i64(),
        );
        let (Some(agents), Some(revision)) = (running.get(policy), revision) else {
            continue;
        };
        let (total, acknowledged) = (agents.len(), agents.iter().filter(|runs| **runs >= revision).count());
        let time = document["@timestamp"].as_str().unwrap_or_default();
        let item = json!({
            "actionId": format!("{policy}:{revision}"), "type": "POLICY_CHANGE", "policyId": policy, "revision": revision,
            "status": if acknowledged == total { "COMPLETE" } else { "IN_PROGRESS" },
            "nbAgentsActionCreated": total, "nbAgentsActioned": total, "nbAgentsAck": acknowledged, "nbAgentsFailed": 0,
            "creationTime": time, "is_automatic": false, "hasRolloutPeriod": false,
        });
        entries.push((time.to_owned(), Entry::Revision(item)));
    }
    Ok(entries)
}
