//! Agents: listed, counted, changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

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
use crate::domain::roster::{self, Agents, Brief, Order, Taken};
use crate::domain::spaces;

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
    /// Only those of an older version than the console's, which can be upgraded.
    pub upgradeable: bool,
    /// Only those whose policy is in that space; none: of every space.
    pub space: Option<String>,
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
            upgradeable: false,
            space: None,
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
    /// How many of them can be upgraded.
    pub upgradeable: u64,
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
    let timeout = |policy: &Arc<AgentPolicy>| {
        let seconds = policy.inactivity_timeout.unwrap_or(INACTIVITY_TIMEOUT);
        (seconds > 0).then(|| (policy.id.clone(), seconds))
    };
    let policies = agent_policies::all(console).await?;
    Ok(StatusRules {
        now: console.clock.now(),
        inactivity: policies.iter().filter_map(timeout).collect(),
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
    let offset = match filter.search_after {
        Some(_) => 0,
        None => page.checked()?.offset(),
    };
    let order = Order::by(&field, order, filter.search_after.clone());
    let (total, chosen) = taken(console, &rules, filter, move |agents, taken| {
        (taken.count() as u64, agents.page(taken, &order, offset, page.per_page))
    })
    .await?;
    let ids: Vec<String> = chosen.iter().map(|(id, _)| id.to_string()).collect();
    let mut documents = documents(console, &ids).await?;
    let mut items = Vec::with_capacity(chosen.len());
    for (id, sort) in chosen {
        // One that was deleted just now is left out.
        if let Some(document) = documents.remove(&*id) {
            items.push(Agent {
                sort,
                ..agent_of(&rules, document)?
            });
        }
    }
    Ok(Page {
        items,
        total,
        request: page,
    })
}

/// The documents of those agents, as far as there are any.
async fn documents(console: &Console, ids: &[String]) -> Result<HashMap<String, store::Document>, FleetError> {
    let mut documents = HashMap::with_capacity(ids.len());
    for part in ids.chunks(READ_AT_ONCE) {
        let request = SearchRequest::new(indices::AGENTS)
            .query(Query::Ids(part.to_vec()))
            .size(part.len());
        let found = match console.store.search(request).await {
            Err(StoreError::IndexNotFound(_)) => break,
            found => found?,
        };
        documents.extend(
            found
                .hits
                .into_iter()
                .map(|hit| (hit.document.id.clone(), hit.document)),
        );
    }
    Ok(documents)
}

/// What `answer` makes of the agents that a filter takes, beside other requests.
async fn taken<T: Send + 'static>(
    console: &Console,
    rules: &StatusRules,
    filter: &AgentFilter,
    answer: impl FnOnce(&Agents<'_>, &Taken) -> T + Send + 'static,
) -> Result<T, FleetError> {
    let mut query = kuery::parse(filter.kuery.as_deref())?;
    check_fields(&query)?;
    kuery::rename(&mut query, &|field| {
        if field == "id" { "_id" } else { field }.to_owned()
    });
    let newest = filter.upgradeable.then(|| newest_version(console)).flatten();
    let elsewhere = match &filter.space {
        Some(space) => spaces::policies_outside(console, space).await?,
        None => HashSet::new(),
    };
    let mut filter = roster::Filter::of(&query, filter.show_inactive, rules.now)?;
    filter.below = newest;
    filter.not_of = elsewhere;
    let rules = rules.clone();
    ask(console, move |agents| answer(agents, &agents.take(&rules, &filter))).await
}

/// What `question` finds out about all agents, beside other requests.
pub(crate) async fn ask<T: Send + 'static>(
    console: &Console,
    question: impl FnOnce(&Agents<'_>) -> T + Send + 'static,
) -> Result<T, FleetError> {
    console.roster.ask(&*console.store, question).await
}

/// The version that agents can be upgraded to.
pub(crate) fn newest_version(console: &Console) -> Option<semver::Version> {
    semver::Version::parse(&console.settings.version).ok()
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
    let newest = newest_version(console);
    taken(console, &rules, &filter, move |agents, taken| {
        let mut summary = StatusSummary {
            counts: AgentStatus::ALL.map(|status| (status, 0)).to_vec(),
            upgradeable: newest.map_or(0, |newest| agents.count_below(taken, &newest) as u64),
        };
        for status in taken.statuses() {
            // `ALL` has them in the order of their declaration.
            summary.counts[status as usize].1 += 1;
        }
        summary
    })
    .await
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
    ask(console, move |agents| {
        let field = |name: &str| agents.field(&format!("local_metadata.elastic.agent.{name}"));
        let (insecure, unprivileged) = (field("insecure"), field("unprivileged"));
        let mut tallies: HashMap<&str, Tally> = HashMap::new();
        for brief in agents.all().filter(|brief| brief.signs.is_active()) {
            let tally = tallies.entry(brief.signs.policy_id()).or_default();
            tally.active += 1;
            tally.unhealthy += u64::from(rules.status(&brief.signs).is_unhealthy());
            tally.unverified += u64::from(brief.is_set(insecure));
            tally.unprivileged += u64::from(brief.is_set(unprivileged));
        }
        tallies
            .into_iter()
            .map(|(policy, tally)| (policy.to_owned(), tally))
            .collect()
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
        /// Only those that can be upgraded.
        upgradeable: bool,
    },
}

/// Documents that are read at once.
const READ_AT_ONCE: usize = 1_000;

/// All agents of a selection, by their ids. Unknown ids are left out.
///
/// # Errors
/// KQL that is none.
pub async fn select(console: &Console, selection: &Selection) -> Result<Vec<Agent>, FleetError> {
    let rules = status_rules(console).await?;
    let mut ids = match selection {
        Selection::Ids(ids) => ids.clone(),
        Selection::Kuery {
            kuery,
            include_inactive,
            upgradeable,
        } => {
            let filter = AgentFilter {
                kuery: Some(kuery.clone()),
                show_inactive: *include_inactive,
                upgradeable: *upgradeable,
                ..AgentFilter::default()
            };
            let ids = |agents: &Agents<'_>, chosen: &Taken| agents.ids(chosen);
            taken(console, &rules, &filter, ids).await?
        }
    };
    ids.sort_unstable();
    ids.dedup();
    let mut documents = documents(console, &ids).await?;
    let found = ids.iter().filter_map(|id| documents.remove(id));
    found.map(|document| agent_of(&rules, document)).collect()
}

/// How many enrolled agents of some policies have which version.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn versions_of(
    console: &Console,
    policies: BTreeSet<String>,
) -> Result<BTreeMap<String, u64>, FleetError> {
    ask(console, move |agents| {
        let field = agents.field("agent.version");
        let of_policies = |brief: &&Brief| brief.signs.is_active() && policies.contains(brief.signs.policy_id());
        let mut versions = BTreeMap::new();
        for brief in agents.all().filter(of_policies) {
            let version = brief.texts(field).next().unwrap_or_default();
            *versions.entry(version.to_owned()).or_default() += 1;
        }
        versions
    })
    .await
}

/// The enrolled agents of a policy that have a version, or are to have it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VersionUse {
    /// The version.
    pub version: String,
    /// Agents that have it.
    pub agents: u64,
    /// Agents that could not be upgraded to it.
    pub failed: u64,
    /// Agents that are being upgraded to it.
    pub in_progress: u64,
}

