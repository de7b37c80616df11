//! All agents in memory: a list of many thousand agents is filtered, counted and sorted here, and the store is asked for the
//! documents that are shown.
//!
//! The roster follows the index of agents from the start on, so that no request waits for it to be read.

mod brief;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use protocol::indices;
use query::matcher::Matcher;
use query::{DocumentMeta, Query, Sort, SortOrder};
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::Console;
use crate::domain::agent_status::{AgentStatus, StatusRules};
use crate::domain::agents;
use crate::domain::error::FleetError;
use crate::domain::mirror::{Entries, Mirror};
use brief::{Seen, Vocabulary};

pub(crate) use brief::{Brief, Names};

/// How long the roster may be behind while nobody asks; each question reads what is new first.
const EVERY: Duration = Duration::from_secs(5);

/// All agents.
#[derive(Debug)]
pub(crate) struct Roster {
    mirror: Mirror<Brief>,
    vocabulary: Arc<Vocabulary>,
}

impl Default for Roster {
    fn default() -> Self {
        let vocabulary = Arc::new(Vocabulary::default());
        let shared = Arc::clone(&vocabulary);
        let keep = move |document: &store::Document| Ok(shared.brief(&document.source.to_value(), agents::is_field));
        Self {
            mirror: Mirror::of(indices::AGENTS, keep),
            vocabulary,
        }
    }
}

impl Roster {
    /// The agents as they are now.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(crate) async fn now(&self, store: &dyn Store) -> Result<Agents, FleetError> {
        Ok(Agents {
            entries: self.mirror.current(store).await?,
            vocabulary: Arc::clone(&self.vocabulary),
        })
    }
}

