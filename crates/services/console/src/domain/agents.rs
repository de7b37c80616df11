//! Agents: listed, counted, changed.

use std::collections::HashMap;

use policy::model::AgentPolicy;
use protocol::{AgentDocument, indices};
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Map, Value, json};
use store::{Operation, SeqNo, StoreError};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::agent_policies::{self, INACTIVITY_TIMEOUT};
use crate::domain::agent_status::{AgentStatus, StatusRules};
use crate::domain::changes::{self, Changes};
use crate::domain::error::FleetError;
use crate::domain::kuery;
use crate::domain::page::{Page, PageRequest};
use crate::domain::roster;

/// An agent as it is now.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// Its document.
    pub document: AgentDocument,
    /// What follows from it.
    pub status: AgentStatus,
    /// Where a next page starts.
    pub sort: Vec<Value>,
    /// For compare-and-set.
    pub seq_no: SeqNo,
}

/// Which agents, in which order.
#[derive(Clone, Debug)]
pub struct AgentFilter {
    /// KQL.
    pub kuery: Option<String>,
    /// Inactive and unenrolled ones, too.
    pub show_inactive: bool,
    /// A field of the document; `enrolled_at` when none.
    pub sort_field: Option<String>,
    /// Large to small.
    pub descending: bool,
    /// The sort values of the last agent of the page before.
    pub search_after: Option<Vec<Value>>,
}

impl Default for AgentFilter {
    fn default() -> Self {
        Self {
            kuery: None,
            show_inactive: false,
            sort_field: None,
            descending: true,
            search_after: None,
        }
    }
}

/// How many agents have which status.
#[derive(Clone, Debug, Default)]
pub struct StatusSummary {
    /// By status.
    pub counts: Vec<(AgentStatus, u64)>,
}

impl StatusSummary {
    /// The number of agents of a status.
    pub fn of(&self, status: AgentStatus) -> u64 {
        self.counts
            .iter()
            .find(|(known, _)| *known == status)
            .map_or(0, |(_, count)| *count)
    }

    /// The number of agents of these statuses.
    pub fn of_all(&self, statuses: &[AgentStatus]) -> u64 {
        statuses.iter().map(|status| self.of(*status)).sum()
    }