/// The versions of a policy's agents.
///
/// # Errors
/// The store cannot answer.
pub async fn upgrades_of(console: &Console, policy: &str) -> Result<Vec<VersionUse>, FleetError> {
    let policy = policy.to_owned();
    ask(console, move |agents| {
        let mut versions: BTreeMap<String, VersionUse> = BTreeMap::new();
        let of_policy = |brief: &&Brief| brief.signs.is_active() && brief.signs.policy_id() == policy;
        for brief in agents.all().filter(of_policy) {
            let first = |field: &str| brief.texts(agents.field(field)).next().unwrap_or_default().to_owned();
            versions.entry(first("agent.version")).or_default().agents += 1;
            match (
                first("upgrade_details.state").as_str(),
                first("upgrade_details.target_version"),
            ) {
                ("", _) => {}
                ("UPG_FAILED", target) => versions.entry(target).or_default().failed += 1,
                (_, target) => versions.entry(target).or_default().in_progress += 1,
            }
        }
        let named = |(version, count): (String, VersionUse)| VersionUse { version, ..count };
        versions.into_iter().map(named).collect()
    })
    .await
}

/// The names of some agents' hosts, as far as they are known.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn host_names(
    console: &Console,
    ids: BTreeSet<String>,
) -> Result<HashMap<String, String>, FleetError> {
    ask(console, move |agents| {
        let field = agents.field("local_metadata.host.hostname");
        let known = ids.into_iter().filter_map(|id| {
            let brief = agents.of_id(&id)?;
            let host = brief.texts(field).next()?.to_owned();
            Some((id, host))
        });
        known.collect()
    })
    .await
}