/// Follows the index until `stop`.
pub(crate) async fn run(console: &Console, stop: CancellationToken) {
    loop {
        if let Err(error) = console.roster.now(&*console.store).await {
            tracing::debug!(%error, "agents could not be read for lists; the next round tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// All agents at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Agents {
    entries: Arc<Entries<Brief>>,
    vocabulary: Arc<Vocabulary>,
}

/// Which agents.
#[derive(Debug)]
pub(crate) struct Filter {
    matcher: Matcher,
    hidden: &'static [AgentStatus],
    /// Those that can be upgraded to this version.
    pub(crate) below: Option<semver::Version>,
    /// Not those of these policies.
    pub(crate) not_of: HashSet<String>,
}

/// What lists leave out unless they are asked for it.
const HIDDEN: [AgentStatus; 2] = [AgentStatus::Unenrolled, AgentStatus::Inactive];

impl Filter {
    /// Those that match; `status` counts as a field.
    ///
    /// # Errors
    /// A value that a clause cannot be about.
    pub(crate) fn of(query: &Query, show_inactive: bool, now: Timestamp) -> Result<Self, FleetError> {
        let matcher = Matcher::compile(query, None, Some(now));
        Ok(Self {
            matcher: matcher.map_err(|error| FleetError::invalid(error.to_string()))?,
            hidden: if show_inactive { &[] } else { &HIDDEN },
            below: None,
            not_of: HashSet::new(),
        })
    }
}

/// An agent that a filter takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) id: &'a Arc<str>,
    pub(crate) status: AgentStatus,
    pub(crate) brief: &'a Brief,
}

/// The order of a list, and what it begins after.
#[derive(Debug)]
pub(crate) struct Order {
    sorts: Vec<Sort>,
    after: Option<Vec<Value>>,
}

impl Order {
    /// By a field, then by the id; missing values come last. `after` are the sort values of the last agent of the page before.
    pub(crate) fn by(field: &str, order: SortOrder, after: Option<Vec<Value>>) -> Self {
        let sorts = query::SearchRequest::new("")
            .sort_by(field, order)
            .sort_by("_id", SortOrder::Ascending)
            .sort;
        Self { sorts, after }
    }
}

/// What an agent is sorted by: the value of the field, and the id.
type Key<'a> = (Cow<'a, Value>, &'a Arc<str>);

impl Agents {
    /// The names of the fields that agents have.
    pub(crate) fn names(&self) -> std::sync::RwLockReadGuard<'_, Names> {
        self.vocabulary.names()
    }

    /// Every agent.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Brief> {
        self.entries.values().map(|brief| &**brief)
    }

    /// One agent.
    pub(crate) fn of_id(&self, id: &str) -> Option<&Brief> {
        self.entries.get(id).map(|brief| &**brief)
    }

    /// The agents that a filter takes, in no order.
    pub(crate) fn take(&self, rules: &StatusRules, filter: &Filter) -> Vec<Taken<'_>> {
        let names = self.names();
        let taken = self.entries.iter().filter_map(|(id, brief)| {
            let status = rules.status(&brief.signs);
            let meta = DocumentMeta {
                id,
                ..DocumentMeta::default()
            };
            let seen = Seen {
                names: &names,
                brief,
                status,
            };
            let is_taken = !filter.hidden.contains(&status) && filter.matcher.holds(&seen, &meta);
            let is_below = |version| brief.is_below(&names, version);
            let is_here = !filter.not_of.contains(brief.signs.policy_id());
            (is_taken && is_here && filter.below.as_ref().is_none_or(is_below)).then_some(Taken { id, status, brief })
        });
        taken.collect()
    }

    /// Part of them in order: their ids, with the values that they were sorted by, as the store would do it.
    pub(crate) fn page(
        &self,
        taken: &[Taken<'_>],
        order: &Order,
        offset: usize,
        size: usize,
    ) -> Vec<(Arc<str>, Vec<Value>)> {
        let names = self.names();
        let mut keys: Vec<Key<'_>> = taken
            .iter()
            .map(|one| (key(&order.sorts[0], one, &names), one.id))
            .collect();
        drop(names);
        let sorts = &order.sorts;
        if let Some(after) = &order.after {
            keys.retain(|key| query::compare_sort_values(sorts, after, &values(key)).is_lt());
        }
        let compare = |left: &Key<'_>, right: &Key<'_>| {
            query::compare_sort_value(&sorts[0], &left.0, &right.0).then_with(|| left.1.cmp(right.1))
        };
        let wanted = offset.saturating_add(size).min(keys.len());
        if wanted < keys.len() && wanted > 0 {
            keys.select_nth_unstable_by(wanted - 1, compare);
            keys.truncate(wanted);
        }
        keys.sort_unstable_by(compare);
        let page = keys.iter().skip(offset).take(size);
        page.map(|key| (Arc::clone(key.1), values(key))).collect()
    }
}

fn values(key: &Key<'_>) -> Vec<Value> {
    vec![key.0.clone().into_owned(), Value::from(&**key.1)]
}

/// The smallest or largest of several; dates as milliseconds; null when it is missing.
fn key<'a>(sort: &Sort, taken: &Taken<'a>, names: &Names) -> Cow<'a, Value> {
    if matches!(sort.field.as_str(), "_id" | "id") {
        return Cow::Owned(Value::from(&**taken.id));
    }
    let field = sort.field.strip_suffix(".keyword").unwrap_or(&sort.field);
    let values = taken.brief.values(names, field);
    let best = match sort.order {
        SortOrder::Ascending => values.min_by(|left, right| query::compare_values(left, right)),
        SortOrder::Descending => values.max_by(|left, right| query::compare_values(left, right)),
    };
    best.map_or(Cow::Owned(Value::Null), |value| {
        match value.as_str().and_then(millis_of) {
            Some(millis) => Cow::Owned(Value::from(millis)),
            None => Cow::Borrowed(value),
        }
    })
}

