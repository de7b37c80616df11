//! What lists ask of agents, kept in memory: their status, and the fields that filters and orders usually name. A list of many
//! thousand agents is filtered, counted and sorted here; the store is asked for the documents that are shown. Filters that name
//! other fields are the store's business.

use std::sync::Arc;

use jiff::Timestamp;
use protocol::indices;
use query::{DocumentMeta, Query, Sort, SortOrder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Document;

use crate::Console;
use crate::domain::agent_status::{AgentStatus, Signs, StatusRules};
use crate::domain::error::FleetError;
use crate::domain::kuery;
use crate::domain::mirror::{Entries, Mirror};

/// All agents in memory.
pub(crate) type Roster = Mirror<Brief>;

/// An empty roster of the fleet.
pub(crate) fn empty() -> Roster {
    Mirror::of(indices::AGENTS, Brief::of)
}

/// What is kept of an agent.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) signs: Signs,
    /// The fields of [`KEPT`], where they stand in its document.
    pub(crate) source: Value,
}

/// The fields that can be asked for here.
const KEPT: [&str; 25] = [
    "_id",
    "active",
    "policy_id",
    "policy_base_id",
    "policy_revision_idx",
    "tags",
    "type",
    "enrolled_at",
    "unenrolled_at",
    "unenrollment_started_at",
    "last_checkin",
    "last_checkin_status",
    "upgrade_started_at",
    "upgraded_at",
    "audit_unenrolled_reason",
    "agent.id",
    "agent.version",
    "local_metadata.host.hostname",
    "local_metadata.host.name",
    "local_metadata.host.id",
    "local_metadata.elastic.agent.id",
    "local_metadata.elastic.agent.version",
    "local_metadata.elastic.agent.insecure",
    "local_metadata.elastic.agent.unprivileged",
    "local_metadata.os.platform",
];

/// The part of a document that is kept: whatever stands in a field is taken as it is.
#[derive(Deserialize, Serialize)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_base_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_revision_idx: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Value>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unenrolled_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unenrollment_started_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkin: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkin_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_started_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgraded_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_unenrolled_reason: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<KeptAgent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_metadata: Option<KeptMetadata>,
}

#[derive(Deserialize, Serialize)]
struct KeptAgent {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insecure: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unprivileged: Option<Value>,
}

#[derive(Deserialize, Serialize)]
struct KeptMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<KeptHost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elastic: Option<KeptElastic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<KeptSystem>,
}

#[derive(Deserialize, Serialize)]
struct KeptHost {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
}

#[derive(Deserialize, Serialize)]
struct KeptElastic {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<KeptAgent>,
}

#[derive(Deserialize, Serialize)]
struct KeptSystem {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Value>,
}

impl Brief {
    fn of(document: &Document) -> Result<Self, FleetError> {
        let unreadable = |error: serde_json::Error| FleetError::Unreadable {
            index: document.index.clone(),
            id: document.id.clone(),
            reason: error.to_string(),
        };
        let kept: Kept = document.source.parse().map_err(unreadable)?;
        let source = serde_json::to_value(kept).map_err(unreadable)?;
        Ok(Self {
            signs: Signs::of_source(&source),
            source,
        })
    }

    /// Whether a flag is on.
    pub(crate) fn is_set(&self, pointer: &str) -> bool {
        self.source.pointer(pointer) == Some(&Value::Bool(true))
    }

    /// The texts of a list, such as its tags.
    pub(crate) fn texts(&self, field: &str) -> impl Iterator<Item = &str> {
        let values = query::field::values(&self.source, field);
        values.into_iter().filter_map(Value::as_str)
    }
}

/// A query that can be answered from what is kept.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What the fields have to be.
    query: Query,
    /// Any of these, when there are any: `status` is no field.
    statuses: Vec<Vec<AgentStatus>>,
    hidden: &'static [AgentStatus],
}

/// What lists leave out unless they are asked for it.
const HIDDEN: [AgentStatus; 2] = [AgentStatus::Unenrolled, AgentStatus::Inactive];

impl Filter {
    /// `query` with `status` as a field; none when it names fields that are not kept. `resolve` turns a clause about the status
    /// into what decides it.
    pub(crate) fn of(
        mut query: Query,
        show_inactive: bool,
        resolve: impl Fn(&mut Query) -> Result<(), FleetError>,
    ) -> Result<Option<Self>, FleetError> {
        let mut statuses = Vec::new();
        take_statuses(&mut query, &mut statuses);
        resolve(&mut query)?;
        let is_kept = kuery::fields(&query).is_some_and(|fields| fields.iter().all(|field| is_kept(field)));
        Ok(is_kept.then_some(Self {
            query,
            statuses,
            hidden: if show_inactive { &[] } else { &HIDDEN },
        }))
    }