/// The revisions that the enrolled agents run, by the policy that they should run; 0 for none or another policy's.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn running_revisions(console: &Console) -> Result<HashMap<String, Vec<i64>>, FleetError> {
    ask(console, move |agents| {
        let field = agents.field("policy_revision_idx");
        let mut running: HashMap<&str, Vec<i64>> = HashMap::new();
        for brief in agents.all().filter(|brief| brief.signs.is_active()) {
            let revision = brief.values(field).next().and_then(Value::as_i64);
            let of_policy = running.entry(brief.signs.policy_id()).or_default();
            of_policy.push(revision.unwrap_or_default());
        }
        running
            .into_iter()
            .map(|(policy, revisions)| (policy.to_owned(), revisions))
            .collect()
    })
    .await
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

/// Whether it is a field of agents.
pub(crate) fn is_field(name: &str) -> bool {
    FIELDS.contains(&name.split('.').next().unwrap_or(name))
}

fn check_fields(query: &Query) -> Result<(), FleetError> {
    let unknown = std::cell::RefCell::new(None);
    let mut copy = query.clone();
    kuery::rename(&mut copy, &|field| {
        if field != "*" && !is_field(field) {
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

fn sort_field(given: Option<&str>) -> Result<String, FleetError> {
    let field = given.filter(|field| !field.is_empty()).unwrap_or("enrolled_at");
    if is_field(field) && field != "status" {
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
    let present = read(console, id).await?;
    let mut partial = Map::new();
    if let Some(mut tags) = tags {
        tags.sort();
        tags.dedup();
        partial.insert("tags".into(), json!(tags));
    }
    if let Some(metadata) = user_metadata {
        partial.insert("user_provided_metadata".into(), metadata);
    }
    let metadata = present.document.other.get("user_provided_metadata");
    let was = json!({"tags": present.document.tags, "user_provided_metadata": metadata});
    let change = (Some(was), Some(Value::Object(partial.clone())));
    let mut changes = Changes::default();
    changes.other(Operation::merge(indices::AGENTS, id, partial), "agent", id, change);
    changes::apply(console, actor, changes).await?;
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
                (Some(json!({"tags": agent.document.tags})), Some(json!({"tags": tags}))),
            );
        }
    }
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
    let was =
        json!({"policy_id": agent.document.policy_id, "tags": agent.document.tags, "active": agent.document.active});
    changes.other(Operation::delete(indices::AGENTS, id), "agent", id, (Some(was), None));
    console.roster.suspect(id);
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

/// What enrolled agents have that lists are filtered by.
#[derive(Clone, Debug, Default)]
pub struct Facets {
    /// Their tags, sorted.
    pub tags: Vec<String>,
    /// Their versions, the newest first.
    pub versions: Vec<String>,
}

/// The tags and versions of all enrolled agents.
///
/// # Errors
/// The store cannot answer.
pub async fn facets(console: &Console) -> Result<Facets, FleetError> {
    ask(console, move |agents| {
        let mut versions = agents.texts_of_enrolled("agent.version");
        versions.sort_by_cached_key(|version| std::cmp::Reverse(semver::Version::parse(version).ok()));
        Facets {
            tags: agents.texts_of_enrolled("tags"),
            versions,
        }
    })
    .await
}

/// The tags of all agents that match, each once, sorted.
///
/// # Errors
/// KQL that is none.
pub async fn tags(console: &Console, filter: &AgentFilter) -> Result<Vec<String>, FleetError> {
    let rules = status_rules(console).await?;
    taken(console, &rules, filter, |agents, taken| agents.texts(taken, "tags")).await
}
