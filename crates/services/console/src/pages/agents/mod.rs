//! The list of agents.

mod filters;

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Html;
use policy::model::AgentPolicy;
use serde_json::Value;

use super::frame::Frame;
use super::look::{Look, Moment, Paging, Segment, bytes, figure, segments};
use super::mistake;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::Console;
use crate::domain::agent_metrics::{self, AgentMetrics};
use crate::domain::agent_policies;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, Agent, StatusSummary};
use crate::domain::error::FleetError;
use crate::domain::page::{Page as Part, PageRequest};
use filters::{GROUPS, ROWS};

pub(super) use filters::Filters;

/// What a search may look like.
const EXAMPLE: &str = "status : offline and tags : edge";

#[derive(Template)]
#[template(path = "agents.html")]
struct Page {
    frame: Frame,
    /// Something was to be done, but with no agent.
    selected_nothing: bool,
    query: String,
    wrong: String,
    /// The filters that open as menus.
    chips: Vec<Chip>,
    /// How many can be upgraded, and the link that shows those, or all again.
    upgradeable: String,
    upgrade_url: String,
    only_upgradeable: bool,
    /// Order and size of a page, to be sent along.
    view: Vec<(&'static str, String)>,
    sort: String,
    by_activity: String,
    by_host: String,
    by_version: String,
    may_change: bool,
    filtered: bool,
    /// The filters once more, for a selection of everything that matches and for another size of the page.
    filters: Vec<(&'static str, String)>,
    live_url: String,
    segments: Vec<Segment>,
    counts: Vec<Count>,
    rows: Vec<Row>,
    paging: Paging,
    sizes: Vec<Choice>,
}

/// A filter: any of some values.
pub(super) struct Chip {
    pub(super) name: &'static str,
    /// In the URL.
    pub(super) key: &'static str,
    pub(super) choices: Vec<Choice>,
}

impl Chip {
    pub(super) fn new(
        name: &'static str,
        key: &'static str,
        choices: impl IntoIterator<Item = (String, String)>,
        chosen: &[String],
    ) -> Self {
        let choice = |(value, name): (String, String)| Choice {
            selected: chosen.contains(&value),
            value,
            name,
        };
        Self {
            name,
            key,
            choices: choices.into_iter().map(choice).collect(),
        }
    }

    /// What is set, in a word: the value, or how many of how many.
    pub(super) fn set(&self) -> Option<String> {
        let mut chosen = self.choices.iter().filter(|choice| choice.selected);
        let first = chosen.next()?;
        Some(match chosen.count() {
            0 => first.name.clone(),
            more => format!("{} of {}", more + 1, self.choices.len()),
        })
    }
}

/// An option of a select.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) selected: bool,
}

struct Count {
    look: Look,
    figure: String,
    href: String,
    selected: bool,
}

struct Row {
    id: String,
    look: Look,
    host: String,
    tags: Vec<String>,
    policy_id: String,
    policy_name: String,
    revision: String,
    /// A newer revision of the policy is on the way.
    outdated: bool,
    is_managed: bool,
    /// It can take part in actions for many.
    selectable: bool,
    verified: bool,
    last_activity: Moment,
    version: String,
    can_be_upgraded: bool,
    /// The upgrade that it is in.
    upgrade: Option<Look>,
    cpu: String,
    memory: String,
}

/// Shown always, so that the counts do not jump; who left is asked for by name.
const SHOWN: usize = 7;

pub(super) async fn page(reader: SignedIn, RawQuery(query): RawQuery) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let query = query.unwrap_or_default();
    let filters = Filters::of_query(&query);
    let done = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "done");
    let selected_nothing = done.as_ref().is_some_and(|(_, word)| word == "nothing");
    let toast = done.and_then(|(_, word)| super::agent_actions::done(&word));
    let policies = agent_policies::all(console).await?;
    let request = PageRequest {
        page: filters.page.max(1),
        per_page: filters.rows(),
    };
    let (found, summary, wrong) = match agents::list(console, &filters.agent_filter(), request).await {
        Ok(found) => (found, summary(console, &filters).await?, String::new()),
        Err(error @ FleetError::Invalid { .. }) => {
            let nothing = Part {
                items: Vec::new(),
                total: 0,
                request,
            };
            let said = mistake::told(&filters.q, &error.to_string(), EXAMPLE);
            (nothing, StatusSummary::default(), said)
        }
        Err(error) => return Err(error.into()),
    };
    let groups = &GROUPS[..SHOWN];
    let parts: Vec<_> = groups
        .iter()
        .map(|group| (Look::of_agent(group[0]).tone, summary.of_all(group)))
        .collect();
    let page = Page {
        frame: Frame::new(&reader, "Agents", "Agents").toast(toast),
        selected_nothing,
        chips: chips(console, &filters, &policies).await?,
        upgradeable: figure(summary.upgradeable),
        upgrade_url: filters.with_upgradeable(!filters.upgradeable).url(1),
        only_upgradeable: filters.upgradeable,
        view: filters.view(),
        sort: filters.sort.clone(),
        by_activity: filters.sorted("activity"),
        by_host: filters.sorted("host"),
        by_version: filters.sorted("version"),
        may_change: reader.may_change(),
        query: filters.q.clone(),
        wrong,
        filtered: filters.any(),
        filters: filters.pairs(),
        live_url: filters.url(request.page),
        segments: segments(&parts),
        counts: groups
            .iter()
            .map(|group| Count::of(&filters, group, &summary))
            .collect(),
        paging: Paging::of(&found, |number| filters.url(number)),
        sizes: ROWS.map(|rows| size(rows, filters.rows())).to_vec(),
        rows: rows(console, &found.items, &policies).await?,
    };
    show(&page)
}

