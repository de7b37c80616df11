//! Which agents are listed: what stands in the URL, and in a selection of everything that matches.

use crate::domain::agent_status::AgentStatus;
use crate::domain::agents::AgentFilter;
use crate::pages::form::Values;
use crate::pages::look::url_part;

/// Where the list is.
const PATH: &str = "/app/fleet/agents";

/// Rows of a page that can be chosen; the second unless one is.
pub(super) const ROWS: [usize; 3] = [20, 50, 100];
const DEFAULT_ROWS: usize = ROWS[1];

/// What is listed, and in which order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::pages) struct Filters {
    /// KQL, or a part of a host's name.
    pub(super) q: String,
    /// Any of these, where there are any.
    pub(super) policies: Vec<String>,
    pub(super) statuses: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) versions: Vec<String>,
    /// Only those that can be upgraded.
    pub(super) upgradeable: bool,
    pub(super) sort: String,
    rows: usize,
    pub(super) page: usize,
}

/// Columns that sort: their name in the URL, their field, and whether they begin with the largest.
const SORTS: [(&str, &str, bool); 3] = [
    ("activity", "last_checkin", true),
    ("host", "local_metadata.host.hostname", false),
    ("version", "agent.version", true),
];

/// What the pages call by one word, in the order of the meter; the first names it in the URL.
pub(super) const GROUPS: [&[AgentStatus]; 9] = [
    &[AgentStatus::Online],
    &[AgentStatus::Degraded],
    &[AgentStatus::Error],
    &[AgentStatus::Orphaned],
    &[AgentStatus::Updating, AgentStatus::Enrolling, AgentStatus::Unenrolling],
    &[AgentStatus::Offline],
    &[AgentStatus::Inactive],
    &[AgentStatus::Unenrolled],
    &[AgentStatus::Uninstalled],
];

/// The statuses that are one with this one for people, itself first.
fn alike(status: &str) -> Vec<AgentStatus> {
    let Some(status) = AgentStatus::named(status) else {
        return AgentStatus::meant_by(status);
    };
    let group = GROUPS.iter().find(|group| group[0] == status);
    group.map_or_else(|| vec![status], |group| group.to_vec())
}