    /// All agents, unenrolled ones included.
    pub fn all(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// The rules that statuses follow now.
///
/// # Errors
/// The store cannot answer.
pub async fn status_rules(console: &Console) -> Result<StatusRules, FleetError> {
    let timeout = |policy: AgentPolicy| {
        let seconds = policy.inactivity_timeout.unwrap_or(INACTIVITY_TIMEOUT);
        (seconds > 0).then_some((policy.id, seconds))
    };
    let policies = agent_policies::list(console).await?;
    Ok(StatusRules {
        now: console.clock.now(),
        inactivity: policies.into_iter().filter_map(timeout).collect(),
    })
}

/// A page of agents.
///
/// # Errors
/// KQL that is none, or names a field that agents do not have; a page too deep.
pub async fn list(console: &Console, filter: &AgentFilter, page: PageRequest) -> Result<Page<Agent>, FleetError> {
    let rules = status_rules(console).await?;
    let field = sort_field(filter.sort_field.as_deref())?;
    let order = if filter.descending {
        SortOrder::Descending
    } else {
        SortOrder::Ascending
    };
    if filter.search_after.is_none() {
        let page = page.checked()?;
        if let Some(found) = list_of_roster(console, &rules, filter, (&field, order), page).await? {
            return Ok(found);
        }
    }
    let request = SearchRequest {
        from: if filter.search_after.is_some() {
            0
        } else {
            page.offset()
        },
        search_after: filter.search_after.clone(),
        track_total_hits: u64::MAX,
        ..SearchRequest::new(indices::AGENTS)
            .query(query_of(&rules, filter)?)
            .size(page.per_page)
            .sort_by(field, order)
            .sort_by("_id", SortOrder::Ascending)
    };
    let found = console.store.search(request).await?;
    let agent = |hit: store::Hit| {
        let mut agent = agent_of(&rules, hit.document)?;
        agent.sort = hit.sort;
        Ok(agent)
    };
    let items = found.hits.into_iter().map(agent).collect::<Result<_, FleetError>>()?;
    Ok(Page {
        items,
        total: found.total,
        request: page,
    })
}

/// The page, when what is kept of agents decides it: only the documents that are shown are read.
async fn list_of_roster(
    console: &Console,
    rules: &StatusRules,
    filter: &AgentFilter,
    (field, order): (&str, SortOrder),
    page: PageRequest,
) -> Result<Option<Page<Agent>>, FleetError> {
    let Some(filter) = roster_filter(rules, filter)? else {
        return Ok(None);
    };
    let (entries, rules_now, field) = (console.agents_now().await?, rules.clone(), field.to_owned());
    let (total, chosen) = off_thread(move || {
        let taken = roster::take(&entries, &rules_now, &filter);
        let total = taken.len() as u64;
        (total, roster::page(taken, &field, order, page.offset(), page.per_page))
    })
    .await?;
    let Some(chosen) = chosen else { return Ok(None) };
    let ids = chosen.iter().map(|(taken, _)| taken.id.to_string()).collect();
    let request = SearchRequest::new(indices::AGENTS)
        .query(Query::Ids(ids))
        .size(chosen.len());
    let mut documents = HashMap::new();
    if !chosen.is_empty() {
        let found = console.store.search(request).await?.hits.into_iter();
        documents.extend(found.map(|hit| (hit.document.id.clone(), hit.document)));
    }
    let mut items = Vec::with_capacity(chosen.len());
    for (taken, sort) in chosen {
        // One that was deleted just now is left out.
        if let Some(document) = documents.remove(&*taken.id) {
            items.push(Agent {
                sort,
                ..agent_of(rules, document)?
            });
        }
    }
    Ok(Some(Page {
        items,
        total,
        request: page,
    }))
}

fn roster_filter(rules: &StatusRules, filter: &AgentFilter) -> Result<Option<roster::Filter>, FleetError> {
    let query = kuery::parse(filter.kuery.as_deref())?;
    check_fields(&query)?;
    roster::Filter::of(query, filter.show_inactive, |query| resolve_status(query, rules))
}

/// Work that would hold up other requests.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FleetError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| FleetError::invalid("the agents cannot be listed"))
}

/// The agents that a filter takes, as far as lists know them; none when the filter names what is not kept.
async fn taken(
    console: &Console,
    rules: &StatusRules,
    filter: &AgentFilter,
) -> Result<Option<Vec<roster::Taken>>, FleetError> {
    let Some(filter) = roster_filter(rules, filter)? else {
        return Ok(None);
    };
    let (entries, rules) = (console.agents_now().await?, rules.clone());
    off_thread(move || roster::take(&entries, &rules, &filter))
        .await
        .map(Some)
}

/// How many of the agents that match have which status.
///
/// # Errors
/// As [`list`].
pub async fn summary(console: &Console, filter: &AgentFilter) -> Result<StatusSummary, FleetError> {
    let rules = status_rules(console).await?;
    let filter = AgentFilter {
        show_inactive: true,
        ..filter.clone()
    };
    let statuses: Vec<AgentStatus> = if let Some(taken) = taken(console, &rules, &filter).await? {
        taken.into_iter().map(|taken| taken.status).collect()
    } else {
        let selected = select_by(console, &rules, query_of(&rules, &filter)?).await?;
        selected.into_iter().map(|agent| agent.status).collect()
    };
    let count = |wanted| statuses.iter().map(|status| u64::from(*status == wanted)).sum::<u64>();
    let counts = AgentStatus::ALL.map(|status| (status, count(status))).to_vec();
    Ok(StatusSummary { counts })
}

/// What the agents of a policy add up to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Enrolled, inactive ones included.
    pub active: u64,
    /// Failed, degraded, orphaned or silent.
    pub unhealthy: u64,
    /// Without verification of their Fleet Server.
    pub unverified: u64,
    /// Running without root privileges.
    pub unprivileged: u64,
}