    fn takes(&self, id: &str, brief: &Brief, status: AgentStatus, now: Timestamp) -> bool {
        if self.hidden.contains(&status) || !self.statuses.iter().all(|any| any.contains(&status)) {
            return false;
        }
        if self.query == Query::MatchAll {
            return true;
        }
        let meta = DocumentMeta {
            id,
            ..DocumentMeta::default()
        };
        query::matches_at(&self.query, &brief.source, &meta, Some(now))
    }
}

fn is_kept(field: &str) -> bool {
    KEPT.contains(&field.strip_suffix(".keyword").unwrap_or(field))
}

/// Takes the clauses about the status out of a conjunction.
fn take_statuses(query: &mut Query, statuses: &mut Vec<Vec<AgentStatus>>) {
    if let Some(named) = statuses_of(query) {
        statuses.push(named);
        *query = Query::MatchAll;
        return;
    }
    if let Query::Bool { must, filter, .. } = query {
        for clauses in [must, filter] {
            for clause in clauses.iter_mut() {
                take_statuses(clause, statuses);
            }
        }
    }
}

/// What a clause about the status alone asks for.
fn statuses_of(query: &Query) -> Option<Vec<AgentStatus>> {
    let names: Vec<&str> = match query {
        // One status or another.
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            ..
        } if !should.is_empty() && [must, filter, must_not].iter().all(|clauses| clauses.is_empty()) => {
            let each: Option<Vec<_>> = should.iter().map(statuses_of).collect();
            return each.map(|each| each.into_iter().flatten().collect());
        }
        Query::Term(field, value) if field == "status" => vec![value.as_str().unwrap_or_default()],
        Query::Terms(field, values) if field == "status" => values.iter().filter_map(Value::as_str).collect(),
        Query::Match { field, text, .. } | Query::MatchPhrase(field, text) if field == "status" => {
            text.split_whitespace().collect()
        }
        _ => return None,
    };
    Some(names.into_iter().flat_map(AgentStatus::meant_by).collect())
}

/// An agent that a filter takes.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: Arc<str>,
    pub(crate) status: AgentStatus,
    pub(crate) brief: Arc<Brief>,
}

/// The agents that a filter takes, in no order.
pub(crate) fn take(entries: &Entries<Brief>, rules: &StatusRules, filter: &Filter) -> Vec<Taken> {
    let taken = entries.iter().filter_map(|(id, brief)| {
        let status = rules.status(&brief.signs);
        filter.takes(id, brief, status, rules.now).then(|| Taken {
            id: Arc::clone(id),
            status,
            brief: Arc::clone(brief),
        })
    });
    taken.collect()
}

/// Part of the agents in the order of a field, then of their ids, with the values that they were sorted by, as the store would do
/// it; none when the field is not kept.
pub(crate) fn page(
    mut taken: Vec<Taken>,
    field: &str,
    order: SortOrder,
    offset: usize,
    size: usize,
) -> Option<Vec<(Taken, Vec<Value>)>> {
    if !is_kept(field) {
        return None;
    }
    let sorts = query::SearchRequest::new("")
        .sort_by(field, order)
        .sort_by("_id", SortOrder::Ascending)
        .sort;
    let mut keyed: Vec<(Vec<Value>, Taken)> = taken.drain(..).map(|one| (sort_keys(&sorts[0], &one), one)).collect();
    let wanted = offset.saturating_add(size).min(keyed.len());
    let compare =
        |left: &(Vec<Value>, Taken), right: &(Vec<Value>, Taken)| query::compare_sort_values(&sorts, &left.0, &right.0);
    if wanted < keyed.len() && wanted > 0 {
        keyed.select_nth_unstable_by(wanted - 1, compare);
        keyed.truncate(wanted);
    }
    keyed.sort_by(compare);
    let page = keyed.into_iter().skip(offset).take(size);
    Some(page.map(|(keys, one)| (one, keys)).collect())
}

/// The smallest or largest of several; dates as milliseconds; null when it is missing. Then the id.
fn sort_keys(sort: &Sort, taken: &Taken) -> Vec<Value> {
    let id = Value::from(&*taken.id);
    if sort.field == "_id" {
        return vec![id.clone(), id];
    }
    let field = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
    let values = query::field::values(&taken.brief.source, field);
    let values = values
        .into_iter()
        .filter(|value| !value.is_null() && !value.is_object());
    let best = match sort.order {
        SortOrder::Ascending => values.min_by(|left, right| query::compare_values(left, right)),
        SortOrder::Descending => values.max_by(|left, right| query::compare_values(left, right)),
    };
    let key = best.map_or(Value::Null, |value| {
        match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(time) => Value::from(time.as_millisecond()),
            None => value.clone(),
        }
    });
    vec![key, id]
}

impl Console {
    /// What is known of all agents now.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(crate) async fn agents_now(&self) -> Result<Arc<Entries<Brief>>, FleetError> {
        self.roster.current(&*self.store).await
    }
}