/// How many of what the other filters take have which status.
async fn summary(console: &Console, filters: &Filters) -> Result<StatusSummary, FleetError> {
    let others = filters.with_statuses(Vec::new());
    agents::summary(console, &others.with_upgradeable(false).agent_filter()).await
}

async fn chips(console: &Console, filters: &Filters, policies: &[Arc<AgentPolicy>]) -> Result<Vec<Chip>, FleetError> {
    let agents::Facets { tags, versions } = agents::facets(console).await?;
    let twice = |text: String| (text.clone(), text);
    let status = |group: &&[AgentStatus]| (group[0].name().to_owned(), Look::of_agent(group[0]).word);
    let policy = |policy: &Arc<AgentPolicy>| (policy.id.clone(), policy.name.clone());
    Ok(vec![
        Chip::new("Status", "status", GROUPS.iter().map(status), &filters.statuses),
        Chip::new("Tags", "tag", tags.into_iter().map(twice), &filters.tags),
        Chip::new("Agent policy", "policy", policies.iter().map(policy), &filters.policies),
        Chip::new("Version", "version", versions.into_iter().map(twice), &filters.versions),
    ])
}

fn size(rows: usize, chosen: usize) -> Choice {
    Choice {
        value: rows.to_string(),
        name: rows.to_string(),
        selected: rows == chosen,
    }
}

async fn rows(console: &Console, agents: &[Agent], policies: &[Arc<AgentPolicy>]) -> Result<Vec<Row>, FleetError> {
    let now = console.clock.now();
    let ids: Vec<String> = agents.iter().map(|agent| agent.id.clone()).collect();
    let measured = agent_metrics::of_agents(console, &ids).await?;
    let row = |agent: &Agent| {
        let policy_id = agent.document.policy_id.as_str();
        let policy = policies.iter().find(|policy| policy.id == policy_id);
        let mut row = Row::of(agent, now, policy.map(Arc::as_ref));
        row.measured(measured.get(&agent.id).copied().unwrap_or_default());
        row.can_be_upgraded = row.upgrade.is_none() && is_older(&row.version, &console.settings.version);
        row
    };
    Ok(agents.iter().map(row).collect())
}

impl Count {
    /// A link that adds a status to the filter, or takes it out of it.
    fn of(filters: &Filters, group: &[AgentStatus], summary: &StatusSummary) -> Self {
        let name = group[0].name();
        let selected = filters.statuses.iter().any(|status| status == name);
        let mut wanted = filters.statuses.clone();
        if selected {
            wanted.retain(|status| status != name);
        } else {
            wanted.push(name.to_owned());
        }
        Self {
            look: Look::of_agent(group[0]),
            figure: figure(summary.of_all(group)),
            href: filters.with_statuses(wanted).url(1),
            selected,
        }
    }
}