/// The enrolled agents, by their policy.
///
/// # Errors
/// The store cannot answer.
pub async fn tallies(console: &Console) -> Result<HashMap<String, Tally>, FleetError> {
    let rules = status_rules(console).await?;
    let entries = console.agents_now().await?;
    off_thread(move || {
        let mut tallies: HashMap<String, Tally> = HashMap::new();
        for brief in entries.values().filter(|brief| brief.signs.is_active()) {
            let tally = tallies.entry(brief.signs.policy_id().to_owned()).or_default();
            tally.active += 1;
            tally.unhealthy += u64::from(rules.status(&brief.signs).is_unhealthy());
            tally.unverified += u64::from(brief.is_set("/local_metadata/elastic/agent/insecure"));
            tally.unprivileged += u64::from(brief.is_set("/local_metadata/elastic/agent/unprivileged"));
        }
        tallies
    })
    .await
}

/// One agent.
///
/// # Errors
/// None of that id.
pub async fn read(console: &Console, id: &str) -> Result<Agent, FleetError> {
    let found = match console.store.get(indices::AGENTS, id).await {
        Ok(found) => found,
        Err(StoreError::IndexNotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let document = found.ok_or_else(|| FleetError::NotFound(format!("Agent {id} not found")))?;
    agent_of(&status_rules(console).await?, document)
}

/// The agents that a request names: ids, or KQL.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These.
    Ids(Vec<String>),
    /// Those that match.
    Kuery {
        /// KQL.
        kuery: String,
        /// Inactive and unenrolled ones, too.
        include_inactive: bool,
    },
}

/// Agents that one request may name.
const MOST_SELECTED: usize = 10_000;

/// All agents of a selection. Unknown ids are left out.
///
/// # Errors
/// KQL that is none.
pub async fn select(console: &Console, selection: &Selection) -> Result<Vec<Agent>, FleetError> {
    let rules = status_rules(console).await?;
    let query = match selection {
        Selection::Ids(ids) => Query::Ids(ids.clone()),
        Selection::Kuery {
            kuery,
            include_inactive,
        } => {
            let filter = AgentFilter {
                kuery: Some(kuery.clone()),
                show_inactive: *include_inactive,
                ..AgentFilter::default()
            };
            query_of(&rules, &filter)?
        }
    };
    select_by(console, &rules, query).await
}

/// All agents whose documents match.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn select_where(console: &Console, query: Query) -> Result<Vec<Agent>, FleetError> {
    select_by(console, &status_rules(console).await?, query).await
}

async fn select_by(console: &Console, rules: &StatusRules, query: Query) -> Result<Vec<Agent>, FleetError> {
    let mut selected = Vec::new();
    let mut search_after = None;
    loop {
        let request = SearchRequest {
            search_after,
            ..SearchRequest::new(indices::AGENTS)
                .query(query.clone())
                .size(MOST_SELECTED)
                .sort_by("_id", SortOrder::Ascending)
        };
        let found = match console.store.search(request).await {
            Err(StoreError::IndexNotFound(_)) => return Ok(selected),
            found => found?,
        };
        let full_page = found.hits.len() == MOST_SELECTED;
        search_after = found.hits.last().map(|hit| hit.sort.clone());
        for hit in found.hits {
            selected.push(agent_of(rules, hit.document)?);
        }
        if !full_page {
            return Ok(selected);
        }
    }
}

fn agent_of(rules: &StatusRules, document: store::Document) -> Result<Agent, FleetError> {
    let parsed: AgentDocument = document.source.parse().map_err(|error| FleetError::Unreadable {
        index: document.index.clone(),
        id: document.id.clone(),
        reason: error.to_string(),
    })?;
    let status = rules.status_of(&parsed);
    Ok(Agent {
        id: document.id,
        document: parsed,
        status,
        sort: Vec::new(),
        seq_no: document.seq_no,
    })
}

