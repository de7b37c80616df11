//! The list of agents.

use std::collections::HashMap;

use askama::Template;
use axum::extract::Query;
use axum::response::Html;
use serde::Deserialize;
use serde_json::Value;

use super::form::Values;
use super::frame::Frame;
use super::look::{Look, Moment, Paging, Segment, bytes, segments, url_part};
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::Console;
use crate::domain::agent_metrics::{self, AgentMetrics};
use crate::domain::agent_policies;
use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::{self, Agent, AgentFilter, StatusSummary};
use crate::domain::error::FleetError;
use crate::domain::page::{Page as Part, PageRequest};

const PER_PAGE: usize = 50;

/// What stands in the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    /// KQL, or a host's name.
    q: String,
    policy: String,
    status: String,
    tag: String,
    version: String,
    sort: String,
    page: usize,
    done: Option<String>,
}

/// Columns that sort: their name in the URL, their field, and whether they begin with the largest.
const SORTS: [(&str, &str, bool); 3] = [
    ("activity", "last_checkin", true),
    ("host", "local_metadata.host.hostname", false),
    ("version", "agent.version", true),
];

#[derive(Template)]
#[template(path = "agents.html")]
struct Page {
    frame: Frame,
    query: String,
    wrong: String,
    policies: Vec<Choice>,
    status: Option<String>,
    tags: Vec<Choice>,
    version: String,
    sort: String,
    by_activity: String,
    by_host: String,
    by_version: String,
    may_change: bool,
    filtered: bool,
    /// The filters once more, for a selection of everything that matches.
    filters: Vec<(&'static str, String)>,
    live_url: String,
    segments: Vec<Segment>,
    counts: Vec<Count>,
    rows: Vec<Row>,
    paging: Paging,
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
    verified: bool,
    last_activity: Moment,
    version: String,
    can_be_upgraded: bool,
    cpu: String,
    memory: String,
}

/// Shown always, so that the counts do not jump. What the pages call by one word is counted as one.
const SHOWN: [&[AgentStatus]; 7] = [
    &[AgentStatus::Online],
    &[AgentStatus::Degraded],
    &[AgentStatus::Error],
    &[AgentStatus::Orphaned],
    &[AgentStatus::Updating, AgentStatus::Enrolling, AgentStatus::Unenrolling],
    &[AgentStatus::Offline],
    &[AgentStatus::Inactive],
];

/// The statuses that are one with this one for people, itself first.
fn alike(status: &str) -> Vec<AgentStatus> {
    let Some(status) = AgentStatus::named(status) else {
        return AgentStatus::meant_by(status);
    };
    let group = SHOWN.iter().find(|group| group[0] == status);
    group.map_or_else(|| vec![status], |group| group.to_vec())
}

pub(super) async fn page(reader: SignedIn, Query(filters): Query<Filters>) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let policies = agent_policies::list(console).await?;
    let filter = filters.agent_filter();
    let request = PageRequest {
        page: filters.page.max(1),
        per_page: PER_PAGE,
    };
    let (found, summary, wrong) = match agents::list(console, &filter, request).await {
        Ok(found) => (
            found,
            agents::summary(console, &filters.without_status().agent_filter()).await?,
            String::new(),
        ),
        Err(error @ FleetError::Invalid { .. }) => {
            let nothing = Part {
                items: Vec::new(),
                total: 0,
                request,
            };
            (nothing, StatusSummary::default(), error.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    let now = console.clock.now();
    let ids: Vec<String> = found.items.iter().map(|agent| agent.id.clone()).collect();
    let measured = agent_metrics::of_agents(console, &ids).await?;
    let name_of = |id: &str| {
        policies
            .iter()
            .find(|policy| policy.id == id)
            .map_or(id, |policy| policy.name.as_str())
            .to_owned()
    };
    let page = Page {
        frame: Frame::new(&reader, "Agents", "Agents")
            .toast(filters.done.as_deref().and_then(super::agent_actions::done)),
        tags: tag_choices(agents::tags(console, &AgentFilter::default()).await?, &filters.tag),
        version: filters.version.clone(),
        sort: filters.sort.clone(),
        by_activity: filters.sorted("activity"),
        by_host: filters.sorted("host"),
        by_version: filters.sorted("version"),
        may_change: reader.may_change(),
        query: filters.q.clone(),
        wrong,
        policies: choices(
            policies.iter().map(|policy| (policy.id.as_str(), policy.name.as_str())),
            &filters.policy,
        ),
        status: (!filters.status.is_empty()).then(|| filters.status.clone()),
        filtered: filters.any(),
        filters: filters.pairs(),
        live_url: filters.url(request.page),
        segments: segments(&SHOWN.map(|group| (Look::of_agent(group[0]).tone, summary.of_all(group)))),
        counts: SHOWN.iter().map(|group| filters.count(group, &summary)).collect(),
        paging: Paging::of(&found, |number| filters.url(number)),
        rows: found
            .items
            .iter()
            .map(|agent| {
                let mut row = Row::of(agent, now, &name_of(agent.document.policy_id.as_str()));
                row.measured(measured.get(&agent.id).copied().unwrap_or_default());
                row.can_be_upgraded = is_older(&row.version, &console.settings.version);
                row
            })
            .collect(),
    };
    show(&page)
}

/// All policies, with one for "any" in front.
fn choices<'a>(policies: impl Iterator<Item = (&'a str, &'a str)>, chosen: &str) -> Vec<Choice> {
    let any = Choice {
        value: String::new(),
        name: "Any agent policy".to_owned(),
        selected: chosen.is_empty(),
    };
    let rest = policies.map(|(id, name)| Choice {
        value: id.to_owned(),
        name: name.to_owned(),
        selected: id == chosen,
    });
    std::iter::once(any).chain(rest).collect()
}

/// All tags that agents have, with one for "any" in front.
fn tag_choices(tags: Vec<String>, chosen: &str) -> Vec<Choice> {
    let any = Choice {
        value: String::new(),
        name: "Any tag".to_owned(),
        selected: chosen.is_empty(),
    };
    let rest = tags.into_iter().map(|tag| Choice {
        selected: tag == chosen,
        name: tag.clone(),
        value: tag,
    });
    std::iter::once(any).chain(rest).collect()
}

impl Filters {
    fn agent_filter(&self) -> AgentFilter {
        let mut clauses = Vec::new();
        if !self.q.trim().is_empty() {
            clauses.push(format!("({})", as_kuery(self.q.trim())));
        }
        if !self.policy.is_empty() {
            clauses.push(format!("policy_id : {}", quoted(&self.policy)));
        }
        if !self.status.is_empty() {
            let names = alike(&self.status).into_iter().map(|status| quoted(status.name()));
            clauses.push(format!("status : ({})", names.collect::<Vec<_>>().join(" or ")));
        }
        if !self.tag.is_empty() {
            clauses.push(format!("tags : {}", quoted(&self.tag)));
        }
        if !self.version.is_empty() {
            clauses.push(format!("agent.version : {}", quoted(&self.version)));
        }
        let sort = SORTS.iter().find(|(name, _, _)| *name == self.sort);
        AgentFilter {
            kuery: (!clauses.is_empty()).then(|| clauses.join(" and ")),
            show_inactive: self.shows_inactive(),
            sort_field: Some(sort.map_or("enrolled_at", |(_, field, _)| field).to_owned()),
            descending: sort.is_none_or(|(_, _, descending)| *descending),
            ..AgentFilter::default()
        }
    }

    /// Filters of a selection that names everything that matches.
    pub(super) fn of(values: &Values) -> Self {
        let text = |name: &str| values.one(name).to_owned();
        Self {
            q: text("q"),
            policy: text("policy"),
            status: text("status"),
            tag: text("tag"),
            version: text("version"),
            ..Self::default()
        }
    }

    /// The names and values that are set, but for order and page.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("q", &self.q),
            ("policy", &self.policy),
            ("status", &self.status),
            ("tag", &self.tag),
            ("version", &self.version),
        ];
        let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| (name, value.clone())).collect()
    }

    /// Whether inactive agents were asked for.
    pub(super) fn shows_inactive(&self) -> bool {
        self.status == AgentStatus::Inactive.name()
    }

    /// What matches, as KQL; all agents when nothing is filtered.
    pub(super) fn kuery(&self) -> String {
        self.agent_filter().kuery.unwrap_or_else(|| "policy_id : *".to_owned())
    }

    fn without_status(&self) -> Self {
        Self {
            status: String::new(),
            page: 1,
            done: None,
            q: self.q.clone(),
            policy: self.policy.clone(),
            tag: self.tag.clone(),
            version: self.version.clone(),
            sort: self.sort.clone(),
        }
    }

    /// The same, in another order; the present order's link goes back to the newest first.
    fn sorted(&self, sort: &str) -> String {
        let sort = if self.sort == sort {
            String::new()
        } else {
            sort.to_owned()
        };
        Self {
            sort,
            status: self.status.clone(),
            ..self.without_status()
        }
        .url(1)
    }

    fn any(&self) -> bool {
        !self.pairs().is_empty()
    }

    fn url(&self, page: usize) -> String {
        let sort = (!self.sort.is_empty()).then(|| ("sort", self.sort.clone()));
        let named = self.pairs().into_iter().chain(sort);
        let mut pairs: Vec<String> = named
            .map(|(name, value)| format!("{name}={}", url_part(&value)))
            .collect();
        if page > 1 {
            pairs.push(format!("page={page}"));
        }
        if pairs.is_empty() {
            "/app/fleet/agents".to_owned()
        } else {
            format!("/app/fleet/agents?{}", pairs.join("&"))
        }
    }

    fn count(&self, group: &[AgentStatus], summary: &StatusSummary) -> Count {
        let status = group[0];
        let selected = self.status == status.name();
        let wanted = if selected {
            String::new()
        } else {
            status.name().to_owned()
        };
        Count {
            look: Look::of_agent(status),
            figure: super::look::figure(summary.of_all(group)),
            href: Self {
                status: wanted,
                ..self.without_status()
            }
            .url(1),
            selected,
        }
    }
}