impl Filters {
    /// What a URL's query says.
    pub(super) fn of_query(query: &str) -> Self {
        let mut values = Values::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            values.push(&name, value.into_owned());
        }
        let number = |name: &str| values.one(name).parse().unwrap_or_default();
        Self {
            sort: values.one("sort").to_owned(),
            rows: number("rows"),
            page: number("page"),
            ..Self::of(&values)
        }
    }

    /// Filters of a selection that names everything that matches.
    pub(in crate::pages) fn of(values: &Values) -> Self {
        let all = |name: &str| {
            let mut texts: Vec<String> = Vec::new();
            for text in values.all(name) {
                if !texts.iter().any(|known| known == text) {
                    texts.push(text.to_owned());
                }
            }
            texts
        };
        Self {
            q: values.one("q").to_owned(),
            policies: all("policy"),
            statuses: all("status"),
            tags: all("tag"),
            versions: all("version"),
            upgradeable: values.is_on("upgrade"),
            ..Self::default()
        }
    }

    /// What the domain is asked for.
    pub(super) fn agent_filter(&self) -> AgentFilter {
        let mut clauses = Vec::new();
        if !self.q.trim().is_empty() {
            clauses.push(format!("({})", as_kuery(self.q.trim())));
        }
        let statuses = self.statuses.iter().flat_map(|status| alike(status));
        let statuses: Vec<String> = statuses.map(|status| status.name().to_owned()).collect();
        for (field, values) in [
            ("policy_id", &self.policies),
            ("status", &statuses),
            ("tags", &self.tags),
            ("agent.version", &self.versions),
        ] {
            clauses.extend(any_of(field, values));
        }
        let sort = SORTS.iter().find(|(name, _, _)| *name == self.sort);
        AgentFilter {
            kuery: (!clauses.is_empty()).then(|| clauses.join(" and ")),
            show_inactive: self.shows_inactive(),
            upgradeable: self.upgradeable,
            sort_field: Some(sort.map_or("enrolled_at", |(_, field, _)| field).to_owned()),
            descending: sort.is_none_or(|(_, _, descending)| *descending),
            ..AgentFilter::default()
        }
    }

    /// The names and values that are set, but for order and page.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if !self.q.is_empty() {
            pairs.push(("q", self.q.clone()));
        }
        for (name, values) in [
            ("policy", &self.policies),
            ("status", &self.statuses),
            ("tag", &self.tags),
            ("version", &self.versions),
        ] {
            pairs.extend(values.iter().map(|value| (name, value.clone())));
        }
        if self.upgradeable {
            pairs.push(("upgrade", "on".to_owned()));
        }
        pairs
    }

    /// Order and size of a page, as far as they are chosen.
    pub(super) fn view(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if !self.sort.is_empty() {
            pairs.push(("sort", self.sort.clone()));
        }
        if self.rows() != DEFAULT_ROWS {
            pairs.push(("rows", self.rows().to_string()));
        }
        pairs
    }

    /// Rows of a page.
    pub(super) fn rows(&self) -> usize {
        if ROWS.contains(&self.rows) {
            self.rows
        } else {
            DEFAULT_ROWS
        }
    }

    /// Whether agents were asked for that lists leave out.
    pub(in crate::pages) fn shows_inactive(&self) -> bool {
        let left_out = [AgentStatus::Inactive, AgentStatus::Unenrolled].map(AgentStatus::name);
        self.statuses.iter().any(|status| left_out.contains(&status.as_str()))
    }

    /// Whether only those are asked for that can be upgraded.
    pub(in crate::pages) fn only_upgradeable(&self) -> bool {
        self.upgradeable
    }

    /// What matches, as KQL; all agents when nothing is filtered.
    pub(in crate::pages) fn kuery(&self) -> String {
        self.agent_filter().kuery.unwrap_or_else(|| "policy_id : *".to_owned())
    }

    /// The same with other statuses, from the first page.
    pub(super) fn with_statuses(&self, statuses: Vec<String>) -> Self {
        Self {
            statuses,
            page: 1,
            ..self.clone()
        }
    }

    /// The same with or without those that cannot be upgraded, from the first page.
    pub(super) fn with_upgradeable(&self, upgradeable: bool) -> Self {
        Self {
            upgradeable,
            page: 1,
            ..self.clone()
        }
    }

    /// The same, in another order; the present order's link goes back to the newest first.
    pub(super) fn sorted(&self, sort: &str) -> String {
        let sort = if self.sort == sort { "" } else { sort };
        Self {
            sort: sort.to_owned(),
            ..self.clone()
        }
        .url(1)
    }

    pub(super) fn any(&self) -> bool {
        !self.pairs().is_empty()
    }

    pub(super) fn url(&self, page: usize) -> String {
        let named = self.pairs().into_iter().chain(self.view());
        let mut pairs: Vec<String> = named
            .map(|(name, value)| format!("{name}={}", url_part(&value)))
            .collect();
        if page > 1 {
            pairs.push(format!("page={page}"));
        }
        if pairs.is_empty() {
            PATH.to_owned()
        } else {
            format!("{PATH}?{}", pairs.join("&"))
        }
    }
}

/// A clause that a field has one of these values.
fn any_of(field: &str, values: &[String]) -> Option<String> {
    match values {
        [] => None,
        [only] => Some(format!("{field} : {}", quoted(only))),
        many => {
            let many: Vec<String> = many.iter().map(|value| quoted(value)).collect();
            Some(format!("{field} : ({})", many.join(" or ")))
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
        let query = "q=a%20b&status=online&status=offline&rows=100";
        let filters = Filters::of_query(query);
        assert_eq!(filters.url(1), format!("{PATH}?{query}"));
        assert_eq!(filters.url(2), format!("{PATH}?{query}&page=2"));
        assert_eq!(
            Filters::of_query("rows=7&upgrade=on").url(1),
            format!("{PATH}?upgrade=on")
        );
        assert_eq!(Filters::default().url(1), PATH);
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
    }

    #[test]
    fn everything_that_matches_is_selected_by_all_its_filters() {
        let filters = Filters::of_query("status=updating&status=error&tag=edge&version=9.5.0&sort=host");
        assert_eq!(
            filters.kuery(),
            "status : (\"updating\" or \"enrolling\" or \"unenrolling\" or \"error\") and tags : \"edge\" and agent.version : \"9.5.0\""
        );
        assert!(!filters.shows_inactive());
        assert!(Filters::of_query("status=inactive").shows_inactive());
        assert_eq!(Filters::default().kuery(), "policy_id : *");
    }
}