/// Fields that lists may name; everything below `local_metadata`, `agent` and the like is there as well.
const FIELDS: [&str; 30] = [
    "status",
    "policy_id",
    "policy_base_id",
    "policy_revision_idx",
    "policy_revision",
    "tags",
    "active",
    "agent",
    "id",
    "_id",
    "local_metadata",
    "user_provided_metadata",
    "last_checkin",
    "last_checkin_status",
    "last_checkin_message",
    "enrolled_at",
    "unenrolled_at",
    "unenrollment_started_at",
    "upgrade_started_at",
    "upgraded_at",
    "upgrade_details",
    "upgrade_status",
    "updated_at",
    "type",
    "access_api_key_id",
    "namespaces",
    "unhealthy_reason",
    "audit_unenrolled_reason",
    "packages",
    "components",
];

fn query_of(rules: &StatusRules, filter: &AgentFilter) -> Result<Query, FleetError> {
    let mut query = kuery::parse(filter.kuery.as_deref())?;
    check_fields(&query)?;
    resolve_status(&mut query, rules)?;
    if filter.show_inactive {
        return Ok(query);
    }
    let hidden = vec![
        rules.query_of(AgentStatus::Unenrolled),
        rules.query_of(AgentStatus::Inactive),
    ];
    Ok(Query::Bool {
        must: Vec::new(),
        filter: vec![query],
        should: Vec::new(),
        must_not: hidden,
        minimum_should_match: 0,
    })
}

fn check_fields(query: &Query) -> Result<(), FleetError> {
    let unknown = std::cell::RefCell::new(None);
    let mut copy = query.clone();
    kuery::rename(&mut copy, &|field| {
        let head = field.split('.').next().unwrap_or(field);
        if field != "*" && !FIELDS.contains(&head) {
            *unknown.borrow_mut() = Some(field.to_owned());
        }
        field.to_owned()
    });
    match unknown.into_inner() {
        Some(field) => Err(FleetError::invalid(format!(
            "KQLSyntaxError: This key '{field}' does not exist in fleet-agents index mappings"
        ))),
        None => Ok(()),
    }
}

/// `status` is no field of the document; its clauses become what decides it.
fn resolve_status(query: &mut Query, rules: &StatusRules) -> Result<(), FleetError> {
    let resolved = match query {
        Query::Bool {
            must,
            filter,
            should,
            must_not,
            ..
        } => {
            for clause in [must, filter, should, must_not].into_iter().flatten() {
                resolve_status(clause, rules)?;
            }
            None
        }
        Query::Term(field, value) if field == "status" => {
            Some(status_query(rules, &[value.as_str().unwrap_or_default()]))
        }
        Query::Terms(field, values) if field == "status" => {
            let names: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            Some(status_query(rules, &names))
        }
        Query::Match { field, text, .. } | Query::MatchPhrase(field, text) if field == "status" => {
            let names: Vec<&str> = text.split_whitespace().collect();
            Some(status_query(rules, &names))
        }
        Query::Exists(field) if field == "status" => Some(Query::MatchAll),
        Query::Wildcard { field, pattern, .. } if field == "status" => {
            let pattern = pattern.clone();
            let names = AgentStatus::ALL
                .into_iter()
                .map(AgentStatus::name)
                .filter(|name| query::pattern::wildcard(&pattern, name));
            Some(status_query(rules, &names.collect::<Vec<_>>()))
        }
        Query::Term(field, _) | Query::Match { field, .. } | Query::MatchPhrase(field, _) if field == "id" => {
            "_id".clone_into(field);
            None
        }
        _ => None,
    };
    if let Some(resolved) = resolved {
        *query = resolved;
    }
    Ok(())
}

fn status_query(rules: &StatusRules, names: &[&str]) -> Query {
    let of_name = |name: &&str| {
        let meant = AgentStatus::meant_by(name);
        Query::any_of(meant.into_iter().map(|status| rules.query_of(status)).collect())
    };
    Query::any_of(names.iter().map(of_name).collect())
}