/// KQL as it is; a plain word looks for hosts.
fn as_kuery(text: &str) -> String {
    if text.contains([':', '<', '>', '(']) {
        text.to_owned()
    } else {
        format!("local_metadata.host.hostname : *{}*", text.replace(' ', "*"))
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Row {
    fn of(agent: &Agent, now: jiff::Timestamp, policy_name: &str) -> Self {
        let document = &agent.document;
        Self {
            id: agent.id.clone(),
            look: Look::of_agent(agent.status),
            host: host_name(agent),
            tags: document.tags.clone(),
            policy_id: document.policy_id.as_str().to_owned(),
            policy_name: policy_name.to_owned(),
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
    fn a_word_looks_for_hosts_and_kuery_stays() {
        assert_eq!(as_kuery("web"), "local_metadata.host.hostname : *web*");
        assert_eq!(as_kuery("tags : edge"), "tags : edge");
    }

    #[test]
    fn filters_are_in_the_url() {
        let filters = Filters {
            q: "a b".into(),
            status: "online".into(),
            ..Filters::default()
        };
        assert_eq!(filters.url(2), "/app/fleet/agents?q=a%20b&status=online&page=2");
        assert_eq!(Filters::default().url(1), "/app/fleet/agents");
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
    }

    #[test]
    fn everything_that_matches_is_selected_by_all_its_filters() {
        let mut values = Values::default();
        for (name, value) in [
            ("status", "updating"),
            ("tag", "edge"),
            ("version", "9.5.0"),
            ("sort", "host"),
        ] {
            values.push(name, value.to_owned());
        }
        let filters = Filters::of(&values);
        assert_eq!(
            filters.kuery(),
            "status : (\"updating\" or \"enrolling\" or \"unenrolling\") and tags : \"edge\" and agent.version : \"9.5.0\""
        );
        assert!(!filters.shows_inactive());
        assert_eq!(Filters::default().kuery(), "policy_id : *");
    }

    #[test]
    fn only_older_versions_can_be_upgraded() {
        let check = |version: &str| is_older(version, "9.6.0");
        assert!(check("9.5.1") && check("8.19.4"));
        assert!(!check("9.6.0") && !check("10.0.0") && !check("") && !check("dev"));
    }
}