impl Row {
    fn of(agent: &Agent, now: jiff::Timestamp, policy: Option<&AgentPolicy>) -> Self {
        let document = &agent.document;
        let policy_id = document.policy_id.as_str();
        let is_managed = policy.is_some_and(|policy| policy.is_managed);
        let runs = document.policy_revision_idx.unwrap_or_default();
        Self {
            outdated: document.active && policy.is_some_and(|policy| runs > 0 && runs < policy.revision),
            selectable: document.active && !is_managed && agent.status != AgentStatus::Inactive,
            is_managed,
            id: agent.id.clone(),
            look: Look::of_agent(agent.status),
            host: host_name(agent),
            tags: document.tags.clone(),
            policy_id: policy_id.to_owned(),
            policy_name: policy.map_or(policy_id, |policy| policy.name.as_str()).to_owned(),
            revision: document
                .policy_revision_idx
                .map_or_else(|| "–".to_owned(), |revision| revision.to_string()),
            verified: !is_unverified(agent),
            last_activity: Moment::parse(now, document.last_checkin.as_deref()),
            version: document
                .agent
                .as_ref()
                .map(|agent| agent.version.clone())
                .unwrap_or_default(),
            can_be_upgraded: false,
            upgrade: super::upgrade::in_short(agent, now),
            cpu: "–".to_owned(),
            memory: "–".to_owned(),
        }
    }

    /// Averages of five minutes.
    fn measured(&mut self, metrics: AgentMetrics) {
        if let Some(cpu) = metrics.cpu_avg {
            self.cpu = format!("{:.1}%", cpu * 100.0);
        }
        if let Some(memory) = metrics.memory_size_byte_avg {
            self.memory = bytes(memory.max(0.0) as u64);
        }
    }
}

/// Whether an agent of `version` can be upgraded to `newest`; what is no version cannot.
fn is_older(version: &str, newest: &str) -> bool {
    let parse = |text: &str| semver::Version::parse(text).ok();
    parse(version)
        .zip(parse(newest))
        .is_some_and(|(version, newest)| version < newest)
}

/// The names of all agent policies, by id.
pub(super) async fn policy_names(console: &Console) -> Result<HashMap<String, String>, FleetError> {
    let policies = agent_policies::list(console).await?;
    Ok(policies.into_iter().map(|policy| (policy.id, policy.name)).collect())
}

/// What the agent calls its host, else its id.
pub(super) fn host_name(agent: &Agent) -> String {
    let name = agent
        .document
        .local_metadata
        .as_ref()
        .and_then(|metadata| metadata.pointer("/host/hostname"));
    name.and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or(&agent.id)
        .to_owned()
}

/// Whether the agent says that it does not verify its Fleet Server.
pub(super) fn is_unverified(agent: &Agent) -> bool {
    let mode = agent
        .document
        .local_metadata
        .as_ref()
        .and_then(|metadata| metadata.pointer("/elastic/agent/insecure"));
    mode.and_then(Value::as_bool).unwrap_or(false) || agent.document.tags.iter().any(|tag| tag == "insecure")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_versions_can_be_upgraded() {
        let check = |version: &str| is_older(version, "9.6.0");
        assert!(check("9.5.1") && check("8.19.4"));
        assert!(!check("9.6.0") && !check("10.0.0") && !check("") && !check("dev"));
    }

    #[test]
    fn a_chip_says_what_is_set() {
        let chip = |chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(|text| (*text).to_owned()).collect();
            let choices = ["a", "b", "c"].map(|text| (text.to_owned(), text.to_uppercase()));
            Chip::new("Tags", "tag", choices, &chosen).set()
        };
        assert_eq!(chip(&[]), None);
        assert_eq!(chip(&["b"]).as_deref(), Some("B"));
        assert_eq!(chip(&["a", "c"]).as_deref(), Some("2 of 3"));
    }
}