fn sort_field(given: Option<&str>) -> Result<String, FleetError> {
    let field = given.filter(|field| !field.is_empty()).unwrap_or("enrolled_at");
    let head = field.split('.').next().unwrap_or(field);
    if FIELDS.contains(&head) && head != "status" {
        return Ok(field.to_owned());
    }
    Err(FleetError::invalid(format!(
        "[request query.sortField]: agents cannot be sorted by `{field}`"
    )))
}

/// Sets tags and user metadata of an agent.
///
/// # Errors
/// None of that id.
pub async fn update(
    console: &Console,
    actor: &Actor,
    id: &str,
    tags: Option<Vec<String>>,
    user_metadata: Option<Value>,
) -> Result<Agent, FleetError> {
    read(console, id).await?;
    let mut partial = Map::new();
    if let Some(mut tags) = tags {
        tags.sort();
        tags.dedup();
        partial.insert("tags".into(), json!(tags));
    }
    if let Some(metadata) = user_metadata {
        partial.insert("user_provided_metadata".into(), metadata);
    }
    merge(console, actor, id, partial, "agent").await?;
    read(console, id).await
}

/// Adds and removes tags of many agents.
///
/// # Errors
/// The store cannot answer.
pub async fn update_tags(
    console: &Console,
    actor: &Actor,
    agents: &[Agent],
    add: &[String],
    remove: &[String],
) -> Result<(), FleetError> {
    let mut changes = Changes::default();
    for agent in agents {
        let mut tags: Vec<String> = agent
            .document
            .tags
            .iter()
            .filter(|tag| !remove.contains(tag))
            .cloned()
            .collect();
        tags.extend(add.iter().cloned());
        tags.sort();
        tags.dedup();
        if tags != agent.document.tags {
            let partial = json!({"tags": tags}).as_object().cloned().unwrap_or_default();
            changes.other(
                Operation::merge(indices::AGENTS, &agent.id, partial),
                "agent",
                &agent.id,
                Some(json!({"tags": tags})),
            );
        }
    }
    changes::apply(console, actor, changes).await
}

pub(crate) async fn merge(
    console: &Console,
    actor: &Actor,
    id: &str,
    partial: Map<String, Value>,
    what: &'static str,
) -> Result<(), FleetError> {
    let mut changes = Changes::default();
    let after = Value::Object(partial.clone());
    changes.other(Operation::merge(indices::AGENTS, id, partial), what, id, Some(after));
    changes::apply(console, actor, changes).await
}

/// Removes the document of an agent that is unenrolled or gone; its keys are revoked.
///
/// # Errors
/// None of that id.
pub async fn delete(console: &Console, actor: &Actor, id: &str) -> Result<(), FleetError> {
    let agent = read(console, id).await?;
    console.access.invalidate_api_keys(&key_ids(&agent.document)).await?;
    let mut changes = Changes::default();
    changes.other(Operation::delete(indices::AGENTS, id), "agent", id, None);
    changes::apply(console, actor, changes).await
}

/// The keys of an agent: for Fleet Server and for its outputs.
pub(crate) fn key_ids(agent: &AgentDocument) -> Vec<String> {
    let mut ids = vec![agent.access_api_key_id.as_str().to_owned()];
    for output in agent.outputs.values() {
        ids.push(output.api_key_id.as_str().to_owned());
        ids.extend(
            output
                .to_retire_api_key_ids
                .iter()
                .map(|key| key.id.as_str().to_owned()),
        );
    }
    ids.retain(|id| !id.is_empty());
    ids
}

/// The tags of all agents that match, each once, sorted.
///
/// # Errors
/// KQL that is none.
pub async fn tags(console: &Console, filter: &AgentFilter) -> Result<Vec<String>, FleetError> {
    let rules = status_rules(console).await?;
    let mut tags: Vec<String> = if let Some(taken) = taken(console, &rules, filter).await? {
        let tags = taken.iter().flat_map(|taken| taken.brief.texts("tags"));
        tags.map(str::to_owned).collect()
    } else {
        let selected = select_by(console, &rules, query_of(&rules, filter)?).await?;
        selected.into_iter().flat_map(|agent| agent.document.tags).collect()
    };
    tags.sort();
    tags.dedup();
    Ok(tags)
}