/// A text that looks like a date, as milliseconds.
fn millis_of(text: &str) -> Option<i64> {
    let looks_like_one = text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().first()?.is_ascii_digit();
    let time: Timestamp = looks_like_one.then(|| text.parse().ok())??;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agents(documents: &[(&str, Value)]) -> Agents {
        let vocabulary = Arc::new(Vocabulary::default());
        let entries = documents.iter().map(|(id, source)| {
            let brief = vocabulary.brief(source, agents::is_field);
            (Arc::from(*id), Arc::new(brief))
        });
        Agents {
            entries: Arc::new(entries.collect()),
            vocabulary: Arc::clone(&vocabulary),
        }
    }

    fn fleet() -> Agents {
        let agent = |host: &str, checked_in: &str, status: &str, tags: Value| {
            json!({"active": true, "policy_id": "p", "policy_revision_idx": 1, "enrolled_at": "2026-01-01T00:00:00Z",
                "last_checkin": checked_in, "last_checkin_status": status, "tags": tags,
                "local_metadata": {"host": {"hostname": host}, "os": {"kernel": "6.1"}}})
        };
        agents(&[
            ("a", agent("web-1", "2026-01-02T11:59:00Z", "online", json!(["edge"]))),
            ("b", agent("web-2", "2026-01-02T11:00:00Z", "online", json!([]))),
            (
                "c",
                agent("db-1", "2026-01-02T11:59:30Z", "degraded", json!(["edge", "core"])),
            ),
            ("d", json!({"active": false, "enrolled_at": "2026-01-01T00:00:00Z"})),
        ])
    }

    fn rules() -> StatusRules {
        StatusRules {
            now: "2026-01-02T12:00:00Z".parse().unwrap(),
            inactivity: std::collections::HashMap::new(),
        }
    }

    fn check(kuery: &str, expected: &[&str]) {
        let (agents, rules) = (fleet(), rules());
        let query = crate::domain::kuery::parse(Some(kuery)).unwrap();
        let filter = Filter::of(&query, false, rules.now).unwrap();
        let mut found: Vec<&str> = agents.take(&rules, &filter).iter().map(|one| &**one.id).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{kuery}");
    }

    #[test]
    fn any_field_filters_and_so_does_the_status() {
        check("", &["a", "b", "c"]);
        check("status:online", &["a"]);
        check("status:(healthy or offline)", &["a", "b"]);
        check("status:unhealthy", &["c"]);
        check("not status:off*", &["a", "c"]);
        check("tags:edge and local_metadata.os.kernel:6*", &["a", "c"]);
        check("last_checkin > now-5m", &["a", "c"]);
        check("local_metadata.host : *", &["a", "b", "c"]);
        check("_id:(a or d)", &["a"]);
    }

    #[test]
    fn whoever_has_an_older_version_and_can_is_upgradeable() {
        let agent = |version: &str, can: bool| json!({"active": true, "agent": {"version": version}, "local_metadata": {"elastic": {"agent": {"upgradeable": can}}}});
        let agents = agents(&[
            ("old", agent("9.5.0", true)),
            ("new", agent("9.6.0", true)),
            ("stuck", agent("9.5.0", false)),
            ("odd", agent("", true)),
        ]);
        let mut filter = Filter::of(&Query::MatchAll, true, rules().now).unwrap();
        filter.below = Some(semver::Version::new(9, 6, 0));
        let taken = agents.take(&rules(), &filter);
        assert_eq!(taken.iter().map(|one| &**one.id).collect::<Vec<_>>(), ["old"]);
    }

    #[test]
    fn a_page_is_in_order_and_the_next_begins_after_it() {
        let (agents, rules) = (fleet(), rules());
        let filter = Filter::of(&Query::MatchAll, true, rules.now).unwrap();
        let taken = agents.take(&rules, &filter);
        let page = |order: SortOrder, after: Option<Vec<Value>>, size: usize| {
            let order = Order::by("last_checkin", order, after);
            let page = agents.page(&taken, &order, 0, size);
            let ids: Vec<String> = page.iter().map(|(id, _)| id.to_string()).collect();
            (ids.join(""), page.last().map(|(_, sort)| sort.clone()))
        };
        let (first, after) = page(SortOrder::Descending, None, 2);
        assert_eq!(first, "ca");
        let (second, _) = page(SortOrder::Descending, after, 9);
        assert_eq!(second, "bd", "what has no value comes last");
        assert_eq!(page(SortOrder::Ascending, None, 9).0, "bacd");
    }
}
